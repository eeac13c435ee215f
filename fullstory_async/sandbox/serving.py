"""Serving: the way of one request to the service and back.

In order: the key is checked (401), the body is read, the request is recorded, the token bucket is asked
(429), the latency passes, a fault may apply, and the service does the work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from aiohttp import web

from fullstory_async.sandbox.faults.exchange import CallNext, Exchange, error_response
from fullstory_async.sandbox.faults.rules import FaultRules
from fullstory_async.sandbox.routes import Work
from fullstory_async.sandbox.service import Service
from fullstory_async.sandbox.state import ApiError, RecordedRequest, Recorder, TokenBucket

__all__ = ["Serving"]

_GZIP_FROM = 1024
_SHOWN_PATH = 200
"""Characters of the path of a request that came without the key."""
_LINGER = 5.0
"""Seconds for the rest of a body that is not kept, until its connection is closed."""


@attrs.define(eq=False)
class Serving:
    """What the requests of one sandbox share."""

    api_key: str
    service: Service
    recorder: Recorder
    rules: FaultRules
    bucket: TokenBucket | None
    latency: float
    """Seconds that each response takes in addition to the work."""
    _tasks: set[asyncio.Task[Any] | None] = attrs.field(factory=set, init=False)

    async def cancel(self) -> None:
        """End what is still running, such as a stall on a connection that it closed."""
        left = [task for task in self._tasks if task is not None]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def serve(self, request: web.Request, *, operation: str, work: Work) -> web.StreamResponse:
        """Take one request through the stages in the module's docstring."""
        # what comes without the key is not kept, because anybody may send it
        has_key = request.headers.get("Authorization") == f"Basic {self.api_key}"
        record = _record_of(request, operation, await request.read() if has_key else None)
        self.recorder.begin(record)
        exchange = Exchange(request, record, self.service.wire, self.rules.next_handlers)

        async def call_next() -> web.Response:
            return self._work(exchange, work)

        with self._tracked(exchange):
            try:
                response = await self._respond(exchange, call_next, has_key=has_key)
                # a fault may have sent the response itself, and closed the connection
                if exchange.is_open:
                    await exchange.finish(response)
                if not has_key:
                    await _discard_body(exchange)
            except ConnectionError:
                # the client has disconnected, as the record shows; aiohttp wants a response nevertheless
                return web.Response()
            return response

    async def _respond(self, exchange: Exchange, call_next: CallNext, *, has_key: bool) -> web.StreamResponse:
        try:
            self._admit(has_key=has_key)
        except ApiError as error:
            return self._refuse(error)
        # refusals come at once; only admitted requests take time
        if self.latency:
            await asyncio.sleep(self.latency)
        handler = self.rules.handler_for(exchange)
        return await (call_next() if handler is None else handler(exchange, call_next))

    @contextmanager
    def _tracked(self, exchange: Exchange) -> Iterator[None]:
        """Count a response however it ends; it may outlive its connection, but not the sandbox."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            self.recorder.end(exchange.record, exchange.request.writer.output_size)

    def _admit(self, *, has_key: bool) -> None:
        if not has_key:
            raise ApiError(401, "unauthorized", "the API key is missing or wrong")
        if self.bucket is not None:
            self.bucket.acquire()

    def _work(self, exchange: Exchange, work: Work) -> web.Response:
        """Do an operation's work, and note in the record what it was charged."""
        request, record, meter = exchange.request, exchange.record, self.service.meter
        before = meter.total
        try:
            body = work(self.service, request, record.body)
        except ApiError as error:
            return self._refuse(error)
        finally:
            # the difference, because the work runs without a pause in which others could be charged
            record.activations += meter.total - before
        # only now, so that a canned response is checked and charged as any other
        canned = self.service.canned(record.operation, record.session_id)
        body = body if canned is None else canned
        response = web.Response(body=body, content_type="application/json", charset="utf-8")
        if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    def _refuse(self, error: ApiError) -> web.Response:
        response = error_response(self.service.wire, error.status, error.code, error.message)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        if error.allow:
            response.headers["Allow"] = ", ".join(error.allow)
        return response


async def _discard_body(exchange: Exchange) -> None:
    """Read the rest of a body without keeping it; many clients read no response before they have sent it."""
    content = exchange.request.content
    try:
        async with asyncio.timeout(_LINGER):
            while not content.at_eof():
                await content.readany()
    except TimeoutError:
        exchange.close()


def _record_of(request: web.Request, operation: str, body: bytes | None) -> RecordedRequest:
    """Return the record of a request; of one without a body, which came without the key, only the path."""
    is_kept = body is not None
    headers = request.headers if is_kept else {}
    return RecordedRequest(
        operation=operation,
        method=request.method,
        raw_path=request.raw_path if is_kept else request.rel_url.raw_path[:_SHOWN_PATH],
        query=dict(request.query) if is_kept else {},
        headers={k.lower(): v for k, v in headers.items() if k.lower() != "authorization"},
        session_id=request.match_info.get("session_id") if is_kept else None,
        body=body or b"",
        at=time.monotonic(),
    )
