"""The CPU time of imports and of ``--help``, and a gzip bomb."""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Mapping

from benchmarks.clients import ours
from benchmarks.report import Section, table
from fullstory_async import ResponseTooLarge

__all__ = ["bomb", "imports"]

CAP = 1024 * 1024
BYTECODE: Mapping[str, Mapping[str, str]] = {
    "with bytecode": {"PYTHONDONTWRITEBYTECODE": ""},
    "without bytecode": {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/nonexistent"},
}
"""How an interpreter finds the compiled modules: installed, and in a container that may not write any."""


def imports(quick: bool) -> Section:
    """Measure the CPU time of imports and of ``--help``, in turns with what each is relative to."""
    section = Section("Imports")
    names = {
        "aiohttp": "import aiohttp",
        "fullstory_async": "from fullstory_async import *",
        "fullstory_async and a client": (
            "import fullstory_async; fullstory_async.FullStoryClient('na1.benchmark')"
        ),
        "cyclopts": "import cyclopts",
        "fullstory-async --help": (
            "import sys; sys.argv = ['x', '--help']; from fullstory_async.cli import main; main()"
        ),
    }
    rows = []
    for how, variables in BYTECODE.items():
        took: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(2 if quick else 9):
            for name, script in names.items():
                took[name].append(cpu_of_python(script, variables) * 1e3)
        rows += [(f"{name}, {how}", f"{statistics.median(each):.0f}") for name, each in took.items()]
        pairs = zip(took["fullstory-async --help"], took["cyclopts"], strict=True)
        ratio = statistics.median(one / other for one, other in pairs)
        section.promise(f"CPU, fullstory-async --help, {how}, × import cyclopts", ratio, 1.5)
        if how == "with bytecode":
            pairs = zip(took["fullstory_async"], took["aiohttp"], strict=True)
            beyond = statistics.median(one - other for one, other in pairs)
            section.promise("CPU, import fullstory_async, beyond import aiohttp", beyond, 80, unit=" ms")
            help_time = statistics.median(took["fullstory-async --help"])
            section.promise("CPU, fullstory-async --help", help_time, 500, unit=" ms")
    section.say(table(("process that imports or runs", "ms of CPU"), rows))
    return section


def cpu_of_python(script: str, variables: Mapping[str, str]) -> float:
    """Return the CPU seconds of an interpreter that runs a script."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", script]
    subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, **variables}, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bomb(quick: bool) -> Section:  # noqa: ARG001  (every section has the same signature)
    """Measure the refusal of 2 MB that decompress to 2 GB."""
    section = Section("A gzip bomb")
    seconds, memory = asyncio.run(explode())
    section.say(
        "A response of 2 MB that decompresses to 2 GB, with `max_response_bytes` of 1 MiB: "
        f"refused after {seconds * 1e3:.0f} ms of CPU."
    )
    section.promise("CPU until a gzip bomb is refused", seconds * 1e3, 100, unit=" ms")
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
        started = time.process_time()
        try:
            await client.sessions.events("1:2")  # type: ignore[attr-defined]
        except ResponseTooLarge:
            took.append(time.process_time() - started)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return took[0], peak
