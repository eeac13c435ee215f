"""When to try again: a frozen policy with one pure decision, and a budget shared by all calls.

What may be repeated. A request that was refused before any work (429) or never left (`ConnectError`)
is always safe. After that the server may have done the work, and for a *metered* call the work is
money: those are repeated only if the policy says so. Other error statuses are answers, not accidents, and a
server that sends ``x-should-retry: false`` is believed. A success that can't be read is asked for once more
where asking is free, and so is what is not even HTTP.

How long to wait. Before attempt ``n + 1`` (n = 1, 2, …)::

    min(wait_max, wait_initial · wait_exp_base^(n − 1) + random(0, wait_jitter))

and never less than the server's ``Retry-After``. A kept-alive connection that the server had closed meanwhile is
replaced at once: nothing is wrong but its age. A 429 waits for what that header says, and a second at
least: a server that refuses and says "0" would be asked again as fast as the limiter lets us.

How often in all. Each retry takes tokens from a bucket of 500 that successes refill: 14 for a
transient failure, 5 for a throttled one. In an outage the bucket runs dry and calls fail at once, so
the total traffic stays within 2 % of one request per call instead of ``attempts`` times that.
The numbers are those of the AWS SDKs' standard mode.
"""

from __future__ import annotations

import email.utils
import math
import random
import re
import time
from collections.abc import Callable
from datetime import UTC

import attrs

from fullstory_async import validators
from fullstory_async.errors import (
    APIStatusError,
    APITimeoutError,
    ConnectError,
    DecodeError,
    FullStoryError,
    ProtocolError,
    RateLimitedError,
)
from fullstory_async.messages import Request, Response

__all__ = ["Retries", "Retry", "RetryPolicy", "RetryQuota", "retry_after", "unreadable"]

_RETRIED_STATUSES = frozenset({408, 409, 425, 500, 502, 503, 504})
_LEAST_THROTTLE_WAIT = 1.0
_BUDGET = 500
_COST_TRANSIENT = 14
_COST_THROTTLED = 5


@attrs.frozen
class Retry:
    """The decision to try again."""

    delay: float
    """Seconds to wait first."""

    throttled: bool
    """Whether the server asked for less traffic: then the limiter waits, and with it every call."""

    @property
    def cost(self) -> int:
        """Tokens that the retry takes from the shared budget."""
        return _COST_THROTTLED if self.throttled else _COST_TRANSIENT


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When and how often to try again; the module describes the rules and the formula."""

    attempts: int = attrs.field(default=3, validator=validators.integer(at_least=1))
    """How often one call is sent at most; 1 means never again. In fan-out a 429 is not counted."""

    timeout: float | None = attrs.field(default=None, validator=validators.number(at_least=0, optional=True))
    """Seconds after which no further attempt is begun; ``None`` leaves that to the call's deadline."""

    wait_initial: float = attrs.field(default=0.5, validator=validators.number(at_least=0))
    """Seconds before the second attempt, jitter aside."""

    wait_max: float = attrs.field(default=8.0, validator=validators.number(at_least=0))
    """The longest wait of our own; ``Retry-After`` may ask for more."""

    wait_jitter: float = attrs.field(default=0.5, validator=validators.number(at_least=0))
    """The most that is added at random, in seconds."""

    wait_exp_base: float = attrs.field(default=2.0, validator=validators.number(at_least=0))
    """By how much each wait is longer than the one before."""

    repeat_metered: bool = attrs.field(default=False, validator=validators.instance_of(bool))
    """Whether a metered call is repeated although the first try may have been charged."""

    @property
    def max_charges_per_call(self) -> int:
        """How many activations one metered call may cost: one, or as many as it is sent again where that may be charged."""
        return self.attempts if self.repeat_metered else 1

    def decide(
        self,
        request: Request,
        error: FullStoryError,
        attempt: int,
        *,
        elapsed: float = 0.0,
        patient: bool = False,
        unreadable_before: int = 0,
        rng: Callable[[], float] = random.random,
    ) -> Retry | None:
        """Decide whether to send a failed request again. Pure but for ``rng``.

        Args:
            request: what failed.
            error: how it failed.
            attempt: which attempt failed, counted from 1.
            elapsed: seconds since the call began.
            patient: whether being throttled is no reason to give up, as in fan-out.
            unreadable_before: how many of the attempts before this one brought an answer that can't be read.
            rng: returns a number from 0 to 1, for the jitter.

        Returns:
            How to try again, or ``None`` to give up.
        """
        throttled = isinstance(error, RateLimitedError)
        if _forbidden(error) or not (throttled or self._may_repeat(request, error)):
            return None
        if unreadable(error) and unreadable_before > 0:  # once more, and no more
            return None
        if attempt >= self.attempts and not (throttled and patient):
            return None
        retry = Retry(self.wait(attempt, error, rng=rng), throttled)
        if self.timeout is not None and elapsed + retry.delay > self.timeout:
            return None
        return retry

    def wait(self, attempt: int, error: FullStoryError, *, rng: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after failed attempt number ``attempt``."""
        if attempt == 1 and isinstance(error, ProtocolError) and error.stale:
            return 0.0
        try:
            backoff = self.wait_initial * self.wait_exp_base ** (attempt - 1)
        except OverflowError:
            backoff = self.wait_max
        backoff = min(self.wait_max, backoff + rng() * self.wait_jitter)
        if isinstance(error, RateLimitedError):
            return max(_LEAST_THROTTLE_WAIT, backoff if error.retry_after is None else error.retry_after)
        return max(error.retry_after or 0.0, backoff)

    def _may_repeat(self, request: Request, error: FullStoryError) -> bool:
        if isinstance(error, DecodeError):
            return request.repeatable and not request.metered
        if isinstance(error, (APITimeoutError, ConnectError, ProtocolError)):
            if error.permanent:
                return False
            if not error.sent:
                return True
        elif not (isinstance(error, APIStatusError) and error.status in _RETRIED_STATUSES):
            return False
        return request.repeatable and (self.repeat_metered or not request.metered)


def unreadable(error: FullStoryError) -> bool:
    """Tell whether an answer came that can't be read: one that is asked for once more and no more. Pure."""
    return isinstance(error, DecodeError) or (isinstance(error, ProtocolError) and error.garbled)


def _forbidden(error: FullStoryError) -> bool:
    """Tell whether the server says that asking again is of no use."""
    return error.response is not None and error.response.headers.get("x-should-retry", "").lower() == "false"


class RetryQuota:
    """The tokens that retries take and successes give back; one for all calls of a client."""

    __slots__ = ("tokens",)

    tokens: int
    """Tokens left."""

    def __init__(self) -> None:
        self.tokens = _BUDGET

    def take(self, cost: int) -> bool:
        """Take ``cost`` tokens, or nothing and return False if there are too few."""
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def give_back(self, taken: int) -> None:
        """Refill after a success: what its retries took, or one token if it needed none."""
        self.tokens = min(_BUDGET, self.tokens + max(1, taken))


class Retries:
    """The retries of one call: how many there were and of which kind, and what they take from the budget of all calls."""

    __slots__ = ("_budget", "_patient", "_policy", "_rng", "_taken", "_throttled", "_unreadable", "_unused")

    def __init__(
        self, policy: RetryPolicy, budget: RetryQuota, *, patient: bool, rng: Callable[[], float]
    ) -> None:
        """Begin with none; a ``patient`` call does not count 429s."""
        self._policy, self._budget, self._patient, self._rng = policy, budget, patient, rng
        self._throttled = self._unreadable = self._taken = self._unused = 0

    def after(
        self, request: Request, error: FullStoryError, *, attempts: int, elapsed: float
    ) -> Retry | None:
        """Count a failure, and decide as `RetryPolicy.decide`."""
        before, self._unreadable = self._unreadable, self._unreadable + unreadable(error)
        self._throttled += isinstance(error, RateLimitedError)
        return self._policy.decide(
            request, error, self._counted(error, attempts), elapsed=elapsed, patient=self._patient,
            unreadable_before=before, rng=self._rng,
        )  # fmt: skip

    def pause(self, error: RateLimitedError, *, attempts: int) -> float:
        """Return how long a 429 pauses the limiter where the call is given up."""
        return self._policy.wait(self._counted(error, attempts), error, rng=self._rng)

    def _counted(self, error: FullStoryError, attempts: int) -> int:
        if isinstance(error, RateLimitedError):
            return self._throttled if self._patient else attempts
        return attempts - self._throttled * self._patient

    def take(self, retry: Retry) -> bool:
        """Take what a retry costs from the budget; False if there is too little."""
        if retry.throttled and self._patient:
            return True
        if not self._budget.take(retry.cost):
            return False
        self._taken += retry.cost
        self._unused += retry.cost
        return True

    def begun(self) -> None:
        """Take note that the retry is made."""
        self._unused = 0

    def succeeded(self) -> None:
        """Give back what the call took."""
        self._budget.give_back(self._taken)
        self._unused = 0

    def close(self) -> None:
        """Give back what was taken for a retry that was never made."""
        if self._unused:
            self._budget.give_back(self._unused)


def retry_after(response: Response, *, clock: Callable[[], float] = time.time) -> float | None:
    """Read ``Retry-After``: seconds, or an HTTP date in any of its three forms. Pure but for ``clock``.

    A date counts from the response's own ``Date``, so that a wrong clock here does no harm, and from
    this machine's clock only where that header is missing. A date in the past is 0.0; a value that is
    negative, infinite or unreadable is ``None``.
    """
    text = response.headers.get("retry-after", "").strip()
    if re.fullmatch(
        r"[0-9]+(\.[0-9]+)?", text
    ):  # float() alone would read "nan", "1_0" and any script's digits
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    until = _epoch(text)
    if until is None:
        return None
    now = _epoch(response.headers.get("date", ""))
    return max(0.0, until - (clock() if now is None else now))


def _epoch(http_date: str) -> float | None:
    try:
        parsed = email.utils.parsedate_to_datetime(http_date)
        if parsed.tzinfo is None:  # the asctime form names no zone; HTTP dates are UTC
            parsed = parsed.replace(tzinfo=UTC)
        return parsed.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
