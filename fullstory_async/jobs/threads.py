"""Work in a thread that is seen to its end, also where the caller is cancelled.

`asyncio.to_thread` leaves its thread behind then, and a SQLite connection that is closed while a thread still uses
it takes the process down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["in_thread"]

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
    """Do the work in a thread; return only when it is over."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
