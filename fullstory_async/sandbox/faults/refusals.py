"""Refusals: answers in the place of the work, so that nothing is charged unless ``charged=True`` says so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from aiohttp import web

from fullstory_async.errors import ConfigurationError
from fullstory_async.http.options import HEADER_NAME
from fullstory_async.sandbox.faults.exchange import Behaviour, Exchange, Proceed, status_within, texts, within

__all__ = [
    "html_error_page",
    "redirect_loop",
    "redirect_to",
    "retry_after",
    "retry_after_date",
    "status",
    "veto",
]

DateForm = Literal["imf-fixdate", "rfc850", "asctime"]

_CODES = {
    400: "invalid_field", 401: "unauthorized", 403: "forbidden", 404: "resource_not_found",
    409: "conflict", 429: "too_many_requests", 500: "server_error",
}  # fmt: skip
_DATE_FORMS = {
    "imf-fixdate": "%a, %d %b %Y %H:%M:%S GMT", "rfc850": "%A, %d-%b-%y %H:%M:%S GMT", "asctime": "%a %b %e %H:%M:%S %Y",
}  # fmt: skip
_LONGEST = 1e9
_PAGE = """<!DOCTYPE html>
<html><head><title>Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>
"""


def status(
    code: int,
    *,
    headers: Mapping[str, str] | None = None,
    body: str | bytes | None = None,
    charged: bool = False,
) -> Behaviour:
    """Answer with a status, by default with an error body in the sandbox's wire form.

    Args:
        code: the status, from 200 to 599.
        headers: further headers.
        body: the body instead; a text is sent as UTF-8.
        charged: whether the work is done first, and its activation charged.
    """
    status_within(code, 200, 599)
    if not isinstance(headers or {}, Mapping):
        raise ConfigurationError(f"a fault's headers must be a mapping, not {headers!r}")
    for name, value in (headers or {}).items():
        if not (isinstance(name, str) and HEADER_NAME.fullmatch(name)):
            raise ConfigurationError(f"a fault's header {name!r} has no name that HTTP knows")
        texts(**{f"header {name}": value})
    if not isinstance(body, str | bytes | None):
        raise ConfigurationError(f"a fault's body must be a text or bytes, not {body!r}")

    async def behave(exchange: Exchange, proceed: Proceed) -> web.Response:
        if charged:
            await proceed()
        answer = exchange.error(code, _CODES.get(code, "injected_fault"), "injected by the sandbox")
        if body is not None:
            raw = body.encode() if isinstance(body, str) else body
            answer = web.Response(status=code, body=raw, content_type="application/json")
        answer.headers.update(headers or {})
        return answer

    return behave


def retry_after(value: float | str | None, *, code: int = 429, charged: bool = False) -> Behaviour:
    """Refuse with a ``Retry-After`` of any kind: seconds, nonsense, none at all.

    Args:
        value: the header as it is sent: ``1``, ``86400``, ``"garbage"``, ``"-5"``, ``"nan"``, ``"٣"``; ``None`` sends none.
        code: the status, 429 or 503.
        charged: whether the work is done first, and its activation charged.
    """
    return status(code, headers={} if value is None else {"Retry-After": str(value)}, charged=charged)


def retry_after_date(
    seconds: float = 1,
    *,
    form: DateForm = "imf-fixdate",
    clock_skew: float = 0,
    code: int = 429,
    charged: bool = False,
) -> Behaviour:
    """Refuse with a ``Retry-After`` that is an HTTP date: 'imf-fixdate', 'rfc850' or 'asctime'.

    Args:
        seconds: how far ahead of the server's own ``Date`` it is; below 0 it is in the past. HTTP dates know whole seconds.
        form: ``imf-fixdate``, ``rfc850`` or ``asctime``, the three forms that a client must read.
        clock_skew: how many seconds the server's clock is ahead, in both headers.
        code: the status, 429 or 503.
        charged: whether the work is done first, and its activation charged.
    """
    within("seconds", seconds, -_LONGEST, _LONGEST)
    within("clock_skew", clock_skew, -_LONGEST, _LONGEST)
    if form not in _DATE_FORMS:
        raise ConfigurationError(f"a fault's form must be one of {', '.join(_DATE_FORMS)}, not {form!r}")

    async def behave(exchange: Exchange, proceed: Proceed) -> web.StreamResponse:
        now = time.time() + clock_skew
        headers = {"Date": _http_date(now, "imf-fixdate"), "Retry-After": _http_date(now + seconds, form)}
        return await status(code, headers=headers, charged=charged)(exchange, proceed)

    return behave


def _http_date(epoch: float, form: DateForm) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime(_DATE_FORMS[form])


def veto(code: int = 503, *, charged: bool = False) -> Behaviour:
    """Fail with ``x-should-retry: false``, by which a server asks not to be asked again.

    Args:
        code: the status.
        charged: whether the work is done first, and its activation charged.
    """
    return status(code, headers={"x-should-retry": "false"}, charged=charged)


def redirect_to(url: str, *, code: int = 302, charged: bool = False) -> Behaviour:
    """Redirect elsewhere.

    Args:
        url: the ``Location``: another host's URL, or a path on this one.
        code: 301, 302, 303, 307 or 308.
        charged: whether the work is done first, and its activation charged.
    """
    status_within(code, 300, 399)
    texts(url=url)
    return status(code, headers={"Location": url}, charged=charged)


def redirect_loop(*, code: int = 302, charged: bool = False) -> Behaviour:
    """Redirect to the very URL that was asked for.

    Args:
        code: 301, 302, 303, 307 or 308.
        charged: whether the work is done first, and its activation charged.
    """
    status_within(code, 300, 399)

    async def behave(exchange: Exchange, proceed: Proceed) -> web.StreamResponse:
        return await redirect_to(exchange.request.raw_path, code=code, charged=charged)(exchange, proceed)

    return behave


def html_error_page(code: int = 502, *, charged: bool = False) -> Behaviour:
    """Answer with a gateway's HTML page.

    Args:
        code: the status; 200 is how login pages and some proxies answer.
        charged: whether the work is done first, and its activation charged.
    """
    return status(code, headers={"Content-Type": "text/html"}, body=_PAGE, charged=charged)
