"""Reads results from a cache, and writes those that were paid for into it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import TypeVar

from fullstory_async.api.context import ApiContext, ResponseStore
from fullstory_async.api.single_flight import SharedCall
from fullstory_async.concurrency import StoragePatience
from fullstory_async.errors import ConfigurationError, DecodeError, StorageError
from fullstory_async.messages import Request, Response
from fullstory_async.models import SessionContext, SessionEvents, SessionSummary
from fullstory_async.response_info import ResponseInfo, set_response_info

__all__ = ["Result", "read_through"]

Result = SessionEvents | SessionContext | SessionSummary
"""The results of the operations that cost an activation."""

R = TypeVar("R", bound=Result)

_logger = logging.getLogger("fullstory_async.api")


async def read_through(
    api: ApiContext, cache: ResponseStore, call: SharedCall[R], decode: Callable[[Response], R]
) -> R:
    """Look into the cache, and pay for the result if it isn't there."""
    api.pipeline.check()
    if not cache.keeps(call.request):
        return await api.pipeline.fetch(call, decode)
    if (cached := await _cached(api, cache, call, decode)) is not None:
        return cached
    result = await api.pipeline.fetch(call, decode)
    if not _is_empty(result):
        # in a task of its own, so that no caller's timeout or cancellation loses it
        writing = asyncio.ensure_future(_write(api, cache, call.request, result.raw))
        api.pending_writes[call.key] = writing
        writing.add_done_callback(lambda _: api.pending_writes.pop(call.key, None))
    return result


async def _cached(
    api: ApiContext, cache: ResponseStore, call: SharedCall[R], decode: Callable[[Response], R]
) -> R | None:
    """Return the result that the cache has, if it can be read."""
    began = asyncio.get_running_loop().time()
    call.waits_for = cache.name
    if (writing := api.pending_writes.get(call.key)) is not None:
        await asyncio.wait([writing])
    body = await _body(api, cache, call.request)
    call.waits_for = ""
    if body is None:
        return None
    try:
        result = decode(Response(status=200, body=body))
    except DecodeError as error:
        _logger.warning("a cached %s can't be read and is generated again: %s", call.request.operation, error)
        return None
    elapsed = asyncio.get_running_loop().time() - began
    set_response_info(result, ResponseInfo(elapsed=elapsed, source="cache"))
    return result


async def _body(api: ApiContext, cache: ResponseStore, request: Request) -> bytes | None:
    """Return the response that the cache has; while its file can't be used, wait."""
    patience: StoragePatience | None = None
    while True:
        try:
            return await cache.get(api.name, request)
        except StorageError:
            patience = patience or StoragePatience()
            if not await patience.pause(math.inf):  # the callers' own deadlines hold all the same
                raise


async def _write(api: ApiContext, cache: ResponseStore, request: Request, body: bytes) -> None:
    """Write to the cache. If that fails, the result was still paid for, so the caller gets it."""
    try:
        await cache.put(api.name, request, body)
    except (ConfigurationError, StorageError) as error:
        _logger.warning("a response (%s) was not cached: %s", request.operation, error)
    # a store of the program's own may raise anything; the text of its error may hold the response
    except Exception as error:  # noqa: BLE001
        failure = type(error).__name__
        _logger.warning("a response (%s) was not cached: %s of %s", request.operation, failure, cache.name)


def _is_empty(result: Result) -> bool:
    """Return whether a result has no content: the service may have some when it is asked again."""
    if isinstance(result, SessionSummary):
        return not result.text
    return not (result if isinstance(result, SessionEvents) else result.pages)
