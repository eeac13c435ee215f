"""The errors that this package raises.

::

    FullStoryError
    ├── ConfigurationError       a setting or an argument is wrong; nothing was sent
    ├── ClientStateError         the client is not open, closed, or on another event loop
    ├── InvalidSessionId         the text is no session id; nothing was sent
    ├── TransportError           no usable HTTP answer
    │   ├── ConnectError             no connection was made; the request was not sent
    │   │   └── LimiterUnavailable       a rate limiter shared through Redis can't be asked; nothing was sent
    │   ├── APITimeoutError          a timeout or the call's deadline passed
    │   ├── ProtocolError            the connection broke, or the answer was not HTTP
    │   ├── UnexpectedRedirect       a 3xx; never followed, so the key goes nowhere else
    │   └── ResponseTooLarge         the body passed max_response_bytes
    ├── APIStatusError           the service answered with an error status
    │   ├── BadRequestError          400
    │   ├── AuthenticationError      401
    │   ├── PermissionDeniedError    403
    │   ├── NotFoundError            404
    │   ├── ConflictError            409
    │   ├── RateLimitedError         429, or a wait for the rate limiter longer than max_wait
    │   └── ServerError              500 and above
    ├── DecodeError              a 2xx answer that can't be read; its body is kept in .response
    ├── PaginationError          the server's page tokens go round in a circle
    ├── ActivationBudgetError    the activation budget is used up; nothing was sent
    ├── StorageError             a file of ours can't be read or written now
    └── JobError                 a job's folder can't be used as it was asked to
        ├── JobLockedError           another process runs the job
        └── JobStorageError          the job can't be written: a full disk, a damaged file (a StorageError too)

Every error pickles, and none holds the API key: a `Request` is a call before the key is added. The e-mail address or user id
that a call asked about is neither in its error's text, should the service quote it, nor in its pickle.
"""

from __future__ import annotations

import re

from fullstory_async.messages import Request, Response

__all__ = [
    "APIStatusError",
    "APITimeoutError",
    "ActivationBudgetError",
    "AuthenticationError",
    "BadRequestError",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "DecodeError",
    "FullStoryError",
    "InvalidSessionId",
    "JobError",
    "JobLockedError",
    "JobStorageError",
    "LimiterUnavailable",
    "NotFoundError",
    "PaginationError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitedError",
    "ResponseTooLarge",
    "ServerError",
    "StorageError",
    "TransportError",
    "UnexpectedRedirect",
]


class FullStoryError(Exception):
    """The base of every error of this package.

    Each carries what it knows of; what it does not know is ``None``, ``0`` or ``False``.
    """

    request: Request | None
    """The call that failed."""
    response: Response | None
    """The answer, body included, where there was one."""
    message: str
    """What happened, in the service's own words where it said something; `str` adds the call."""
    code: str | int | None
    """The service's own error code: a snake-case string, or an integer in the published contract."""
    retry_after: float | None
    """Seconds that the service asked to wait."""
    attempts: int
    """How often the request was handed to the network."""
    elapsed: float
    """Seconds from the call's start to the error."""
    may_have_cost: bool
    """Whether an activation may have been spent, on any of the attempts."""

    def __init__(
        self,
        message: str = "",
        *,
        request: Request | None = None,
        response: Response | None = None,
        code: str | int | None = None,
        retry_after: float | None = None,
        may_have_cost: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request = request
        self.response = response
        self.code = code
        self.retry_after = retry_after
        self.attempts = 0
        self.elapsed = 0.0
        self.may_have_cost = may_have_cost

    @property
    def method(self) -> str | None:
        """The HTTP method of the call."""
        return self.request.method if self.request else None

    @property
    def path(self) -> str | None:
        """The call's path, without the query."""
        return self.request.path if self.request else None

    @property
    def session_id(self) -> str | None:
        """The session that the call was about."""
        return self.request.session_id if self.request else None

    @property
    def status(self) -> int | None:
        """The HTTP status, where there was an answer."""
        return self.response.status if self.response else None

    def __str__(self) -> str:
        code = None if self.code == self.status else self.code  # the published contract's code is the status
        known = [self.status if isinstance(self, APIStatusError) else None, code]
        named = " ".join(str(part) for part in known if part is not None)
        text = f"{named}: {self._what()}" if named else self._what()
        if self.request is not None:  # with the session's id as one would look for it
            text = f"{self.request.method} {self.request.path.replace('%3A', ':')}: {text}"
        if self.retry_after is not None and self.retry_after >= 1:
            text += f" (try again in {_span(self.retry_after)})"
        if self.attempts > 1:
            text += f" (after {self.attempts} attempts in {self.elapsed:.1f} s)"
        if self.may_have_cost:
            held_back = self._may_pass and self.attempts == 1
            why = ", so it was not sent again: see RetryPolicy.repeat_metered" if held_back else ""
            text += f" [may have cost an activation{why}]"
        return text

    @property
    def _may_pass(self) -> bool:
        """Whether the same call may succeed in a moment."""
        return False

    def _what(self) -> str:
        return self.message


def _span(seconds: float) -> str:
    """Return a time as people say it: nobody reads 2592000 s as a month."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


class ConfigurationError(FullStoryError, ValueError):
    """A setting or an argument is wrong. Nothing was sent."""


class ClientStateError(FullStoryError, RuntimeError):
    """The client or the limiter can't be used now, or not from here. Nothing was sent."""


class InvalidSessionId(FullStoryError, ValueError):
    """A text is not usable as a session id. Nothing was sent."""


class TransportError(FullStoryError):
    """The network gave no usable answer."""

    sent: bool
    """Whether the request may have reached the server."""
    permanent: bool
    """Whether another attempt would fail the same way (an untrusted certificate, say)."""
    stale: bool
    """Whether a kept-alive connection broke before any of the answer came: it was probably closed meanwhile."""
    garbled: bool
    """Whether something came that is not HTTP: perhaps once, perhaps as from any server that speaks something else."""

    def __init__(
        self,
        message: str = "",
        *,
        request: Request | None = None,
        response: Response | None = None,
        sent: bool = True,
        permanent: bool = False,
        stale: bool = False,
        garbled: bool = False,
    ) -> None:
        cost = sent and request is not None and request.metered
        super().__init__(message, request=request, response=response, may_have_cost=cost)
        self.sent = sent
        self.permanent = permanent
        self.stale = stale
        self.garbled = garbled

    @property
    def _may_pass(self) -> bool:
        return not self.permanent


class ConnectError(TransportError):
    """No connection was made: name look-up, refusal, TLS. The request was not sent."""


class LimiterUnavailable(ConnectError):
    """The rate limiter that processes share through Redis can't be asked, so nothing may be sent, and nothing was."""


class APITimeoutError(TransportError, TimeoutError):
    """A timeout or the call's deadline passed. `sent` says whether the server may have seen it."""


class ProtocolError(TransportError):
    """The connection broke after sending, or what came back was not HTTP."""


class UnexpectedRedirect(TransportError):
    """The server answered 3xx. It is not followed: the key is meant for one origin only."""


class ResponseTooLarge(TransportError):
    """The body passed ``ClientConfig.max_response_bytes``; the rest was not read."""


class APIStatusError(FullStoryError):
    """The service answered with an error status that has no class of its own."""


class BadRequestError(APIStatusError):
    """400: the service does not accept the parameters."""


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong or revoked."""


class PermissionDeniedError(APIStatusError):
    """403: the key's role is too low, or the feature is not enabled."""


class NotFoundError(APIStatusError):
    """404: no such session or profile."""


class ConflictError(APIStatusError):
    """409: the request collides with another."""


class RateLimitedError(APIStatusError):
    """429, or a wait for the rate limiter longer than ``max_wait`` (then `status` is ``None``)."""


class ServerError(APIStatusError):
    """500 and above: the service failed."""

    @property
    def _may_pass(self) -> bool:
        return True


class DecodeError(FullStoryError):
    """A 2xx answer can't be read as what it should be. `response` still holds the paid-for body.

    Its text tells the status, the size and how the body begins, with letters and digits blotted out: it may be about people.
    """

    def _what(self) -> str:
        if (answer := self.response) is None:
            return self.message
        kind = answer.headers.get("content-type", "")
        return f"{self.message}; {_outline(answer.status, kind, answer.body)}"


class PaginationError(FullStoryError):
    """The server sent a page token a second time; following it would never end."""


class ActivationBudgetError(FullStoryError):
    """The activation budget is used up. Nothing was sent."""


class StorageError(FullStoryError):
    """A file of ours can't be read or written now: another process holds it, or the disk is full."""


class JobError(FullStoryError):
    """A job's folder can't be used as it was asked to."""


class JobLockedError(JobError):
    """Another process runs the job."""


class JobStorageError(JobError, StorageError):
    """The job can't be written: the disk is full, or the file is damaged."""


_SHOWN_BYTES = 200
"""Bytes of a body that are shown."""

_NOT_PERSONAL = frozenset(
    {"html", "doctype", "events", "sessions", "profiles", "summary", "message", "code", "null"}
)


def _outline(status: int, content_type: str, body: bytes) -> str:
    """Describe an answer by its status, kind, size and beginning, each letter an ``x`` and each digit a ``0``."""
    kind = content_type.partition(";")[0].strip()
    told = [f"status {status}", *([kind[:40]] if kind and kind.isprintable() else [])]
    text = "".join(c if c.isprintable() else " " for c in body[:_SHOWN_BYTES].decode("utf-8", "replace"))
    start = re.sub(r"[^\W_]+", _masked, text).strip()
    return ", ".join([*told, f"{len(body)} bytes" + (f": {start}" if start else "")])


def _masked(word: re.Match[str]) -> str:
    text = word[0]
    return text if text.lower() in _NOT_PERSONAL else "".join("0" if c.isdigit() else "x" for c in text)
