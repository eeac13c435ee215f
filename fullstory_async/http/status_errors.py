"""Maps a response to the exception that it stands for: pure, and the same for both wire forms.

The service's own message is quoted as a short printable text, without the user that the call is about. What
can't be FullStory's at all is decided by `plausibility`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from fullstory_async.error_base import describe_body, mask_words
from fullstory_async.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ErrorInSuccess,
    FullStoryError,
    GatewayThrottledError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async.http.contact import Contact
from fullstory_async.http.plausibility import Responder, assess, is_markup
from fullstory_async.http.proxy_refusals import refusal_before_service
from fullstory_async.messages import Request, Response
from fullstory_async.privacy import redact_subject
from fullstory_async.safe_json import loads

__all__ = ["error_from_response"]

_SHOWN_BODY = 200
"""Characters quoted from a body that isn't JSON."""
_LONGEST_MESSAGE = 1000
"""Characters quoted from the service's own message."""
_LONGEST_HOST = 100
_NETWORK_AUTHENTICATION = 511
_CODES = 10**18
"""Numbers below this may be codes."""

_CLASS_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
}

_FREE_STATUSES = frozenset({401, 429})
"""Refused before any work. Whether other error statuses are charged is undocumented: they count as at
risk."""


def error_from_response(
    request: Request,
    response: Response,
    contact: Contact,
    *,
    retry_after: float | None = None,
) -> FullStoryError | None:
    """Return the error that a response stands for, or ``None`` for a success. Pure.

    Args:
        request: what was sent.
        response: the whole response, or a success up to the point that `assess_head` decides it at.
        contact: the address in use, and the earlier responses; it is only read.
        retry_after: the seconds of its ``Retry-After``.
    """
    status = response.status
    if status < 200 or 300 <= status < 400:
        return _not_final(request, response)
    before = None if status < 400 else refusal_before_service(request, response, proxied=contact.proxied)
    if before is not None:
        return before
    assessment = assess(request, response)
    if assessment.responder is not None:
        return _unexpected(request, contact.redacted(request, response), assessment.responder, contact)
    if assessment.service_error is not None:
        # the transport leaves a success as it is, since results must not be changed
        response = contact.redacted(request, response)
        fields = assess(request, response).service_error
        return _status_error(ErrorInSuccess, request, response, fields, retry_after=retry_after)
    if 200 <= status < 300:
        return None
    cls = _CLASS_BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
    if status == 503 and contact.is_good and is_markup(response):
        cls = GatewayThrottledError
    error = _status_error(cls, request, response, _json_object(response), retry_after=retry_after)
    if cls is GatewayThrottledError and contact.is_elsewhere(response):
        error.may_have_cost = False
    return error


def _not_final(request: Request, response: Response) -> UnexpectedRedirect | ProtocolError:
    if response.status < 200:
        text = f"the server responded {response.status}"
        return ProtocolError(text, request=request, response=response, permanent=True)
    target = _host_of(response.headers.get("location", ""))
    to = f" to {redact_subject(target, request)}" if target else ""
    error = UnexpectedRedirect(
        f"the server responded {response.status}, a redirect{to}, which is never followed; check base_url",
        request=request,
        response=response,
        permanent=True,
    )
    error.may_have_cost = False
    return error


def _host_of(url: str) -> str:
    """Return the host of a URL: nothing else of it, since a redirect quotes the request."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return _printable(host, _LONGEST_HOST)


def _unexpected(
    request: Request, response: Response, responder: Responder, contact: Contact
) -> UnexpectedResponseError:
    content_type = response.headers.get("content-type", "")
    found = describe_body(response.status, redact_subject(content_type, request), response.body)
    error = UnexpectedResponseError(
        f"the response can't be FullStory's: {responder} probably answered at {contact.base_url} "
        f"({found}); sign in to the network, or check the proxy and base_url",
        request=request,
        response=attrs.evolve(response, body=mask_words(response.body).encode()),
    )
    if response.status == _NETWORK_AUTHENTICATION:
        error.may_have_cost = False
    return error


def _status_error(
    cls: type[APIStatusError],
    request: Request,
    response: Response,
    fields: Mapping[str, Any] | None,
    *,
    retry_after: float | None,
) -> APIStatusError:
    status = response.status
    code, message = _code_and_message(response, fields)
    message = redact_subject(message, request)
    if isinstance(code, str):
        code = redact_subject(code, request)
    if status == 404 and request.not_found_hint:
        message += f" ({request.not_found_hint})"
    if status == 403 and request.role:
        message += f" (the key probably lacks the role {request.role}; whoami shows which one it has)"
    return cls(
        message,
        request=request,
        response=response,
        code=code,
        retry_after=retry_after,
        may_have_cost=request.metered and status not in _FREE_STATUSES,
    )


def _json_object(response: Response) -> Mapping[str, Any] | None:
    """Return the object that a body is, if it is one."""
    try:
        fields = loads(response.body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _code_and_message(response: Response, fields: Mapping[str, Any] | None) -> tuple[str | int | None, str]:
    """Return ``{"code", "message"}`` of a body in either wire form; a body that isn't JSON is quoted."""
    if fields is None:
        text = response.body[: _SHOWN_BODY * 4].decode("utf-8", "replace").strip()
        return None, _printable(text, _SHOWN_BODY) or "no message"
    code, message = fields.get("code"), fields.get("message")
    if isinstance(code, str):
        code = _printable(code, _SHOWN_BODY)
    is_code = isinstance(code, str) or (isinstance(code, int) and abs(code) < _CODES)
    shown = _printable(message, _LONGEST_MESSAGE) if isinstance(message, str) else ""
    return code if is_code else None, shown or "no message"


def _printable(text: str, max_length: int) -> str:
    """Return the start of a text, without what steers a terminal or can't be written to a file."""
    return "".join(c if c.isprintable() else " " for c in text[:max_length])
