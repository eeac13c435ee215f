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

__all__ = ["is_permanent", "is_service_failure", "is_session_failure", "is_throttled", "was_not_sent"]

_NOT_OF_THE_SESSION = (AuthenticationError, RateLimitedError, ActivationBudgetError, StorageError)
_PERMANENT = (NotFoundError, BadRequestError, InvalidSessionId, DecodeError, ResponseTooLarge)


def was_not_sent(error: FullStoryError) -> bool:
    """Tell whether the request has not left."""
    return isinstance(error, TransportError) and not error.sent


def is_throttled(error: FullStoryError) -> bool:
    """Tell whether the service wants less traffic: said by itself, or by the time that ran out while its 429 was obeyed."""
    return isinstance(error, RateLimitedError) or (
        isinstance(error, APITimeoutError)
        and was_not_sent(error)
        and isinstance(error.__cause__, RateLimitedError)
    )


def is_session_failure(error: FullStoryError) -> bool:
    """Tell whether it is about this session at all, so that it should be written down for it."""
    return not (was_not_sent(error) or isinstance(error, _NOT_OF_THE_SESSION))


def is_permanent(error: FullStoryError) -> bool:
    """Tell whether the same call would fail again at any time."""
    return isinstance(error, _PERMANENT)


def is_service_failure(error: FullStoryError) -> bool:
    """Tell whether the service failed, or its answer did not arrive."""
    return isinstance(error, (ServerError, TransportError)) and not is_permanent(error)
