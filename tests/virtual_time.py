"""An event loop in virtual time: when nothing is ready, its clock jumps just past the next timer.

Just past, not onto: aiolimiter re-arms its timer for the same instant when rounding leaves its level a
hair over the limit, and a clock that stands exactly on the timer would never get beyond it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

_STEP = 1e-6


class VirtualLoop(asyncio.SelectorEventLoop):
    START = 1000.0

    # parts of asyncio's own loop that its stubs leave out
    _ready: Collection[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now = self.START

    def time(self) -> float:
        return self._virtual_now

    def _run_once(self) -> None:
        if not self._ready:
            # asyncio's heap: the first one is the next, unless it was cancelled
            timers = self._scheduled[:1]
            if timers and timers[0]._cancelled:
                timers = [handle for handle in self._scheduled if not handle._cancelled]
            if not timers and not self._stopping:
                raise RuntimeError("deadlock: nothing is ready and no timer is set")
            if timers:
                self._virtual_now = max(self._virtual_now, min(each.when() for each in timers) + _STEP)
        super()._run_once()  # type: ignore[misc]  # the stubs leave it out


def now() -> float:
    return asyncio.get_running_loop().time()
