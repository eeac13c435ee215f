"""Calls: what every operation does with its request, options and answer, said once."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs

from fullstory_async.api.flights import Flights
from fullstory_async.errors import (
    APITimeoutError,
    ConfigurationError,
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

    async def call(session_id: SessionId, at_stake: Callable[[bool], None] = nobody_asks) -> tuple[T, int]:
        return await account.pipeline.fetch(
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
        session_id: SessionId, at_stake: Callable[[bool], None] = nobody_asks
    ) -> tuple[SessionSummary, int]:
        request = options.apply(endpoint(session_id))
        account.pipeline.check()

        async def generate(at_stake: Callable[[bool], None]) -> tuple[Response, int]:
            if (kept := await _kept(account, request)) is not None:
                return Response(status=200, body=kept), 0
            (summary, response), attempts = await account.pipeline.fetch(
                request,
                lambda response: (decode(response, session_id), response),
                timeout=options.timeout if patient else math.inf,  # each caller keeps its own time
                patient=patient,
                at_stake=at_stake,
            )
            await _keep(account, request, summary)
            return response, attempts

        limit = None if patient else options.timeout or account.pipeline.timeout
        response, attempts = await _shared(account, request, generate, at_stake, limit)
        # everybody decodes for themselves, since a structured response can be changed by who has it
        return decode(response, session_id), attempts

    return call


async def _shared(
    account: Account,
    request: Request,
    generate: Callable[[Callable[[bool], None]], Coroutine[Any, Any, tuple[Response, int]]],
    at_stake: Callable[[bool], None],
    limit: float | None,
) -> tuple[Response, int]:
    """Join the request that is under way for the same question, or start one; wait for so many seconds at most."""
    same = (request.method, request.path, request.query, request.body, tuple(sorted(request.headers.items())))
    now = asyncio.get_running_loop().time
    started, sent, attempts = now(), False, 0

    def note(stake: bool) -> None:
        nonlocal sent, attempts
        sent, attempts = stake, attempts + stake
        at_stake(stake)

    while True:
        joined = account.flights.is_under_way(same)
        timer = asyncio.timeout_at(None if limit is None else started + limit)
        try:
            async with timer:
                return await account.flights.join(same, generate, note)
        except TimeoutError as error:
            if timer.expired() and not isinstance(error, FullStoryError):
                late = APITimeoutError("the call's time was over", request=request, sent=sent)
                late.attempts, late.elapsed = attempts, now() - started
                raise late from None
            if not (joined and isinstance(error, APITimeoutError) and not error.may_have_cost):
                raise
        except RateLimitedError:
            if not joined:  # it was the verdict of somebody else's patience
                raise


async def _kept(account: Account, request: Request) -> bytes | None:
    return None if account.cache is None else await account.cache.get(account.name, request)


async def _keep(account: Account, request: Request, summary: SessionSummary) -> None:
    """Keep an answer; where that fails, it has still been paid for, and is given."""
    if account.cache is None or not summary.text:
        return
    try:
        await account.cache.put(account.name, request, summary.raw)
    except (ConfigurationError, StorageError) as error:
        _logger.warning("a summary was not kept: %s", error)
