"""Signals for commands that shut down in order: SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fullstory_async.cli.exits import Exit

__all__ = ["asks_twice", "exit_of_server", "first_signal", "on_interrupt"]

_HANG_UP = Exit.HUNG_UP - 128
"""The number of SIGHUP, which Windows has not."""


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


@contextmanager
def first_signal() -> Iterator[asyncio.Future[signal.Signals]]:
    """Give a future of the first signal that arrives inside the block, for a server that runs until then."""
    first: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    with on_interrupt(lambda number: None if first.done() else first.set_result(number)):
        yield first


def exit_of_server(number: int) -> Exit:
    """Return the exit code of a server that a signal ended: success, unless its terminal was closed."""
    return Exit.HUNG_UP if number == _HANG_UP else Exit.OK


def asks_twice(received: Sequence[int]) -> bool:
    """Return whether signals ask to end at once, as a second Ctrl-C does.

    A terminal that is closed doesn't: its shell, the kernel and the login service each send a signal of their
    own, and without a person there is no hurry.
    """
    return sum(number != _HANG_UP for number in received) > 1
