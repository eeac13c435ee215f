"""A synchronous program whose threads use one client, and threads that each run an event loop.

Run it as ``python -m examples.threads SESSION…`` with the key in ``FULLSTORY_API_KEY``.

A client and its rate limiter belong to one event loop. So the usual way is one loop in a thread of its own,
which all others call: `Background`. Where each thread has its own loop, each makes a client, with its share
of the rate: `fetch_in_threads`. Threads share the config, and the files of ledgers and caches.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from fullstory_async import (
    ClientConfig,
    FullStoryClient,
    SessionEvents,
    SessionId,
    UnsharedLimiterWarning,
)

T = TypeVar("T")


class Background:
    """One client in an event loop of its own; any thread may call it."""

    def __init__(self, config: ClientConfig) -> None:
        """Start nothing yet."""
        self._client = FullStoryClient(config=config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fullstory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self._client.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, operation: Callable[[FullStoryClient], Coroutine[Any, Any, T]]) -> T:
        """Run an operation with the client and wait for its result, in any thread but the loop's."""
        return self._wait(operation(self._client))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def share_of(config: ClientConfig, parts: int) -> ClientConfig:
    """Return the settings with a part of the rate and of the burst, for one of several limiters."""
    whole = config.rate_limit
    share = attrs.evolve(whole, rate=whole.rate / parts, burst=max(1.0, whole.burst / parts))
    return attrs.evolve(config, rate_limit=share)


def fetch_in_threads(config: ClientConfig, groups: Sequence[Sequence[SessionId]]) -> list[SessionEvents]:
    """Fetch each group of sessions in a thread with an event loop and a client of its own."""
    share = share_of(config, len(groups))

    async def fetch(group: Sequence[SessionId]) -> list[SessionEvents]:
        async with FullStoryClient(config=share) as client, client.sessions.events_many(group) as outcomes:
            return [outcome.unwrap() async for outcome in outcomes]

    with warnings.catch_warnings(), ThreadPoolExecutor(len(groups)) as threads:
        # each limiter has its share of the rate
        warnings.simplefilter("ignore", UnsharedLimiterWarning)
        results = threads.map(lambda group: asyncio.run(fetch(group)), groups)
        return [events for result in results for events in result]


def main(*texts: str) -> None:
    """Print the number of events of sessions, fetched in both ways."""
    config, ids = ClientConfig.from_env(), [SessionId(text) for text in texts]
    with Background(config) as background, ThreadPoolExecutor(4) as threads:
        fetch = threads.map(lambda each: background.call(lambda client: client.sessions.events(each)), ids)
        for events in fetch:
            print(events.session_id, len(events))
    for events in fetch_in_threads(config, [ids[::2], ids[1::2]]):
        print(events.session_id, len(events))


if __name__ == "__main__":
    main(*sys.argv[1:])
