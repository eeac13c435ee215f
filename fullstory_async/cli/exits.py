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
    JobError,
    JobLockedError,
    JobStorageError,
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
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143
    PIPE_CLOSED = 141


class UsageError(Exception):
    """What the user asked for can't be done; nothing that costs was sent."""


def exit_for(error: BaseException) -> Exit:
    """Return the exit code that an error ends a command with."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), Exit.UNEXPECTED)


_CODES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Exit], ...] = (
    (BrokenPipeError, Exit.PIPE_CLOSED),
    ((UsageError, ConfigurationError, InvalidSessionId), Exit.USAGE),
    ((AuthenticationError, PermissionDeniedError), Exit.AUTHENTICATION),
    (NotFoundError, Exit.NOT_FOUND),
    ((RateLimitedError, APITimeoutError), Exit.RATE_LIMIT_OR_DEADLINE),
    (ActivationBudgetError, Exit.BUDGET),
    ((ConnectError, ProtocolError, ServerError), Exit.UNAVAILABLE),
    (JobLockedError, Exit.LOCKED),
    (JobStorageError, Exit.UNEXPECTED),
    (JobError, Exit.USAGE),  # such as no job there, or a plan that differs
)
