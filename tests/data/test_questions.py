"""docs/data.md: four programs give the same answers, which are those of a count over the stored responses."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import itertools
import json
import math
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import duckdb
import pandas as pd
import polars as pl
import pytest

from fullstory_async import (
    ClientConfig,
    FullStoryClient,
    LLMOptions,
    ProfileConfiguration,
    RateLimit,
    ResponseSchema,
)
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export import export
from fullstory_async.sandbox import Sandbox
from tests.examples import ROOT

Rows = list[tuple[Any, ...]]
Session = tuple[str, list[dict[str, Any]]]
"""An id, and its events as they were sent."""


@attrs.frozen
class Verdict:
    """The response that the summaries have."""

    summary: str
    needs_follow_up: bool


def sections() -> dict[str, dict[str, str]]:
    """Return the blocks under each heading, by the program that they are for."""
    found: dict[str, dict[str, str]] = {}
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for part in re.split(r"^#+ (?=[A-Z])", page, flags=re.MULTILINE)[1:]:
        blocks = found.setdefault(part.partition("\n")[0], {})
        for text in re.findall(r"^```(?:sql|python)\n(.*?)^```", part, re.MULTILINE | re.DOTALL):
            first = text.partition("\n")[0].lstrip("-# ").lower()
            for program in (
                [first] if first in ("duckdb", "sqlite", "pandas", "polars") else ["duckdb", "sqlite"]
            ):
                assert program not in blocks
                blocks[program] = text
    return found


SECTIONS = sections()
SETUP = SECTIONS.pop("Ten questions")
JOIN = SECTIONS.pop("Join with a list of sessions")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a job and its exports."""
    folder = tmp_path_factory.mktemp("questions")

    async def fetch() -> None:
        async with Sandbox(users=8, sessions=40, mean_events=60) as sandbox:
            config = ClientConfig(
                api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(1000, 1000)
            )
            async with FullStoryClient(config=config) as client:
                schema = LLMOptions(response_schema=ResponseSchema.from_type(Verdict))
                profile = await client.profiles.create("verdict", ProfileConfiguration(llm=schema))
                plan = JobPlan(events=True, summary=profile.id)
                rows = [
                    {"session": each, "ticket": f"T-{n % 7}"} for n, each in enumerate(sandbox.session_ids)
                ]
                async with Job.open(folder / "friday.job", client=client, plan=plan) as job:
                    await job.add([*rows, {"session": "9:9", "ticket": "T-8"}])
                    await job.run()

    asyncio.run(fetch())
    for suffix in ("duckdb", "sqlite", "parquet"):
        export(JobReader(folder / "friday.job"), folder / f"friday.{suffix}")
    return folder


def sessions_of(folder: Path) -> list[Session]:
    """Return each session with its events in order, read without anything that makes tables."""
    return [
        (record.session_id, sorted(json.loads(record.bodies["events"])["events"], key=lambda e: str(e["event_time"])))
        for record in JobReader(folder / "friday.job").records()
        if "events" in record.bodies
    ]  # fmt: skip


def is_error(event: dict[str, Any]) -> bool:
    # all console messages and requests of the sandbox are errors
    return event["event_type"] in ("exception", "crash", "console_message", "request")


def path_of(event: dict[str, Any]) -> str | None:
    path: str | None = event["source_properties"].get("url", {}).get("path")
    return path


def visits_of(events: list[dict[str, Any]]) -> list[tuple[str | None, float]]:
    """Return the path and the seconds of each visit. Each view of the sandbox is one, and has one page."""
    views: dict[str, tuple[str | None, datetime]] = {}
    for event in events:
        if event.get("view_id"):
            views.setdefault(event["view_id"], (path_of(event), datetime.fromisoformat(event["event_time"])))
    starts = [start for _, start in views.values()] + [datetime.fromisoformat(events[-1]["event_time"])]
    seconds = ((after - start).total_seconds() for start, after in itertools.pairwise(starts))
    return [(path, each) for (path, _), each in zip(views.values(), seconds, strict=True)]


def every(folder: Path) -> Iterator[dict[str, Any]]:
    for _, events in sessions_of(folder):
        yield from events


def rage_clicks(folder: Path) -> Rows:
    clicks = [each for each in every(folder) if each["event_type"] == "click" and path_of(each) is not None]
    return [*Counter(path_of(each) for each in clicks if each["event_properties"]["fs_rage_count"]).items()]


def browser_errors(folder: Path) -> Rows:
    agents = (each["source_properties"].get("user_agent") for each in every(folder) if is_error(each))
    return [*Counter(agent["browser"] for agent in agents if agent).items()]


def funnel(folder: Path) -> Rows:
    counts = [0, 0, 0]
    for _, events in sessions_of(folder):
        steps = iter(("/", "/product/42", "/cart"))
        wanted, done = next(steps), 0
        for path, _seconds in visits_of(events):
            if path == wanted:
                done, wanted = done + 1, next(steps, "")
        for n in range(done):
            counts[n] += 1
    return [tuple(counts)]


def sessions_of_users(folder: Path) -> Rows:
    users = []
    for _, events in sessions_of(folder):
        emails = [
            each["event_properties"]["user_email"] for each in events if each["event_type"] == "identify"
        ]
        users += emails[-1:]
    return [*Counter(users).items()]


def time_on_pages(folder: Path) -> Rows:
    seconds: dict[str, list[float]] = defaultdict(list)
    for _, events in sessions_of(folder):
        for path, each in visits_of(events):
            if path is not None:
                seconds[path].append(each)
    return [(path, len(each), sum(each) / len(each)) for path, each in seconds.items()]


def error_messages(folder: Path) -> Rows:
    words = {"exception": "Exception", "console_message": "Console"}
    kinds = [each for each in every(folder) if each["event_type"] in words]
    texts = (f"{words[each['event_type']]}: {each['event_properties']['message']}" for each in kinds)
    return [*Counter(texts).most_common(10)]


def follow_ups(folder: Path) -> Rows:
    bodies = [record.bodies.get("summary") for record in JobReader(folder / "friday.job").records()]
    return [*Counter(json.loads(body)["response"]["needs_follow_up"] for body in bodies if body).items()]


def errors_before(folder: Path) -> Rows:
    found = []
    for name, events in sessions_of(folder):
        added = [
            n for n, each in enumerate(events)
            if each["event_type"] == "custom" and each["event_properties"]["event_name"] == "Added to Cart"
        ]  # fmt: skip
        if added and any(is_error(each) for each in events[: added[0]]):
            found.append((name,))
    return found


def events_of_days(folder: Path) -> Rows:
    return [*Counter(each["event_time"][:10] for each in every(folder)).items()]


def tickets(folder: Path) -> Rows:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    names = [record.session_id for record in JobReader(folder / "friday.job").records()]
    events_by_id = dict(sessions_of(folder))
    for n, name in enumerate(names):
        of_ticket = counts["T-8" if name == "9:9" else f"T-{n % 7}"]
        events = events_by_id.get(name, [])
        of_ticket[0] += 1
        of_ticket[1] += sum(map(is_error, events))
        of_ticket[2] += sum(each["event_properties"].get("fs_rage_count", 0) > 0 for each in events)
    return [(ticket, *each) for ticket, each in counts.items()]


INDEPENDENT: list[Callable[[Path], Rows]] = [
    rage_clicks, browser_errors, funnel, sessions_of_users, time_on_pages, error_messages, follow_ups,
    errors_before, events_of_days, tickets,
]  # fmt: skip
"""One for each question of the page, in its order."""


def run_python(block: str, namespace: dict[str, Any]) -> Any:
    """Run a block; return the value of the expression at its end, as a notebook does."""
    tree = ast.parse(block)
    last = tree.body.pop()
    exec(compile(tree, "docs/data.md", "exec"), namespace)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "docs/data.md", "eval"), namespace)
    exec(compile(ast.Module([last], []), "docs/data.md", "exec"), namespace)
    return None


def rows_of(answer: Any) -> Rows:
    """Return an answer as sorted rows, in which equal values are equal in all programs."""
    if isinstance(answer, pd.Series):
        answer = answer.reset_index()
    if isinstance(answer, pd.DataFrame):
        rows = list(answer.itertuples(index=False, name=None))
    elif isinstance(answer, pl.DataFrame):
        rows = answer.rows()
    else:
        rows = [tuple(answer)] if answer and isinstance(answer[0], int) else answer
    return sorted((tuple(map(plain, row)) for row in rows), key=repr)


def plain(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0  # a sum over nothing: null in SQL, 0 in pandas and polars
    if isinstance(value, float):
        return round(value, 6)
    return value if isinstance(value, str) else int(value) if hasattr(value, "__int__") else str(value)


def answers(folder: Path, question: str) -> dict[str, Rows]:
    """Return the answer of each program."""
    blocks = SECTIONS[question]
    assert list(blocks) == ["duckdb", "sqlite", "pandas", "polars"]
    found = {}
    with duckdb.connect(str(folder / "friday.duckdb"), read_only=True) as database:
        found["duckdb"] = rows_of(database.execute(blocks["duckdb"]).fetchall())
    with contextlib.closing(sqlite3.connect(folder / "friday.sqlite")) as database:
        found["sqlite"] = rows_of(database.execute(blocks["sqlite"]).fetchall())
    for program in ("pandas", "polars"):
        namespace: dict[str, Any] = {}
        with contextlib.chdir(folder):
            run_python(SETUP[program], namespace)
            found[program] = rows_of(run_python(blocks[program], namespace))
    return found


@pytest.mark.parametrize("question", SECTIONS)
def test_four_programs_answer_a_question_as_a_count_over_the_responses_does(
    folder: Path, question: str
) -> None:
    number = list(SECTIONS).index(question)
    expected = rows_of(INDEPENDENT[number](folder))
    assert expected
    assert answers(folder, question) == dict.fromkeys(("duckdb", "sqlite", "pandas", "polars"), expected)


def test_three_programs_join_a_list_of_sessions_with_the_job(folder: Path) -> None:
    listed = [record.session_id for record in JobReader(folder / "friday.job").records()][:5]
    listed.append("8:8")
    rows = [{"full_session_id": each, "created": f"2026-05-0{n}"} for n, each in enumerate(listed, 1)]
    (folder / "ada.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    errors = {name: sum(map(is_error, events)) for name, events in sessions_of(folder)}
    expected = [(name, name in errors, errors.get(name, 0)) for name in listed]
    with contextlib.chdir(folder):
        with duckdb.connect("friday.duckdb", read_only=True) as database:
            found = {"duckdb": database.execute(JOIN["duckdb"]).fetchall()}
        for program in ("pandas", "polars"):
            namespace: dict[str, Any] = {}
            run_python(SETUP[program], namespace)
            table = run_python(JOIN[program], namespace)
            found[program] = list(table.itertuples(index=False)) if program == "pandas" else table.rows()
    for program, joined in found.items():
        answer = [(name, state == "done", plain(count)) for name, _, state, count in joined]
        assert answer == expected, program


def test_there_are_ten_questions() -> None:
    assert len(SECTIONS) == len(INDEPENDENT) == 10
