"""A job's progress on standard error: a live line on a terminal, else plain lines."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from fullstory_async.activations import Activations
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.output import printable, write_stderr
from fullstory_async.jobs import JobProgress

__all__ = ["JobDisplay"]

_LINE_INTERVAL = 10.0
"""Seconds between plain lines."""
_RATE_WINDOW = 30.0
"""Seconds over which the current rate is measured."""
_MIN_RATE_WINDOW = 2.0
"""Seconds of figures that a rate needs. The first second of results does not count: a rate limit lets a burst
through at once, and with it a job would seem faster than its limit."""
_MAX_ERROR_LENGTH = 100


class JobDisplay:
    """The display of a running job.

    It shows results, failures, the current and the allowed rate, 429s, activations spent and left, the time
    left and the last error.
    """

    def __init__(self, *, live: bool = True, quiet: bool = False) -> None:
        """Create a display. Without ``live``, a terminal gets plain lines too; with ``quiet``, nothing."""
        # a log on the same terminal would break a live line
        console = StreamConsole(stderr=True)
        self._live, self._quiet = live and not quiet and console.is_live, quiet
        self._progress = Progress(
            BarColumn(bar_width=12), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn(
                "{task.fields[text]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
            console=console, expand=True, disable=not self._live, redirect_stdout=False, transient=True,
        )  # fmt: skip
        self._bar = self._progress.add_task("", total=None, text="")
        self._settled_before: int | None = None
        self._first_result_at = math.inf
        self._samples: deque[tuple[float, int]] = deque()
        self._latest: JobProgress | None = None

    async def __aenter__(self) -> Self:
        # older versions of rich print an empty line when a display that draws nothing stops
        if self._live:
            self._progress.start()
        self._printer = asyncio.create_task(self._print_lines())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._printer.cancel()
        await asyncio.wait([self._printer])
        if self._live:
            # the terminal may be closed; the job has ended in order all the same
            with contextlib.suppress(OSError):
                self._progress.stop()

    def show(self, now: JobProgress) -> None:
        """Show the latest figures. This is the job's ``progress`` callback."""
        self._latest = now
        self._sample(now)
        if self._live:
            settled = min(now.done + now.failed, now.calls)
            self._progress.update(self._bar, total=now.calls, completed=settled, text=self._text(now))

    def _sample(self, now: JobProgress) -> None:
        """Keep one sample per second, starting one second after the first result."""
        settled, at = now.done + now.failed, time.monotonic()
        self._settled_before = settled if self._settled_before is None else self._settled_before
        if settled > self._settled_before:
            self._first_result_at = min(self._first_result_at, at)
        if at - (self._samples[-1][0] if self._samples else self._first_result_at) >= 1.0:
            self._samples.append((at, settled))
        while len(self._samples) > 1 and self._samples[1][0] <= at - _RATE_WINDOW:
            self._samples.popleft()

    def _rate(self, now: JobProgress) -> float | None:
        """Return the calls that end per second; None until there are enough samples."""
        at, settled = self._samples[0] if self._samples else (math.inf, 0)
        elapsed = time.monotonic() - at
        return (now.done + now.failed - settled) / elapsed if elapsed >= _MIN_RATE_WINDOW else None

    async def _print_lines(self) -> None:
        """Print a plain line every few seconds, even while no call ends."""
        while True:
            await asyncio.sleep(_LINE_INTERVAL)
            if self._live or self._quiet or (now := self._latest) is None:
                continue
            text = Text.from_markup(self._text(now)).plain
            write_stderr(f"{now.done + now.failed} of {now.calls} calls, {text}\n")

    def _text(self, now: JobProgress) -> str:
        rate = self._rate(now)
        cap = "" if now.max_activations is None else f", {max(0, now.max_activations - now.spent)} left"
        left = (now.calls - now.done - now.failed) / rate if rate else 0.0
        parts = [f"{now.failed} failed"] if now.failed else []
        parts += [f"{now.stats.retries} retried"] if now.stats.retries else []
        parts += [f"{'…' if rate is None else f'{rate:.1f}'}/s of {now.allowed_rate:.4g}"]
        parts += [f"{now.stats.throttled} × 429"] if now.stats.throttled else []
        parts += [f"{Activations(now.spent, now.at_risk)}{cap}"]
        parts += [f"{left:.0f} s to go"] if not self._live and left > 0 else []
        if now.last_error is not None:
            shown = printable(now.last_error)
            parts.append(shown if len(shown) <= _MAX_ERROR_LENGTH else shown[:_MAX_ERROR_LENGTH] + "…")
        return Text(", ".join(parts)).markup
