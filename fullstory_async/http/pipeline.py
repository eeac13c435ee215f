"""The pipeline: the one loop that every call goes through.

``meter → rate limiter → transport → status → retry policy → next attempt``, then ``decode``. Waits of a call
happen here. A call waits for its meter and for a retry with nothing in hand, and for a free connection with
its token in hand. So it may be cancelled at any ``await``. How far it came is recorded in its `Call`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import attrs

from fullstory_async.errors import (
    APIStatusError,
    DecodeError,
    FullStoryError,
    GatewayThrottledError,
    ProgramError,
    RateLimitedError,
    TransportError,
)
from fullstory_async.http.call import Attempt, Call, Transport
from fullstory_async.http.contact import Contact
from fullstory_async.http.failures import FailureHandler
from fullstory_async.http.foreign import program_error
from fullstory_async.http.hooks import Hooks, Observer, Stats
from fullstory_async.http.metering import Admission, Meter, Reservation
from fullstory_async.http.plausibility import EXPECTED_START
from fullstory_async.http.session_check import other_session
from fullstory_async.http.slots import occupied_until_closed, wait_for_slot
from fullstory_async.http.status_errors import error_from_response
from fullstory_async.http.stream_head import read_head, with_head
from fullstory_async.messages import Request, Response, StreamedResponse
from fullstory_async.privacy import strip_traceback
from fullstory_async.ratelimit.limiter import RateLimiter
from fullstory_async.response_info import (
    REQUEST_ID_HEADERS,
    HasResponseInfo,
    ResponseInfo,
    find_request_id,
    set_response_info,
)
from fullstory_async.retry import Retries, RetryPolicy, RetryQuota, retry_after

__all__ = ["Pipeline"]

T = TypeVar("T")

_logger = logging.getLogger("fullstory_async.http")


class Pipeline:
    """Sends requests through a rate limiter and a transport, and retries as the policy says."""

    __slots__ = (
        "_admissions", "_contact", "_failures", "_observer", "_quota", "_rng", "_transport",
        "ledger", "limiter", "policy", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        limiter: RateLimiter,
        policy: RetryPolicy,
        *,
        timeout: float,
        contact: Contact | None = None,
        ledger: Meter | None = None,
        hooks: Sequence[Hooks] = (),
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Assemble the parts; ``timeout`` covers a whole call, in seconds."""
        self._transport = transport
        self.ledger = ledger
        self.limiter = limiter
        self.policy = policy
        self.timeout = timeout
        self._rng = rng
        self._quota = RetryQuota()
        self._contact = Contact() if contact is None else contact
        self._observer = Observer(hooks, self._contact.base_url)
        self._failures = FailureHandler(limiter, self._observer, policy.wait_max)
        self._admissions = {priority: Admission(lambda: limiter.rate) for priority in (False, True)}

    @property
    def stats(self) -> Stats:
        """Counters of everything done so far."""
        return self._observer.stats

    def joined(self, call: Call, error: str | None, seconds: float) -> None:
        """Report that a caller waited for this call of another caller; ``error`` is a class's name."""
        self._observer.request_joined(call, error, seconds)

    def use(self, transport: Transport) -> None:
        """Send through another transport from now on."""
        self._transport = transport

    def check(self) -> None:
        """Raise `ClientStateError` if calls can't be made here and now."""
        self._transport.check()

    async def fetch(self, call: Call, decode: Callable[[Response], T], *, streamed: bool = False) -> T:
        """Send a call's request until it succeeds, the policy gives up or its time is over.

        This is a door through which errors leave without the stack frames that held query, key and body.

        Args:
            call: what to send; its record is up to date at any time.
            decode: makes the result of a success; raises `DecodeError`.
            streamed: whether ``decode`` gets a `StreamedResponse` instead, before its body is read.

        Raises:
            FullStoryError: no attempt succeeded; the error says what the call may have cost.
        """
        self._transport.check()
        call.started = asyncio.get_running_loop().time()
        call.timeout = self.timeout if call.timeout is None else call.timeout
        call.deadline = math.inf if call.patient else max(call.started + call.timeout, call.extended_to)
        call.number = next(self._observer.numbers)
        failure: BaseException
        try:
            return await self._retry_loop(call, decode, streamed=streamed)
        except (FullStoryError, asyncio.CancelledError) as error:
            failure = strip_traceback(error)
        except Exception as raised:  # noqa: BLE001  (of a trace hook, a custom meter, a patched module)
            failure = self.program_error(call, raised)
        raise failure

    def program_error(self, call: Call, raised: Exception) -> ProgramError:
        """Return the error for an exception of the program's own code, without the key."""
        return program_error(call, raised, self._contact.redactor)

    async def stream(self, call: Call) -> StreamedResponse:
        """Send a request as `fetch` does, but return a success before its body is read.

        A failure while the body is read is not retried: the service has done its work, and may have charged
        for it.
        """
        response = cast("StreamedResponse", await self.fetch(call, lambda opened: opened, streamed=True))

        async def read() -> bytes:
            piece = await response.read()
            self.stats.received_bytes += len(piece)
            return piece

        return attrs.evolve(response, read=read)

    async def _retry_loop(self, call: Call, decode: Callable[[Response], T], *, streamed: bool) -> T:
        retries = Retries(self.policy, self._quota, patient=call.patient, rng=self._rng)
        reservation = self._reservation(call)
        try:
            while True:
                try:
                    try:
                        if reservation is None:
                            await self._take_token(call)
                        else:
                            await self._acquire(call, reservation)
                        retries.attempt_started()
                        result = await self._exchange(call, decode, streamed=streamed)
                    finally:
                        if call.is_counted:
                            call.is_counted = False
                            self._contact.leave()
                except (TransportError, APIStatusError, DecodeError) as error:
                    if error.may_have_cost and reservation is not None:
                        reservation.spend()
                    await self._failures.handle(call, error, retries)
                except FullStoryError as error:  # from a meter, or the client can't be used
                    if await self._failures.wait_for_storage(call, error):
                        continue
                    call.describe(error)
                    raise error from call.last_error
                else:
                    retries.succeeded()
                    return result
        finally:
            retries.close()
            # a call that is cancelled in flight may have been charged: its reservation stays
            if reservation is not None and not call.in_flight:
                reservation.release()

    def _reservation(self, call: Call) -> Reservation | None:
        ledger = None if call.ledger_included else self.ledger
        if not call.request.metered or (call.meter is None and ledger is None):
            return None
        return Reservation(tuple(meter for meter in (call.meter, ledger) if meter is not None))

    async def _acquire(self, call: Call, reservation: Reservation) -> None:
        """Reserve what the attempt may cost, and take a token of the rate limiter."""
        if not reservation.is_due:
            await self._take_token(call)
            return
        call.waits_for = f"its turn to reserve an activation in {reservation.names}"
        timer = asyncio.timeout_at(None if call.deadline == math.inf else call.deadline)
        try:
            async with timer, self._admissions[call.request.priority]:
                call.waits_for = reservation.names
                # first: a token would go stale while a slow disk commits the reservation
                await reservation.make()
                timer.reschedule(None)  # the wait for a token has the call's deadline itself
                await self._take_token(call)
        except TimeoutError:
            if not timer.expired():
                raise
            raise call.out_of_time() from call.last_error

    async def _take_token(self, call: Call) -> None:
        """Wait for the rate limiter, within the call's time; bulk work first for the contact."""
        if call.patient and not self._contact.heard_metered:
            await self._contact.enter()
            call.is_counted = True
        call.waited = not await self.limiter.try_acquire()
        if call.waited:
            call.waits_for = "the rate limiter"
            limit = min(call.timeout or self.timeout, call.remaining, call.max_pause)
            max_pause = limit if call.patient else None
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout_at(None if call.deadline == math.inf else call.deadline):
                    await self.limiter.acquire(max_pause=max_pause, priority=call.request.priority)
            except TimeoutError:
                raise call.out_of_time() from call.last_error
            except RateLimitedError as error:
                error.request = call.request
                raise
            finally:
                seconds = asyncio.get_running_loop().time() - began
                self.stats.waited += seconds
                call.wait_seconds += seconds
        call.admitted = asyncio.get_running_loop().time()
        if call.admitted > call.send_by:
            raise call.lapsed() from call.last_error
        if call.deadline == math.inf:
            # the time of a patient call starts here: it may have queued for hours behind others
            call.deadline = max(call.admitted + (call.timeout or self.timeout), call.extended_to)
        elif call.deadline <= call.admitted:
            raise call.out_of_time() from call.last_error

    async def _exchange(self, call: Call, decode: Callable[[Response], T], *, streamed: bool) -> T:
        """Send once and decode, or raise the error that the response stands for."""
        slots = self._transport.slots
        if slots is None:
            response = await self._send(call, streamed=streamed)
        else:
            response = await self._send_over_slot(slots, call, streamed=streamed)
        received = response
        if streamed and isinstance(response, StreamedResponse):
            received = await read_head(call.request, response, call.deadline)
        contact, expected = self._contact, EXPECTED_START.get(call.request.operation)
        start = None if expected is None else expected.match(received.body)
        failure: FullStoryError | None = None
        # nearly every response starts as expected, after others that did: nothing is left to judge then
        if contact.settled and start is not None and 200 <= received.status < 300:
            contact.success_headers = response.headers
        else:
            failure = self._judge(call.request, received)
        if response.status != 429 and not isinstance(failure, GatewayThrottledError):
            self.limiter.on_response(limited=call.waited)
        self._observer.response_received(call, response, failure)
        if failure is not None:
            if isinstance(response, StreamedResponse):
                response.close()
            raise failure
        if streamed and isinstance(response, StreamedResponse):
            response = with_head(response, received.body)
        self._observer.stats.activations += call.request.metered
        session_id = call.request.session_id
        # most responses start with the ids that were requested
        is_named = session_id is None or (
            start is not None and list(start.groups()) == session_id.encode().split(b":")
        )
        return self._decode(call, response, decode, is_named=is_named or streamed)

    def _decode(
        self, call: Call, response: Response, decode: Callable[[Response], T], *, is_named: bool
    ) -> T:
        """Decode a success, and note how it came; ``is_named`` if it has the ids of its session."""
        try:
            if not is_named and (error := other_session(call.request, response)) is not None:
                call.drop_connection()
                raise error
            result = decode(response)
        except DecodeError as raised:
            raised.response = self._contact.redacted(call.request, response, keep_body=True)
            raised.may_have_cost = call.request.metered
            raise
        except Exception:
            call.undecoded = response
            raise
        if isinstance(result, HasResponseInfo):
            # `find_request_id`, without a call on the way of every request
            request_id = next(filter(None, map(response.headers.get, REQUEST_ID_HEADERS)), None)
            elapsed = asyncio.get_running_loop().time() - call.started
            activations = call.charged + call.request.metered
            set_response_info(result, ResponseInfo(request_id, call.attempts, elapsed, activations))
        return result

    def _judge(self, request: Request, response: Response) -> FullStoryError | None:
        """Return the error that a response stands for, and record whether FullStory responded."""
        asked = None if response.is_success else retry_after(response)
        failure = error_from_response(request, response, self._contact, retry_after=asked)
        self._contact.record(response, failure, metered=request.metered)
        return failure

    async def _send(self, call: Call, *, streamed: bool) -> Response:
        """Send once, and record how far the request came if it is cancelled."""
        self._transport.check()
        loop = asyncio.get_running_loop()
        attempt = call.attempt = Attempt(loop.time(), level=self.limiter.level)
        call.attempts += 1
        call.in_flight, call.waits_for = True, ""
        request = self._observer.request_sent(call)
        try:
            response = await self._transport.send(request, call.deadline, attempt, streamed=streamed)
        except BaseException as error:
            self._observer.request_failed(call, error, loop.time() - attempt.started)
            call.in_flight = attempt.sent
            if not isinstance(error, FullStoryError):
                self.stats.activations_at_risk += call.request.metered and attempt.sent
            raise
        if _logger.isEnabledFor(logging.DEBUG):
            _logger.debug(
                "%s %s: attempt %d, status %d, %d bytes in %.3f s, request id %s",
                call.request.operation, call.request.session_id or "", call.attempts, response.status,
                len(response.body), response.elapsed, find_request_id(response.headers),
            )  # fmt: skip
        return response

    async def _send_over_slot(self, slots: asyncio.Semaphore, call: Call, *, streamed: bool) -> Response:
        """Wait for a slot, then send; a stream keeps its slot until it is closed."""
        if slots.locked():
            await wait_for_slot(slots, call)
        else:
            await slots.acquire()
        try:
            response = await self._send(call, streamed=streamed)
        except BaseException:
            slots.release()
            raise
        if isinstance(response, StreamedResponse):
            return occupied_until_closed(slots, response)
        slots.release()
        return response
