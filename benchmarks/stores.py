"""A store of a million sessions: how fast ids are added, and whether claiming one costs as in a small one."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

from benchmarks.clients import KEY
from benchmarks.report import Section, table
from fullstory_async import ClientConfig
from fullstory_async.cluster import PostgresStore
from tests.cluster.postgres_servers import Server

__all__ = ["stores"]

_SMALL, _LARGE = 10_000, 1_000_000
_ADDED_PER_SECOND = 20_000
_FLAT = 1.3
"""Time to claim an id of a million, relative to one of ten thousand."""
_CLAIMED, _AT_ONCE = 8_000, 100


def stores(quick: bool) -> Section:
    """Add ids and claim them."""
    large = 50_000 if quick else _LARGE
    section = Section("A store of many sessions in Postgres")
    section.say(
        f"Ids are added to an empty store, and {_CLAIMED} of them claimed, {_AT_ONCE} at once, in turns with "
        f"a store of {_SMALL}. Postgres and the client share the machine."
    )
    server = Server()
    try:
        server.start()
        added, times = asyncio.run(_measure(server, large, 1 if quick else 7))
    finally:
        server.remove()
    medians = {size: statistics.median(each) for size, each in times.items()}
    rows = [(f"{size:,}", f"{added[size]:,.0f}", f"{medians[size] * 1e6:.0f}") for size in medians]
    section.say(table(("sessions", "added per second", "µs to claim one"), rows))
    section.promise("ids added per second", added[large], _ADDED_PER_SECOND, at_least=True)
    ratio = statistics.median(one / other for one, other in zip(times[large], times[_SMALL], strict=True))
    section.promise(f"time to claim an id of {large:,}, × one of {_SMALL:,}", ratio, _FLAT)
    return section


async def _measure(
    server: Server, large: int, rounds: int
) -> tuple[dict[int, float], dict[int, list[float]]]:
    """Return the ids added per second and the seconds to claim one in each round, by the store's size."""
    added: dict[int, float] = {}
    for size in (_SMALL, large):
        async with _store(server, size) as store:
            began = time.perf_counter()
            counts = await store.add(_ids(size))
            added[size] = counts.new / (time.perf_counter() - began)
    times: dict[int, list[float]] = {_SMALL: [], large: []}
    for _ in range(rounds):
        for size, each in times.items():
            async with _store(server, size) as store:
                began, found = time.perf_counter(), 0
                while found < _CLAIMED:
                    found += len(await store.claim(_AT_ONCE))
                each.append((time.perf_counter() - began) / found)
    return added, times


def _store(server: Server, size: int) -> PostgresStore:
    return PostgresStore(server.dsn(), ClientConfig(api_key=KEY), schema=f"of_{size}")


def _ids(count: int) -> Iterator[str]:
    """Return ids whose order says nothing, as real ones."""
    return (f"{n * 2654435761 % 2**63}:{n * 40503 % 2**61 + n}" for n in range(count))
