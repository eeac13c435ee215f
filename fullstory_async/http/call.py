"""Call: the record of one API call, written by the pipeline and read by its callers.

Whoever starts a call keeps its record, and can read at any time how often the request was sent and how many
activations it may have cost. Nothing is reported by callback. The one field that others write is
`Call.stopping`, which asks the pipeline to start no further attempt.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import Protocol

import attrs

from fullstory_async.concurrency import StoragePatience
from fullstory_async.errors import APITimeoutError, FullStoryError, RateLimitedError, Scope, StorageError
from fullstory_async.http.metering import Meter
from fullstory_async.messages import Request, Response
from fullstory_async.ratelimit.bucket import Level

__all__ = ["Attempt", "Call", "Transport"]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@attrs.define(eq=False)
class Attempt:
    """One request on the wire; the transport records here how far it came."""

    started: float
    """Loop time at which the request was handed to the transport."""
    sent: bool = True
    """Whether the server may have seen the request: true unless the transport knows better."""
    reused: bool = False
    """Whether it went over a connection that is known to have served an earlier request."""
    connected: asyncio.Event | None = None
    """Set when it has a connection; ``None`` if nothing waits for that."""
    latest: float = 0.0
    """Loop time until which it may take, if that is later than the deadline with which it was sent."""
    connection: asyncio.Transport | None = None
    """What it was sent over."""
    level: Level | None = None
    """Where its token must not drain before the request is sent; ``None`` afterwards, or if it may."""


class Transport(Protocol):
    """What the pipeline needs of a transport."""

    @property
    def slots(self) -> asyncio.Semaphore | None:
        """One slot per available connection, where the number of connections is limited."""
        ...

    def check(self) -> object:
        """Raise `ClientStateError` if requests can't be sent here and now."""
        ...

    def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Awaitable[Response]:
        """Send a request once.

        Args:
            request: what to send.
            deadline: loop time by which the response must be complete.
            attempt: where to record how far the request came.
            streamed: return a success as a `StreamedResponse` as soon as its headers are in; the caller reads
                the body.

        Raises:
            TransportError: no usable response arrived.
        """
        ...


@attrs.define(eq=False)
class Call:
    """What is requested, within which limits, and its state so far. Times are in seconds."""

    request: Request
    timeout: float | None = None
    """For the whole call; ``None`` for the configured ``overall_timeout``."""
    patient: bool = False
    """Whether it waits as bulk work does: any time for its first token, and through any number of 429s."""
    max_pause: float = math.inf
    """For a patient call, the longest pause that it accepts from a single 429."""
    meter: Meter | None = attrs.field(default=None, repr=False)
    """Reserves each activation, in addition to the client's own ledger."""
    ledger_included: bool = False
    """Whether ``meter`` counts in the client's ledger too, which is not asked then."""
    send_by: float = attrs.field(default=math.inf, init=False)
    """Loop time after which nothing may be sent; its owner may move it while the call waits."""

    stopping: bool = attrs.field(default=False, init=False)
    """Set by the caller to ask for no further attempt."""
    gave_up: bool = attrs.field(default=False, init=False)
    """Whether the call ended only because it was stopping."""
    attempts: int = attrs.field(default=0, init=False)
    """Attempts so far, the current one included."""
    charged: int = attrs.field(default=0, init=False)
    """Failed attempts that may have cost an activation."""
    in_flight: bool = attrs.field(default=False, init=False)
    """Whether an attempt is in flight, or has succeeded."""
    attempt: Attempt | None = attrs.field(default=None, init=False, repr=False)
    """The latest attempt, and how far it came."""
    last_error: FullStoryError | None = attrs.field(default=None, init=False)
    """Why the latest failed attempt failed."""
    undecoded: Response | None = attrs.field(default=None, init=False, repr=False)
    """The response that was being decoded when other code than the decoder's failed."""

    waits_for: str = attrs.field(default="", init=False)
    """What its next attempt waits for, such as a file with its path; empty when it is sent."""

    patience: StoragePatience | None = attrs.field(default=None, init=False, repr=False)
    """Its wait for a ledger that fails; ``None`` if none has failed."""

    # Only `http/` writes the fields below.
    number: int = attrs.field(default=0, init=False)
    extended_to: float = attrs.field(default=0.0, init=False)
    """Loop time until which others wait for it, who have more time than the one who started it."""
    added_headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, init=False, repr=False)
    """The headers that hooks gave the latest attempt."""
    started: float = attrs.field(default=0.0, init=False)
    deadline: float = attrs.field(default=math.inf, init=False)
    admitted: float = attrs.field(default=0.0, init=False)
    """Loop time at which the rate limiter let the latest attempt through."""
    is_counted: bool = attrs.field(default=False, init=False)
    """Whether it takes one of the places in flight before the first response from FullStory."""
    waited: bool = attrs.field(default=False, init=False)
    """Whether the latest attempt waited for the rate limiter."""
    wait_seconds: float = attrs.field(default=0.0, init=False)
    """Seconds that the latest attempt waited, for its retry and for the rate limiter."""

    @property
    def at_risk(self) -> int:
        """Activations this call may have cost so far; at 0 it can be cancelled without a loss."""
        is_sent = self.in_flight and self.attempt is not None and self.attempt.sent
        return self.charged + (is_sent and self.request.metered)

    @property
    def droppable(self) -> bool:
        """Whether cancelling the call now loses nothing that may have been paid for."""
        return not self.at_risk

    @property
    def elapsed(self) -> float:
        """Seconds since the call started."""
        return asyncio.get_running_loop().time() - self.started

    @property
    def remaining(self) -> float:
        """Seconds until its deadline."""
        return self.deadline - asyncio.get_running_loop().time()

    def extend(self, deadline: float) -> None:
        """Give the call time until a later deadline, also an attempt that is in flight."""
        self.extended_to = max(self.extended_to, deadline)
        self.deadline = max(self.deadline, deadline)
        if self.attempt is not None:
            self.attempt.latest = self.extended_to

    def drop_connection(self) -> None:
        """Close the connection of the latest attempt: its next response may belong to another request."""
        if self.attempt is not None and self.attempt.connection is not None:
            self.attempt.connection.abort()

    def out_of_time(self) -> APITimeoutError:
        """Return the error of a call whose time was over before it was sent: it names what it waited for."""
        text = f"the call's time was over while it waited for {self.waits_for or 'the rate limiter'}"
        error = APITimeoutError(text, request=self.request, sent=False)
        if isinstance(self.last_error, RateLimitedError):
            # the time went by while a 429 was obeyed, so it is the rate limit that all calls wait for
            error.scope = Scope.RATE
        return error

    def lapsed(self) -> StorageError:
        """Return the error of a call that would be sent later than it may; nothing was sent."""
        return StorageError("the time until which the call might be sent is over", request=self.request)

    def describe(self, error: FullStoryError) -> None:
        """Complete an error with the call's request, attempts, elapsed time and possible cost."""
        error.request = error.request or self.request
        error.attempts, error.elapsed, error.may_have_cost = self.attempts, self.elapsed, self.charged > 0

    def wants_retry(self, error: FullStoryError, delay: float) -> bool:  # noqa: ARG002
        """Return whether the caller wants another attempt, ``delay`` seconds after this error.

        A shared call decides by both: it has several callers, each with a timeout of its own.
        """
        self.gave_up = self.stopping
        return not self.stopping
