"""Progress of a bulk job: on standard error, and only where that is a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fullstory_async.http.pipeline import Stats

__all__ = ["BulkProgress", "Tally"]


@attrs.define
class Tally:
    """What a bulk job has done so far."""

    total: int
    done: int = 0
    failed: int = 0


class BulkProgress:
    """A live line: done of total, failed, calls a second, 429s, activations, time left."""

    def __init__(self, total: int, *, label: str) -> None:
        """Prepare the line for so many calls."""
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TextColumn("{task.fields[rate]:.1f}/s"),
            TextColumn("{task.fields[throttled]} × 429"),
            TextColumn("{task.fields[activations]} activations"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            redirect_stdout=False,  # data goes there, and not to this console
            transient=True,
        )
        self._task = self._progress.add_task(
            label, total=total, failed=0, rate=0.0, throttled=0, activations=0
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, label: str, tally: Tally, stats: Stats) -> None:
        """Show the present figures."""
        speed = self._progress.tasks[0].finished_speed or self._progress.tasks[0].speed
        self._progress.update(
            self._task, description=label, completed=tally.done, failed=tally.failed, rate=speed or 0.0,
            throttled=stats.throttled, activations=stats.activations,
        )  # fmt: skip
