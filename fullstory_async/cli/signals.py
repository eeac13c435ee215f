"""Signals, for commands that end in good order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["on_interrupt", "until_interrupted"]


@contextmanager
def on_interrupt(callback: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call back on SIGINT and SIGTERM while the block runs.

    Event loops on Windows can't; there Ctrl-C cancels the command, as Python does by itself.
    """
    loop, installed = asyncio.get_running_loop(), []
    for number in (signal.SIGINT, signal.SIGTERM):
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


async def until_interrupted() -> None:
    """Wait for the first signal."""
    ended = asyncio.Event()
    with on_interrupt(lambda _: ended.set()):
        await ended.wait()
