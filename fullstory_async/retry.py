"""Retries: a frozen policy with one pure decision, and a quota shared by all calls.

Which requests are retried: A request that was refused before any work (429), or that was never sent
(`ConnectError`), is always safe to repeat. Otherwise the server may have done the work, and for a *metered*
call that work is billed, so those are repeated only if the policy says so. Other error statuses are
results, not accidents. A server that sends ``x-should-retry: false`` is obeyed. A success that can't be
decoded is requested once more if that is free, and so is a response that isn't even HTTP or can't be
FullStory's.

How long to wait: before attempt ``n + 1`` (n = 1, 2, …) ::

    min(wait_max, wait_initial · wait_exp_base^(n − 1) + random(0, wait_jitter))

and never less than the server's ``Retry-After``. A kept-alive connection that the server has closed
meanwhile is replaced at once, since nothing is wrong with it but its age. A 429 waits for what that header
says and at least one second: a server that refuses and says "0" would otherwise be asked as fast as the
limiter allows.

How many retries in total: each takes tokens from a bucket of 500 that successes refill, 14 tokens for a
transient failure and 5 for a throttled request. In an outage the bucket runs dry and calls fail at once, so
the total traffic stays within 2 % of one request per call instead of ``attempts`` times that. The numbers
are those of the AWS SDKs' standard mode.
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
from fullstory_async.deprecation import Renamed
from fullstory_async.errors import (
    DecodeError,
    FullStoryError,
    GatewayThrottledError,
    ProtocolError,
    RateLimitedError,
    TransportError,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async.messages import Request, Response

__all__ = ["Retries", "RetryDecision", "RetryPolicy", "RetryQuota", "is_refusal", "retry_after"]

_MIN_THROTTLE_WAIT = 1.0
_QUOTA = 500
_COST_TRANSIENT = 14
_COST_THROTTLED = 5


@attrs.frozen
class RetryDecision:
    """The decision to try again."""

    delay: float
    """Seconds to wait first."""

    throttled: bool
    """Whether the server asked for less traffic: then the limiter waits, and with it every call."""

    @property
    def cost(self) -> int:
        """Number of tokens that the retry takes from the shared quota."""
        return _COST_THROTTLED if self.throttled else _COST_TRANSIENT


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When and how often to retry; the module describes the rules and the formula."""

    attempts: int = attrs.field(default=3, validator=validators.integer(at_least=1))
    """The most attempts of one call; 1 means no retry. A fan-out does not count a 429."""

    timeout: float | None = attrs.field(default=None, validator=validators.number(at_least=0, optional=True))
    """Seconds after which no further attempt starts; ``None`` leaves that to the call's deadline."""

    wait_initial: float = attrs.field(default=0.5, validator=validators.number(at_least=0))
    """Seconds before the second attempt, jitter aside."""

    wait_max: float = attrs.field(default=8.0, validator=validators.number(at_least=0))
    """The longest wait in seconds, unless ``Retry-After`` asks for more."""

    wait_jitter: float = attrs.field(default=0.5, validator=validators.number(at_least=0))
    """The largest random addition to each wait, in seconds."""

    wait_exp_base: float = attrs.field(default=2.0, validator=validators.number(at_least=0))
    """The factor by which each wait is longer than the one before."""

    repeat_metered: bool = attrs.field(default=False, validator=validators.instance_of(bool))
    """Whether a metered call is repeated although an earlier attempt may have been charged."""

    @property
    def max_charges_per_call(self) -> int:
        """The most activations that one metered call may cost."""
        return self.attempts if self.repeat_metered else 1

    charges_at_most = Renamed("max_charges_per_call")

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
    ) -> RetryDecision | None:
        """Decide whether to send a failed request again. Pure but for ``rng``.

        Args:
            request: the request that failed.
            error: how it failed.
            attempt: the number of the attempt that failed, counted from 1.
            elapsed: seconds since the call began.
            patient: whether the call continues although it is throttled, as in a fan-out.
            unreadable_before: number of earlier attempts whose response couldn't be read.
            rng: returns a number from 0 to 1, for the jitter.

        Returns:
            How to try again, or ``None`` to give up.
        """
        throttled = is_refusal(error)
        if _is_vetoed(error) or not (throttled or self._may_repeat(request, error)):
            return None
        # a server that always responds with something unreadable is not worth all attempts
        if _is_unreadable(error) and unreadable_before > 0:
            return None
        if attempt >= self.attempts and not (throttled and patient):
            return None
        decision = RetryDecision(self.wait(attempt, error, rng=rng), throttled)
        if self.timeout is not None and elapsed + decision.delay > self.timeout:
            return None
        return decision

    def wait(self, attempt: int, error: FullStoryError, *, rng: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after attempt number ``attempt`` failed with ``error``.

        ``rng`` returns the jitter, from 0 to 1.
        """
        if attempt == 1 and isinstance(error, ProtocolError) and error.stale:
            return 0.0
        try:
            backoff = self.wait_initial * self.wait_exp_base ** (attempt - 1)
        except OverflowError:
            backoff = self.wait_max
        backoff = min(self.wait_max, backoff + rng() * self.wait_jitter)
        if isinstance(error, RateLimitedError | GatewayThrottledError):
            return max(_MIN_THROTTLE_WAIT, backoff if error.retry_after is None else error.retry_after)
        return max(error.retry_after or 0.0, backoff)

    def _may_repeat(self, request: Request, error: FullStoryError) -> bool:
        if isinstance(error, UnexpectedRedirect):
            return False
        # a paid-for response is kept in its error; requesting it again would be paid for again
        if isinstance(error, DecodeError | UnexpectedResponseError):
            return request.repeatable and not request.metered
        if not error.is_transient:
            return False
        if isinstance(error, TransportError) and not error.sent:
            return True
        return request.repeatable and (self.repeat_metered or not request.metered)


def _is_unreadable(error: FullStoryError) -> bool:
    """Return whether a response came that can't be read; it is requested only once more."""
    if isinstance(error, ProtocolError):
        return error.garbled
    return isinstance(error, DecodeError | UnexpectedResponseError)


def is_refusal(error: FullStoryError) -> bool:
    """Return whether a request was refused for its rate, before any work: then it is safe to repeat."""
    return isinstance(error, RateLimitedError) or (
        isinstance(error, GatewayThrottledError) and not error.may_have_cost
    )


def _is_vetoed(error: FullStoryError) -> bool:
    """Return whether the server says that trying again is useless."""
    return error.response is not None and error.response.headers.get("x-should-retry", "").lower() == "false"


class RetryQuota:
    """The tokens that retries take and successes return; one quota for all calls of a client."""

    __slots__ = ("tokens",)

    tokens: int
    """Number of tokens left."""

    def __init__(self) -> None:
        self.tokens = _QUOTA

    def acquire(self, cost: int) -> bool:
        """Take ``cost`` tokens; return False and take none if there are too few."""
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def release(self, acquired: int) -> None:
        """Refill after a success: the tokens that its retries took, or one if it needed none."""
        self.tokens = min(_QUOTA, self.tokens + max(1, acquired))


class Retries:
    """The retries of one call: their number and kind, and the tokens that they took."""

    __slots__ = ("_acquired", "_patient", "_policy", "_quota", "_rng", "_throttled", "_unreadable", "_unused")

    def __init__(
        self, policy: RetryPolicy, quota: RetryQuota, *, patient: bool, rng: Callable[[], float]
    ) -> None:
        """Start with none; a ``patient`` call does not count 429s."""
        self._policy, self._quota, self._patient, self._rng = policy, quota, patient, rng
        self._throttled = self._unreadable = self._acquired = self._unused = 0

    def after(
        self, request: Request, error: FullStoryError, *, attempts: int, elapsed: float
    ) -> RetryDecision | None:
        """Count a failure, and decide as `RetryPolicy.decide`."""
        before, self._unreadable = self._unreadable, self._unreadable + _is_unreadable(error)
        self._throttled += is_refusal(error)
        return self._policy.decide(
            request, error, self._counted(error, attempts), elapsed=elapsed, patient=self._patient,
            unreadable_before=before, rng=self._rng,
        )  # fmt: skip

    def pause(self, error: FullStoryError, *, attempts: int) -> float:
        """Return how long a throttled call pauses the limiter when the call is given up."""
        return self._policy.wait(self._counted(error, attempts), error, rng=self._rng)

    def _counted(self, error: FullStoryError, attempts: int) -> int:
        """Return the number of attempts that count for this kind of failure."""
        if is_refusal(error):
            return self._throttled if self._patient else attempts
        return attempts - self._throttled * self._patient

    def acquire(self, decision: RetryDecision) -> bool:
        """Take the tokens for a retry; return False if there are too few."""
        # bulk work waits out any number of 429s, and the limiter bounds its traffic
        if decision.throttled and self._patient:
            return True
        if not self._quota.acquire(decision.cost):
            return False
        self._acquired += decision.cost
        self._unused += decision.cost
        return True

    def attempt_started(self) -> None:
        """Record that the retry is made, so that its tokens are used."""
        self._unused = 0

    def succeeded(self) -> None:
        """Return the tokens that the call took."""
        self._quota.release(self._acquired)
        self._unused = 0

    def close(self) -> None:
        """Return the tokens of a retry that was never made."""
        if self._unused:
            self._quota.release(self._unused)


def retry_after(response: Response, *, clock: Callable[[], float] = time.time) -> float | None:
    """Return the seconds of ``Retry-After``: a number, or an HTTP date in any of its three forms.

    Pure but for ``clock``. A date counts from the response's own ``Date``, so that a wrong clock here does
    no harm, and from this machine's clock only if that header is missing. A date in the past is 0.0; a
    value that is negative, infinite or unreadable is ``None``.
    """
    text = response.headers.get("retry-after", "").strip()
    # float() alone would accept "nan", "1_0" and the digits of any script
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
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
        # the asctime form names no zone; HTTP dates are UTC
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        return parsed.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
