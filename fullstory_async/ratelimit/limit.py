"""RateLimit: how fast to go, as a value.

The contract is two numbers. ``RateLimit(rate, burst)`` admits at most ``burst + rate·W`` requests in *any*
window of W seconds. That is the limit that FullStory describes: a number of requests a second, and an
allowance for bursts that recharges. If the numbers are not known, `RateLimit.adaptive` lets `AdaptiveRate`
find the rate.
"""

from __future__ import annotations

from typing import Self

import attrs

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError
from fullstory_async.ratelimit.adaptive import LOWEST

__all__ = ["RateLimit"]


def _one_second(limit: RateLimit) -> float:
    return max(1.0, limit.rate) if validators.is_number(limit.rate) else 1.0


@attrs.frozen(repr=False)
class RateLimit:
    """At most ``burst + rate·W`` requests in any window of W seconds.

    Or, made by `adaptive`, as many as the server allows.
    """

    rate: float = attrs.field(default=8.0, validator=validators.number(above=0))
    """Requests a second in the long run; for an adaptive limit, at the start."""

    burst: float = attrs.field(
        default=attrs.Factory(_one_second, takes_self=True), validator=validators.number(at_least=1)
    )
    """Requests that may leave at once after a rest; by default one second's worth."""

    ceiling: float | None = attrs.field(
        default=None, kw_only=True, validator=validators.number(above=0, optional=True)
    )
    """The highest rate that an adaptive limit tries; ``None`` for a fixed rate."""

    @classmethod
    def adaptive(cls, start: float = 2.0, ceiling: float = 1000.0) -> Self:
        """Find out how many requests a second the server allows.

        The rate doubles every few seconds until a request is refused, drops a little and rises again
        carefully. It learns from the occasional refusal. Requests are spread evenly; there is no burst.

        Args:
            start: requests a second at the start.
            ceiling: the highest rate that is tried.

        Raises:
            ConfigurationError: a value is not a number, or ``start`` is below 0.2 or above ``ceiling``.
        """
        limit = cls(start, 1.0, ceiling=ceiling)
        if limit.ceiling is None or not LOWEST <= start <= limit.ceiling:
            raise ConfigurationError(
                f"start must be between {LOWEST} and the ceiling, a number, not {start!r}"
            )
        return limit

    def __repr__(self) -> str:
        if self.ceiling is not None:
            return f"RateLimit.adaptive(start={self.rate!r}, ceiling={self.ceiling!r})"
        return f"RateLimit(rate={self.rate!r}, burst={self.burst!r})"
