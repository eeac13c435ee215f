"""Exit codes that scripts can rely on, and how errors become them."""

from __future__ import annotations

import enum

from fullstory_async.errors import (
    ActivationBudgetError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    InvalidSessionId,
    JobLockedError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
)

__all__ = ["Exit", "UsageError", "exit_for"]


class Exit(enum.IntEnum):
    """What an exit code means; the codes are part of the interface."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    SOME_FAILED = 3
    AUTHENTICATION = 4
    NOT_FOUND = 5
    RATE_LIMIT_OR_DEADLINE = 6
    BUDGET = 7
    UNAVAILABLE = 8
    LOCKED = 75
    INTERRUPTED = 130
    TERMINATED = 143
    PIPE_CLOSED = 141


class UsageError(Exception):
    """What the user asked for can't be done; nothing was sent."""


def exit_for(error: BaseException) -> Exit:
    """Return the exit code that an error ends a command with."""
    match error:
        case BrokenPipeError():
            return Exit.PIPE_CLOSED
        case UsageError() | ConfigurationError() | InvalidSessionId():
            return Exit.USAGE
        case AuthenticationError() | PermissionDeniedError():
            return Exit.AUTHENTICATION
        case NotFoundError():
            return Exit.NOT_FOUND
        case RateLimitedError() | APITimeoutError():
            return Exit.RATE_LIMIT_OR_DEADLINE
        case ConnectError() | ProtocolError() | ServerError():
            return Exit.UNAVAILABLE
        case ActivationBudgetError():
            return Exit.BUDGET
        case JobLockedError():
            return Exit.LOCKED
    return Exit.UNEXPECTED
