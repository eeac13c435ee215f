"""Many processes on one store: throughput, CPU time and memory of every way to run them.

``python -m benchmarks.engines`` measures in an environment that has the engines and not the other clients, as
``nox -s engines`` makes it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from benchmarks.report import Section, table
from benchmarks.server import running
from tests.cluster.postgres_servers import Server, new_name

__all__ = ["engines"]

_WORKERS = 4
_IDS, _EVENTS, _ROUNDS = 3000, 50, 3
_PROGRAMS = {
    "one process": "psycopg", "processes": "psycopg", "procrastinate": "procrastinate", "Dask": "distributed",
    "Ray": "ray", "Spark": "pyspark",
}  # fmt: skip
"""Program → the library without which it is not measured."""
_ENGINES = {"distributed", "ray", "pyspark"}
"""Libraries that take long to start, so ``--quick`` does without."""
_ALLOWED_MEMORY = 150
_TICK = os.sysconf("SC_CLK_TCK")
_SILENT = {
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "SPARK_LOCAL_IP": "127.0.0.1",
}  # fmt: skip
"""No statistics for others, and no listening beyond this machine."""


Process = tuple[int, int]
"""Process id, and when it was started: an id may be used again."""


@attrs.define
class Tree:
    """A process, all that it has started, and all that those have: their CPU time and memory.

    What was seen once belongs to it, also when its parent has ended.
    """

    root: int
    port: int = 0
    """A process that has a connection to it is a worker."""
    cpu: dict[Process, float] = attrs.field(factory=dict)
    memory: dict[Process, int] = attrs.field(factory=dict)
    workers: set[Process] = attrs.field(factory=set)

    def look(self) -> float:
        """Look at all processes; return the CPU seconds of all so far."""
        parents, seconds = {}, {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(") ")[2].split()
                    process = int(entry.name), int(fields[19])
                    parents[process] = int(fields[1])
                    seconds[process] = (int(fields[11]) + int(fields[12])) / _TICK
        mine = {process for process in parents if process[0] == self.root or process in self.cpu}
        while further := {
            each
            for each, parent in parents.items()
            if parent in {pid for pid, _ in mine} and each not in mine
        }:
            mine |= further
        sockets = _sockets_to(self.port)
        for process in mine:
            self.cpu[process] = seconds[process]
            with suppress(OSError):
                self._look_at(process, sockets)
        return sum(self.cpu.values())

    def _look_at(self, process: Process, sockets: set[str]) -> None:
        place = Path(f"/proc/{process[0]}")
        status = (place / "status").read_text()
        peak = status.partition("VmHWM:")[2].split()[:1] or ["0"]  # one that has ended has none
        self.memory[process] = max(self.memory.get(process, 0), int(peak[0]) * 1024)
        if process not in self.workers and sockets & {
            str(each.readlink()) for each in (place / "fd").iterdir()
        }:
            self.workers.add(process)

    @property
    def of_worker(self) -> float:
        """MiB of the largest worker."""
        return max((self.memory[each] for each in self.workers), default=0) / 2**20

    @property
    def of_all(self) -> float:
        """MiB of all processes, each at its peak; what they share counts for each of them."""
        return sum(self.memory.values()) / 2**20

    def end(self) -> None:
        """End what is left of it."""
        self.look()
        for pid, _ in self.cpu:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _sockets_to(port: int) -> set[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}")}


@attrs.frozen
class Run:
    """The figures of one program."""

    start: float
    """Seconds until it was ready."""
    start_cpu: float
    seconds: float
    """Seconds of the work itself."""
    cpu: float
    """CPU seconds of all its processes, for the work itself."""
    database_cpu: float
    of_worker: float
    of_all: float


def measure(kind: str, ids: Path, count: int, workers: int, server: Server, url: str) -> Run:
    """Run a program to its end, on a schema of its own."""
    schema = new_name("bench")
    command = [sys.executable, "-m", "benchmarks.engine_programs", kind, str(ids), schema, str(workers)]
    environment = {
        **os.environ, **_SILENT, "FULLSTORY_API_KEY": "na1.benchmark", "FULLSTORY_BASE_URL": f"{url}/live",
        "FULLSTORY_RATE_LIMIT": "1000000/1000000", "FULLSTORY_CLUSTER_DSN": server.dsn(),
        "FULLSTORY_YES": "1",
    }  # fmt: skip
    log, started = tempfile.TemporaryFile("w+"), time.perf_counter()  # noqa: SIM115  (closed with the block)
    with (
        log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        tree, database = Tree(process.pid, int(url.rpartition(":")[2])), Tree(server.processes()[0])
        ended, lines = threading.Event(), [process.stdout.readline()]
        watching = threading.Thread(target=_watch, args=((tree, database), ended))
        start, start_cpu, before = time.perf_counter() - started, tree.look(), database.look()
        watching.start()
        try:
            lines += process.stdout.read().split()
            took = time.perf_counter() - started - start
        finally:
            ended.set()
            watching.join()
            cpu, database_cpu = tree.look(), database.look()
            tree.end()
        log.seek(0)
        if process.wait() or lines[-1] not in (str(count * _EVENTS), "0"):
            raise RuntimeError(f"{kind}: {lines} {log.read()[-2000:]}")
    return Run(start, start_cpu, took, cpu - start_cpu, database_cpu - before, tree.of_worker, tree.of_all)


def _watch(trees: Iterable[Tree], ended: threading.Event) -> None:
    while not ended.wait(0.1):
        for tree in trees:
            tree.look()


def engines(quick: bool) -> Section:
    """Measure every way to run workers, in turns; what is not installed is named."""
    section = Section("Many processes on one store")
    count, workers = (100, 2) if quick else (_IDS, _WORKERS)
    kinds = {
        name: module
        for name, module in _PROGRAMS.items()
        if importlib.util.find_spec(module) is not None and not (quick and module in _ENGINES)
    }
    runs: dict[str, list[Run]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as folder, running((_EVENTS,)) as url, served() as server:
        ids = Path(folder, "ids.txt")
        ids.write_text("\n".join(f"{_EVENTS}:{n}" for n in range(count)))
        for _ in range(1 if quick else _ROUNDS):
            for kind, found in runs.items():
                found.append(measure(kind, ids, count, workers, server, url))
    section.say(
        f"{count:,} sessions of {_EVENTS} events without a rate limit, fetched by {workers} workers and made "
        "into Arrow tables, for which each imports pyarrow; procrastinate's workers only keep the responses. "
        "CPU is that of all processes of a program from when its workers run, in brackets that of Postgres; "
        "× one process compares within each round. Memory is that of the largest worker, and of all "
        "processes of the program."
    )
    head = (
        "program", "start, s", "CPU of the start, s", "ids/s", "ms of CPU per id", "× one process",
        "worker, MiB", "all, MiB",
    )  # fmt: skip
    section.say(table(head, [_row(name, each, runs["one process"], count) for name, each in runs.items()]))
    if missing := sorted(_PROGRAMS.keys() - kinds.keys()):
        section.say(f"Not measured: {', '.join(missing)}.")
    if workers_of_ours := runs.get("procrastinate"):
        largest = max(each.of_worker for each in workers_of_ours)
        section.promise("memory of a worker of procrastinate", largest, _ALLOWED_MEMORY, unit=" MiB")
    return section


def _row(name: str, runs: list[Run], alone: list[Run], count: int) -> tuple[str, ...]:
    def median(*names: str) -> list[float]:
        return [statistics.median(getattr(run, each) for run in runs) for each in names]

    start, start_cpu, seconds, cpu, database, worker, every = median(
        "start", "start_cpu", "seconds", "cpu", "database_cpu", "of_worker", "of_all"
    )
    ratio = statistics.median(one.cpu / other.cpu for one, other in zip(runs, alone, strict=True))
    return (
        name, f"{start:.1f}", f"{start_cpu:.1f}", f"{count / seconds:.0f}",
        f"{cpu / count * 1e3:.2f} ({database / count * 1e3:.2f})", f"{ratio:.2f}", f"{worker:.0f}",
        f"{every:.0f}",
    )  # fmt: skip


@contextmanager
def served() -> Iterator[Server]:
    """Run a Postgres."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


if __name__ == "__main__":
    engines("--quick" in sys.argv)
