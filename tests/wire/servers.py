"""Servers that answer with exactly the given bytes, and what a client needs to talk to one."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import aiohttp
import attrs
import trustme

from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    FullStoryClient,
    Hooks,
    RateLimit,
    RateLimiter,
    ResponseCache,
    RetryPolicy,
)
from fullstory_async.sandbox import Sandbox
from tests.limits import SECONDS

T = TypeVar("T")

KEY = "na1.CANARY/0f3a+="
FAST = RateLimit(1000, 1000)
ONCE = RetryPolicy(attempts=1)

Handler = Callable[["Connection"], Awaitable[None]]
Calls = dict[str, Callable[[FullStoryClient], Awaitable[object]]]
"""What tests ask of a client, by name."""


@attrs.define
class Connection:
    """One connection of a raw server, and the request that came in over it."""

    head: bytes
    writer: asyncio.StreamWriter
    number: int

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        self.writer.transport.abort()


@attrs.define
class RawServer:
    url: str
    requests: list[bytes]
    """The head of every request, in order."""


@asynccontextmanager
async def raw_server(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serve requests one after another on each connection by ``handler``, until it closes the connection."""
    requests: list[bytes] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                requests.append(head)
                if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
                    await reader.readexactly(int(length[1]))
                await handler(Connection(head, writer, len(requests)))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield RawServer(f"{'http' if tls is None else 'https'}://127.0.0.1:{port}", requests)
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def http(body: bytes = b'{"events":[]}', status: str = "200 OK", **headers: str) -> bytes:
    """Return a whole response."""
    named = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def client_of(
    url: str,
    *,
    session: aiohttp.ClientSession | None = None,
    limiter: RateLimiter | None = None,
    cache: ResponseCache | None = None,
    ledger: ActivationLedger | None = None,
    **settings: Any,
) -> FullStoryClient:
    settings = {"rate_limit": FAST, "retry": ONCE, **settings}
    config = ClientConfig(api_key=KEY, base_url=url, **settings)
    return FullStoryClient(config=config, session=session, limiter=limiter, cache=cache, ledger=ledger)


@asynccontextmanager
async def connected(
    sandbox: Sandbox,
    *,
    hooks: Hooks | None = None,
    limiter: RateLimiter | None = None,
    cache: ResponseCache | None = None,
    ledger: ActivationLedger | None = None,
    **settings: Any,
) -> AsyncIterator[FullStoryClient]:
    """Run a sandbox and a client of it."""
    async with sandbox:
        settings = {"rate_limit": FAST, **settings}
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, **settings)
        async with FullStoryClient(
            config=config, hooks=hooks, limiter=limiter, cache=cache, ledger=ledger
        ) as client:
            yield client


class ServerInThread:
    """A raw server with a loop of its own, which goes on while the client's loop is busy or its process stopped."""

    def __init__(self, answer: bytes | Handler = b"", *, certificate: trustme.LeafCert | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections: list[Connection] = []
        """The connections that are open, with their latest request."""
        self._answer = answer or http()
        self._certificate = certificate
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's loop, while the loop of the test stands still."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def end_connections(self, how: Callable[[asyncio.StreamWriter], None]) -> None:
        """End all idle connections; what that sends is in the client's sockets afterwards."""

        async def end() -> None:
            for connection in self.connections:
                how(connection.writer)
            self.connections.clear()
            for _ in range(5):
                await asyncio.sleep(0)

        self.run(end())

    async def _start(self) -> None:
        context = None
        if self._certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._certificate.configure_cert(context)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(b"", writer, 0)
        self.connections.append(connection)
        try:
            while True:
                connection.head = await reader.readuntil(b"\r\n\r\n")
                if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", connection.head):
                    await reader.readexactly(int(length[1]))
                self.requests.append(connection.head)
                connection.number = len(self.requests)
                if isinstance(self._answer, bytes):
                    await connection.send(self._answer)
                else:
                    await self._answer(connection)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            if connection in self.connections:
                self.connections.remove(connection)
            writer.transport.abort()
