"""What each command does, once its options are read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from fullstory_async.cli.bulk import Job, Report
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.ids import IdInput, read_ids
from fullstory_async.cli.output import Lines, as_row, print_table
from fullstory_async.cli.signals import on_interrupt
from fullstory_async.http.pipeline import Stats
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
        if self.errors is not None or self.answers_path is None:
            return self.errors
        return self.answers_path.with_name(self.answers_path.name + ".errors.jsonl")

    @property
    def answers_path(self) -> Path | None:
        """Where answers go; ``None`` is standard output."""
        return None if self.out is None or str(self.out) == "-" else self.out

    def read(self) -> IdInput:
        """Check the options and read the ids. Raises `UsageError` for what makes no sense."""
        if self.calls_per_id == 0:
            raise UsageError("say what to fetch: --events, --summary PROFILE, or both")
        if self.profile == "":
            raise UsageError("--summary needs the profile's id")
        if self.concurrency < 1:
            raise UsageError("--concurrency must be 1 or more")
        if self.max_activations is not None and self.max_activations < self.calls_per_id:
            raise UsageError(
                f"--max-activations must be {self.calls_per_id} or more: one id costs that much here"
            )
        files = [Path(self.ids)] if self.ids != "-" else []
        files += [path for path in (self.answers_path, self.errors_path) if path is not None]
        if len({os.path.realpath(path) for path in files}) < len(files):
            raise UsageError("--ids, --out and --errors must be three different files")
        return read_ids(self.ids, self.id_column)


async def fetch(connection: Connection, order: Order, given: IdInput) -> Exit:
    """Fetch events, summaries or both for many sessions."""
    affordable = len(given.ids)
    if order.max_activations is not None:
        affordable = min(affordable, order.max_activations // order.calls_per_id)
    async with connection.open() as client:
        with contextlib.ExitStack() as files:
            errors = None
            if order.errors_path is not None:
                errors = files.enter_context(Lines(order.errors_path, force=order.force))
            lines = files.enter_context(Lines(order.answers_path, force=order.force))
            for each in (errors, lines):
                if each is not None:
                    each.begin()
            sys.stderr.write(_announcement(len(given.ids), given.duplicates, given.invalid, affordable))
            job = Job(
                client=client, ids=given.ids[:affordable], left_over=given.ids[affordable:],
                events=lines if order.events else None,
                summaries=lines if order.profile is not None else None, errors=errors,
                profile=order.profile, concurrency=order.concurrency,
            )  # fmt: skip
            report = await job.run()
        say_report(report, client.stats, lines, errors)
    if affordable < len(given.ids) and report.exit_code in (Exit.OK, Exit.SOME_FAILED):
        sys.stderr.write(
            f"{len(given.ids) - affordable} ids were left over: the activation budget is used up\n"
        )
        return Exit.BUDGET
    return report.exit_code


def _announcement(ids: int, duplicates: int, invalid: int, affordable: int) -> str:
    notes = [f"{ids} ids"]
    notes += [f"{duplicates} duplicates dropped"] if duplicates else []
    notes += [f"{invalid} are no session ids and will be reported as failed"] if invalid else []
    notes += [f"the activation budget covers {affordable}"] if affordable < ids else []
    return ", ".join(notes) + "\n"


def say_report(report: Report, stats: Stats, out: Lines, errors: Lines | None) -> None:
    """Say on standard error how a bulk job ended."""
    tally = report.tally
    say = sys.stderr.write
    say(f"{tally.done - tally.failed} answers, {tally.failed} failed, ")
    say(f"{stats.activations} activations, {report.seconds:.1f} s")
    say(f" → {out.path}\n" if out.path is not None else "\n")
    for name, count in report.errors.most_common():
        say(f"  {count} × {name}\n")
    if stats.activations_at_risk:
        say(f"  {stats.activations_at_risk} more calls may have cost an activation without an answer\n")
    if tally.done < tally.total:
        say(f"  {tally.total - tally.done} calls were not made, or dropped on their way\n")
    if errors is not None and errors.count:
        say(f"  failed and missing calls: {errors.path}\n")
    if isinstance(report.fatal, BrokenPipeError):
        say("fullstory-async: stopped early: nobody reads the output any more\n")
    elif report.fatal is not None:
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
