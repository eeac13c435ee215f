"""Refusals: responses instead of the work, so nothing is charged unless ``charged=True``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

import attrs
from aiohttp import web

from fullstory_async.errors import ConfigurationError
from fullstory_async.http.options import HEADER_NAME
from fullstory_async.sandbox.faults.exchange import CallNext, Exchange
from fullstory_async.sandbox.faults.registry import OneLine, Range, StatusCode, fault

__all__ = ["RefusalFaults"]

_CODES = {
    400: "invalid_field", 401: "unauthorized", 403: "forbidden", 404: "resource_not_found",
    409: "conflict", 429: "too_many_requests", 500: "server_error",
}  # fmt: skip
_DATE_FORMATS = {
    "imf-fixdate": "%a, %d %b %Y %H:%M:%S GMT", "rfc850": "%A, %d-%b-%y %H:%M:%S GMT",
    "asctime": "%a %b %e %H:%M:%S %Y",
}  # fmt: skip
_PAGE = """<!DOCTYPE html>
<html><head><title>Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>
"""

_SIGN_IN_PAGE = """<!DOCTYPE html>
<html><head><title>Guest network: sign in</title></head><body><form action="https://portal.invalid/login">
<input name="user"><input name="password" type="password"></form></body></html>
"""
_THROTTLE_PAGE = "<html><head><title>503</title></head><body>Too many requests, please wait.</body></html>"

_Seconds = Annotated[float, Range(-1e9, 1e9)]
_RedirectCode = Annotated[int, Range(300, 399, integer=True)]


@attrs.frozen
class _Headers:
    def check(self, _: str, value: object) -> None:
        if not isinstance(value or {}, Mapping):
            raise ConfigurationError(f"a fault's headers must be a mapping, not {value!r}")
        for name, text in dict(value or {}).items():  # type: ignore[call-overload]  # a mapping by then
            if not (isinstance(name, str) and HEADER_NAME.fullmatch(name)):
                raise ConfigurationError(f"a fault's header {name!r} is not a valid HTTP header name")
            OneLine().check(f"header {name}", text)


@attrs.frozen
class _Body:
    def check(self, name: str, value: object) -> None:
        if not isinstance(value, str | bytes | None):
            raise ConfigurationError(f"a fault's {name} must be a text or bytes, not {value!r}")


@attrs.frozen
class _RetryAfter:
    def check(self, name: str, value: object) -> None:
        if value is not None:
            OneLine().check(name, str(value))


@attrs.frozen
class _Server:
    def check(self, name: str, value: object) -> None:
        if value is not None:
            OneLine().check(name, value)


class RefusalFaults:
    """Makers of refusals."""

    __slots__ = ()

    @fault
    @staticmethod
    async def status(
        exchange: Exchange,
        call_next: CallNext,
        code: StatusCode,
        *,
        headers: Annotated[Mapping[str, str] | None, _Headers()] = None,
        body: Annotated[str | bytes | None, _Body()] = None,
        charged: bool = False,
    ) -> web.StreamResponse:
        """Respond with a status, by default with an error body in the sandbox's wire form.

        Args:
            code: status, from 200 to 599.
            headers: additional headers.
            body: replaces the error body; a string is sent as UTF-8.
            charged: whether the work is done first, and its activation charged.
        """
        return _refuse(exchange, code, headers or {}, body)

    @fault
    @staticmethod
    async def retry_after(
        exchange: Exchange,
        call_next: CallNext,
        value: Annotated[float | str | None, _RetryAfter()],
        *,
        code: StatusCode = 429,
        charged: bool = False,
    ) -> web.StreamResponse:
        """Refuse with any ``Retry-After``: seconds, an invalid value, or none.

        Args:
            value: header as sent: ``1``, ``86400``, ``"garbage"``, ``"-5"``, ``"nan"``, ``"٣"``;
                ``None`` sends none.
            code: status, 429 or 503.
            charged: whether the work is done first, and its activation charged.
        """
        return _refuse(exchange, code, {} if value is None else {"Retry-After": str(value)})

    @fault
    @staticmethod
    async def retry_after_date(
        exchange: Exchange,
        call_next: CallNext,
        seconds: _Seconds = 1,
        *,
        form: Literal["imf-fixdate", "rfc850", "asctime"] = "imf-fixdate",
        clock_skew: _Seconds = 0,
        code: StatusCode = 429,
        charged: bool = False,
    ) -> web.StreamResponse:
        """Refuse with a ``Retry-After`` that is an HTTP date: 'imf-fixdate', 'rfc850' or 'asctime'.

        Args:
            seconds: time from the server's own ``Date``; negative for the past. HTTP dates
                have whole seconds.
            form: ``imf-fixdate``, ``rfc850`` or ``asctime``, the three forms that a client must read.
            clock_skew: seconds by which the server's clock is ahead, in both headers.
            code: status, 429 or 503.
            charged: whether the work is done first, and its activation charged.
        """
        # both headers are off by the skew: a client must compare them with each other, not with its clock
        now = time.time() + clock_skew
        headers = {"Date": _http_date(now, "imf-fixdate"), "Retry-After": _http_date(now + seconds, form)}
        return _refuse(exchange, code, headers)

    @fault
    @staticmethod
    async def no_retry(
        exchange: Exchange, call_next: CallNext, code: StatusCode = 503, *, charged: bool = False
    ) -> web.StreamResponse:
        """Fail with ``x-should-retry: false``, with which a server forbids retries.

        Args:
            code: status.
            charged: whether the work is done first, and its activation charged.
        """
        return _refuse(exchange, code, {"x-should-retry": "false"})

    @fault
    @staticmethod
    async def redirect_to(
        exchange: Exchange,
        call_next: CallNext,
        url: Annotated[str, OneLine()],
        *,
        code: _RedirectCode = 302,
        charged: bool = False,
    ) -> web.StreamResponse:
        """Redirect elsewhere.

        Args:
            url: the ``Location``: a URL on another host, or a path on this one.
            code: 301, 302, 303, 307 or 308.
            charged: whether the work is done first, and its activation charged.
        """
        return _refuse(exchange, code, {"Location": url})

    @fault
    @staticmethod
    async def redirect_loop(
        exchange: Exchange, call_next: CallNext, *, code: _RedirectCode = 302, charged: bool = False
    ) -> web.StreamResponse:
        """Redirect to the requested URL itself.

        Args:
            code: 301, 302, 303, 307 or 308.
            charged: whether the work is done first, and its activation charged.
        """
        return _refuse(exchange, code, {"Location": exchange.request.raw_path})

    @fault
    @staticmethod
    async def html_error_page(
        exchange: Exchange, call_next: CallNext, code: StatusCode = 502, *, charged: bool = False
    ) -> web.StreamResponse:
        """Respond with a gateway's HTML page.

        Args:
            code: status; login pages and some proxies use 200.
            charged: whether the work is done first, and its activation charged.
        """
        return _refuse(exchange, code, {"Content-Type": "text/html"}, _PAGE)

    @fault
    @staticmethod
    async def sign_in_page(
        exchange: Exchange, call_next: CallNext, code: StatusCode = 200, *, charged: bool = False
    ) -> web.StreamResponse:
        """Respond with the sign-in page of a guest network, as a captive portal does.

        Args:
            code: status.
            charged: whether the work is done first, and its activation charged.
        """
        return _refuse(exchange, code, {"Content-Type": "text/html; charset=utf-8"}, _SIGN_IN_PAGE)

    @fault
    @staticmethod
    async def foreign_json(
        exchange: Exchange, call_next: CallNext, code: StatusCode = 200, *, charged: bool = False
    ) -> web.StreamResponse:
        """Respond with the JSON of another API.

        Args:
            code: status.
            charged: whether the work is done first, and its activation charged.
        """
        return _refuse(exchange, code, {}, '{"status":"ok","data":[{"title":"not a session"}]}')

    @fault
    @staticmethod
    async def error_in_success(
        exchange: Exchange,
        call_next: CallNext,
        form: Literal["code", "error"] = "code",
        *,
        charged: bool = False,
    ) -> web.StreamResponse:
        """Respond 200 with an error as the body: ``code`` and ``message``, or within 'error'.

        Args:
            form: ``code`` (``{"code", "message"}``) or ``error`` (``{"error": {"code", "message"}}``).
            charged: whether the work is done first, and its activation charged.
        """
        error = {"code": "internal", "message": "injected by the sandbox"}
        return _refuse(exchange, 200, {}, json.dumps(error if form == "code" else {"error": error}))

    @fault
    @staticmethod
    async def html_503(
        exchange: Exchange,
        call_next: CallNext,
        server: Annotated[str | None, _Server()] = "gateway",
        *,
        charged: bool = False,
    ) -> web.StreamResponse:
        """Respond 503 with a page, as something in front of the service that throttles.

        Args:
            server: its ``Server`` header; ``None`` for the same as in other responses.
            charged: whether the work is done first, and its activation charged.
        """
        headers = {"Content-Type": "text/html"} | ({} if server is None else {"Server": server})
        return _refuse(exchange, 503, headers, _THROTTLE_PAGE)


def _refuse(
    exchange: Exchange, code: int, headers: Mapping[str, str], body: str | bytes | None = None
) -> web.Response:
    response = exchange.error(code, _CODES.get(code, "injected_fault"), "injected by the sandbox")
    if body is not None:
        raw = body.encode() if isinstance(body, str) else body
        response = web.Response(status=code, body=raw, content_type="application/json")
    response.headers.update(headers)
    return response


def _http_date(epoch: float, form: str) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime(_DATE_FORMATS[form])
