"""One measurement of one client in its own process; prints the figures as JSON."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.report import peak_memory
from benchmarks.server import pin

__all__ = ["measure"]

_HERE = str(Path(__file__).parent.parent)


def measure(place: Path | None = None, **order: Any) -> dict[str, float]:
    """Run a measurement in a new process, with `run`'s arguments; return its figures.

    ``session`` is the number of events per session; ``place`` is the working directory.
    """
    script = f"import sys; sys.path.insert(0, {_HERE!r}); from benchmarks import worker; worker.main()"
    command = [sys.executable, "-c", script, json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, check=False)
    if done.returncode:
        raise RuntimeError(f"{order}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


async def run(
    client: str, url: str, session: str, requests: int, concurrency: int, *, stall: bool = False
) -> dict[str, float]:
    # imported here because the caller need not have the other clients installed
    from benchmarks.clients import CLIENTS  # noqa: PLC0415

    async with CLIENTS[client](url) as walk:
        await walk([f"{session}:{n}" for n in range(min(concurrency, requests))], concurrency)  # warm-up
        before, worst = peak_memory(), [0.0]
        if stall:
            record_steps(worst)
        started, cpu = time.perf_counter(), time.process_time()
        await walk([f"{session}:{n}" for n in range(requests)], concurrency)
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
        grown = peak_memory() - before
        return {
            "rate": requests / took, "cpu": cpu / requests, "stall": worst[0], "memory": grown,
            "seconds": took,
        }  # fmt: skip


def record_steps(worst: list[float]) -> None:
    """Record in ``worst`` the most CPU time that one step of the event loop takes, from now on.

    CPU time, because another process on the same core makes the wall time of a step longer, not its work.
    """
    run_step = asyncio.Handle._run  # noqa: SLF001  (asyncio has no public way to see its steps)

    def measured(handle: asyncio.Handle) -> None:
        started = time.thread_time()
        run_step(handle)
        worst[0] = max(worst[0], time.thread_time() - started)

    asyncio.Handle._run = measured  # type: ignore[method-assign]  # noqa: SLF001


def main() -> None:
    pin(1)
    print(json.dumps(asyncio.run(run(**json.loads(sys.argv[1])))))
