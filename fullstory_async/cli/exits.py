"""Exit codes that scripts can rely on, and the message of a usage error."""

from __future__ import annotations

import enum

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

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

__all__ = ["Exit", "UsageError", "exit_for", "usage_text"]


class Exit(enum.IntEnum):
    """The exit codes. They are part of the interface."""

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
    """The command can't do what it was asked to. No activation was spent."""


def exit_for(error: BaseException) -> Exit:
    """Return the exit code of a command that ends with this error."""
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


def usage_text(error: CycloptsError) -> str:
    """Return what is wrong with a command line, as one line."""
    command = " ".join(("fullstory-async", *(error.command_chain or ())))
    if type(error) is MissingArgumentError and error.argument is not None:
        _, meant, suggestion = str(error).partition(" Did you mean ")
        option = _option_as_typed(error)
        text = f"{error.argument.name} is missing" if option is None else f"{option} needs a value"
        text = f"{text}.{meant}{suggestion}"
    elif isinstance(error, UnusedCliTokensError):
        text = f"too many arguments: {', '.join(map(repr, error.unused_tokens or ()))}."
    else:
        text = str(error)
    return f"{command}: {text} See '{command} --help'.\n"


def _option_as_typed(error: MissingArgumentError) -> str | None:
    """Return the option that was given without its value, or None."""
    tokens = [] if error.argument is None else error.argument.tokens
    return error.keyword or next((token.keyword for token in tokens if token.keyword is not None), None)
