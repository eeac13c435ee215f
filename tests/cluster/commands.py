"""The commands of a cluster as processes, all on one Postgres and one sandbox."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from fullstory_async import ClientConfig
from fullstory_async.cluster import PostgresStore
from fullstory_async.cluster.queue import ShardQueue
from fullstory_async.sandbox import Sandbox
from fullstory_async.secret import Secret
from tests.cluster.postgres_servers import Server
from tests.limits import SECONDS, wait_until


@attrs.frozen
class Cluster:
    """Runs commands in a folder, on one schema."""

    postgres: Server
    sandbox: Sandbox
    schema: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ, "FULLSTORY_CLUSTER_DSN": self.postgres.dsn(), "FULLSTORY_BASE_URL": self.sandbox.url,
            "FULLSTORY_API_KEY": self.sandbox.api_key, "FULLSTORY_YES": "0",
        }  # fmt: skip

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command of ``cluster``."""
        command, *options = arguments
        return subprocess.Popen(
            [sys.executable, "-m", "fullstory_async", "cluster", command, "--pg-schema", self.schema, *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
            env={**self.environment, **environment}, start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a command to its end; return its exit code, output and messages."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out, err

    def prepare(self, *, max_activations: int = 10_000, ids: Sequence[str] | None = None) -> None:
        """Create the tables and the budget, and add sessions, in less time than ``init`` and ``add`` take."""
        given = ids or self.sandbox.session_ids
        (self.folder / "ids.txt").write_text("".join(f"{each}\n" for each in given))
        asyncio.run(self._prepare(max_activations, given))

    async def _prepare(self, max_activations: int, ids: Sequence[str]) -> None:
        async with (
            self._store(max_activations) as store,
            ShardQueue(Secret(self.postgres.dsn()), schema=self.schema) as queue,
        ):
            await queue.create()
            await store.add(ids)

    def status(self) -> dict[str, Any]:
        """Return what ``status`` prints."""
        return asyncio.run(self._status())

    async def _status(self) -> dict[str, Any]:
        async with self._store(None) as store:
            return attrs.asdict(await store.status())

    def _store(self, max_activations: int | None) -> PostgresStore:
        config = ClientConfig(api_key=self.sandbox.api_key, base_url=self.sandbox.url)
        return PostgresStore(self.postgres.dsn(), config, schema=self.schema, max_activations=max_activations)

    def count(self, table: str, condition: str = "true") -> int:
        ((count,),) = self.postgres.do(f"SELECT count(*) FROM {self.schema}.{table} WHERE {condition}")
        return int(count)

    @contextmanager
    def workers(self, number: int, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
        """Start workers, of which none is left at the end of the block."""
        started = [self.start("work", *options) for _ in range(number)]
        try:
            yield started
        finally:
            for each in started:
                each.kill()
                each.communicate(timeout=SECONDS)

    def until_answers(self, number: int) -> None:
        wait_until(lambda: self.count("answers") >= number)


def terminate(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Send SIGTERM to a command; return its exit code and its messages."""
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=SECONDS)
    return process.returncode, err
