"""Name lookup: host names are resolved in threads of our own, not in those of the program's executor.

The program may keep its executor busy for minutes, and a call would then end as if the host could not be
reached.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, TypeVar, cast

import aiohttp
from aiohttp.abc import AbstractResolver

from fullstory_async.errors import StorageError
from fullstory_async.threads import WorkerThread

__all__ = ["new_resolver"]

T = TypeVar("T")


def new_resolver() -> AbstractResolver | None:
    """Return a resolver for aiohttp; ``None`` for its own, if that needs no threads (aiodns is installed)."""
    if aiohttp.DefaultResolver is not aiohttp.ThreadedResolver:
        return None
    return aiohttp.ThreadedResolver(cast("asyncio.AbstractEventLoop", _Lookups()))


class _Lookups:
    """The part of an event loop that aiohttp's resolver uses."""

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> list[Any]:
        """Do as the event loop does."""
        return await _in_thread(host, socket.getaddrinfo, host, port, **options)

    async def getnameinfo(self, address: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """Do as the event loop does."""
        return await _in_thread(address[0], socket.getnameinfo, address, flags)


async def _in_thread(host: str, look_up: Callable[..., T], *arguments: Any, **options: Any) -> T:
    try:
        # one thread for each: a lookup that hangs must not stop the next
        return await WorkerThread(f"the lookup of {host}").run(look_up, *arguments, **options)
    except StorageError as error:  # no thread can be started
        raise OSError(error.message) from None
