"""How far a job has come: a live line on a terminal, a plain line now and then elsewhere; both on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from fullstory_async.cli.output import say, visible
from fullstory_async.jobs import JobProgress

__all__ = ["JobDisplay"]

_EVERY = 10.0
"""Seconds between plain lines."""
_RECENT = 30.0
"""Seconds over which the present rate is measured."""
_LEAST = 2.0
"""Seconds below which it is not told. Nor does the first second of answers count: a rate limit lets a burst through at
once, and with that a job would seem to go faster than it may."""
_SHOWN_ERROR = 100


class JobDisplay:
    """Shows a running job: done, failed, present and allowed rate, 429s, activations spent and left, time left, the last error."""

    def __init__(self, *, live: bool = True) -> None:
        """Show it; without ``live``, as where a log is written too, in plain lines on a terminal as well."""
        console = Console(stderr=True)
        self._live = live and console.is_terminal
        self._progress = Progress(
            BarColumn(bar_width=12), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console, expand=True, disable=not self._live, redirect_stdout=False, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None, text="")
        self._at_first: int | None = None
        self._first_at = math.inf
        self._recent: deque[tuple[float, int]] = deque()
        self._now: JobProgress | None = None

    async def __aenter__(self) -> Self:
        if self._live:  # else there is nothing to draw, and older versions of rich end it with an empty line
            self._progress.start()
        self._speaking = asyncio.create_task(self._speak())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._speaking.cancel()
        await asyncio.wait([self._speaking])
        if self._live:
            with contextlib.suppress(OSError):  # the terminal was closed, and the job has ended in good order
                self._progress.stop()

    def show(self, now: JobProgress) -> None:
        """Take the present figures; the job's ``progress`` callback."""
        self._now = now
        self._note(now)
        if self._live:
            settled = min(now.done + now.failed, now.calls)
            self._progress.update(self._task, total=now.calls, completed=settled, text=self._text(now))

    def _note(self, now: JobProgress) -> None:
        """Keep a figure a second, of the last seconds; the first one a second after calls began to come to an end."""
        settled, at = now.done + now.failed, time.monotonic()
        self._at_first = settled if self._at_first is None else self._at_first
        if settled > self._at_first:
            self._first_at = min(self._first_at, at)
        if at - (self._recent[-1][0] if self._recent else self._first_at) >= 1.0:
            self._recent.append((at, settled))
        while len(self._recent) > 1 and self._recent[1][0] <= at - _RECENT:
            self._recent.popleft()

    def _rate(self, now: JobProgress) -> float | None:
        """Return how many calls come to an end in a second; ``None`` as long as that can't be told."""
        at, before = self._recent[0] if self._recent else (math.inf, 0)
        passed = time.monotonic() - at
        return (now.done + now.failed - before) / passed if passed >= _LEAST else None

    async def _speak(self) -> None:
        """Say how far it has come every few seconds, also while no call comes to its end."""
        while True:
            await asyncio.sleep(_EVERY)
            if self._live or (now := self._now) is None:
                continue
            text = Text.from_markup(self._text(now)).plain
            say(f"{now.done + now.failed} of {now.calls} calls, {text}\n")  # if anybody is still there

    def _text(self, now: JobProgress) -> str:
        rate = self._rate(now)
        cap = "" if now.max_activations is None else f", {max(0, now.max_activations - now.spent)} left"
        left = (now.calls - now.done - now.failed) / rate if rate else 0.0
        parts = [f"{now.failed} failed"] if now.failed else []
        parts += [f"{now.stats.retries} retried"] if now.stats.retries else []
        parts += [f"{'…' if rate is None else f'{rate:.1f}'}/s of {now.allowed_rate:.4g}"]
        parts += [f"{now.stats.throttled} × 429"] if now.stats.throttled else []
        parts += [f"{now.spent} activations spent{cap}"]
        parts += [f"{left:.0f} s to go"] if not self._live and left > 0 else []
        if now.last_error is not None:
            shown = visible(now.last_error)
            parts.append(shown if len(shown) <= _SHOWN_ERROR else shown[:_SHOWN_ERROR] + "…")
        return Text(", ".join(parts)).markup
