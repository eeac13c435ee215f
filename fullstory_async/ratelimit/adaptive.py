"""AdaptiveRate: finds an unpublished rate limit from the requests that are refused.

Pure: the time is passed in.

A rate that is too high shows at once, as a 429. A rate that is too low never shows. So the rate has to be
raised until a request is refused, from time to time and for ever, and the difficulty is to pay little for
that. A refusal is expensive: ``Retry-After`` is at least a whole second, during which nothing is sent. One
refusal every 20 seconds costs 5 % of any limit.

*Searching.* At first nothing is known, and the rate doubles every `_DOUBLING` seconds until a request is
refused.

*Recovering.* From then on the rate follows the curve of TCP CUBIC (RFC 9438). ``known`` is the best estimate
of the limit. The rate drops to ``β·known``, and t seconds later it is ::

    known · (1 + (1 − β) · (t/K − 1)³)

It returns to ``known`` after K seconds, is flat around it, and then exceeds it, first slowly and then faster.
CUBIC gives the cube the same factor at every rate, so that K grows with the rate. Here K is fixed: the cost
of a refusal is a time, the same at 2 and at 1 000 requests a second, and so the time between two refusals
should be the same too. A server's bucket has no queue that a deep cut would have to drain, as a router has:
the pause has let it refill. So β is near 1. After 2K seconds without a refusal the limit is evidently
somewhere else, and the search continues, more slowly.

*What a refusal says about the limit.* A token bucket of b seconds' worth, full after the pause, is empty
after t seconds at the rate r where ``b = (r/R − 1)·t``; so the limit is ``R = r·t/(t + b)``. The server's b
is not known either; `_BURST` stands for it, and if b is larger, a second refusal soon after corrects the
first. A refusal that comes at once, because the limit has dropped, halves the rate; a late one hardly changes
``known``. At the end of a search the rate has been that high only for a moment, and the number of responses
in the last second is the better estimate.

*One congestion, one decrease.* When a limit is exceeded, several requests are in flight, and many of them are
refused. Only a request that was admitted after the last decrease can show that the decrease was not enough.

*Time is counted in responses.* Each response advances the curve by 1/rate seconds, the time that it takes at
full speed, and only if its request had to wait for the limiter. A client that is idle, paused or slowed by
something else has not tried the rate that it is allowed, so it learns nothing and raises nothing.
"""

from __future__ import annotations

from collections import deque

__all__ = ["LOWEST", "AdaptiveRate"]

LOWEST = 0.2
"""Requests a second below which no refusal lowers the rate: the pauses slow the client down further."""

_DOUBLING = 1.5
_DOUBLING_AGAIN = 6.0
_BETA = 0.96
_RECOVERY = 30.0
_BURST = 0.15
_MEASURED = 1.0
"""Seconds over which responses are counted at least."""
_FEWEST = 8
"""Responses that are counted at least, however long they took."""


class AdaptiveRate:
    """A rate between `LOWEST` and a ceiling that follows the limit of the server."""

    __slots__ = (
        "_ceiling",
        "_decreased_at",
        "_doubling",
        "_elapsed",
        "_known",
        "_responses",
        "_searching",
        "rate",
    )

    rate: float
    """Requests a second that may be sent now."""

    def __init__(self, start: float, ceiling: float) -> None:
        """Start searching at ``start`` requests a second; never exceed ``ceiling``."""
        self.rate = self._known = float(start)
        self._ceiling = ceiling
        self._searching, self._doubling = True, _DOUBLING
        self._elapsed = 0.0
        self._decreased_at = float("-inf")
        self._responses: deque[float] = deque()

    def on_response(self, now: float, *, limited: bool) -> None:
        """Record a response that is not a refusal.

        Args:
            now: the time, in seconds.
            limited: whether the request would have been sent earlier at a higher rate.
        """
        self._responses.append(now)
        while len(self._responses) > _FEWEST and self._responses[0] < now - _MEASURED:
            self._responses.popleft()
        if limited:
            self.rate = min(self._ceiling, self._next(1 / self.rate))

    def _next(self, seconds: float) -> float:
        """Advance the curve by some seconds; return the rate there."""
        self._elapsed += seconds
        if self._searching:
            return float(self.rate * 2.0 ** (seconds / self._doubling))
        beyond = self._elapsed / _RECOVERY - 1
        self._searching = beyond >= 1
        return max(self.rate, self._known * (1 + (1 - _BETA) * beyond**3))

    def on_throttled(self, now: float, *, admitted_at: float) -> bool:
        """Record a 429 to a request admitted at that time; return whether the rate drops."""
        if admitted_at <= self._decreased_at:
            return False
        limit = (
            self._measured(now) if self._searching else self.rate * self._elapsed / (self._elapsed + _BURST)
        )
        self._known = max(LOWEST, self.rate / 2, min(self.rate, limit))
        self.rate = max(LOWEST, _BETA * self._known)
        self._searching, self._doubling = False, _DOUBLING_AGAIN
        self._elapsed, self._decreased_at = 0.0, now
        return True

    def _measured(self, now: float) -> float:
        """Return how many responses a second came in lately."""
        seconds = now - self._responses[0] if self._responses else 0.0
        return len(self._responses) / seconds if seconds > 0 else 0.0
