"""Signals for commands that shut down in order: SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["on_interrupt", "until_interrupted"]


@contextmanager
def on_interrupt(callback: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call back on SIGINT, SIGTERM and SIGHUP inside the block.

    A SIGHUP that ``nohup`` ignores stays ignored. Event loops on Windows can't handle signals; there Ctrl-C
    cancels the command, as Python does by default.
    """
    loop, installed = asyncio.get_running_loop(), []
    for number in _stopping_signals():
        try:
            loop.add_signal_handler(number, callback, number)
        except NotImplementedError:
            break
        installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)


def _stopping_signals() -> list[signal.Signals]:
    wanted = [signal.SIGINT, signal.SIGTERM]
    hang_up: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        wanted.append(hang_up)
    return wanted


async def until_interrupted() -> None:
    """Wait until the first signal arrives."""
    ended = asyncio.Event()
    with on_interrupt(lambda _: ended.set()):
        await ended.wait()
