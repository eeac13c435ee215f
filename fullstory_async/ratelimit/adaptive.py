"""Finding a limit that nobody publishes: how fast to go, learnt from who is refused. Pure: the time is passed in.

Too fast shows at once, as a 429. Too slow never shows. So the rate has to be raised until it is refused, now and then
for ever, and the art is to pay little for that. A refusal is dear: ``Retry-After`` is a whole second at least, during which
nobody sends. One refusal every 20 seconds costs 5 % of any limit.

*Searching.* At first nothing is known, and the rate doubles every `_DOUBLING` seconds until a request is refused.

*Recovering.* From then on the rate follows the curve of TCP CUBIC (RFC 9438). ``known`` is the rate that seems to be the limit; the
rate falls to ``β·known`` and then, t seconds later, is ::

    known · (1 + (1 − β) · (t/K − 1)³)

It comes back to ``known`` after K seconds, is flat around it, and goes beyond it slowly and then faster. Where CUBIC gives the cube
one factor for every rate, so that K grows with the rate, here K is fixed: what a refusal costs is a time, the same at 2 and at
1 000 requests a second, and so the time between two of them should be the same too. Nor is there a queue in a server's bucket, as
there is in a router, that a deep cut would have to drain: the pause has let it refill. So β is near 1.
After 2K seconds without a refusal the limit is evidently elsewhere, and the search goes on, more slowly.

*What a refusal tells.* A token bucket of b seconds' worth, full after the pause, is empty after t seconds at the rate r where
``b = (r/R − 1)·t``; so the limit is ``R = r·t/(t + b)``. The b of the server is not known either; `_BURST` stands for it, and where
it is larger, a second refusal soon after corrects the first. A refusal that comes at once, because the limit has dropped,
halves the rate; one that comes late hardly changes ``known``. At the end of a search the rate has been that high for a
moment only, and what was answered in the last second is the better guess.

*One congestion, one decrease.* When a limit is passed, several requests are on their way, and many of them are refused. Only
a request that was admitted after the last decrease can say that it was not enough.

*Time is counted in answers.* Each one advances the curve by 1/rate seconds, which is what it takes at full speed,
and only if its request had to wait for the limiter. A client that is idle, paused or slowed by something else has not
tried the rate that it is allowed, and so learns nothing and raises nothing.
"""

from __future__ import annotations

from collections import deque

__all__ = ["LOWEST", "AdaptiveRate"]

LOWEST = 0.2
"""Requests a second below which no refusal lowers the rate: from there on the pauses do the slowing."""

_DOUBLING = 1.5
_DOUBLING_AGAIN = 6.0
_BETA = 0.96
_RECOVERY = 30.0
_BURST = 0.15
_MEASURED = 1.0
"""Seconds over which answers are counted at least."""
_FEWEST = 8
"""Answers that are counted at least, however long they took."""


class AdaptiveRate:
    """A rate between `LOWEST` and a ceiling that follows what the server lets through."""

    __slots__ = ("_answers", "_ceiling", "_decreased", "_doubling", "_known", "_searching", "_time", "rate")

    rate: float
    """Requests a second that may be sent now."""

    def __init__(self, start: float, ceiling: float) -> None:
        """Begin at ``start`` requests a second, searching; never go beyond ``ceiling``."""
        self.rate = self._known = float(start)
        self._ceiling = ceiling
        self._searching, self._doubling = True, _DOUBLING
        self._time = 0.0
        self._decreased = float("-inf")
        self._answers: deque[float] = deque()

    def answered(self, now: float, *, limited: bool) -> None:
        """Take note that a request was not refused.

        Args:
            now: the time, in seconds.
            limited: whether it would have been sent earlier at a higher rate.
        """
        self._answers.append(now)
        while len(self._answers) > _FEWEST and self._answers[0] < now - _MEASURED:
            self._answers.popleft()
        if limited:
            self.rate = min(self._ceiling, self._next(1 / self.rate))

    def _next(self, seconds: float) -> float:
        """Return the rate so many seconds on."""
        self._time += seconds
        if self._searching:
            return float(self.rate * 2.0 ** (seconds / self._doubling))
        beyond = self._time / _RECOVERY - 1
        self._searching = beyond >= 1
        return max(self.rate, self._known * (1 + (1 - _BETA) * beyond**3))

    def throttled(self, now: float, *, admitted: float) -> bool:
        """Take note of a 429 to a request that was admitted at that time; tell whether the rate falls."""
        if admitted <= self._decreased:
            return False
        limit = self._measured(now) if self._searching else self.rate * self._time / (self._time + _BURST)
        self._known = max(LOWEST, self.rate / 2, min(self.rate, limit))
        self.rate = max(LOWEST, _BETA * self._known)
        self._searching, self._doubling = False, _DOUBLING_AGAIN
        self._time, self._decreased = 0.0, now
        return True

    def _measured(self, now: float) -> float:
        """Return how many requests a second were answered of late."""
        seconds = now - self._answers[0] if self._answers else 0.0
        return len(self._answers) / seconds if seconds > 0 else 0.0
