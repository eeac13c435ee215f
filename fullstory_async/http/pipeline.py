"""The pipeline: the one loop that every call walks.

``limiter → transport → error_for → policy → next attempt``, then ``decode``. It is the only place that
waits. Nothing is held while it does, so a call may be cancelled at any ``await``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import attrs

from fullstory_async.errors import (
    APIStatusError,
    APITimeoutError,
    DecodeError,
    FullStoryError,
    LimiterUnavailable,
    RateLimitedError,
    ServerError,
    TransportError,
)
from fullstory_async.http.messages import Request, Response, StreamedResponse
from fullstory_async.http.observer import Hooks, Observer, Stats
from fullstory_async.http.parts import Call, Meter, Send, SendsRequests, nobody_asks, nobody_hurries
from fullstory_async.http.ratelimit import RateLimiter
from fullstory_async.http.retry import Retry, RetryBudget, RetryPolicy, retry_after, unreadable
from fullstory_async.http.verdicts import error_for
from fullstory_async.privacy import without_frames

__all__ = ["Pipeline"]

T = TypeVar("T")
_Failure = TransportError | APIStatusError | DecodeError

_logger = logging.getLogger("fullstory_async.http")


class Pipeline:
    """Sends requests through a limiter and a transport, and tries again where the policy says so."""

    __slots__ = ("_budget", "_meter", "_observer", "_rng", "_transport", "limiter", "policy", "timeout")

    def __init__(
        self,
        transport: SendsRequests,
        limiter: RateLimiter,
        policy: RetryPolicy,
        *,
        timeout: float,
        meter: Meter | None = None,
        hooks: Hooks | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Put the parts together; ``timeout`` is the seconds that a call may take in all."""
        self._meter = meter
        self._transport = transport
        self.limiter = limiter
        self.policy = policy
        self.timeout = timeout
        self._rng = rng
        self._budget = RetryBudget()
        self._observer = Observer(hooks)

    @property
    def stats(self) -> Stats:
        """What was done so far."""
        return self._observer.stats

    def check(self) -> None:
        """Raise `ClientStateError` if calls can't be made here and now."""
        self._transport.check()

    async def fetch(
        self,
        request: Request,
        decode: Callable[[Response], T],
        *,
        timeout: float | None = None,
        patient: bool = False,
        longest_wait: float = math.inf,
        at_stake: Callable[[int], None] = nobody_asks,
        has_time: Callable[[FullStoryError, float], bool] = nobody_hurries,
    ) -> tuple[T, int]:
        """Send a request until it is answered, the policy gives up or the time is over.

        Args:
            request: what to send.
            decode: makes the value of the answer; raises `DecodeError`.
            timeout: seconds for the whole call, instead of the configured ones.
            patient: as fan-out waits: for the first token as long as it takes, since many calls share the
                rate; from then on the time counts, and every 429 within it is waited out.
            longest_wait: for a patient call, the longest that a single 429 may ask it to wait, in seconds.
            at_stake: told how many activations the call may have cost, this attempt included, when the request is
                about to be sent, and again when an attempt is over that can't have cost anything. At 0, dropping the call would lose nothing.
            has_time: told of a failure and for how many seconds another attempt would wait; says whether somebody would wait for that.

        Returns:
            The decoded value, and the number of attempts it took.
        """
        self.check()
        call = self._call(request, timeout, at_stake, patient=patient, longest_wait=longest_wait)
        call.has_time = has_time
        read = partial(self._decoded, decode, call)
        return await self._answer(call, self._transport.send, read), call.attempts

    async def stream(self, request: Request, *, timeout: float | None = None) -> tuple[StreamedResponse, int]:
        """Send a request as `fetch` does, but give its answer as a `StreamedResponse` whose body is not read yet.

        What goes wrong while the body is read is not tried again: the service has done its work, and may have charged it.
        """
        self.check()
        call = self._call(request, timeout, nobody_asks, patient=False, longest_wait=math.inf)
        # as the transport promises for what is no error
        response: StreamedResponse = await self._answer(
            call, self._transport.stream, partial(cast, StreamedResponse)
        )

        async def read() -> bytes:
            piece = await response.read()
            self.stats.received_bytes += len(piece)
            return piece

        return attrs.evolve(response, read=read), call.attempts

    def _call(
        self,
        request: Request,
        timeout: float | None,
        at_stake: Callable[[int], None],
        *,
        patient: bool,
        longest_wait: float,
    ) -> Call:
        now = asyncio.get_running_loop().time
        started = now()
        seconds = self.timeout if timeout is None else timeout
        deadline = math.inf if patient else started + seconds
        number = self._observer.next_number()
        return Call(number, request, started, seconds, patient, at_stake, longest_wait, deadline, now)

    async def _answer(self, call: Call, send: Send, read: Callable[[Response], T]) -> T:
        """Walk the loop; nobody can use the retry budget up with retries that are never made."""
        try:
            return await self._walk(call, send, read)
        finally:
            if call.owed:
                self._budget.give_back(call.owed)

    async def _walk(self, call: Call, send: Send, read: Callable[[Response], T]) -> T:
        """Go on until there is an answer that can be read."""
        while True:
            try:
                value = read(await self._attempt(call, send))
            except (TransportError, APIStatusError, DecodeError) as error:
                if not error.may_have_cost:
                    await self._take_back(call, error)
                call.set_aside = None
                self._note(call, error)
                retry = self._decide(call, error)
                if retry is None:
                    raise
                await self._wait(retry, error, call)
            except FullStoryError as error:
                # the meter's, or that the client can't be used: not this attempt's fault
                await self._take_back(call, error)
                error.request = error.request or call.request
                error.attempts, error.elapsed = call.attempts, call.elapsed()
                error.may_have_cost = call.costs > 0
                raise error from call.last_error
            else:
                self._budget.give_back(call.taken)
                return value

    async def _admit(self, call: Call) -> None:
        """Wait for the limiter, within the call's time."""
        call.waited = not await self.limiter.acquire_now()
        if call.waited:
            longest = min(call.timeout, call.left(), call.longest_wait) if call.patient else None
            began = call.now()
            try:
                async with asyncio.timeout_at(None if call.deadline == math.inf else call.deadline):
                    await self.limiter.acquire(longest_pause=longest, priority=call.request.priority)
            except TimeoutError:
                raise self._out_of_time(call) from call.last_error
            except RateLimitedError as error:
                error.request = call.request
                raise
            finally:
                self.stats.waited += call.now() - began
        call.admitted = call.now()
        if call.deadline == math.inf:
            call.deadline = call.admitted + call.timeout
        elif call.deadline <= call.admitted:
            raise self._out_of_time(call) from call.last_error

    def _out_of_time(self, call: Call) -> APITimeoutError:
        text = "the call's time was over while it waited for the rate limiter"
        return APITimeoutError(text, request=call.request, sent=False)

    async def _attempt(self, call: Call, send: Send) -> Response:
        """Count what it may cost, pass the limiter, send, and raise the error that the answer stands for."""
        request, before = call.request, call.attempts
        # first: a token must not be held while a file is waited for
        if self._meter is not None and request.metered:
            await self._set_aside(self._meter, call)
        try:
            await self._admit(call)
            begin = partial(self._begin, call)
            response = await send(request, deadline=call.deadline, begun=begin, unsent=call.note_unsent)
        except (asyncio.CancelledError, FullStoryError) as error:
            begun = call.attempts > before
            if begun:
                self._observer.lost(call, error, call.now() - call.sent)
            if isinstance(error, asyncio.CancelledError):
                was_sent = begun and not call.reached_nobody
                self.stats.activations_at_risk += request.metered and was_sent
                if not was_sent:
                    await self._take_back(call, error)
            raise
        if _logger.isEnabledFor(logging.DEBUG):
            _logger.debug(
                "%s %s: attempt %d, status %d, %d bytes in %.3f s",
                request.operation, request.session_id or "", call.attempts,
                response.status, len(response.body), response.elapsed,
            )  # fmt: skip
        if response.status != 429:
            self.limiter.answered(waited=call.waited)
        failure = None
        if not response.is_success:
            failure = error_for(request, response, retry_after=retry_after(response))
        self._observer.answered(call, response, failure)
        if failure is not None:
            raise failure
        self.stats.activations += request.metered
        return response

    async def _set_aside(self, meter: Meter, call: Call) -> None:
        """Count an activation before it is spent; what a cancelled call has counted is taken back."""
        counting = asyncio.ensure_future(meter.set_aside())
        try:
            call.set_aside = await asyncio.shield(counting)
        except asyncio.CancelledError as error:
            while not counting.done():
                with contextlib.suppress(asyncio.CancelledError):  # once more; it is raised in the end
                    await asyncio.wait([counting])
            if counting.exception() is None:
                call.set_aside = counting.result()
                await self._take_back(call, error)
            raise

    async def _take_back(self, call: Call, reason: BaseException) -> None:
        """Uncount what was set aside for an attempt that cost nothing; failing that, it stays counted."""
        if self._meter is None or call.set_aside is None:
            return
        where, call.set_aside = call.set_aside, None
        try:
            await self._meter.take_back(where)
        except FullStoryError as error:
            _logger.warning(
                "an activation stays counted that was not spent (%s): %s", type(reason).__name__, error
            )

    def _begin(self, call: Call) -> None:
        """Count a request that is being sent now."""
        call.attempts += 1
        call.sent = call.now()
        call.owed = 0
        call.at_stake(call.costs + call.request.metered)
        self._observer.sent(call)

    def _note(self, call: Call, error: _Failure) -> None:
        """Write down on the error and in the counters what the attempt was."""
        if error.may_have_cost and not isinstance(error, DecodeError):  # which has cost, and is counted
            self.stats.activations_at_risk += 1
        if error.may_have_cost:
            call.costs += 1
        else:
            call.at_stake(call.costs)
        error.may_have_cost = call.costs > 0
        call.last_error = error
        error.attempts, error.elapsed = call.attempts, call.elapsed()
        if error.status == 429:
            call.throttles += 1
        call.unreadable += unreadable(error)

    def _decide(self, call: Call, error: _Failure) -> Retry | None:
        """Ask the policy, the deadline and the budget; make the limiter wait for what the server asked."""
        throttled = isinstance(error, RateLimitedError)
        if throttled and error.response is None:
            return None  # the limiter's own verdict: the wait is too long
        if isinstance(error, LimiterUnavailable):
            return None  # no attempt was made that could be made again
        counted = (
            call.throttles if throttled and call.patient else call.attempts - call.throttles * call.patient
        )
        retry = self.policy.decide(
            call.request, error, counted, elapsed=call.elapsed(), patient=call.patient,
            unreadable_before=call.unreadable - 1, rng=self._rng,
        )  # fmt: skip
        if throttled:
            wait = retry.delay if retry else self.policy.wait(counted, error, rng=self._rng)
            self.limiter.throttled(wait, admitted=call.admitted)
            self._observer.throttled(call, wait)
        elif error.retry_after is not None and isinstance(error, ServerError):
            self.limiter.pause(min(error.retry_after, self.policy.wait_max))  # it may be of one node alone
        longest = min(call.left(), call.longest_wait if call.patient else self.limiter.max_wait)
        if retry is None or retry.delay > longest or not call.has_time(error, retry.delay):
            return None
        if not (throttled and call.patient):
            if not self._budget.take(retry.cost):
                _logger.info("%s: no retry, the retry budget is used up", call.request.operation)
                return None
            call.taken += retry.cost
            call.owed += retry.cost
        return retry

    async def _wait(self, retry: Retry, error: FullStoryError, call: Call) -> None:
        _logger.info(
            "%s %s: %s, status %s; trying again in %.2f s",
            call.request.operation, call.request.session_id or "",
            type(error).__name__, error.status, retry.delay,
        )  # fmt: skip  # not its message: the service may quote an e-mail in it
        self._observer.retrying(call, error, retry.delay)
        if not retry.throttled:  # else the limiter, paused, does the waiting
            began = call.now()
            try:
                await asyncio.sleep(retry.delay)
            finally:
                self.stats.waited += call.now() - began

    @staticmethod
    def _decoded(decode: Callable[[Response], T], call: Call, response: Response) -> T:
        try:
            return decode(response)
        except DecodeError as error:
            error.request, error.response = call.request, response
            error.may_have_cost = call.request.metered
            unreadable = without_frames(error)  # which held the answer
        raise unreadable
