"""Maps an error response to its exception: pure, and the same for both wire forms.

The service's own message is quoted as a short printable text, without the user that the call is about.
"""

from __future__ import annotations

from fullstory_async.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    FullStoryError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    UnexpectedRedirect,
)
from fullstory_async.messages import Request, Response
from fullstory_async.privacy import redact_subject
from fullstory_async.safe_json import loads

__all__ = ["error_from_response"]

_SHOWN_BODY = 200
"""Characters quoted from a body that isn't JSON."""
_LONGEST_MESSAGE = 1000
"""Characters quoted from the service's own message."""
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
    request: Request, response: Response, *, retry_after: float | None = None
) -> FullStoryError | None:
    """Return the error that a response stands for, or ``None`` for a 2xx. Pure."""
    status = response.status
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return UnexpectedRedirect(
            f"the server responded {status}, a redirect, which is never followed; check base_url",
            request=request,
            response=response,
            permanent=True,
        )
    if status < 200:
        return ProtocolError(
            f"the server responded {status}", request=request, response=response, permanent=True
        )
    cls = _CLASS_BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
    code, message = _code_and_message(response)
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


def _code_and_message(response: Response) -> tuple[str | int | None, str]:
    """Return ``{"code", "message"}`` of a body in either wire form; a body that isn't JSON is quoted."""
    try:
        fields = loads(response.body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
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
