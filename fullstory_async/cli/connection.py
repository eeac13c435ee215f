"""The connection options, and the client that a command makes from them.

The client is made from the options and the environment, for the service or for a sandbox that lives as long
as the command. `Connection.call` runs one operation on an event loop of its own and returns the result to
synchronous code.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import attrs
from cyclopts import Parameter, Token
from yarl import URL

from fullstory_async.api import ResponseStore
from fullstory_async.cli.exits import UsageError
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig, ListApi
from fullstory_async.environment import read_key_file
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.ratelimit.limiter import RateLimit
from fullstory_async.secret import Secret

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


def _read_proxy(_: object, tokens: Sequence[Token]) -> Secret:
    """Keep a proxy's password out of every repr."""
    return Secret(tokens[0].value)


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

    allow_http: Annotated[bool, _Flag] = False
    """Allow an http:// URL of another machine: the API key is then sent unencrypted."""

    proxy: Annotated[Secret | None, Parameter(converter=_read_proxy, accepts_keys=False, n_tokens=1)] = None
    """URL of an HTTP proxy, http://USER:PASSWORD@HOST:PORT if it requires a login. [default: the variable
    HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY names the API's host]"""

    ca_file: Path | None = None
    """CA bundle (PEM) with the authorities to trust instead of the system's. [default: the variable
    SSL_CERT_FILE]"""

    client_cert: Path | None = None
    """Client certificate (PEM), for a server that requires one, with its private key."""

    client_key: Path | None = None
    """Private key (PEM) of --client-cert, if it is in a file of its own."""

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
        cache: ResponseStore | None = None,
        ledger: ActivationLedger | None = None,
        list_api: ListApi | None = None,
    ) -> T:
        """Run an operation with an open client, and return its result."""

        async def run(config: ClientConfig) -> T:
            async with FullStoryClient(config=config, cache=cache, ledger=ledger) as client:
                return await operation(client)

        return self.run(run, list_api=list_api)

    def run(self, operation: Callable[[ClientConfig], Awaitable[T]], *, list_api: ListApi | None = None) -> T:
        """Run an operation that opens a client of its own, and return its result."""

        async def run() -> T:
            async with self._configured(list_api) as config:
                return await operation(config)

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
        words = ["--sandbox"] * self.sandbox + ["--allow-http"] * self.allow_http
        # the password is not printed: whoever runs the command adds it, or sets HTTPS_PROXY
        proxy = None if self.proxy is None else URL(self.proxy.reveal()).with_user(None)
        given = {
            "--api-key-file": self.api_key_file, "--base-url": self.base_url, "--proxy": proxy,
            "--ca-file": self.ca_file, "--client-cert": self.client_cert, "--client-key": self.client_key,
            "--rate": self.rate, "--burst": self.burst, "--timeout": self.timeout,
        }  # fmt: skip
        return words + [
            word for name, value in given.items() if value is not None for word in (name, str(value))
        ]

    @asynccontextmanager
    async def _configured(self, list_api: ListApi | None) -> AsyncIterator[ClientConfig]:
        """Give the settings of a client, and with ``--sandbox`` open the sandbox that it talks to."""
        config = self._config(
            list_api
        )  # before anything starts: a wrong setting is the first error to report
        async with AsyncExitStack() as stack:
            if self.sandbox:
                from fullstory_async.sandbox import Sandbox  # noqa: PLC0415  (it imports a web server)

                server = await stack.enter_async_context(Sandbox())
                config = attrs.evolve(config, api_key=server.api_key, base_url=server.url)
            yield config

    def _config(self, list_api: ListApi | None) -> ClientConfig:
        settings: dict[str, object] = self._sandbox() if self.sandbox else self._network()
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
        config = ClientConfig(**settings)  # type: ignore[arg-type]  # each value has its field's type
        if config.api_key is None:
            raise UsageError(
                "no API key: set FULLSTORY_API_KEY or FULLSTORY_API_KEY_FILE, or give --api-key-file; "
                "--sandbox needs none"
            )
        return config

    def _sandbox(self) -> dict[str, object]:
        """Return the settings for the embedded sandbox, which has a URL of its own on this machine."""
        excluded = {
            "--base-url": self.base_url, "--proxy": self.proxy, "--ca-file": self.ca_file,
            "--client-cert": self.client_cert, "--client-key": self.client_key,
        }  # fmt: skip
        for name, value in excluded.items():
            if value is not None:
                raise UsageError(
                    f"--sandbox and {name} exclude each other: the embedded sandbox has its own URL"
                )
        return {"api_key": "sandbox", "base_url": "http://127.0.0.1"}

    def _network(self) -> dict[str, object]:
        """Return the settings for the service: its address, the key and the way there."""
        if self.client_key is not None and self.client_cert is None:
            raise UsageError("--client-key needs --client-cert, the certificate of this key")
        with_key = (self.client_cert, self.client_key)
        given = {
            # an option beats the environment, which `ClientConfig` reads
            "api_key": self.api_key_file and Secret(read_key_file(self.api_key_file, "--api-key-file")),
            "base_url": self.base_url, "proxy": self.proxy, "ssl": self.ca_file,
            "client_cert": self.client_cert if self.client_key is None else with_key,
        }  # fmt: skip
        settings = {name: value for name, value in given.items() if value is not None}
        return {**settings, "allow_http": self.allow_http, "trust_env": True}


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
