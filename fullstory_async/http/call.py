"""Call: one API call on its way through the pipeline, as a record that everybody concerned can read.

Who starts a call keeps it, and so may look at any moment how often it was sent and what dropping it would cost. Nothing is called
back: the pipeline writes, everybody else reads, and `Call.stopping` asks it to begin no further attempt.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from typing import Protocol

import attrs

from fullstory_async.errors import FullStoryError
from fullstory_async.http.metering import Meter
from fullstory_async.messages import Request, Response

__all__ = ["Attempt", "Call", "Transport"]


@attrs.define(eq=False)
class Attempt:
    """One sending of a request; the transport writes down how far it came."""

    started: float
    """The loop time at which it was handed to the transport."""
    sent: bool = True
    """Whether the server may have seen it: true unless the transport knows better."""
    reused: bool = False
    """Whether it went over a connection that is known to have served another request before."""


class Transport(Protocol):
    """What the pipeline needs of a transport."""

    slots: asyncio.Semaphore | None
    """The connections that there are, where their number is limited."""

    def check(self) -> object:
        """Raise `ClientStateError` if requests can't be sent here and now."""
        ...

    def send(self, request: Request, deadline: float, attempt: Attempt, /) -> Awaitable[Response]:
        """Send a request once, to be answered by loop time ``deadline``; raise `TransportError` for no answer."""
        ...

    def stream(self, request: Request, deadline: float, attempt: Attempt, /) -> Awaitable[Response]:
        """Do the same, and give a successful answer as a `StreamedResponse`, before its body is read."""
        ...


@attrs.define(eq=False)
class Call:
    """What is asked, within which limits, and what has become of it so far. Times are in seconds."""

    request: Request
    timeout: float | None = None
    """For the whole call; ``None`` for the configured ``overall_timeout``."""
    patient: bool = False
    """Whether it waits as bulk work does: for the first token as long as it takes, and through any number of 429s."""
    max_pause: float = math.inf
    """For a patient call, the longest wait that a single 429 may ask for."""
    meter: Meter | None = attrs.field(default=None, repr=False)
    """What is asked for each activation, beside the client's own ledger."""

    stopping: bool = attrs.field(default=False, init=False)
    """Set by the caller: begin no further attempt."""
    gave_up: bool = attrs.field(default=False, init=False)
    """Whether it ended only because of that."""
    attempts: int = attrs.field(default=0, init=False)
    charged: int = attrs.field(default=0, init=False)
    """Failed attempts that may have cost an activation."""
    in_flight: bool = attrs.field(default=False, init=False)
    """Whether an attempt is on its way, or was answered."""
    last_error: FullStoryError | None = attrs.field(default=None, init=False)

    # the pipeline's own
    number: int = attrs.field(default=0, init=False)
    started: float = attrs.field(default=0.0, init=False)
    deadline: float = attrs.field(default=math.inf, init=False)
    admitted: float = attrs.field(default=0.0, init=False)
    waited: bool = attrs.field(default=False, init=False)

    @property
    def at_risk(self) -> int:
        """How many activations the call may have cost so far."""
        return self.charged + (self.in_flight and self.request.metered)

    @property
    def droppable(self) -> bool:
        """Whether cancelling it now would lose nothing that may have been paid for."""
        return not self.at_risk

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return asyncio.get_running_loop().time() - self.started

    @property
    def remaining(self) -> float:
        """Seconds until its deadline."""
        return self.deadline - asyncio.get_running_loop().time()

    def describe(self, error: FullStoryError) -> None:
        """Write on an error what the call knows of itself."""
        error.request = error.request or self.request
        error.attempts, error.elapsed, error.may_have_cost = self.attempts, self.elapsed, self.charged > 0

    def wants_retry(self, error: FullStoryError, delay: float) -> bool:  # noqa: ARG002  (a shared call looks at them)
        """Tell whether somebody still waits for another attempt, ``delay`` seconds after this failure."""
        self.gave_up = self.stopping
        return not self.stopping
