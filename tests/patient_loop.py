"""An event loop whose clock stands still while the machine lets this process wait for a core.

It counts what the loop waits for, at most as long as it asked to, and the CPU time of its thread. So timeouts of a client and of the server
that a test runs beside it end in the same order on a busy machine as on a quiet one, and a limit on the loop's time is none on wall time.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time


class _Timed(selectors.DefaultSelector):
    """A selector that counts the seconds it waited."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        began = time.monotonic()
        ready = super().select(timeout)
        passed = time.monotonic() - began
        self.waited += passed if timeout is None else min(passed, timeout)
        return ready


class PatientLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._timed = _Timed()
        self._cpu = time.pthread_getcpuclockid(threading.get_ident())
        super().__init__(self._timed)

    def time(self) -> float:
        return self._timed.waited + time.clock_gettime(self._cpu)
