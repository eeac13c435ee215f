"""An asyncio client for the FullStory Sessions API.

List a user's sessions, fetch their events and generate AI summaries, for one id or for many under one
rate limiter. `FullStoryClient` is where to begin.
"""

from fullstory_async._version import __version__
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig
from fullstory_async.errors import (
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ClientStateError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    DecodeError,
    FullStoryError,
    InvalidSessionId,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ResponseTooLarge,
    ServerError,
    TransportError,
    UnexpectedRedirect,
)
from fullstory_async.fanout import FanOut, Outcome
from fullstory_async.http.pipeline import Stats
from fullstory_async.http.ratelimit import RateLimit, RateLimiter
from fullstory_async.http.retry import RetryPolicy
from fullstory_async.models import Session, SessionEvent, SessionEvents, SessionSummary
from fullstory_async.pagination import Page, Pager
from fullstory_async.session_id import SessionId

__all__ = [
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ClientConfig",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "DecodeError",
    "FanOut",
    "FullStoryClient",
    "FullStoryError",
    "InvalidSessionId",
    "NotFoundError",
    "Outcome",
    "Page",
    "Pager",
    "PaginationError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimit",
    "RateLimitedError",
    "RateLimiter",
    "ResponseTooLarge",
    "RetryPolicy",
    "ServerError",
    "Session",
    "SessionEvent",
    "SessionEvents",
    "SessionId",
    "SessionSummary",
    "Stats",
    "TransportError",
    "UnexpectedRedirect",
    "__version__",
]
