"""How far a job has come: a live line on a terminal, a plain line now and then elsewhere; both on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from fullstory_async.cli.output import visible
from fullstory_async.jobs import JobProgress

__all__ = ["JobDisplay"]

_EVERY = 10.0
"""Seconds between plain lines."""
_RECENT = 30.0
"""Seconds over which the present rate is measured."""
_SHOWN_ERROR = 100


class JobDisplay:
    """Shows a running job: done, failed, present and allowed rate, 429s, activations spent and left, time left, the last error."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._progress = Progress(
            BarColumn(bar_width=12), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console, expand=True, disable=not self._live, redirect_stdout=False, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None, text="")
        self._began = time.monotonic()
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
            self._progress.stop()

    def show(self, now: JobProgress) -> None:
        """Take the present figures; the job's ``progress`` callback."""
        self._now = now
        self._note(now)
        if self._live:
            settled = min(now.done + now.failed, now.calls)
            self._progress.update(self._task, total=now.calls, completed=settled, text=self._text(now))

    def _note(self, now: JobProgress) -> None:
        """Keep a figure a second, of the last seconds."""
        settled, at = now.done + now.failed, time.monotonic()
        if not self._recent:
            self._recent.append((self._began, settled))
        elif at - self._recent[-1][0] >= 1.0:
            self._recent.append((at, settled))
        while len(self._recent) > 1 and self._recent[1][0] <= at - _RECENT:
            self._recent.popleft()

    async def _speak(self) -> None:
        """Say how far it has come every few seconds, also while no call comes to its end."""
        while True:
            await asyncio.sleep(_EVERY)
            if self._live or (now := self._now) is None:
                continue
            text = Text.from_markup(self._text(now)).plain
            with contextlib.suppress(BrokenPipeError):  # whoever looked on has gone; the job goes on
                sys.stderr.write(f"{now.done + now.failed} of {now.calls} calls, {text}\n")

    def _text(self, now: JobProgress) -> str:
        at, before = self._recent[0]
        rate = (now.done + now.failed - before) / max(time.monotonic() - at, 1e-3)
        cap = "" if now.max_activations is None else f", {max(0, now.max_activations - now.spent)} left"
        left = (now.calls - now.done - now.failed) / rate if rate > 0 else 0.0
        parts = [f"{now.failed} failed"] if now.failed else []
        parts += [f"{now.stats.retries} retried"] if now.stats.retries else []
        parts += [f"{rate:.1f}/s of {now.allowed_rate:.4g}"]
        parts += [f"{now.stats.throttled} × 429"] if now.stats.throttled else []
        parts += [f"{now.spent} activations spent{cap}"]
        parts += [f"{left:.0f} s to go"] if not self._live and left > 0 else []
        if now.last_error is not None:
            shown = visible(now.last_error)
            parts.append(shown if len(shown) <= _SHOWN_ERROR else shown[:_SHOWN_ERROR] + "…")
        return Text(", ".join(parts)).markup
