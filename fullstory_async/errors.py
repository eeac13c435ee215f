"""The errors that this package raises.

::

    FullStoryError
    ├── ConfigurationError       a setting or an argument is wrong; nothing was sent
    ├── ClientStateError         the client is not open, closed, or on another event loop
    ├── InvalidSessionId         the text is not a session id; nothing was sent
    ├── ProgramError             the program's own code raised an exception in the middle of a call
    ├── TransportError           no usable HTTP response
    │   ├── ConnectError             no connection was made; the request was not sent
    │   │   ├── ProxyError               a proxy refused, for its rules or the login; nothing was sent
    │   │   └── LimiterUnavailable       a shared rate limiter can't be reached; nothing was sent
    │   ├── APITimeoutError          a timeout or the call's deadline passed
    │   ├── ProtocolError            the connection broke, or the response was not HTTP
    │   ├── UnexpectedResponseError  the response can't be FullStory's: a sign-in page, a proxy, another API
    │   │   └── UnexpectedRedirect       a 3xx; never followed, so the key goes nowhere else
    │   └── ResponseTooLarge         the body exceeded max_response_bytes
    ├── APIStatusError           the service responded with an error status
    │   ├── BadRequestError          400
    │   ├── AuthenticationError      401
    │   ├── PermissionDeniedError    403
    │   ├── NotFoundError            404
    │   ├── ConflictError            409
    │   ├── RateLimitedError         429, or a wait for the rate limiter longer than max_wait
    │   └── ServerError              500 and above
    │       ├── ErrorInSuccess           a 2xx whose body is an error
    │       └── GatewayThrottledError    a 503 page between good responses: something in front throttles
    ├── DecodeError              a 2xx response that can't be decoded; its body is kept in .response
    ├── NoSessionFoundError      every call so far failed for its session: the ids may all be wrong
    ├── PaginationError          the server repeats its page tokens
    ├── ActivationBudgetError    the activation budget is used up; nothing was sent
    ├── StorageError             a local file can't be read or written now
    └── JobError                 a job folder can't be used as requested
        ├── JobLockedError           another process runs the job
        ├── JobIncompleteError       a part of the job's file is missing (also a StorageError)
        └── JobStorageError          the job can't be written (also a StorageError)

Each class says once what its errors are about (`scope`) and whether only a different call can succeed
(`permanent`). Retries, fan-outs, jobs and exit codes read these instead of keeping lists of classes.

Every error can be pickled, and none holds the API key: a `Request` is the call before the key is added. The
e-mail address or user id that a call was about appears neither in the error's text, even if the service
quotes it, nor in its pickle.
"""

from __future__ import annotations

from fullstory_async.error_base import FullStoryError, Scope, describe_body
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
    "ErrorInSuccess",
    "FullStoryError",
    "GatewayThrottledError",
    "InvalidSessionId",
    "JobError",
    "JobIncompleteError",
    "JobLockedError",
    "JobStorageError",
    "LimiterUnavailable",
    "NoSessionFoundError",
    "NotFoundError",
    "PaginationError",
    "PermissionDeniedError",
    "ProgramError",
    "ProtocolError",
    "ProxyError",
    "RateLimitedError",
    "ResponseTooLarge",
    "Scope",
    "ServerError",
    "StorageError",
    "TransportError",
    "UnexpectedRedirect",
    "UnexpectedResponseError",
]

_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed in a moment."""
_TRANSIENT_IF_ANNOUNCED = frozenset({421, *range(520, 530)})
"""The same, of a gateway whose way to the service failed, where ``Retry-After`` says so."""


class ConfigurationError(FullStoryError, ValueError):
    """A setting or an argument is wrong. Nothing was sent."""

    permanent = True
    _quotes_arguments = True


class ClientStateError(FullStoryError, RuntimeError):
    """The client or the limiter can't be used now, or not from here. Nothing was sent."""


class InvalidSessionId(FullStoryError, ValueError):
    """A text is not usable as a session id. Nothing was sent."""

    scope = Scope.SESSION
    permanent = True
    _quotes_arguments = True


class ProgramError(FullStoryError):
    """Code of the program raised an exception in the middle of a call; ``__cause__`` is that exception.

    A trace hook of a given session, a custom meter, a patched module, for example. The call is not repeated.
    `may_have_cost` says whether it was sent, and `response` holds a response that had arrived whole.
    """

    permanent = True


class TransportError(FullStoryError):
    """The network gave no usable response."""

    scope = Scope.NETWORK

    sent: bool
    """Whether the request may have reached the server."""
    stale: bool
    """Whether a kept-alive connection broke before the response began: the server had probably closed it."""
    garbled: bool
    """Whether the response was not HTTP: a single accident, or a server that speaks another protocol."""

    def __init__(
        self,
        message: str = "",
        *,
        request: Request | None = None,
        response: Response | None = None,
        sent: bool = True,
        permanent: bool | None = None,
        stale: bool = False,
        garbled: bool = False,
    ) -> None:
        cost = sent and request is not None and request.metered
        super().__init__(message, request=request, response=response, may_have_cost=cost)
        self.sent = sent
        if permanent is not None:  # as for an untrusted certificate, where most connection errors pass
            self.permanent = permanent
        self.stale = stale
        self.garbled = garbled

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return not self.permanent


class ConnectError(TransportError):
    """No connection was made: name look-up, refusal, TLS. The request was not sent."""


class ProxyError(ConnectError):
    """A proxy refused: it requires another login, or its rules don't allow the request. Nothing was charged.

    All further requests would be refused as well, so none is made: fan-outs and jobs end.
    """

    permanent = True


class LimiterUnavailable(ConnectError):
    """The rate limiter that processes share through a server can't be reached, so nothing was sent."""


class APITimeoutError(TransportError, TimeoutError):
    """A timeout or the call's deadline passed. `sent` says whether the server may have seen the request."""


class ProtocolError(TransportError):
    """The connection broke after sending, or the response was not HTTP."""


class UnexpectedResponseError(TransportError):
    """A response that can't be FullStory's; its text says who probably answered, and where.

    A `TransportError`, because the way to the service is wrong: FullStory has neither judged the call nor the
    session. So a job records nothing for the session and makes the call again. It isn't a `DecodeError`,
    whose body was paid for. Whether FullStory has seen the call nevertheless is unknown: it stays at risk,
    except after a redirect or a 511, which prove that it has not. In place of the body, which may quote the
    request, `response` holds a masked excerpt.
    """

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed in a moment: not before the network or the address changes."""
        return False


class UnexpectedRedirect(UnexpectedResponseError):
    """The server responded with a 3xx. It is not followed: the key is meant for one origin only."""

    permanent = True


class ResponseTooLarge(TransportError):
    """The body exceeded ``ClientConfig.max_response_bytes``; the rest was not read."""

    scope = Scope.SESSION
    permanent = True


class APIStatusError(FullStoryError):
    """The service responded with an error status that has no class of its own."""

    scope = Scope.SESSION
    _shows_status = True

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed in a moment, going by its status."""
        if self.status in _TRANSIENT_IF_ANNOUNCED:
            return self.retry_after is not None
        return self.status in _TRANSIENT_STATUSES

    @property
    def is_unknown_status(self) -> bool:
        """Whether the status has no class of its own and no code: it is probably not the service's."""
        return type(self) is APIStatusError and self.code is None


class BadRequestError(APIStatusError):
    """400: the service does not accept the parameters."""

    permanent = True


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong or revoked."""

    scope = Scope.KEY


class PermissionDeniedError(APIStatusError):
    """403: the key's role is too low, or the feature is not enabled."""

    scope = Scope.KEY


class NotFoundError(APIStatusError):
    """404: no such session or profile."""

    permanent = True


class ConflictError(APIStatusError):
    """409: the request collides with another."""


class RateLimitedError(APIStatusError):
    """429, or a wait for the rate limiter longer than ``max_wait`` (then `status` is ``None``)."""

    scope = Scope.RATE


class ServerError(APIStatusError):
    """500 and above: the service failed."""

    scope = Scope.SERVICE


class ErrorInSuccess(ServerError):
    """A 2xx response whose body is an error of the service. Handled like a 500."""

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return True


class GatewayThrottledError(ServerError):
    """A 503 with a page between good responses: something in front of the service throttles.

    It pauses the rate limiter like a 429. If it names another server than the good responses do, the service
    has not seen the call: then it costs nothing and is sent again.
    """

    scope = Scope.NETWORK


class DecodeError(FullStoryError):
    """A 2xx response can't be decoded; `response` holds the paid-for body, and the text masks its words."""

    scope = Scope.SESSION
    permanent = True

    def _what(self) -> str:
        if (response := self.response) is None:
            return self.message
        content_type = response.headers.get("content-type", "")
        return f"{self.message}; {describe_body(response.status, content_type, response.body)}"


class NoSessionFoundError(FullStoryError):
    """Every call of a fan-out so far failed for its session, as with a 404; as many as ``max_failures``."""

    permanent = True


class PaginationError(FullStoryError):
    """The server sent a page token a second time; following it would never end."""

    scope = Scope.SERVICE


class ActivationBudgetError(FullStoryError):
    """The activation budget is used up. Nothing was sent."""

    scope = Scope.BUDGET


class StorageError(FullStoryError):
    """A local file (held by another process, or on a full disk) or Postgres can't be used now."""

    scope = Scope.STORAGE


class JobError(FullStoryError):
    """A job folder can't be used as requested."""

    permanent = True


class JobLockedError(JobError):
    """Another process runs the job."""

    scope = Scope.STORAGE
    permanent = False


class JobIncompleteError(JobError, StorageError):
    """The job's file lacks commits, such as those in a log that is gone: it can be read, but not be run."""


class JobStorageError(JobError, StorageError):
    """The job can't be written: the disk is full, or the file is damaged."""

    permanent = False
