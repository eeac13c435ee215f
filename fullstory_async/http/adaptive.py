"""Finding a limit that nobody publishes: how fast to go, learnt from who is refused. Pure: the time is passed in.

Too fast shows at once, as a 429. Too slow never shows. So the rate has to be raised until it is refused, now and then
for ever, and the art is to pay little for that. A refusal is dear: the server's ``Retry-After`` is a whole second at least,
during which nobody sends. At 10 requests a second, with one refusal every 20 seconds, 5 % of the limit is gone.

*Searching.* At first nothing is known, and the rate doubles every `_DOUBLING` seconds until a request is refused.

*Recovering.* From then on the rate follows the curve of TCP CUBIC (RFC 9438). ``known`` is the rate that was refused;
the rate falls to ``β·known`` and then, t seconds later, is ::

    known · (1 + (1 − β) · (t/K − 1)³)

It comes back to ``known`` after K seconds, is flat around it, and goes beyond it slowly and then faster. Where CUBIC gives the cube a
fixed factor, so that K grows with the rate, here K is fixed: what a refusal costs is a time, the same at 2 and at 1 000
requests a second, and so the time between two of them should be the same too. Nor is there a queue in a server's bucket, as
there is in a router, that a deep cut would have to drain; the pause has already let it refill. So β is near 1.
After 2K seconds without a refusal the limit is evidently elsewhere, and the search begins again.

*Falling further.* A refusal that comes long before the curve is back means that the limit has dropped, or that ``known`` was the
end of a burst: then ``known`` is lowered by `_EARLY` as well. And where far fewer requests were answered than the rate allows,
that number is what counts, down to half the rate: an allowance that nobody used says nothing about the limit.

*One congestion, one decrease.* When a limit is passed, several requests are on their way, and many of them are refused. Only
a request that was admitted after the last decrease can say that it was not enough.

*Time is counted in answers.* Each one advances the curve by 1/rate seconds, which is what it takes at full speed,
and only where somebody waits for the limiter. A client that is idle, paused or slowed by something else has not
tried the rate that it is allowed, and so learns nothing and raises nothing.
"""

from __future__ import annotations

from collections import deque

__all__ = ["LOWEST", "AdaptiveRate"]

LOWEST = 0.2
"""Requests a second below which no refusal lowers the rate: from there on the pauses do the slowing."""

_DOUBLING = 3.0
_BETA = 0.95
_RECOVERY = 20.0
_EARLY = 0.8
_MEASURED = 1.0
"""Seconds over which answers are counted at least."""
_FEWEST = 8
"""Answers that are counted at least, however long they took."""
_UNUSED = 0.8
"""The part of the rate below which what was answered counts instead of it."""


class AdaptiveRate:
    """A rate between `LOWEST` and a ceiling that follows what the server lets through."""

    __slots__ = ("_answers", "_ceiling", "_decreased", "_known", "_searching", "_time", "rate")

    rate: float
    """Requests a second that may be sent now."""

    def __init__(self, start: float, ceiling: float) -> None:
        """Begin at ``start`` requests a second, searching; never go beyond ``ceiling``."""
        self.rate = self._known = float(start)
        self._ceiling = ceiling
        self._searching = True
        self._time = 0.0
        self._decreased = float("-inf")
        self._answers: deque[float] = deque()

    def answered(self, now: float, *, limited: bool) -> None:
        """Take note that a request was not refused.

        Args:
            now: the time, in seconds.
            limited: whether this rate, and nothing else, holds back further requests.
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
            return float(self.rate * 2.0 ** (seconds / _DOUBLING))
        beyond = self._time / _RECOVERY - 1
        self._searching = beyond >= 1
        return max(self.rate, self._known * (1 + (1 - _BETA) * beyond**3))

    def throttled(self, now: float, *, admitted: float) -> bool:
        """Take note of a 429 to a request that was admitted at that time; tell whether the rate falls."""
        if admitted < self._decreased:
            return False
        early = not self._searching and self._time < _RECOVERY / 2
        known = self.rate * (_EARLY if early else 1.0)
        measured = self._measured(now)
        if measured < _UNUSED * self.rate:
            known = min(known, max(measured, self.rate / 2))
        self._known = max(LOWEST, known)
        self.rate = max(LOWEST, _BETA * known)
        self._time, self._searching, self._decreased = 0.0, False, now
        return True

    def _measured(self, now: float) -> float:
        """Return how many requests a second were answered of late, pauses included."""
        seconds = now - self._answers[0] if self._answers else 0.0
        return len(self._answers) / seconds if seconds > 0 else 0.0
