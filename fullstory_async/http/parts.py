"""What the pipeline is put together of, as far as it needs to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from fullstory_async.errors import FullStoryError
from fullstory_async.http.messages import Request, Response

__all__ = ["Call", "Meter", "Send", "SendsRequests", "nobody_asks", "nobody_hurries"]


def nobody_asks(_: int) -> None:
    """Take no notice of what is at stake."""


def nobody_hurries(_: FullStoryError, __: float) -> bool:
    """Have time for any wait before another attempt."""
    return True


class SendsRequests(Protocol):
    """What the pipeline needs of a transport."""

    def check(self) -> object:
        """Raise `ClientStateError` if requests can't be sent here and now."""
        ...

    def send(
        self, request: Request, *, deadline: float, begun: Callable[[], None], unsent: Callable[[], None]
    ) -> Awaitable[Response]:
        """Send one request once, answered by loop time ``deadline``; raise `TransportError` for no answer.

        ``begun`` is called when nothing stands between the request and the network any more, and ``unsent`` when it is
        cancelled before any of it was written: only where that is certain.
        """
        ...

    async def stream(
        self, request: Request, *, deadline: float, begun: Callable[[], None], unsent: Callable[[], None]
    ) -> Response:
        """Do the same, and give a successful answer as a `StreamedResponse`, before its body is read."""
        ...


class Send(Protocol):
    """Sends one request, in one of these two ways."""

    def __call__(
        self, request: Request, *, deadline: float, begun: Callable[[], None], unsent: Callable[[], None]
    ) -> Awaitable[Response]:
        """Send it."""
        ...


class Meter(Protocol):
    """What counts activations beyond this client: each is set aside before its request is sent."""

    async def set_aside(self) -> str:
        """Count one activation and return where it counts; raise `ActivationBudgetError` to forbid it."""
        ...

    async def take_back(self, where: str, /) -> None:
        """Uncount one that was not spent."""
        ...


@attrs.define
class Call:
    """The state of one call on its way through the loop."""

    number: int
    request: Request
    started: float
    timeout: float
    patient: bool
    at_stake: Callable[[int], None]
    longest_wait: float
    deadline: float
    now: Callable[[], float]
    has_time: Callable[[FullStoryError, float], bool] = nobody_hurries
    last_error: FullStoryError | None = None
    attempts: int = 0
    throttles: int = 0
    unreadable: int = 0
    taken: int = 0
    costs: int = 0
    """Attempts that may have cost something."""
    owed: int = 0
    """Tokens of the retry budget that were taken for an attempt which is not made yet."""
    set_aside: str | None = None
    admitted: float = 0.0
    sent: float = 0.0
    reached_nobody: bool = False
    """Whether the present attempt was cancelled before any of it was written."""
    waited: bool = False

    def note_unsent(self) -> None:
        """Note that the present attempt was cancelled before any of it was written."""
        self.reached_nobody = True

    def elapsed(self) -> float:
        """Return the seconds since it began."""
        return self.now() - self.started

    def left(self) -> float:
        """Return the seconds until its time is over."""
        return self.deadline - self.now()
