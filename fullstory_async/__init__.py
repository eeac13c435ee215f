"""An asyncio client for the FullStory Sessions API.

List a user's sessions, fetch their events, generate context and AI summaries, for one session or for many
under one rate limiter, and manage summary profiles. Start with `FullStoryClient`.
"""

# ruff: noqa: E402  (before the imports, which take the time that it is for)
from fullstory_async import startup

startup.end_on_interrupt()

import importlib
import typing

if typing.TYPE_CHECKING:
    from fullstory_async._version import __version__
    from fullstory_async.api.streaming import EventStream
    from fullstory_async.client import FullStoryClient
    from fullstory_async.config import ClientConfig
    from fullstory_async.errors import (
        ActivationBudgetError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ClientStateError,
        ConfigurationError,
        ConflictError,
        ConnectError,
        DecodeError,
        ErrorInSuccess,
        FullStoryError,
        GatewayThrottledError,
        InvalidSessionId,
        JobError,
        JobIncompleteError,
        JobLockedError,
        JobStorageError,
        LimiterUnavailable,
        NoSessionFoundError,
        NotFoundError,
        PaginationError,
        PermissionDeniedError,
        ProgramError,
        ProtocolError,
        ProxyError,
        RateLimitedError,
        ResponseTooLarge,
        Scope,
        ServerError,
        StorageError,
        TransportError,
        UnexpectedRedirect,
        UnexpectedResponseError,
    )
    from fullstory_async.fanout import FanOut
    from fullstory_async.files.ledger import ActivationLedger
    from fullstory_async.files.response_cache import ResponseCache
    from fullstory_async.files.summary_cache import SummaryCache
    from fullstory_async.http.hooks import (
        Hooks,
        RequestJoined,
        RequestSent,
        RequestThrottled,
        ResponseReceived,
        RetryPlanned,
        Stats,
    )
    from fullstory_async.http.metering import Meter
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
    from fullstory_async.outcome import Failure, Outcome, Success
    from fullstory_async.pagination import Page, Pager
    from fullstory_async.ratelimit.limiter import RateLimit, RateLimiter
    from fullstory_async.ratelimit.unshared import UnsharedLimiterWarning
    from fullstory_async.response_info import ResponseInfo
    from fullstory_async.retry import RetryPolicy
    from fullstory_async.secret import Secret
    from fullstory_async.session_id import SessionId

__all__ = [
    "APIStatusError",
    "APITimeoutError",
    "ActivationBudgetError",
    "ActivationLedger",
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
    "ErrorInSuccess",
    "EventOptions",
    "EventStream",
    "Failure",
    "FanOut",
    "FullStoryClient",
    "FullStoryError",
    "GatewayThrottledError",
    "Hooks",
    "InvalidSessionId",
    "JobError",
    "JobIncompleteError",
    "JobLockedError",
    "JobStorageError",
    "KeyOwner",
    "LLMOptions",
    "LimiterUnavailable",
    "MediaOptions",
    "Meter",
    "NoSessionFoundError",
    "NotFoundError",
    "Outcome",
    "Page",
    "Pager",
    "PaginationError",
    "PermissionDeniedError",
    "Profile",
    "ProfileConfiguration",
    "ProgramError",
    "ProtocolError",
    "ProxyError",
    "RateLimit",
    "RateLimitedError",
    "RateLimiter",
    "RequestJoined",
    "RequestSent",
    "RequestThrottled",
    "ResponseCache",
    "ResponseInfo",
    "ResponseReceived",
    "ResponseSchema",
    "ResponseTooLarge",
    "RetryPlanned",
    "RetryPolicy",
    "Scope",
    "Secret",
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
    "StorageError",
    "Success",
    "SummaryCache",
    "TransportError",
    "UnexpectedRedirect",
    "UnexpectedResponseError",
    "UnknownEventTypeWarning",
    "UnsharedLimiterWarning",
    "__version__",
]

_HOMES = (
    "_version", "errors", "response_info", "secret", "session_id", "pagination", "config", "retry",
    "ratelimit.limiter", "models", "http.hooks", "http.metering", "files.ledger", "files.response_cache",
    "files.summary_cache", "outcome", "fanout", "ratelimit.unshared", "api.streaming", "client",
)  # fmt: skip
"""The modules of the public names, the smallest first: they are imported until one has the name in use.

So the command line's help page, and a program that uses a few names, don't wait for all of them.
"""


if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name, or a module of the package."""
        if name in __all__:
            for home in _HOMES:
                module = importlib.import_module(f"{__name__}.{home}")
                if (value := getattr(module, name, None)) is not None:
                    globals()[name] = value
                    return value
        try:
            if not name.startswith("__"):
                return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """Return all names, those included that have not been imported yet."""
        return sorted({*globals(), *__all__})
