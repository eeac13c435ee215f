"""Polls of sockets: whether there is anything to read on a connection, or it has ended, without waiting."""

from __future__ import annotations

import asyncio
import functools
import select
from collections.abc import Callable
from typing import Any, cast

__all__ = ["ENDED", "READABLE", "has_unread", "poller"]

READABLE = getattr(select, "POLLIN", 0)
ENDED = getattr(select, "POLLRDHUP", 0)
"""What polls ask for; they report a connection that was reset or closed in any case."""


def poller(transport: asyncio.Transport | None, events: int) -> Callable[[], object]:
    """Return a function that polls a connection's socket without waiting, and returns what it found."""
    # in the kernel: what asyncio knows is as old as the loop's last turn
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None:
        return tuple
    if not hasattr(select, "poll"):  # Windows
        return functools.partial(_readable, connection)
    poll = select.poll()
    poll.register(connection, events)
    return functools.partial(poll.poll, 0)


def has_unread(transport: asyncio.Transport | None) -> bool:
    """Return whether a connection without TLS has data to read and has not ended."""
    # after the handshake of TLS there is data that isn't part of any response
    if transport is None or transport.get_extra_info("sslcontext") is not None or not ENDED:
        return False
    found = cast("list[tuple[int, int]]", poller(transport, READABLE | ENDED)())
    return any(events == READABLE for _, events in found)


def _readable(connection: Any) -> list[Any]:
    return select.select([connection], [], [], 0)[0]
