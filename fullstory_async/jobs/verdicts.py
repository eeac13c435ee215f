"""What the failure of a call says: of its session for good, of its session today, or of something else altogether."""

from __future__ import annotations

from fullstory_async.errors import (
    ActivationBudgetError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    DecodeError,
    FullStoryError,
    InvalidSessionId,
    NotFoundError,
    RateLimitedError,
    ResponseTooLarge,
    ServerError,
    StorageError,
    TransportError,
)

__all__ = ["is_lost", "is_of_the_session", "is_permanent", "is_throttled", "is_unsent"]

_NOT_OF_THE_SESSION = (AuthenticationError, RateLimitedError, ActivationBudgetError, StorageError)
_PERMANENT = (NotFoundError, BadRequestError, InvalidSessionId, DecodeError, ResponseTooLarge)


def is_unsent(error: FullStoryError) -> bool:
    """Tell whether the request has not left."""
    return isinstance(error, TransportError) and not error.sent


def is_throttled(error: FullStoryError) -> bool:
    """Tell whether the service wants less traffic: said by itself, or by the time that ran out while its 429 was obeyed."""
    return isinstance(error, RateLimitedError) or (
        isinstance(error, APITimeoutError)
        and is_unsent(error)
        and isinstance(error.__cause__, RateLimitedError)
    )


def is_of_the_session(error: FullStoryError) -> bool:
    """Tell whether it is about this session at all, so that it should be written down for it."""
    return not (is_unsent(error) or isinstance(error, _NOT_OF_THE_SESSION))


def is_permanent(error: FullStoryError) -> bool:
    """Tell whether the same call would fail again at any time."""
    return isinstance(error, _PERMANENT)


def is_lost(error: FullStoryError) -> bool:
    """Tell whether the service failed, or its answer did not arrive."""
    return isinstance(error, (ServerError, TransportError)) and not is_permanent(error)
