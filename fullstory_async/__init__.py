"""An asyncio client for the FullStory Sessions API.

List a user's sessions, fetch their events, generate context and AI summaries, for one id or for many under one
rate limiter, and manage summary profiles. `FullStoryClient` is where to begin.
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
from fullstory_async.models import (
    CacheOptions,
    ContextEvent,
    ContextOptions,
    ContextPage,
    EventOptions,
    KeyOwner,
    LLMOptions,
    MediaOptions,
    Profile,
    ProfileConfiguration,
    ResponseSchema,
    Session,
    SessionContext,
    SessionEvent,
    SessionEvents,
    SessionPage,
    SessionSummary,
    SliceOptions,
    UnknownEventTypeWarning,
)
from fullstory_async.pagination import Page, Pager
from fullstory_async.session_id import SessionId
from fullstory_async.summary_cache import SummaryCache

__all__ = [
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "CacheOptions",
    "ClientConfig",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "ContextEvent",
    "ContextOptions",
    "ContextPage",
    "DecodeError",
    "EventOptions",
    "FanOut",
    "FullStoryClient",
    "FullStoryError",
    "InvalidSessionId",
    "KeyOwner",
    "LLMOptions",
    "MediaOptions",
    "NotFoundError",
    "Outcome",
    "Page",
    "Pager",
    "PaginationError",
    "PermissionDeniedError",
    "Profile",
    "ProfileConfiguration",
    "ProtocolError",
    "RateLimit",
    "RateLimitedError",
    "RateLimiter",
    "ResponseSchema",
    "ResponseTooLarge",
    "RetryPolicy",
    "ServerError",
    "Session",
    "SessionContext",
    "SessionEvent",
    "SessionEvents",
    "SessionId",
    "SessionPage",
    "SessionSummary",
    "SliceOptions",
    "Stats",
    "SummaryCache",
    "TransportError",
    "UnexpectedRedirect",
    "UnknownEventTypeWarning",
    "__version__",
]
