"""Import times, the time of ``--help``, and a gzip bomb."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
import tracemalloc
import zlib

from benchmarks.clients import ours
from benchmarks.report import Section, table
from fullstory_async import ResponseTooLarge

__all__ = ["bomb", "imports"]

CAP = 1024 * 1024


def imports(quick: bool) -> Section:
    """Measure import times, relative to that of aiohttp alone."""
    section = Section("Imports")
    names = {
        "aiohttp": "import aiohttp",
        "fullstory_async": "import fullstory_async",
        "fullstory_async and a client": (
            "import fullstory_async; fullstory_async.FullStoryClient('na1.benchmark')"
        ),
        "fullstory-async --help": (
            "import sys; sys.argv = ['x', '--help']; from fullstory_async.cli import main; main()"
        ),
    }
    took: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(2 if quick else 9):
        for name, script in names.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=False)
            took[name].append((time.perf_counter() - started) * 1e3)
    medians = {name: statistics.median(times) for name, times in took.items()}
    section.say(
        table(("process that imports or runs", "ms"), [(name, f"{ms:.0f}") for name, ms in medians.items()])
    )
    section.promise(
        "import fullstory_async, beyond import aiohttp",
        medians["fullstory_async"] - medians["aiohttp"],
        80,
        unit=" ms",
    )
    section.promise("fullstory-async --help", medians["fullstory-async --help"], 500, unit=" ms")
    return section


def bomb(quick: bool) -> Section:  # noqa: ARG001  (every section has the same signature)
    """Measure the refusal of 2 MB that decompress to 2 GB."""
    section = Section("A gzip bomb")
    seconds, memory = asyncio.run(explode())
    section.say(
        "A response of 2 MB that decompresses to 2 GB, with `max_response_bytes` of 1 MiB: "
        f"refused after {seconds * 1e3:.0f} ms."
    )
    section.promise("gzip bomb, refused after", seconds * 1e3, 100, unit=" ms")
    section.promise("gzip bomb, peak memory", memory / 2**20, 10, unit=" MiB")
    return section


async def explode() -> tuple[float, float]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join([packer.compress(bytes(1024 * 1024)) for _ in range(2000)]) + packer.flush()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with ours(url, max_response_bytes=CAP) as client:
            return await refused(client)
    finally:
        server.close()


async def refused(client: object) -> tuple[float, float]:
    took = []
    for traced in (False, True):
        if traced:
            tracemalloc.start()
        started = time.perf_counter()
        try:
            await client.sessions.events("1:2")  # type: ignore[attr-defined]
        except ResponseTooLarge:
            took.append(time.perf_counter() - started)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return took[0], peak
