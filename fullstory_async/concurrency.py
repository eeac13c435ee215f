"""Work that is seen to its end, also where the caller is cancelled, however often.

`asyncio.to_thread` leaves its thread behind then, and a SQLite connection that is closed while a thread still uses
it takes the process down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

__all__ = ["run_in_thread", "shielded"]

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(work: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
    """Do the work in a thread; return only when it is over."""
    return await shielded(asyncio.to_thread(work, *arguments, **options))


async def shielded(work: Awaitable[T]) -> T:
    """Wait for something that must not stop half way; a cancellation is raised when it is over."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as cancelled:
            interrupted = cancelled
    if interrupted is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # the caller is told of the cancellation instead
    raise interrupted
