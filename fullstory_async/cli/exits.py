"""Exit codes that scripts can rely on, and the message of a usage error."""

from __future__ import annotations

import enum

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

from fullstory_async.cli.program import program
from fullstory_async.error_base import without_secrets
from fullstory_async.errors import (
    APITimeoutError,
    AuthenticationError,
    ConnectError,
    FullStoryError,
    InvalidSessionId,
    JobLockedError,
    NotFoundError,
    PaginationError,
    ProxyError,
    Scope,
    ServerError,
    UnexpectedResponseError,
)

__all__ = ["Exit", "UsageError", "exit_for", "next_step", "usage_text"]


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
    NOT_FULLSTORY = 9
    NO_SESSION_FOUND = 10
    LOCKED = 75
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143
    PIPE_CLOSED = 141


class UsageError(Exception):
    """The command can't do what it was asked to. No activation was spent."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


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
    ((UnexpectedResponseError, ProxyError), Exit.NOT_FULLSTORY),
    # something is broken; running the command again later will not help
    (PaginationError, Exit.UNEXPECTED),
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


_NEXT: dict[type[BaseException], str] = {
    AuthenticationError: "check the key; '{program} whoami' tests it and is free",
    NotFoundError: "check the id, and with '{program} whoami' that the key is of its organisation",
    ConnectError: "check the network, the proxy and --base-url",
    ServerError: "try again later",
}
"""What to do about errors whose texts are the server's or the system's; the others say it themselves.

``{program}`` stands for the command line as it was started.
"""


def next_step(error: BaseException) -> str:
    """Return what to do about an error, to follow its text; nothing if that or a note says so itself."""
    step = None if getattr(error, "__notes__", ()) else _NEXT.get(type(error))
    return "" if step is None else f"; {step.replace('{program}', program())}"


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
        if error.command_chain == ("sessions",):
            text += " Name the user with an option, such as --email or --uid."
    else:
        text = str(error)
    text = text if text.endswith((".", "?")) else f"{text}."
    return f"{command}: {without_secrets(text)} See '{command} --help'.\n"


def _option_as_typed(error: MissingArgumentError) -> str | None:
    """Return the option that was given without its value, or None."""
    tokens = [] if error.argument is None else error.argument.tokens
    return error.keyword or next((token.keyword for token in tokens if token.keyword is not None), None)
