"""What a client needs of its transport, and what it has in its place until it is opened; without aiohttp."""

from __future__ import annotations

import asyncio
import enum
from typing import NoReturn, Protocol, runtime_checkable

import attrs

from fullstory_async.errors import ClientStateError
from fullstory_async.http import call

__all__ = ["ClientTransport", "State", "UnopenedTransport"]


class State(enum.Enum):
    """The states of a client; the value completes "the client …"."""

    UNOPENED = "is not open yet: use 'async with FullStoryClient(…) as client:', or 'await client.open()'"
    OPEN = "is open already"
    CLOSED = "is closed: make a new one"


@runtime_checkable
class ClientTransport(call.Transport, Protocol):
    """A transport that a client opens and closes."""

    state: State
    """Whether it is open."""

    async def open(self) -> None:
        """Open it. Raises `ClientStateError` if it was open before."""

    async def close(self) -> None:
        """Close it. Closing again does nothing."""


@attrs.define
class UnopenedTransport:
    """Refuses to send."""

    state: State = State.UNOPENED
    slots: asyncio.Semaphore | None = None

    def check(self) -> NoReturn:
        """Raise `ClientStateError`."""
        raise ClientStateError(f"the client {self.state.value}")

    def send(self, *_: object, **__: object) -> NoReturn:
        """Raise `ClientStateError`."""
        self.check()

    async def open(self) -> NoReturn:
        """Raise `ClientStateError`: only a client that was closed without having been open gets here."""
        self.check()

    async def close(self) -> None:
        """Let the client never be opened."""
        self.state = State.CLOSED
