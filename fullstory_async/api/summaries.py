"""SummaryCall: a summary, which is paid for only once.

Equal calls that run at the same time share one request (`SharedCalls`), and with a `SummaryCache` later ones
are free too. Every caller waits with its own timeout and decodes the response for itself, because a
structured response can be changed by whoever has it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Hashable
from datetime import datetime
from functools import partial

from fullstory_async import validators
from fullstory_async.api.calls import ApiCall, Prepare
from fullstory_async.api.context import ApiContext
from fullstory_async.api.single_flight import SharedCall, Waiter
from fullstory_async.codec import decode_summary, rfc3339, summary_body
from fullstory_async.concurrency import StoragePatience
from fullstory_async.errors import (
    APITimeoutError,
    ConfigurationError,
    DecodeError,
    RateLimitedError,
    StorageError,
)
from fullstory_async.files.summary_cache import SummaryCache
from fullstory_async.http import endpoints
from fullstory_async.http.call import Call
from fullstory_async.http.options import CallOptions
from fullstory_async.messages import Response
from fullstory_async.models import ProfileConfiguration, SessionRef, SessionSummary, session_id_of
from fullstory_async.response_info import ResponseInfo, find_request_id, set_response_info

__all__ = ["SummaryCall", "summary_call"]

_logger = logging.getLogger("fullstory_async.api")


def summary_call(
    api: ApiContext,
    config_profile_id: str | None,
    end_timestamp: datetime | None,
    overrides: ProfileConfiguration | None,
    options: CallOptions,
    *,
    patient: bool = False,
) -> Prepare[SessionSummary]:
    """Prepare calls for summaries. Raises `ConfigurationError` for options that can't be sent."""
    if config_profile_id is not None and not (isinstance(config_profile_id, str) and config_profile_id):
        raise ConfigurationError(f"config_profile_id must be a profile's id, not {config_profile_id!r}")
    config_profile_id = validators.exact_text(config_profile_id)
    end_timestamp = validators.time_or_none(end_timestamp)
    validators.timezone_aware(end_timestamp, "end_timestamp")
    if overrides is None:
        until = None if end_timestamp is None else rfc3339(end_timestamp)
        endpoint = partial(
            endpoints.session_summary, config_profile_id=config_profile_id, end_timestamp=until
        )
    else:
        body = summary_body(config_profile_id, end_timestamp, overrides)
        endpoint = partial(endpoints.session_summary, body=body)

    def prepare(ref: SessionRef) -> SummaryCall:
        session_id = session_id_of(ref)
        call = Call(options.apply(endpoint(session_id)), options.timeout, patient=patient)
        decode = partial(decode_summary, session_id=session_id, config_profile_id=config_profile_id)
        return SummaryCall(api, session_id, call, decode)

    return prepare


class SummaryCall(ApiCall[SessionSummary]):
    """The summary of one session: from the cache, from a request in flight, or generated."""

    waiter: Waiter[Response] | None = None

    @property
    def attempts(self) -> int:
        """Attempts so far while this call waited."""
        return 0 if self.waiter is None else self.waiter.attempts

    @property
    def droppable(self) -> bool:
        """Whether cancelling the call now loses nothing that may have been paid for."""
        return self.waiter is None or not self.waiter.at_risk

    @property
    def gave_up(self) -> bool:
        """Whether the call ended only because it was stopped."""
        return self.waiter is not None and self.waiter.gave_up

    def stop(self) -> None:
        """Wait for no further attempt."""
        if self.waiter is not None:
            self.waiter.stopping = True

    async def run(self) -> SessionSummary:
        """Return the summary from the cache, from a request in flight, or generate it."""
        api = self.api
        api.pipeline.check()
        now = asyncio.get_running_loop().time
        timeout = math.inf if self.call.patient else self.call.timeout or api.pipeline.timeout
        self.waiter = Waiter(now(), timeout)
        response = await self._shared(self.waiter)
        if (writing := api.pending_writes.get(self._dedup_key)) is not None:
            # So the next call finds it in the cache. A write that takes longer than this call has is finished
            # anyway.
            remaining = None if timeout == math.inf else max(0.0, self.waiter.deadline - now())
            await asyncio.wait([writing], timeout=remaining)
        summary = self.decode(response)
        request_id, elapsed = find_request_id(response.headers), now() - self.waiter.started
        set_response_info(summary, ResponseInfo(request_id, self.attempts, elapsed))
        return summary

    async def _shared(self, waiter: Waiter[Response]) -> Response:
        """Join the request in flight for the same question, or start one."""
        shared = self.api.shared
        while True:
            joined = shared.get(self._dedup_key)
            if joined is None:
                # each waiter has a timeout of its own, so a shared call has one only if it waits as bulk work
                # does
                timeout = self.call.timeout if self.call.patient else math.inf
                started = SharedCall[Response](self.call.request, timeout, patient=self.call.patient)
                shared.start(self._dedup_key, started, self._generate(started))
            try:
                return await self._wait(waiter, joined)
            except APITimeoutError as error:
                is_own = waiter.deadline <= asyncio.get_running_loop().time()
                if is_own or joined is None or error.may_have_cost:
                    raise
            except RateLimitedError as error:
                # a joined call may have given up because it was less patient than this one: then start
                # another
                took_over = joined is not None and (error.response is None or self.call.patient)
                if not took_over or waiter.gave_up:
                    raise

    async def _wait(self, waiter: Waiter[Response], joined: SharedCall[Response] | None) -> Response:
        """Wait for the shared call, and report the wait if another caller started it."""
        waiting = self.api.shared.wait(self._dedup_key, waiter)
        if joined is None:
            return await waiting
        failure: str | None = None
        began = asyncio.get_running_loop().time()
        try:
            return await waiting
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self.api.pipeline.joined(joined, failure, asyncio.get_running_loop().time() - began)

    async def _generate(self, call: SharedCall[Response]) -> Response:
        """Look into the cache, and pay for the summary if it isn't there."""
        if (cached := await self._cached(call)) is not None:
            return cached
        summary, response = await self.api.pipeline.fetch(
            call, lambda received: (self.decode(received), received)
        )
        if self.api.cache is not None and summary.text:
            self._cache_later(self.api.cache, summary.raw)
        return response

    @property
    def _dedup_key(self) -> Hashable:
        """What makes two requests the same question."""
        request = self.call.request
        return (
            request.method,
            request.path,
            request.query,
            request.body,
            tuple(sorted(request.headers.items())),
        )

    async def _cached(self, call: SharedCall[Response]) -> Response | None:
        api = self.api
        if api.cache is None:
            return None
        call.waits_for = api.cache.name
        if (writing := api.pending_writes.get(self._dedup_key)) is not None:
            await asyncio.wait([writing])
        patience, body = None, None
        while True:
            try:
                body = await api.cache.get(api.name, self.call.request)
                break
            except StorageError:
                patience = patience or StoragePatience()
                if not await patience.pause(math.inf):  # the callers' own deadlines hold all the same
                    raise
        call.waits_for = ""
        if body is None:
            return None
        cached = Response(status=200, body=body)
        try:
            self.decode(cached)
        except DecodeError as error:
            _logger.warning("a cached summary can't be read and is generated again: %s", error)
            return None
        return cached

    def _cache_later(self, cache: SummaryCache, body: bytes) -> None:
        """Write a response to the cache in a task of its own.

        So no caller's timeout or cancellation loses it.
        """
        writes, key = self.api.pending_writes, self._dedup_key
        writes[key] = asyncio.ensure_future(self._write(cache, body))
        writes[key].add_done_callback(lambda _: writes.pop(key, None))

    async def _write(self, cache: SummaryCache, body: bytes) -> None:
        """Write to the cache. If that fails, the summary was still paid for, so the caller gets it."""
        try:
            await cache.put(self.api.name, self.call.request, body)
        except (ConfigurationError, StorageError) as error:
            _logger.warning("a summary was not cached: %s", error)
