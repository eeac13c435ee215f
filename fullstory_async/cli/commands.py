"""What each command does, once its options are read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from fullstory_async.cli.bulk import Job, Report
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.ids import read_ids
from fullstory_async.cli.output import Lines, as_row, open_lines, print_table
from fullstory_async.cli.signals import on_interrupt
from fullstory_async.http.ratelimit import RateLimit
from fullstory_async.models import Session, SessionEvent, SessionSummary
from fullstory_async.sandbox import Sandbox

__all__ = ["Order", "events", "fetch", "sandbox", "say_report", "sessions", "summary"]


async def sessions(
    connection: Connection, email: str | None, uid: str | None, limit: int | None, *, as_table: bool
) -> Exit:
    """List a user's sessions."""
    if not (email or uid):
        raise UsageError("give --email or --uid")
    if limit is not None and limit < 1:
        raise UsageError("--limit must be 1 or more")
    async with connection.open() as client:
        found = [session async for session in client.sessions.list(email=email, uid=uid, limit=limit)]
    if not found:
        sys.stderr.write("no sessions\n")
    _print(found, ("id", "created", "url"), as_table=as_table)
    return Exit.OK


async def events(connection: Connection, session_id: str, *, as_table: bool) -> Exit:
    """Fetch one session's events."""
    async with connection.open() as client:
        found = await client.sessions.events(session_id)
    _print(found, ("timestamp", "type", "data"), as_table=as_table)
    return Exit.OK


async def summary(connection: Connection, session_id: str, profile: str | None, *, as_table: bool) -> Exit:
    """Generate one session's summary."""
    async with connection.open() as client:
        found = await client.sessions.summary(session_id, config_profile_id=profile)
    _print([found], ("session_id", "summary", "response"), as_table=as_table)
    return Exit.OK


@attrs.frozen(kw_only=True)
class Order:
    """What ``fetch`` was asked to do."""

    ids: str
    events: bool
    profile: str | None
    concurrency: int
    out: Path | None
    errors: Path | None
    force: bool
    id_column: str | None
    max_activations: int | None

    @property
    def calls_per_id(self) -> int:
        """How many activations one id costs."""
        return self.events + (self.profile is not None)

    @property
    def errors_path(self) -> Path | None:
        """Where failures go: beside the answers, unless said otherwise."""
        if self.errors is not None or self.out is None:
            return self.errors
        return self.out.with_name(self.out.name + ".errors.jsonl")

    def check(self) -> None:
        """Raise `UsageError` for options that make no sense together."""
        if self.calls_per_id == 0:
            raise UsageError("say what to fetch: --events, --summary PROFILE, or both")
        if self.concurrency < 1:
            raise UsageError("--concurrency must be 1 or more")
        if self.max_activations is not None and self.max_activations < self.calls_per_id:
            raise UsageError(
                f"--max-activations must be {self.calls_per_id} or more: one id costs that much here"
            )


async def fetch(connection: Connection, order: Order) -> Exit:
    """Fetch events, summaries or both for many sessions."""
    order.check()
    out = None if order.out is None or str(order.out) == "-" else order.out
    given = read_ids(order.ids, order.id_column)
    affordable = len(given.ids)
    if order.max_activations is not None:
        affordable = min(affordable, order.max_activations // order.calls_per_id)
    errors_path = order.errors_path if out is not None or order.errors is not None else None
    with contextlib.ExitStack() as files:
        lines = files.enter_context(open_lines(out, force=order.force))
        errors = None
        if errors_path is not None:
            errors = files.enter_context(open_lines(errors_path, force=order.force))
        sys.stderr.write(_announcement(len(given.ids), given.duplicates, given.invalid, affordable))
        async with connection.open() as client:
            report = await _job(client, order, given.ids[:affordable], lines, errors).run()
            activations = client.stats.activations
    say_report(report, activations, out, errors)
    if affordable < len(given.ids) and report.exit_code in (Exit.OK, Exit.SOME_FAILED):
        sys.stderr.write(
            f"{len(given.ids) - affordable} ids were left over: the activation budget is used up\n"
        )
        return Exit.BUDGET
    return report.exit_code


def _job(client: Any, order: Order, ids: Sequence[str], lines: Lines, errors: Lines | None) -> Job:
    return Job(
        client=client, ids=ids, events=lines if order.events else None,
        summaries=lines if order.profile is not None else None, errors=errors,
        profile=order.profile, concurrency=order.concurrency,
    )  # fmt: skip


def _announcement(ids: int, duplicates: int, invalid: int, affordable: int) -> str:
    notes = [f"{ids} ids"]
    notes += [f"{duplicates} duplicates dropped"] if duplicates else []
    notes += [f"{invalid} are no session ids and will be reported as failed"] if invalid else []
    notes += [f"the activation budget covers {affordable}"] if affordable < ids else []
    return ", ".join(notes) + "\n"


def say_report(report: Report, activations: int, out: Path | None, errors: Lines | None) -> None:
    """Say on standard error how a bulk job ended."""
    tally = report.tally
    say = sys.stderr.write
    say(
        f"{tally.done - tally.failed} answers, {tally.failed} failed, {activations} activations, {report.seconds:.1f} s"
    )
    say(f" → {out}\n" if out is not None else "\n")
    for name, count in report.errors.most_common():
        say(f"  {count} × {name}\n")
    if report.at_risk:
        say(f"  {report.at_risk} of the failed calls may have cost an activation all the same\n")
    if tally.failed and errors is not None:
        say(f"  failures: {errors.path}\n")
    if tally.done < tally.total:
        say(f"  {tally.total - tally.done} calls were not made\n")
    if report.fatal is not None:
        say(f"fullstory-async: stopped early: {report.fatal}\n")


async def sandbox(*, rate: float | None, burst: float | None, **settings: Any) -> Exit:
    """Serve a sandbox until a signal comes."""
    limit = None
    if rate is not None:
        limit = RateLimit(rate) if burst is None else RateLimit(rate, burst)
    elif burst is not None:
        raise UsageError("--burst needs --rate")
    async with Sandbox(rate_limit=limit, **settings) as server:
        print(f"FULLSTORY_BASE_URL={server.url}")  # noqa: T201  (data: a shell can read it)
        print(f"FULLSTORY_API_KEY={server.api_key}", flush=True)  # noqa: T201
        user = server.users[0]
        sys.stderr.write(
            f"a sandbox with {len(server.session_ids)} sessions of {len(server.users)} users; "
            f"the first is {user.email}, uid {user.uid}; Ctrl-C ends it\n"
        )
        ended = asyncio.Event()
        with on_interrupt(lambda _: ended.set()):
            await ended.wait()
    return Exit.OK


def _print(
    items: Iterable[Session | SessionEvent | SessionSummary], columns: Sequence[str], *, as_table: bool
) -> None:
    rows = (as_row(item) for item in items)
    if as_table:
        print_table(Console(), columns, rows)
        return
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()
