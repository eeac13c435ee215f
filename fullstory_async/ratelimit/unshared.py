"""Unshared limiters: warn of two open clients of one key in this process that have a rate limiter each.

Each of them keeps the whole rate, so that together they send twice as fast. Clients that are closed, whose
event loop is closed, or that were opened before this process was forked don't count.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from weakref import WeakKeyDictionary

import attrs

from fullstory_async.ratelimit.limiter import RateLimiter

__all__ = ["OPEN_CLIENTS", "OpenClients", "UnsharedLimiterWarning"]


class UnsharedLimiterWarning(UserWarning):
    """Two open clients of one key have separate rate limiters, and their rates add up.

    It is issued once for each key and base URL. Give the second client ``limiter=first.limiter``, or ignore
    the warning where each limiter has its share of the rate.
    """


@attrs.frozen(eq=False)
class _Opened:
    account: str
    limiter: RateLimiter
    loop: asyncio.AbstractEventLoop
    pid: int = attrs.field(factory=os.getpid)


class OpenClients:
    """The open clients of this process, with the account and the limiter of each."""

    def __init__(self) -> None:
        """Begin without a client."""
        self._opened: WeakKeyDictionary[object, _Opened] = WeakKeyDictionary()
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def check(self, account: str, limiter: RateLimiter) -> None:
        """Warn if an open client of the same account has another limiter; once for each account."""
        with self._lock:
            is_new = account not in self._warned and any(
                _is_apart(other, account, limiter) for other in self._opened.values()
            )
            if is_new:
                self._warned.add(account)
        if is_new:
            warnings.warn(
                "two open clients of the same API key have a rate limiter each, so that their rates add up: "
                "give the second one limiter=first.limiter; in several threads, divide the rate",
                UnsharedLimiterWarning,
                stacklevel=4,
            )

    def add(self, client: object, account: str, limiter: RateLimiter) -> None:
        """Record that a client was opened in the running event loop."""
        with self._lock:
            self._opened[client] = _Opened(account, limiter, asyncio.get_running_loop())

    def remove(self, client: object) -> None:
        """Record that a client was closed."""
        with self._lock:
            self._opened.pop(client, None)


def _is_apart(other: _Opened, account: str, limiter: RateLimiter) -> bool:
    """Return whether an open client sends for the same account, without regard to this limiter."""
    return (
        other.account == account
        and other.limiter is not limiter
        and other.pid == os.getpid()
        and not other.loop.is_closed()
        # those of two clients with a shared bucket are one limiter
        and not (other.limiter.is_shared and limiter.is_shared)
    )


OPEN_CLIENTS = OpenClients()
"""The open clients of this process."""
