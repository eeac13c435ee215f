"""Contact: what a client knows of who responds at its base URL.

Until the first response from FullStory to a metered call, bulk work keeps at most `UNCONFIRMED_CALLS` calls
in flight, and each response that can't be FullStory's takes one of these places away: a wrong network costs a
handful of activations at most, however many workers there are. A free response proves less: some networks let
``GET /me`` pass and answer everything else themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import attrs

from fullstory_async.errors import APIStatusError, FullStoryError, UnexpectedResponseError
from fullstory_async.messages import Request, Response
from fullstory_async.privacy import Redactor

__all__ = ["UNCONFIRMED_CALLS", "Contact"]

UNCONFIRMED_CALLS = 5
"""Calls in flight until the first response from FullStory to a metered call."""
_OUTAGE = 10
"""Failures of the service in a row after which it is an outage and not a throttle."""
_RECHECK_PAUSE = 1.0
"""Seconds before a call after `UNCONFIRMED_CALLS` unexpected responses in a row."""


@attrs.define(eq=False)
class Contact:
    """The address that one client uses, and the responses from there so far."""

    base_url: str = "base_url"
    redactor: Redactor = attrs.field(factory=lambda: Redactor(""), repr=False)
    """Removes the key from responses that are quoted."""
    proxied: bool = False
    """Whether a proxy reads each request, in plain HTTP, and so may answer itself."""
    heard: bool = attrs.field(default=False, init=False)
    """Whether FullStory has responded."""
    heard_metered: bool = attrs.field(default=False, init=False)
    """Whether FullStory has responded to a metered call."""
    unexpected: int = attrs.field(default=0, init=False)
    """Responses in a row that can't be FullStory's."""
    failures: int = attrs.field(default=0, init=False)
    """Responses in a row with a status of 500 or more."""
    settled: bool = attrs.field(default=False, init=False)
    """Whether the latest response was a success, so that one more changes nothing but `success_headers`."""
    success_headers: Mapping[str, str] = attrs.field(factory=dict, init=False, repr=False)
    """The headers of the latest success."""
    _in_flight: int = attrs.field(default=0, init=False)
    _changed: asyncio.Event | None = attrs.field(default=None, init=False)
    """What the calls wait for that may not be in flight yet, if there are any."""

    @property
    def is_good(self) -> bool:
        """Whether FullStory has responded, and not only failed since."""
        return self.heard and self.failures < _OUTAGE

    def is_elsewhere(self, response: Response) -> bool:
        """Return whether a response names another server than the successes did."""
        return any(
            response.headers.get(name, "") != self.success_headers.get(name, "") for name in ("server", "via")
        )

    def record(self, response: Response, error: FullStoryError | None, *, metered: bool = True) -> None:
        """Record a response to a call, and the error that it stands for."""
        self.settled = False
        if isinstance(error, UnexpectedResponseError) or (
            isinstance(error, APIStatusError) and error.is_unknown_status
        ):
            self.unexpected += 1
            return
        self.failures = self.failures + 1 if response.status >= 500 else 0
        if error is None:
            self.success_headers = response.headers
        # an error without FullStory's code may be anybody's
        if (error is None or error.code is not None) and not (self.heard_metered and not self.unexpected):
            self.heard, self.unexpected = True, 0
            self.heard_metered = self.heard_metered or metered
            self._notify()
        self.settled = error is None and self.heard_metered

    def redacted(self, request: Request, response: Response) -> Response:
        """Return a response that may be quoted: without the key and the user that the request is about."""
        return attrs.evolve(response, body=self.redactor.body(response.body, request))

    async def enter(self) -> None:
        """Wait until one more call of bulk work may be in flight; `leave` follows."""
        while not self.heard_metered and self._in_flight >= UNCONFIRMED_CALLS - self.unexpected:
            if self._in_flight == 0:
                # what made the other calls may be about to stop; otherwise one call at a time tries again
                await asyncio.sleep(_RECHECK_PAUSE)
                if self._in_flight == 0:
                    break
            else:
                self._changed = self._changed or asyncio.Event()
                await self._changed.wait()
        self._in_flight += 1

    def leave(self) -> None:
        """Record that a call that has entered is no longer in flight."""
        # also for a call that was cancelled: its place is free again
        self._in_flight -= 1
        self._notify()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
