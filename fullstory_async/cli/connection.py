"""What every command connects to: the service, or a sandbox of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter, Token

from fullstory_async.cli.exits import UsageError
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.files.summary_cache import SummaryCache
from fullstory_async.ratelimit.limiter import RateLimit

__all__ = ["Connection"]

_FLAG = Parameter(negative="")


def _rate(_: object, tokens: Sequence[Token]) -> float | Literal["adaptive"]:
    """Read a rate, with a word of ours for what is none."""
    text = tokens[0].value
    if text == "adaptive":
        return "adaptive"
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'"{text}" is neither a number of requests a second nor "adaptive"') from None


@Parameter(name="*")
@dataclass(frozen=True)
class Connection:
    """Options of every command that sends requests."""

    sandbox: Annotated[bool, _FLAG] = False
    """Use an embedded sandbox instead of the service: no key, no cost, the same data every time. It ends with the command."""

    api_key_file: Path | None = None
    """Read the API key from this file; otherwise FULLSTORY_API_KEY or FULLSTORY_API_KEY_FILE name it."""

    base_url: str | None = None
    """The API's address; otherwise FULLSTORY_BASE_URL, or the key's region."""

    rate: Annotated[float | Literal["adaptive"] | None, Parameter(converter=_rate)] = None
    """Requests a second in the long run; or "adaptive", to find out what the service lets through. [default: 8]"""

    burst: float | None = None
    """Requests that may leave at once. [default: one second's worth]"""

    timeout: float | None = None
    """Seconds that one call may take with all its waits. [default: 600]"""

    verbose: Annotated[bool, _FLAG] = False
    """Log each request to standard error; ids are shown, keys and e-mails never."""

    def as_options(self) -> list[str]:
        """Return the options as they were given, for a command that is printed."""
        words = ["--sandbox"] if self.sandbox else []
        given = {
            "--api-key-file": self.api_key_file, "--base-url": self.base_url, "--rate": self.rate, "--burst": self.burst,
            "--timeout": self.timeout,
        }  # fmt: skip
        return words + [
            word for name, value in given.items() if value is not None for word in (name, str(value))
        ]

    @asynccontextmanager
    async def open(
        self, *, summary_cache: SummaryCache | None = None, ledger: ActivationLedger | None = None
    ) -> AsyncIterator[FullStoryClient]:
        """Open a client, and the sandbox if it is asked for."""
        config = self._config()  # before anything starts, so that a wrong setting is said first
        async with AsyncExitStack() as stack:
            if self.sandbox:
                from fullstory_async.sandbox import Sandbox  # noqa: PLC0415  (it brings a web server along)

                server = await stack.enter_async_context(Sandbox())
                config = attrs.evolve(config, api_key=server.api_key, base_url=server.url)
            yield await stack.enter_async_context(
                FullStoryClient(config=config, summary_cache=summary_cache, ledger=ledger)
            )

    def _config(self) -> ClientConfig:
        if self.sandbox and self.base_url is not None:
            raise UsageError(
                "--sandbox and --base-url exclude each other: an embedded sandbox has an address of its own"
            )
        settings: dict[str, object] = {"api_key": "sandbox" if self.sandbox else self._key()}
        if self.sandbox or self.base_url is not None:
            settings["base_url"] = "http://127.0.0.1" if self.sandbox else self.base_url
        if self.timeout is not None:
            settings["overall_timeout"] = self.timeout
        if self.rate == "adaptive":
            if self.burst is not None:
                raise UsageError("--burst goes with a number for --rate: an adaptive rate has no bursts")
            settings["rate_limit"] = RateLimit.adaptive()
        elif self.rate is not None or self.burst is not None:
            given = {"rate": self.rate, "burst": self.burst}
            settings["rate_limit"] = RateLimit(
                **{name: value for name, value in given.items() if value is not None}
            )
        return ClientConfig(**settings)  # type: ignore[arg-type]  # each value has its field's type

    def _key(self) -> str | None:
        path = self.api_key_file or os.environ.get("FULLSTORY_API_KEY_FILE")
        if self.api_key_file is None and os.environ.get("FULLSTORY_API_KEY"):
            return None  # ClientConfig reads it
        if not path:
            raise UsageError(
                "no API key: set FULLSTORY_API_KEY or FULLSTORY_API_KEY_FILE, or give --api-key-file; "
                "--sandbox needs none"
            )
        try:
            return Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the API key file {str(path)!r} can't be read: {error}") from None
