"""Calls: what every operation does with its request, options and answer, said once."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

import attrs

from fullstory_async.api.flights import Flights, Passenger
from fullstory_async.errors import (
    APITimeoutError,
    ConfigurationError,
    DecodeError,
    FullStoryError,
    RateLimitedError,
    StorageError,
)
from fullstory_async.fanout import Fetch
from fullstory_async.http.messages import Request, Response
from fullstory_async.http.options import CallOptions
from fullstory_async.http.parts import nobody_asks
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.models import SessionSummary
from fullstory_async.session_id import SessionId
from fullstory_async.summary_cache import SummaryCache

__all__ = ["Account", "call_once", "call_per_session", "summary_per_session"]

T = TypeVar("T")

_logger = logging.getLogger("fullstory_async.api")


@attrs.frozen
class Account:
    """What the operations of one client share."""

    pipeline: Pipeline
    name: str = ""
    """Tells this account from others in a shared cache: the address and the key's fingerprint."""
    cache: SummaryCache | None = None
    """Where summaries are kept, if anywhere."""
    flights: Flights[tuple[Response, int]] = attrs.field(factory=Flights)
    """Summaries that are being generated now, as answers with the number of attempts."""
    keeping: dict[Hashable, asyncio.Task[None]] = attrs.field(factory=dict)
    """Summaries that are being written into the cache, whoever still waits for that."""

    async def finish(self) -> None:
        """Wait until what was paid for is in the cache."""
        if self.keeping:
            await asyncio.wait(self.keeping.values())


async def call_once(
    account: Account, request: Request, decode: Callable[[Response], T], options: CallOptions
) -> T:
    """Make a call that is about no session, and return its answer."""
    return (await account.pipeline.fetch(options.apply(request), decode, timeout=options.timeout))[0]


def call_per_session(
    account: Account,
    endpoint: Callable[[SessionId], Request],
    decode: Callable[[Response, SessionId], T],
    options: CallOptions,
    *,
    patient: bool,
) -> Fetch[T]:
    """Return the function that makes one operation's call for one id."""

    def call(
        session_id: SessionId, at_stake: Callable[[int], None] = nobody_asks
    ) -> Coroutine[Any, Any, tuple[T, int]]:
        return account.pipeline.fetch(
            options.apply(endpoint(session_id)),
            lambda response: decode(response, session_id),
            timeout=options.timeout,
            patient=patient,
            at_stake=at_stake,
        )

    return call


def summary_per_session(
    account: Account,
    endpoint: Callable[[SessionId], Request],
    decode: Callable[[Response, SessionId], SessionSummary],
    options: CallOptions,
    *,
    patient: bool,
) -> Fetch[SessionSummary]:
    """Do as `call_per_session`, but pay for the same summary only once.

    Calls that are the same and under way at the same time share a request; with a cache, so do later ones.
    """

    async def call(
        session_id: SessionId, at_stake: Callable[[int], None] = nobody_asks
    ) -> tuple[SessionSummary, int]:
        request = options.apply(endpoint(session_id))
        account.pipeline.check()

        async def generate(passenger: Passenger) -> tuple[Response, int]:
            if (kept := await _kept(account, request)) is not None and can_be_read(kept):
                return kept, 0
            (summary, response), attempts = await account.pipeline.fetch(
                request,
                lambda response: (decode(response, session_id), response),
                timeout=options.timeout if patient else math.inf,  # each caller keeps its own time
                patient=patient,
                at_stake=passenger.at_stake,
                has_time=passenger.has_time,
            )
            _keep_later(account, request, summary)
            return response, attempts

        def can_be_read(kept: Response) -> bool:
            try:
                decode(kept, session_id)
            except DecodeError as error:
                _logger.warning("a summary that was kept can't be read, and is asked for again: %s", error)
                return False
            return True

        now = asyncio.get_running_loop().time
        limit = None if patient else options.timeout or account.pipeline.timeout
        deadline = math.inf if limit is None else now() + limit
        response, attempts = await _shared(account, request, generate, at_stake, limit)
        if (writing := account.keeping.get(_same(request))) is not None:
            left = None if limit is None else max(0.0, deadline - now())
            # what comes too late for this call is kept all the same
            await asyncio.wait([writing], timeout=left)
        # everybody decodes for themselves, since a structured response can be changed by who has it
        return decode(response, session_id), attempts

    return call


class _Caller:
    """One of those who wait for a shared request: the time that it has, and what it has heard."""

    def __init__(self, limit: float | None, at_stake: Callable[[int], None]) -> None:
        self._now = asyncio.get_running_loop().time
        self._started = self._now()
        self._deadline = None if limit is None else self._started + limit
        self._at_stake = at_stake
        self._at_risk, self._attempts = 0, 0
        self._refusal: FullStoryError | None = None
        self._timer = asyncio.timeout_at(None)
        self.passenger = Passenger(self._note, self._has_time)

    def timer(self) -> asyncio.Timeout:
        """Return what ends the wait, to be entered."""
        self._timer = asyncio.timeout_at(self._deadline)
        return self._timer

    def verdict(self, request: Request) -> FullStoryError:
        """Return why it waits no longer: its time is over, or would be before the next attempt."""
        late = self._refusal or APITimeoutError(
            "the call's time was over", request=request, sent=self._at_risk > 0
        )
        late.attempts, late.elapsed = self._attempts, self._now() - self._started
        return late

    def _note(self, stake: int) -> None:
        self._attempts += stake > self._at_risk  # an attempt begins
        self._at_risk = stake
        self._at_stake(stake)

    def _has_time(self, error: FullStoryError, seconds: float) -> bool:
        if self._deadline is None or self._now() + seconds <= self._deadline:
            return True
        if not self._timer.expired():
            self._refusal = copy.copy(error)  # those who go on waiting may come to have it too
            self._timer.reschedule(self._now())
        return False


async def _shared(
    account: Account,
    request: Request,
    generate: Callable[[Passenger], Coroutine[Any, Any, tuple[Response, int]]],
    at_stake: Callable[[int], None],
    limit: float | None,
) -> tuple[Response, int]:
    """Join the request that is under way for the same question, or start one; wait for so many seconds at most."""
    same, caller = _same(request), _Caller(limit, at_stake)
    while True:
        joined = account.flights.is_under_way(same)
        timer = caller.timer()
        try:
            async with timer:
                return await account.flights.join(same, generate, caller.passenger)
        except TimeoutError as error:
            if timer.expired() and not isinstance(error, FullStoryError):
                raise caller.verdict(request) from None
            if not (joined and isinstance(error, APITimeoutError) and not error.may_have_cost):
                raise
        except RateLimitedError as error:
            # it may be the verdict of somebody else's patience
            if not (joined and (error.response is None or limit is None)):
                raise


def _same(request: Request) -> Hashable:
    """Return what makes two requests the same question."""
    headers = tuple(sorted(request.headers.items()))
    return request.method, request.path, request.query, request.body, headers


async def _kept(account: Account, request: Request) -> Response | None:
    if account.cache is None:
        return None
    if (writing := account.keeping.get(_same(request))) is not None:
        await asyncio.wait([writing])
    body = await account.cache.get(account.name, request)
    return None if body is None else Response(status=200, body=body)


def _keep_later(account: Account, request: Request, summary: SessionSummary) -> None:
    """Write an answer into the cache in a task of its own: no caller's timeout or cancellation may lose it."""
    if account.cache is None or not summary.text:
        return
    same = _same(request)
    writing = account.keeping[same] = asyncio.ensure_future(
        _keep(account.cache, account.name, request, summary.raw)
    )
    writing.add_done_callback(lambda _: account.keeping.pop(same, None))


async def _keep(cache: SummaryCache, name: str, request: Request, body: bytes) -> None:
    """Keep an answer; where that fails, it has still been paid for, and is given."""
    try:
        await cache.put(name, request, body)
    except (ConfigurationError, StorageError) as error:
        _logger.warning("a summary was not kept: %s", error)
