"""A sandbox in a thread of its own, so that any test can use it, whatever event loop it has, or none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict, Unpack

if TYPE_CHECKING:
    from fullstory_async.ratelimit.limiter import RateLimit
    from fullstory_async.sandbox import Sandbox, SandboxSession, Wire

__all__ = ["SandboxOptions", "running_sandbox"]


class SandboxOptions(TypedDict, total=False):
    """The options of `Sandbox`, which describes them."""

    seed: int
    users: int
    sessions: int | Iterable[SandboxSession]
    mean_events: int
    wire: Wire
    rate_limit: RateLimit | float | None
    activation_quota: int | None
    latency: float
    port: int
    public_url: str | None


@contextmanager
def running_sandbox(**options: Unpack[SandboxOptions]) -> Iterator[Sandbox]:
    """Run a sandbox in a thread until the block ends.

    It serves synchronous and asynchronous tests, other threads and other processes alike::

        with running_sandbox(sessions=20) as sandbox:
            client = FullStoryClient(config=ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url))

    Args:
        options: those of `Sandbox`.

    Raises:
        ConfigurationError: an invalid option, or a port that is in use.
    """
    # here, because it imports aiohttp, which `import fullstory_async.testing` shall not wait for
    from fullstory_async.sandbox import Sandbox  # noqa: PLC0415

    thread = _SandboxThread(Sandbox(**options))
    thread.start()
    try:
        thread.ready.result()
        yield thread.sandbox
    finally:
        thread.stop()


class _SandboxThread(threading.Thread):
    """Runs an event loop with a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        # a daemon, so that a test process that is ended without ceremony does end
        super().__init__(name="fullstory-sandbox", daemon=True)
        self.sandbox = sandbox
        self.ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await self.sandbox.__aenter__()
        except BaseException as error:  # noqa: BLE001  (raised where the sandbox was asked for)
            self.ready.set_exception(error)
            return
        try:
            self.ready.set_result(None)
            await self._stopping.wait()
        finally:
            await self.sandbox.__aexit__(None, None, None)

    def stop(self) -> None:
        """End the sandbox, and wait until its port is free."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self.join()
