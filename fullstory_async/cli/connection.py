"""The connection options, and the client that a command makes from them.

The client is made from the options and the environment, for the service or for a sandbox that lives as long
as the command. `Connection.call` runs one operation on an event loop of its own and returns the result to
synchronous code.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import attrs
from cyclopts import Parameter, Token

from fullstory_async.cli.exits import UsageError
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig, ListApi
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.files.summary_cache import SummaryCache
from fullstory_async.ratelimit.limiter import RateLimit

__all__ = ["Connection"]

T = TypeVar("T")

_Flag = Parameter(negative="")


def _read_rate(_: object, tokens: Sequence[Token]) -> float | Literal["adaptive"]:
    """Read the value of ``--rate``, with an error message of our own."""
    text = tokens[0].value
    if text == "adaptive":
        return "adaptive"
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'"{text}" is neither a number of requests per second nor "adaptive"') from None


@Parameter(name="*")
@dataclass(frozen=True)
class Connection:
    """Options of every command that sends requests."""

    sandbox: Annotated[bool, _Flag] = False
    """Use an embedded sandbox instead of FullStory: no key, no cost, the same data every time. It ends with
    the command."""

    api_key_file: Path | None = None
    """File with the API key. [default: the variable FULLSTORY_API_KEY, or the file that
    FULLSTORY_API_KEY_FILE names]"""

    base_url: str | None = None
    """URL of the API. [default: the variable FULLSTORY_BASE_URL, or the URL of the key's region]"""

    rate: Annotated[float | Literal["adaptive"] | None, Parameter(converter=_read_rate)] = None
    """Requests per second on average, or "adaptive" to find the rate that FullStory accepts. [default: 8]"""

    burst: float | None = None
    """Requests that may be sent at once. [default: one second's worth]"""

    timeout: float | None = None
    """Seconds allowed for one call, waits and retries included. [default: 600]"""

    verbose: Annotated[bool, _Flag] = False
    """Log each request to standard error. Logs contain session ids, never keys or e-mail addresses."""

    def call(
        self,
        operation: Callable[[FullStoryClient], Awaitable[T]],
        *,
        summary_cache: SummaryCache | None = None,
        ledger: ActivationLedger | None = None,
        list_api: ListApi | None = None,
    ) -> T:
        """Run an operation with an open client, and return its result."""

        async def run() -> T:
            async with self._open(summary_cache, ledger, list_api) as client:
                return await operation(client)

        with _request_log() if self.verbose else nullcontext():
            return asyncio.run(run())

    def collect(
        self, operation: Callable[[FullStoryClient], AsyncIterable[T]], *, list_api: ListApi | None = None
    ) -> list[T]:
        """Run an operation that lists items with an open client, and return all of them."""

        async def collect_all(client: FullStoryClient) -> list[T]:
            return [item async for item in operation(client)]

        return self.call(collect_all, list_api=list_api)

    def as_options(self) -> list[str]:
        """Return the options as they were given, for a command line that is printed."""
        words = ["--sandbox"] if self.sandbox else []
        given = {
            "--api-key-file": self.api_key_file, "--base-url": self.base_url, "--rate": self.rate,
            "--burst": self.burst, "--timeout": self.timeout,
        }  # fmt: skip
        return words + [
            word for name, value in given.items() if value is not None for word in (name, str(value))
        ]

    @asynccontextmanager
    async def _open(
        self, summary_cache: SummaryCache | None, ledger: ActivationLedger | None, list_api: ListApi | None
    ) -> AsyncIterator[FullStoryClient]:
        """Open a client, and with ``--sandbox`` the sandbox that it talks to."""
        config = self._config(
            list_api
        )  # before anything starts: a wrong setting is the first error to report
        async with AsyncExitStack() as stack:
            if self.sandbox:
                from fullstory_async.sandbox import Sandbox  # noqa: PLC0415  (it imports a web server)

                server = await stack.enter_async_context(Sandbox())
                config = attrs.evolve(config, api_key=server.api_key, base_url=server.url)
            yield await stack.enter_async_context(
                FullStoryClient(config=config, summary_cache=summary_cache, ledger=ledger)
            )

    def _config(self, list_api: ListApi | None) -> ClientConfig:
        if self.sandbox and self.base_url is not None:
            raise UsageError(
                "--sandbox and --base-url exclude each other: the embedded sandbox has its own URL"
            )
        settings: dict[str, object] = {"api_key": "sandbox" if self.sandbox else self._key()}
        if self.sandbox or self.base_url is not None:
            settings["base_url"] = "http://127.0.0.1" if self.sandbox else self.base_url
        if list_api is not None:
            settings["list_api"] = list_api
        if self.timeout is not None:
            settings["overall_timeout"] = self.timeout
        if self.rate == "adaptive":
            if self.burst is not None:
                raise UsageError("--burst needs a number for --rate: an adaptive rate has no burst")
            settings["rate_limit"] = RateLimit.adaptive()
        elif self.rate is not None or self.burst is not None:
            given = {"rate": self.rate, "burst": self.burst}
            settings["rate_limit"] = RateLimit(
                **{name: value for name, value in given.items() if value is not None}
            )
        return ClientConfig(**settings)  # type: ignore[arg-type]  # each value has its field's type

    def _key(self) -> str | None:
        """Return the key from a file, or None to let `ClientConfig` read the environment."""
        path = self.api_key_file or os.environ.get("FULLSTORY_API_KEY_FILE")
        # an option beats the environment, and the key itself beats a file's name
        if self.api_key_file is None and os.environ.get("FULLSTORY_API_KEY"):
            return None
        if not path:
            raise UsageError(
                "no API key: set FULLSTORY_API_KEY or FULLSTORY_API_KEY_FILE, or give --api-key-file; "
                "--sandbox needs none"
            )
        try:
            return Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"can't read the API key file {str(path)!r}: {error}") from None


@contextmanager
def _request_log() -> Iterator[None]:
    """Log the package's requests to standard error inside the block."""
    logger, handler = logging.getLogger("fullstory_async"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
