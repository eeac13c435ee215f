"""UnopenedTransport: in place of the transport until a client is opened; it needs no aiohttp."""

from __future__ import annotations

import asyncio
import enum
from typing import NoReturn

import attrs

from fullstory_async.errors import ClientStateError

__all__ = ["State", "UnopenedTransport"]


class State(enum.Enum):
    """The states of a client; the value completes "the client …"."""

    UNOPENED = "is not open yet: use 'async with FullStoryClient(…) as client:', or 'await client.open()'"
    OPEN = "is open already"
    CLOSED = "is closed: make a new one"


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
