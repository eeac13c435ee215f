"""Faults: how the sandbox misbehaves on request.

A fault is an async function of an `Exchange` and of ``proceed``, which does the normal work (and charges
the activation): it may answer in its stead, wait first, or spoil the answer after. So a new kind of fault
is one more function of that shape; nothing else has to know of it. A `FaultRule` says when it applies.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import attrs
from aiohttp import web

__all__ = ["Exchange", "Fault", "FaultRule", "delay", "drop", "status", "truncate"]


@attrs.frozen
class Exchange:
    """One request that the sandbox is about to answer."""

    request: web.Request
    operation: str
    """As in `RecordedRequest`: ``list``, ``events``, ``summary``, …"""
    session_id: str | None
    """The session id in the path, decoded."""
    error: Callable[[int, str, str], web.Response]
    """Makes an error answer in the sandbox's wire form: status, code, message."""


Fault = Callable[[Exchange, Callable[[], Awaitable[web.Response]]], Awaitable[web.StreamResponse]]
"""Answers an exchange, with or without the normal work that the second argument does."""


@attrs.define(kw_only=True)
class FaultRule:
    """When a fault applies: every condition must hold."""

    fault: Fault
    operation: str | None = None
    """Only this operation; ``None`` for all."""
    session_id: str | None = None
    """Only this session; ``None`` for all."""
    times: int | None = 1
    """How often at most; ``None`` for always."""
    skip: int = 0
    """How many fitting requests are let through first."""
    share: float = 1.0
    """Which share of the fitting requests, at random but determined by the seed."""
    hits: int = 0
    """How often the rule has applied."""

    def applies(self, exchange: Exchange, rng: random.Random) -> bool:
        """Tell whether this request is spoiled, and count it."""
        if self.operation not in (None, exchange.operation) or self.session_id not in (
            None,
            exchange.session_id,
        ):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        if rng.random() >= self.share:
            return False
        self.hits += 1
        return True


def status(
    code: int,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    after_work: bool = False,
) -> Fault:
    """Answer with a status; ``after_work`` does the work first, so that it is charged."""

    async def fault(exchange: Exchange, proceed: Callable[[], Awaitable[web.Response]]) -> web.Response:
        if after_work:
            await proceed()
        answer = exchange.error(code, _CODES.get(code, "injected_fault"), "injected by the sandbox")
        if body is not None:
            answer = web.Response(status=code, body=body)
        answer.headers.update(headers or {})
        return answer

    return fault


_CODES = {
    400: "invalid_field", 401: "unauthorized", 403: "forbidden", 404: "resource_not_found",
    409: "conflict", 429: "too_many_requests", 500: "server_error",
}  # fmt: skip


def delay(seconds: float) -> Fault:
    """Wait before doing the work."""

    async def fault(_: Exchange, proceed: Callable[[], Awaitable[web.Response]]) -> web.Response:
        await asyncio.sleep(seconds)
        return await proceed()

    return fault


def drop(*, after_work: bool = True) -> Fault:
    """Close the connection without an answer; the work is done and charged first unless told otherwise."""

    async def fault(exchange: Exchange, proceed: Callable[[], Awaitable[web.Response]]) -> web.Response:
        answer = await proceed() if after_work else web.Response()
        _abort(exchange.request)
        return answer

    return fault


def truncate(share: float = 0.5) -> Fault:
    """Send only the first part of the body and close the connection; the work is done and charged."""

    async def fault(exchange: Exchange, proceed: Callable[[], Awaitable[web.Response]]) -> web.StreamResponse:
        whole = await proceed()
        body = whole.body if isinstance(whole.body, bytes) else b""
        partial = web.StreamResponse(status=whole.status, headers={"Content-Type": "application/json"})
        partial.content_length = len(body)
        await partial.prepare(exchange.request)
        await partial.write(body[: int(len(body) * share)])
        if exchange.request.transport is not None:
            exchange.request.transport.close()
        return partial

    return fault


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
