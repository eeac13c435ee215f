"""Exit codes that scripts can rely on, and how errors become them."""

from __future__ import annotations

import enum

from fullstory_async.errors import (
    APITimeoutError,
    FullStoryError,
    InvalidSessionId,
    JobLockedError,
    NotFoundError,
    PaginationError,
    Scope,
    UnexpectedRedirect,
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
    for kinds, code in _BY_CLASS:
        if isinstance(error, kinds):
            return code
    if not isinstance(error, FullStoryError):
        return Exit.UNEXPECTED
    # a wrong argument is permanent; a client in the wrong state is a bug of the command
    if error.scope is Scope.PROGRAM and not error.permanent:
        return Exit.UNEXPECTED
    return _BY_SCOPE.get(error.scope, Exit.UNEXPECTED)


_BY_CLASS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Exit], ...] = (
    (BrokenPipeError, Exit.PIPE_CLOSED),
    ((UsageError, InvalidSessionId), Exit.USAGE),
    (NotFoundError, Exit.NOT_FOUND),
    (APITimeoutError, Exit.RATE_LIMIT_OR_DEADLINE),
    (JobLockedError, Exit.LOCKED),
    # something is misconfigured or broken; running the command again later will not help
    ((UnexpectedRedirect, PaginationError), Exit.UNEXPECTED),
)
"""Errors with a code of their own."""

_BY_SCOPE = {
    Scope.PROGRAM: Exit.USAGE,
    Scope.KEY: Exit.AUTHENTICATION,
    Scope.BUDGET: Exit.BUDGET,
    Scope.RATE: Exit.RATE_LIMIT_OR_DEADLINE,
    Scope.SERVICE: Exit.UNAVAILABLE,
    Scope.NETWORK: Exit.UNAVAILABLE,
}
"""The code of every other error of this package; a local file or a single session has none."""
