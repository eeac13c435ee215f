"""The text for an agent whose call failed: what happened, what it may have cost, what to do next."""

from __future__ import annotations

from fullstory_async.errors import (
    ActivationBudgetError,
    FullStoryError,
    InvalidSessionId,
    NotFoundError,
    RateLimitedError,
    Scope,
)

__all__ = ["advice_for"]

_BY_CLASS: tuple[tuple[type[FullStoryError], str], ...] = (
    (InvalidSessionId, "Take a session id from find_sessions, or a replay URL."),
    (
        NotFoundError,
        "Check the id with find_sessions, and the profile; a new session may take minutes to appear.",
    ),
    (ActivationBudgetError, "Work with the sessions that are stored, which is free."),
    (RateLimitedError, "Wait before you try again."),
)
_BY_SCOPE = {
    Scope.KEY: "Trying again will not help: a person has to check the server's API key.",
    Scope.SERVICE: "FullStory has failed; try once more in a minute, then tell a person.",
    Scope.NETWORK: "The network has failed; try once more in a minute, then tell a person.",
    Scope.STORAGE: "Trying again will not help: a person has to check the server's disk and files.",
}


def advice_for(error: FullStoryError) -> str:
    """Return what a model reads about a failure, in one or two sentences more than the error's own text."""
    cost = "" if error.may_have_cost else "Nothing was spent."  # an error that may have cost says so itself
    advice = next(
        (text for kind, text in _BY_CLASS if isinstance(error, kind)), _BY_SCOPE.get(error.scope, "")
    )
    return " ".join(filter(None, (f"{str(error).rstrip('.')}.", cost, advice)))
