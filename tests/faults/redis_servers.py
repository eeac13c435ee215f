"""Redis servers for tests: a real one if it is installed, a fake one, and some that only fail."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from fakeredis import TcpFakeServer

from tests.faults.calls import EVERYTHING
from tests.limits import SECONDS

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
INSTALL = "install redis-server (Debian: apt-get install redis-server) to run it"
KINDS = [
    "fake",
    pytest.param("real", marks=pytest.mark.skipif(BINARY is None, reason=INSTALL)),
]
"""Where a test runs on both."""
KINDS_OF_LONG_ONES = [
    "fake",
    pytest.param(
        "real",
        marks=[
            pytest.mark.skipif(BINARY is None, reason=INSTALL),
            pytest.mark.skipif(
                not EVERYTHING, reason="set FULLSTORY_FAULTS=all to run it on a redis-server too"
            ),
        ],
    ),
]


def free_port() -> int:
    """Return a port that stays free while a server is down: none that systems give to outgoing connections."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port


class RedisServer(ABC):
    """One server, that is started, killed and started again at the same port; it forgets everything then."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = folder

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it answers."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once, if it runs."""

    def do(self, *command: str) -> Any:
        with redis.Redis(port=self.port, socket_timeout=SECONDS) as client:
            return client.execute_command(*command)


class RealServer(RedisServer):
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert BINARY is not None
        self.process = subprocess.Popen(
            [BINARY, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=self._folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                if self.do("PING"):
                    return
            except redis.RedisError:
                time.sleep(0.01)
        raise TimeoutError("redis-server does not answer")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(SECONDS)
            self.process = None

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class FakeServer(RedisServer):
    server: TcpFakeServer | None = None

    def start(self) -> None:
        self.server = TcpFakeServer(("127.0.0.1", self.port), server_type="redis")
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def kill(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self._thread.join(SECONDS)
            self.server = None


def server_of(kind: str, folder: Path) -> RedisServer:
    return RealServer(folder) if kind == "real" else FakeServer(folder)


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[str]:
    """Run a server that gives each command that one answer, or none at all; yield its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while command := await reader.read(65_536):
                if answer is not None:
                    writer.write(answer * command.count(b"*"))
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.sleep(0.01)
