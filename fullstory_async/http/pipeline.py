"""The pipeline: the one loop that every call walks.

``meter → limiter → transport → error_for → policy → next attempt``, then ``decode``. It is the only place below the API that
waits. Nothing is held while it does, so a call may be cancelled at any ``await``. How far it has come stands in its `Call`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import attrs

from fullstory_async.errors import (
    APIStatusError,
    APITimeoutError,
    DecodeError,
    FullStoryError,
    LimiterUnavailable,
    RateLimitedError,
    Scope,
    ServerError,
    TransportError,
)
from fullstory_async.http.call import Attempt, Call, Transport
from fullstory_async.http.hooks import Hooks, Observer, Stats
from fullstory_async.http.metering import NO_RESERVATION, Admission, Meter, Reservation
from fullstory_async.http.status_errors import error_from_response
from fullstory_async.messages import Request, Response, StreamedResponse
from fullstory_async.privacy import bare
from fullstory_async.ratelimit.limiter import RateLimiter
from fullstory_async.retry import Retries, RetryDecision, RetryPolicy, RetryQuota, retry_after

__all__ = ["Pipeline"]

T = TypeVar("T")
_Failure = TransportError | APIStatusError | DecodeError
_Send = Callable[[Request, float, Attempt], Awaitable[Response]]

_logger = logging.getLogger("fullstory_async.http")


class Pipeline:
    """Sends requests through a limiter and a transport, and tries again where the policy says so."""

    __slots__ = (
        "_admission",
        "_budget",
        "_ledger",
        "_observer",
        "_rng",
        "_transport",
        "limiter",
        "policy",
        "timeout",
    )

    def __init__(
        self,
        transport: Transport,
        limiter: RateLimiter,
        policy: RetryPolicy,
        *,
        timeout: float,
        ledger: Meter | None = None,
        hooks: Hooks | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Put the parts together; ``timeout`` is the seconds that a call may take in all."""
        self._transport = transport
        self._ledger = ledger
        self.limiter = limiter
        self.policy = policy
        self.timeout = timeout
        self._rng = rng
        self._budget = RetryQuota()
        self._observer = Observer(hooks)
        self._admission = Admission(lambda: limiter.rate)

    @property
    def stats(self) -> Stats:
        """What was done so far."""
        return self._observer.stats

    def check(self) -> None:
        """Raise `ClientStateError` if calls can't be made here and now."""
        self._transport.check()

    async def fetch(self, call: Call, decode: Callable[[Response], T]) -> T:
        """Send a call's request until it is answered, the policy gives up or its time is over.

        Args:
            call: what to send; it says afterwards, and meanwhile, what became of it.
            decode: makes the value of the answer; raises `DecodeError`.
        """

        def read(response: Response) -> T:
            try:
                return decode(response)
            except DecodeError as error:
                error.request, error.response = call.request, response
                error.may_have_cost = call.request.metered
                raise

        return await self._run(call, self._transport.send, read)

    async def stream(self, call: Call) -> StreamedResponse:
        """Send a request as `fetch` does, but give its answer before its body is read.

        What goes wrong while the body is read is not tried again: the service has done its work, and may have charged it.
        """
        response = cast(
            "StreamedResponse", await self._run(call, self._transport.stream, lambda answer: answer)
        )

        async def read() -> bytes:
            piece = await response.read()
            self.stats.received_bytes += len(piece)
            return piece

        return attrs.evolve(response, read=read)

    async def _run(self, call: Call, send: _Send, read: Callable[[Response], T]) -> T:
        """Walk the loop, and let its errors leave without the frames that held the query, the key and the answer."""
        self.check()
        call.started = asyncio.get_running_loop().time()
        call.timeout = self.timeout if call.timeout is None else call.timeout
        call.deadline = math.inf if call.patient else call.started + call.timeout
        call.number = self._observer.next_number()
        failure: BaseException
        try:
            return await self._walk(call, send, read)
        except (FullStoryError, asyncio.CancelledError) as error:
            failure = bare(error)
        raise failure

    async def _walk(self, call: Call, send: _Send, read: Callable[[Response], T]) -> T:
        retries = Retries(self.policy, self._budget, patient=call.patient, rng=self._rng)
        reservation = self._reservation(call)
        try:
            while True:
                try:
                    await self._admit(call, reservation)
                    retries.attempt_started()
                    value = read(await self._exchange(call, send))
                except (TransportError, APIStatusError, DecodeError) as error:
                    if error.may_have_cost:
                        reservation.spend()
                    self._note(call, error)
                    retry = self._decide(call, error, retries)
                    if retry is None:
                        raise
                    await self._wait(call, error, retry)
                except FullStoryError as error:  # a meter's, or that the client can't be used
                    call.describe(error)
                    raise error from call.last_error
                else:
                    retries.succeeded()
                    return value
        finally:
            retries.close()
            if not call.in_flight:
                await reservation.release()

    def _reservation(self, call: Call) -> Reservation:
        if not call.request.metered or (call.meter is None and self._ledger is None):
            return NO_RESERVATION
        return Reservation(tuple(meter for meter in (call.meter, self._ledger) if meter is not None))

    async def _admit(self, call: Call, reservation: Reservation) -> None:
        """Reserve what the attempt may cost, and pass the limiter."""
        if not reservation.is_due:
            await self._pass_limiter(call)
            return
        async with self._admission:
            await reservation.make()  # first: a token must not be held while a file is waited for
            await self._pass_limiter(call)

    async def _exchange(self, call: Call, send: _Send) -> Response:
        """Send, and raise the error that the answer stands for."""
        slots = self._transport.slots
        response = await (
            self._send(call, send) if slots is None else self._send_over_slot(call, send, slots)
        )
        if response.status != 429:
            self.limiter.answered(waited=call.waited)
        failure = None
        if not response.is_success:
            failure = error_from_response(call.request, response, retry_after=retry_after(response))
        self._observer.answered(call, response, failure)
        if failure is not None:
            raise failure
        self.stats.activations += call.request.metered
        return response

    async def _send(self, call: Call, send: _Send) -> Response:
        """Send once, and write down how far that came if it is cancelled."""
        self.check()
        now = asyncio.get_running_loop().time
        attempt = Attempt(now())
        call.attempts += 1
        call.in_flight = True
        self._observer.sent(call)
        try:
            response = await send(call.request, call.deadline, attempt)
        except (asyncio.CancelledError, FullStoryError) as error:
            self._observer.lost(call, error, now() - attempt.started)
            if isinstance(error, asyncio.CancelledError):
                call.in_flight = attempt.sent
                self.stats.activations_at_risk += call.request.metered and attempt.sent
            raise
        if _logger.isEnabledFor(logging.DEBUG):
            _logger.debug(
                "%s %s: attempt %d, status %d, %d bytes in %.3f s",
                call.request.operation, call.request.session_id or "", call.attempts,
                response.status, len(response.body), response.elapsed,
            )  # fmt: skip
        return response

    async def _send_over_slot(self, call: Call, send: _Send, slots: asyncio.Semaphore) -> Response:
        """Wait for one of the connections that there are, outside of the time that the attempt has; a stream keeps it until it is closed."""
        try:
            async with asyncio.timeout_at(None if call.deadline == math.inf else call.deadline):
                await slots.acquire()
        except TimeoutError:
            raise self._out_of_time(call, "a connection of the given session") from call.last_error
        try:
            response = await self._send(call, send)
        except BaseException:
            slots.release()
            raise
        if not isinstance(response, StreamedResponse):
            slots.release()
            return response
        close = response.close

        def close_and_release() -> None:
            if close():
                slots.release()

        return attrs.evolve(response, close=close_and_release)

    async def _pass_limiter(self, call: Call) -> None:
        """Wait for the limiter, within the call's time."""
        call.waited = not await self.limiter.try_acquire()
        if call.waited:
            timeout = self.timeout if call.timeout is None else call.timeout
            longest = min(timeout, call.remaining, call.max_pause) if call.patient else None
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout_at(None if call.deadline == math.inf else call.deadline):
                    await self.limiter.acquire(max_pause=longest, priority=call.request.priority)
            except TimeoutError:
                raise self._out_of_time(call, "the rate limiter") from call.last_error
            except RateLimitedError as error:
                error.request = call.request
                raise
            finally:
                self.stats.waited += asyncio.get_running_loop().time() - began
        call.admitted = asyncio.get_running_loop().time()
        if call.deadline == math.inf:
            call.deadline = call.admitted + (call.timeout or self.timeout)
        elif call.deadline <= call.admitted:
            raise self._out_of_time(call, "the rate limiter") from call.last_error

    @staticmethod
    def _out_of_time(call: Call, waited_for: str) -> APITimeoutError:
        text = f"the call's time was over while it waited for {waited_for}"
        error = APITimeoutError(text, request=call.request, sent=False)
        if isinstance(call.last_error, RateLimitedError):
            # the time went by while a 429 was obeyed, so it is the rate limit that all calls wait for
            error.scope = Scope.RATE
        return error

    def _note(self, call: Call, error: _Failure) -> None:
        """Write down on the call, the error and in the counters what the attempt was."""
        if error.may_have_cost and not isinstance(error, DecodeError):  # which has cost, and is counted
            self.stats.activations_at_risk += 1
        call.charged += error.may_have_cost
        call.in_flight = False
        call.last_error = error
        call.describe(error)

    def _decide(self, call: Call, error: _Failure, retries: Retries) -> RetryDecision | None:
        """Ask the policy, the deadline, who waits, and the budget; make the limiter wait for what the server asked."""
        if isinstance(error, LimiterUnavailable) or (
            isinstance(error, RateLimitedError) and error.response is None
        ):
            return None  # no attempt was made that could be made again, or the limiter itself says that the wait is too long
        retry = retries.after(call.request, error, attempts=call.attempts, elapsed=call.elapsed)
        if isinstance(error, RateLimitedError):
            pause = retry.delay if retry else retries.pause(error, attempts=call.attempts)
            self.limiter.throttled(pause, admitted=call.admitted)
            self._observer.throttled(call, pause)
        elif error.retry_after is not None and isinstance(error, ServerError):
            self.limiter.pause(min(error.retry_after, self.policy.wait_max))  # it may be of one node alone
        longest = min(call.remaining, call.max_pause if call.patient else self.limiter.max_wait)
        if retry is None or retry.delay > longest or not call.wants_retry(error, retry.delay):
            return None
        if not retries.acquire(retry):
            _logger.info("%s: no retry, the retry budget is used up", call.request.operation)
            return None
        return retry

    async def _wait(self, call: Call, error: FullStoryError, retry: RetryDecision) -> None:
        _logger.info(
            "%s %s: %s, status %s; trying again in %.2f s",
            call.request.operation, call.request.session_id or "",
            type(error).__name__, error.status, retry.delay,
        )  # fmt: skip  # not its message: the service may quote an e-mail in it
        self._observer.retrying(call, error, retry.delay)
        if not retry.throttled:  # else the limiter, paused, does the waiting
            began = asyncio.get_running_loop().time()
            try:
                await asyncio.sleep(retry.delay)
            finally:
                self.stats.waited += asyncio.get_running_loop().time() - began
