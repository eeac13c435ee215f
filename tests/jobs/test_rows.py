"""Rows and odd ids given to a job or a fan-out: they follow the rules for files, and nothing wrong is paid for."""

from __future__ import annotations

import csv
import enum
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from numbers import Integral
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import ClientConfig, ConfigurationError, FullStoryClient, RateLimit, SessionId
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.sandbox import Sandbox

EVENTS = JobPlan(events=True)
NEGATIVE = "-5415577363091004123:42"


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    async with Sandbox(users=3, sessions=8, mean_events=3) as sandbox:
        config = ClientConfig(
            api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(100_000, 100_000)
        )
        async with FullStoryClient(config=config) as client:
            yield sandbox, client


class Frame:
    """What a table of pandas looks like from outside."""

    columns = ("session_id",)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def to_dict(self) -> dict[str, Any]:
        return {}


class Table:
    """What a table of polars looks like from outside."""

    columns = ("session_id",)

    def __iter__(self) -> Iterator[list[str]]:
        return iter([["1:2"]])

    def to_dicts(self) -> list[dict[str, Any]]:
        return []


WHOLE_TABLES = [
    (Frame(), r"pass one column, as in df\['session_id'\], or its rows: df.to_dict\('records'\)"),
    (Table(), r"its rows: df.to_dicts\(\)"),
    ({"session_id": ["1:2"], "n": [1]}, "one dict, not many ids; pass one of its lists"),
    ({"session_id": "1:2"}, r"one dict, not many ids; pass a list of mappings"),
]


@pytest.mark.row(60)
@pytest.mark.parametrize(("ids", "hint"), WHOLE_TABLES)
async def test_a_whole_table_is_refused_with_a_hint(tmp_path: Path, ids: Any, hint: str) -> None:
    async with opened() as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            with pytest.raises(ConfigurationError, match=hint):
                await job.add(ids)
        with pytest.raises(ConfigurationError, match=hint):
            client.sessions.events_many(ids)
        assert sandbox.activations == 0


def rows_of(session_ids: list[SessionId]) -> list[dict[str, Any]]:
    return [
        {
            "user_id": n,
            "device_id": int(each.split(":")[0]),
            "session_id": int(each.split(":")[1]),
            "note": "x",
        }
        for n, each in enumerate(session_ids)
    ]


@pytest.mark.row(60)
@pytest.mark.parametrize("later", [False, True])
async def test_rows_are_read_as_a_table_in_a_file_is(tmp_path: Path, *, later: bool) -> None:
    async with opened() as (sandbox, client):
        rows = [
            *rows_of(sandbox.session_ids),
            {"device_id": None, "session_id": None},
            {"device_id": 1, "session_id": 2},
        ]

        async def slowly() -> AsyncIterator[dict[str, Any]]:
            for row in rows:
                yield row

        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            added = await job.add(slowly() if later else rows)
            assert (added.new, added.unusable, added.without_id) == (len(sandbox.session_ids) + 1, 1, 1)
            assert (await job.run()).done == len(sandbox.session_ids)
            [failure] = [each async for each in job.failures()]
            assert "row 10 does not look like a session id: '1:2'" in failure.message
        async with client.sessions.events_many(slowly() if later else rows) as results:
            outcomes = {outcome.session_id: outcome async for outcome in results}
        assert {name for name, each in outcomes.items() if each.error is None} == set(sandbox.session_ids)
        assert sandbox.activations == 2 * len(sandbox.session_ids)


ROUNDED = ["6100490361000070000:1511755620562820000", "5415577363091000000:6138002021762420000"]


@pytest.mark.row(57)
@pytest.mark.parametrize(
    "ids",
    [
        ROUNDED,
        [{"session_id": each} for each in ROUNDED],
        ["6.1E+18:1.5E+18"],
        [{"device_id": 6.1e18, "session_id": 1.5e18}],
        [{"user_id": 1, "session_id": 2}],
        [{"name": "x"}],
    ],
)
async def test_rounded_ids_and_rows_without_ids_are_refused_before_anything_is_paid(
    tmp_path: Path, ids: list[Any]
) -> None:
    async with opened() as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            for given in (ids, iter(ids)):
                with pytest.raises(ConfigurationError, match=r"rounded|10 digits or more|no column holds"):
                    await job.add(given)
            assert job.counts.items == 0 or ids is ROUNDED
        for given in (ids, iter(ids)):
            with pytest.raises(ConfigurationError, match=r"rounded|10 digits or more|no column holds"):
                async with client.sessions.events_many(given, concurrency=1) as results:
                    async for outcome in results:
                        assert outcome.error is not None
        assert sandbox.activations == 0


async def test_ids_that_were_checked_by_the_caller_are_not_checked_again(tmp_path: Path) -> None:
    async with opened() as (_, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            assert (await job.add(map(SessionId, ROUNDED))).new == 2


class Text(str, enum.Enum):  # noqa: UP042  (StrEnum has a __str__ of its own)
    """Texts as a program may name them; ``str()`` of each is its name."""

    PROFILE = "support"
    EMAIL = "ada@example.com"
    HEADER = "X-Team"
    QUERY = "enable_event_cache"
    TRUE = "true"
    AGENT = "agent/1"
    SESSION = "5415577363091004123:6138002021762428123"


class Whole:
    """An integer of another library, such as numpy."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value

    def __lt__(self, other: int) -> bool:
        return self.value < other


Integral.register(Whole)


def members(name: str, texts: Sequence[str]) -> list[Any]:
    """Return the members of a `str` and `enum.Enum` class, as a program may define one."""
    make: Any = enum.Enum
    return list(make(name, {f"ID{n}": str(each) for n, each in enumerate(texts)}, type=str))


@pytest.mark.row(59)
async def test_a_text_of_a_program_is_sent_as_its_text_at_every_entrance(tmp_path: Path) -> None:
    async with Sandbox(users=3, sessions=8, mean_events=3) as sandbox:
        key, url = members("Keys", [sandbox.api_key, sandbox.url])
        config = ClientConfig(api_key=key, base_url=url, user_agent=Text.AGENT, integration_source=Text.AGENT)
        ids = members("Ids", sandbox.session_ids)
        async with FullStoryClient(config=config) as client:
            await client.sessions.list(email=Text.EMAIL)
            await client.sessions.list(uid=Text.EMAIL, limit=Whole(5))  # type: ignore[arg-type]
            await client.sessions.list(session_uid=Text.EMAIL)
            await client.profiles.get(Text.PROFILE)
            await client.sessions.summary(ids[0], config_profile_id=Text.PROFILE)
            await client.sessions.events(
                ids[1], extra_query={Text.QUERY: Text.TRUE}, extra_headers={Text.HEADER: Text.EMAIL}
            )
            async with client.sessions.events_many(ids) as results:
                outcomes = [outcome async for outcome in results]
            assert {outcome.session_id for outcome in outcomes} == set(sandbox.session_ids)
            assert all(outcome.error is None for outcome in outcomes)
            plan = JobPlan(summary=Text.PROFILE, max_activations=Whole(50))
            async with Job.open(tmp_path / "j", client=client, plan=plan) as job:
                await job.add(ids)
                assert (await job.run()).done == len(sandbox.session_ids)
        seen = json.dumps(
            [[each.raw_path, each.query, dict(each.headers)] for each in sandbox.requests], default=str
        )
        for name in ("Text.", "Ids.", "Keys.", "<Text", "<Ids"):
            assert name not in seen


@pytest.mark.row(60)
async def test_negative_halves_survive_every_export_and_come_back_in(tmp_path: Path) -> None:
    from fullstory_async.cli.ids import read_ids

    async with opened() as (_, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add([NEGATIVE, "-5:-42"])
            await job.run()
            for name in ("out.csv", "out.csv.gz", "out.jsonl", "out.jsonl.zst"):
                files = await job.export(tmp_path / name)
                failures = next(str(path) for path in files if "failures" in path.name)
                found = read_ids([failures], "full_session_id")
                assert [*found] == [NEGATIVE, "-5:-42"], name
                found.close()
            with (tmp_path / "out.failures.csv").open() as file:
                assert [row["full_session_id"] for row in csv.DictReader(file)] == [NEGATIVE, "-5:-42"]
            rows = exported_failures(await job.export(tmp_path / "out.sqlite"))
            assert [row["full_session_id"] for row in rows] == [NEGATIVE, "-5:-42"]
            async with Job.open(tmp_path / "copy", plan=EVENTS) as copy:
                assert (await copy.add(rows)).new == 2
            ids = [failed.session_id async for failed in JobReader(tmp_path / "copy").results()]
            assert ids == [NEGATIVE, "-5:-42"]


def exported_failures(files: list[Path]) -> list[dict[str, Any]]:
    """Return the failures of an export to SQLite, as rows."""
    with closing(sqlite3.connect(files[0])) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM failures")]
