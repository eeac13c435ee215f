"""The bulk job of ``fetch`` and ``demo``: one fan-out for each operation, results written as they come."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs

from fullstory_async.cli.exits import Exit, exit_for
from fullstory_async.cli.output import Lines, WriteError, answer_line, error_line, not_made_line
from fullstory_async.cli.progress import BulkProgress, Tally
from fullstory_async.cli.signals import on_interrupt
from fullstory_async.client import FullStoryClient
from fullstory_async.errors import FullStoryError
from fullstory_async.fanout import FanOut

__all__ = ["Job", "Report"]


@attrs.define
class Report:
    """How a bulk job ended."""

    tally: Tally
    errors: Counter[str] = attrs.field(factory=Counter)
    """Failed calls by the name of their error."""
    seconds: float = 0.0
    exits: set[Exit] = attrs.field(factory=set)
    """The exit codes that the failed calls would have had on their own."""
    interrupted: Exit | None = None
    fatal: FullStoryError | WriteError | BrokenPipeError | None = None
    """What ended the job early, if anything did."""

    @property
    def exit_code(self) -> Exit:
        """The one code that says it best."""
        if self.interrupted is not None:
            return self.interrupted
        if self.fatal is not None:
            return exit_for(self.fatal)
        if self.exits == {Exit.RATE_LIMIT_OR_DEADLINE}:
            return Exit.RATE_LIMIT_OR_DEADLINE
        return Exit.SOME_FAILED if self.tally.failed else Exit.OK


@attrs.define(kw_only=True)
class Job:
    """Many ids, one or two operations on each."""

    client: FullStoryClient
    ids: Sequence[str]
    events: Lines | None
    """Where the answers of ``events`` go; ``None`` does not fetch them."""
    summaries: Lines | None
    """Where summaries go; ``None`` does not generate any."""
    errors: Lines | None
    """Where failures go, and calls that were not made; ``None`` prints failures to standard error."""
    profile: str | None
    concurrency: int
    left_over: Sequence[str] = ()
    """Ids that the activation budget does not cover: not fetched, but named among the errors."""
    _current: FanOut[Any] | None = attrs.field(default=None, init=False)
    _signal: signal.Signals | None = attrs.field(default=None, init=False)

    async def run(self) -> Report:
        """Do the job. What fails is in the report; only a program error is raised."""
        wanted = (("events", self.events), ("summary", self.summaries))
        operations = [(name, lines) for name, lines in wanted if lines is not None]
        report = Report(Tally(total=len(self.ids) * len(operations)))
        started = asyncio.get_running_loop().time()
        on_signal = partial(self._on_signal, asyncio.current_task())
        with on_interrupt(on_signal), BulkProgress(report.tally.total, label="fetching") as progress:
            for name, lines in operations:
                left = dict.fromkeys(self.ids)
                dropped = False
                if self._signal is None and report.fatal is None:
                    dropped = await self._fan_out(name, lines, report, progress, left)
                for session_id in left:
                    self._to_errors(not_made_line(session_id, name, may_have_cost=None if dropped else False))
                for session_id in self.left_over:
                    self._to_errors(not_made_line(session_id, name, may_have_cost=False))
        report.seconds = asyncio.get_running_loop().time() - started
        if self._signal is not None:
            report.interrupted = Exit(128 + self._signal)
        return report

    async def _fan_out(
        self, name: str, lines: Lines, report: Report, progress: BulkProgress, left: dict[str, None]
    ) -> bool:
        """Do one operation on every id; return whether calls on their way were dropped."""
        sessions, profile, many = self.client.sessions, self.profile, self.concurrency
        try:
            self._current = (
                sessions.events_many(self.ids, concurrency=many)
                if name == "events"
                else sessions.summaries_many(self.ids, config_profile_id=profile, concurrency=many)
            )
            async with self._current as results:
                async for outcome in results:
                    if outcome.value is not None:
                        lines.write(answer_line(outcome.session_id, name, outcome.value))
                    elif outcome.error is not None:
                        self._note_failure(report, outcome.session_id, name, outcome.error)
                    report.tally.done += 1
                    left.pop(outcome.session_id, None)
                    progress.show(name, report.tally, self.client.stats)
        except FullStoryError as error:
            report.fatal = error
        except (WriteError, BrokenPipeError) as error:
            report.fatal = error
            return True
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            sys.stderr.write("dropped the calls on their way\n")
            return True
        return False

    def _note_failure(self, report: Report, session_id: str, name: str, error: FullStoryError) -> None:
        report.tally.failed += 1
        report.errors[type(error).__name__] += 1
        report.exits.add(exit_for(error))
        if self.errors is None:
            sys.stderr.write(f"{session_id}: {error}\n")
        self._to_errors(error_line(session_id, name, error))

    def _to_errors(self, line: bytes) -> None:
        """Write to the errors file; if that fails, answers are still worth fetching."""
        if self.errors is None:
            return
        try:
            self.errors.write(line)
        except (WriteError, BrokenPipeError) as error:
            self.errors = None
            sys.stderr.write(f"{error}; what would go there is shown here\n{line.decode()}\n")

    def _on_signal(self, task: asyncio.Task[Any] | None, received: signal.Signals) -> None:
        """Stop the job in good order on the first signal, and at once on the second."""
        if self._signal is not None and task is not None:
            task.cancel()
            return
        self._signal = received
        if self._current is not None:
            self._current.stop()
        sys.stderr.write(
            "\nstopping: waiting for calls on their way, they may be paid for; again to drop them\n"
        )
