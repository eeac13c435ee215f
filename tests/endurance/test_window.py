"""A strict token bucket behind TLS and a line with a delay: what it refuses of a limiter of the same numbers.

FULLSTORY_WINDOW sets how many runs each case has; ``nox -s window`` makes six.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trustme

from fullstory_async import RateLimit
from tests.virtual.limits import BucketServer
from tests.virtual_time import now
from tests.wire.servers import Connection, client_of, http, raw_server

RUNS = int(os.environ.get("FULLSTORY_WINDOW", "0"))
LIMITS = ((8, 8), (20, 40), (50, 50), (100, 100))
ROUND_TRIPS = (0.0, 0.06, 0.2)
REFUSED = http(b"{}", "429 Too Many Requests", Retry_After="1")


@asynccontextmanager
async def line(port: int, round_trip: float) -> AsyncIterator[int]:
    """Pass on what arrives at a port half a round trip later, and connections after a whole one."""
    tasks: set[asyncio.Task[None]] = set()

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, sent = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

        async def deliver() -> None:
            while True:
                due, data = await sent.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    writer.close()
                    return
                writer.write(data)

        delivery = asyncio.create_task(deliver())
        try:
            while data := await reader.read(2**16):
                sent.put_nowait((loop.time() + round_trip / 2, data))
            sent.put_nowait((loop.time() + round_trip / 2, b""))
            await delivery
        finally:
            delivery.cancel()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.sleep(round_trip)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(one_way(reader, far_writer), one_way(far_reader, writer))
        tasks.discard(task)

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refusals(limit: RateLimit, round_trip: float) -> list[int]:
    """Return how many requests are refused over cold connections, and again after the pool was closed."""
    authority = trustme.CA()
    serving, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    authority.configure_trust(trusting)
    bucket, calls = BucketServer(limit.rate, limit.burst), int(limit.burst + limit.rate)
    found, open_ones = [], set[asyncio.StreamWriter]()

    async def respond(connection: Connection) -> None:
        open_ones.add(connection.writer)
        is_refused = bucket.wait() > 0
        (bucket.refused if is_refused else bucket.accepted).append(now())
        await connection.send(REFUSED if is_refused else http())

    async with (
        raw_server(respond, tls=serving) as server,
        line(int(server.url.rpartition(":")[2]), round_trip) as port,
    ):
        async with client_of(f"https://127.0.0.1:{port}", rate_limit=limit, ssl=trusting) as client:
            for _ in range(2):
                before = len(bucket.refused)
                ids = [f"1:{number}" for number in range(calls)]
                workers = max(16, int(limit.rate))
                async with client.sessions.events_many(ids, concurrency=workers) as results:
                    assert len([outcome async for outcome in results]) == calls
                found.append(len(bucket.refused) - before)
                for writer in open_ones:
                    writer.close()
                open_ones.clear()
                await asyncio.sleep(limit.burst / limit.rate + 1)
    return found


@pytest.mark.skipif(not RUNS, reason="takes minutes, and a quiet machine: nox -s window runs it")
async def test_the_rate_is_kept_at_the_server() -> None:
    failed = []
    for rate, burst in LIMITS:
        for round_trip in ROUND_TRIPS:
            runs = [await refusals(RateLimit(rate, burst), round_trip) for _ in range(RUNS)]
            for case, refused in zip(("cold", "after a rest"), zip(*runs, strict=True), strict=True):
                print(f"{rate}/{burst}, {round_trip} s, {case}: {refused} refused")  # noqa: T201
                if statistics.median(refused) > 0 or max(refused) > 1:
                    failed.append((rate, burst, round_trip, case, refused))
    assert failed == []
