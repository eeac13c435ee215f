"""The commands of a cluster as processes, all on one Postgres and one sandbox."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.sandbox import Sandbox
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
        """Create the tables and the budget, and add sessions."""
        file = self.folder / "ids.txt"
        file.write_text("".join(f"{each}\n" for each in ids or self.sandbox.session_ids))
        code, _, err = self.run("init", "--max-activations", str(max_activations))
        assert code == 0, err
        code, _, err = self.run("add", "--ids", str(file))
        assert code == 0, err

    def status(self) -> dict[str, Any]:
        code, out, err = self.run("status")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

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
