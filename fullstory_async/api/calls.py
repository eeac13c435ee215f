"""Calls: what every operation does with its request, options and answer, said once."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import attrs

from fullstory_async.api.single_flight import SharedCall, SharedCalls, Waiter
from fullstory_async.errors import (
    APITimeoutError,
    ConfigurationError,
    DecodeError,
    RateLimitedError,
    StorageError,
)
from fullstory_async.files.summary_cache import SummaryCache
from fullstory_async.http.call import Call
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.messages import Request, Response
from fullstory_async.models import SessionSummary
from fullstory_async.session_id import SessionId

__all__ = ["ApiCall", "ApiContext", "SummaryCall", "call_once"]

T = TypeVar("T")

_logger = logging.getLogger("fullstory_async.api")


@attrs.frozen
class ApiContext:
    """What the operations of one client share."""

    pipeline: Pipeline
    name: str = ""
    """Tells this account from others in a shared cache: the address and the key's fingerprint."""
    cache: SummaryCache | None = None
    """Where summaries are kept, if anywhere."""
    shared: SharedCalls[Response] = attrs.field(factory=SharedCalls)
    """Summaries that are being generated now."""
    keeping: dict[Hashable, asyncio.Task[None]] = attrs.field(factory=dict)
    """Summaries that are being written into the cache, whoever still waits for that."""

    async def finish(self) -> None:
        """Wait until what was paid for is in the cache."""
        if self.keeping:
            await asyncio.wait(self.keeping.values())


async def call_once(
    account: ApiContext, request: Request, decode: Callable[[Response], T], timeout: float | None
) -> T:
    """Make a call that is about no session, and return its answer."""
    return await account.pipeline.fetch(Call(request, timeout), decode)


@attrs.define(eq=False)
class ApiCall(Generic[T]):
    """One operation on one session, ready to be made; alone, or as a part of a fan-out."""

    account: ApiContext
    session_id: SessionId
    call: Call
    decode: Callable[[Response], T]

    @property
    def attempts(self) -> int:
        """How often it was sent so far."""
        return self.call.attempts

    @property
    def droppable(self) -> bool:
        """Whether cancelling it now would lose nothing that may have been paid for."""
        return self.call.droppable

    @property
    def gave_up(self) -> bool:
        """Whether it ended only because it was stopped."""
        return self.call.gave_up

    def stop(self) -> None:
        """Begin no further attempt."""
        self.call.stopping = True

    async def run(self) -> T:
        """Make it, and return its answer."""
        return await self.account.pipeline.fetch(self.call, self.decode)


class SummaryCall(ApiCall[SessionSummary]):
    """A summary, which is paid for only once.

    Calls that are the same and under way at the same time share a request; with a cache, so do later ones.
    """

    waiter: Waiter[Response] | None = None

    @property
    def attempts(self) -> int:
        """How often it was sent so far, while this call waited."""
        return 0 if self.waiter is None else self.waiter.attempts

    @property
    def droppable(self) -> bool:
        """Whether cancelling it now would lose nothing that may have been paid for."""
        return self.waiter is None or not self.waiter.at_risk

    @property
    def gave_up(self) -> bool:
        """Whether it ended only because it was stopped."""
        return self.waiter is not None and self.waiter.gave_up

    def stop(self) -> None:
        """Wait for no further attempt."""
        if self.waiter is not None:
            self.waiter.stopping = True

    async def run(self) -> SessionSummary:
        """Take it from the cache, or from a request that is under way for the same question, or generate it."""
        account, key = self.account, self._key
        account.pipeline.check()
        now = asyncio.get_running_loop().time
        timeout = math.inf if self.call.patient else self.call.timeout or account.pipeline.timeout
        self.waiter = Waiter(now(), timeout)
        response = await self._shared(self.waiter)
        if (writing := account.keeping.get(key)) is not None:
            left = None if timeout == math.inf else max(0.0, self.waiter.deadline - now())
            # what comes too late for this call is kept all the same
            await asyncio.wait([writing], timeout=left)
        # everybody decodes for themselves, since a structured response can be changed by who has it
        return self.decode(response)

    async def _shared(self, waiter: Waiter[Response]) -> Response:
        """Join the request that is under way for the same question, or start one."""
        while True:
            joined = self.account.shared.joins(self._key)
            try:
                return await self.account.shared.run(self._key, waiter, self._make_shared, self._generate)
            except APITimeoutError as error:
                mine = waiter.deadline <= asyncio.get_running_loop().time()
                if mine or not joined or error.may_have_cost:
                    raise
            except RateLimitedError as error:
                # it may be the verdict of somebody else's patience
                if not (joined and (error.response is None or self.call.patient)) or waiter.gave_up:
                    raise

    def _make_shared(self) -> SharedCall[Response]:
        timeout = self.call.timeout if self.call.patient else math.inf  # each waiter keeps its own time
        return SharedCall(self.call.request, timeout, patient=self.call.patient)

    async def _generate(self, call: SharedCall[Response]) -> Response:
        """Look into the cache, and pay for it if it is not there."""
        if (kept := await self._kept()) is not None:
            return kept
        summary, response = await self.account.pipeline.fetch(
            call, lambda answer: (self.decode(answer), answer)
        )
        if self.account.cache is not None and summary.text:
            self._keep_later(self.account.cache, summary.raw)
        return response

    @property
    def _key(self) -> Hashable:
        """What makes two requests the same question."""
        request = self.call.request
        return (
            request.method,
            request.path,
            request.query,
            request.body,
            tuple(sorted(request.headers.items())),
        )

    async def _kept(self) -> Response | None:
        account = self.account
        if account.cache is None:
            return None
        if (writing := account.keeping.get(self._key)) is not None:
            await asyncio.wait([writing])
        body = await account.cache.get(account.name, self.call.request)
        if body is None:
            return None
        kept = Response(status=200, body=body)
        try:
            self.decode(kept)
        except DecodeError as error:
            _logger.warning("a summary that was kept can't be read, and is asked for again: %s", error)
            return None
        return kept

    def _keep_later(self, cache: SummaryCache, body: bytes) -> None:
        """Write an answer into the cache in a task of its own: no caller's timeout or cancellation may lose it."""
        keeping, key = self.account.keeping, self._key
        keeping[key] = asyncio.ensure_future(self._keep(cache, body))
        keeping[key].add_done_callback(lambda _: keeping.pop(key, None))

    async def _keep(self, cache: SummaryCache, body: bytes) -> None:
        """Keep an answer; where that fails, it has still been paid for, and is given."""
        try:
            await cache.put(self.account.name, self.call.request, body)
        except (ConfigurationError, StorageError) as error:
            _logger.warning("a summary was not kept: %s", error)
