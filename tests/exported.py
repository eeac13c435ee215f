"""A job with usual and odd answers, and its rows as they should be, made without the code of the exports."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.sandbox import Fault, Sandbox

__all__ = ["BOTH", "expected_rows", "iso", "make_job", "names", "same"]

BOTH = JobPlan(events=True, summary="triage")
EVIL = {
    "events": [
        {"event_type": "=cmd|'/C calc'!A0", "event_time": "2026-05-04T10:00:00.5Z", "device_id": "-5", "event_properties": {"user_email": "a@b.c", "deep": [{"user_email": "x"}], "big": 2**70, "share": float("nan"), "far": [-math.inf]}},
        {"event_type": "click", "event_time": "not a time", "event_properties": {"text": "é\ud800\x00 \n"}, "source_properties": {"url": {"path": "/"}}},
    ]
}  # fmt: skip


async def make_job(path: Path) -> None:
    """Make the job in a folder."""
    async with Sandbox(users=3, sessions=12, mean_events=12) as sandbox:
        config = ClientConfig(
            api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(10_000, 10_000)
        )
        ids = [*sandbox.session_ids, "9:9", "../x"]
        sandbox.inject(
            Fault.status(200, body=json.dumps(EVIL).encode()), session_id=ids[2], operation="events"
        )
        async with (
            FullStoryClient(config=config) as client,
            Job.open(path, client=client, plan=BOTH) as job,
        ):
            await job.add(ids)
            await job.run()


def expected_rows(folder: Path) -> dict[str, Any]:
    """Return the rows of each table, from the job's answers."""
    tables: dict[str, list[dict[str, Any]]] = {"events": [], "summaries": [], "failures": []}
    for record in JobReader(folder).records():
        if "events" in record.bodies:
            for seq, event in enumerate(
                json.loads(record.bodies["events"], parse_constant=lambda _: None)["events"]
            ):
                tables["events"].append(
                    {
                        **halves(record.session_id), "seq": seq, "event_type": event["event_type"], "event_time_raw": event["event_time"],
                        "event_properties": plain(event.get("event_properties", {})),
                        "source_properties": event.get("source_properties", {}), "fetched_at": record.fetched["events"],
                    }
                )  # fmt: skip
        if "summary" in record.bodies:
            answer = json.loads(record.bodies["summary"])
            tables["summaries"].append(
                {**halves(record.session_id), "response": answer["response"], "response_schema": answer["response_schema"], "summary": None}
            )  # fmt: skip
        for failure in record.failures.values():
            tables["failures"].append(
                {
                    **halves(failure.session_id),
                    "operation": failure.operation,
                    "error": failure.error,
                    "permanent": failure.permanent,
                }
            )
    return tables


def halves(session_id: str) -> dict[str, str | None]:
    """Return the columns of an id."""
    device, _, session = session_id.partition(":") if session_id != "../x" else (None, "", None)
    return {"full_session_id": session_id, "device_id": device, "session_id": session}


def plain(value: Any) -> Any:
    """Return JSON with lone surrogates replaced, and numbers that are none as null."""
    text = json.dumps(value).replace("Infinity", "null").replace("-null", "null")
    return json.loads(text.replace("\\ud800", "\\ufffd"))


def same(
    rows: list[Any],
    wanted: list[Any],
    *,
    times: Callable[..., Any] = lambda value: value,
    formula: Callable[..., Any] = lambda value: value,
) -> None:
    """Assert that rows have the wanted values."""
    assert len(rows) == len(wanted)
    for row, want in zip(rows, wanted, strict=True):
        for name, value in want.items():
            got = row[name]
            if name in ("event_properties", "source_properties", "response", "response_schema"):
                got = json.loads(got) if isinstance(got, str) else got
                assert got == value, name
            elif name == "fetched_at":
                assert abs((times(got) - value).total_seconds()) < 1e-5
            else:
                assert got == formula(value), name


def iso(text: str) -> datetime:
    """Return a time of a text."""
    return datetime.fromisoformat(text)


def names(path: Path) -> list[Path]:
    """Return the files of an export, the main table's first."""
    stem, _, suffix = path.name.partition(".")
    tables = ("summaries", "sessions", "pages", "failures")
    return [path, *(path.with_name(f"{stem}.{table}.{suffix}") for table in tables)]
