"""Event type names, and suggestions for mistyped ones.

There are two sets of names, which must not be mixed: the events API's with underscores, and context's with
dashes. Both are open, and context also accepts the names of events that an account has defined. So an
unknown name in a program is never rejected: it is a warning, because asking for a type that does not exist
finds nothing and may cost an activation. On the command line, a name that is probably a typo is rejected
before anything is sent.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable

import attrs

from fullstory_async.models.views import EVENT_TYPES

__all__ = [
    "CONTEXT_EVENT_TYPES",
    "Suspicion",
    "UnknownEventTypeWarning",
    "check_context_type",
    "check_event_type",
    "warn_about_context_types",
    "warn_about_event_type",
]

_TYPO_SIMILARITY = 0.8
"""Similarity, from 0 to 1, from which on a name counts as a typo of another."""

CONTEXT_EVENT_TYPES = (
    "navigate", "click", "dead-click", "error-click", "rage-click", "input-change", "network-error",
    "console-error", "mouse-thrash", "highlight", "copy", "paste", "element-seen",
)  # fmt: skip
"""The documented event types of context."""

_CONTEXT_NAMES = {
    "change": "input-change", "request": "network-error", "console_message": "console-error",
    "exception": "console-error",
}  # fmt: skip
"""Events API type → context type, where the names differ by more than the spelling."""


class UnknownEventTypeWarning(UserWarning):
    """An undocumented event type was asked for; it may be a typo."""


@attrs.frozen
class Suspicion:
    """Why a name is probably not what the caller meant."""

    text: str
    is_typo: bool
    """Whether the name is so similar to a documented one that it is almost certainly a typo."""


def check_event_type(name: str, present: Iterable[str] = ()) -> Suspicion | None:
    """Return why a type of the events API is probably wrong, or ``None``.

    Args:
        name: the name to check.
        present: types that the session has, which are right even if they are not documented.
    """
    if name in EVENT_TYPES or name in set(present):
        return None
    known = sorted({*EVENT_TYPES, *present})
    plain = name.lower().replace("-", "_")
    close = difflib.get_close_matches(plain, known, n=1)
    suggestion = (
        f"; did you mean {close[0]!r}?" if close else f"; FullStory documents {', '.join(EVENT_TYPES)}"
    )
    # a name of the other set is never meant as it stands
    is_typo = plain.replace("_", "-") in CONTEXT_EVENT_TYPES or _is_similar(plain, close)
    return Suspicion(f"{name!r} is not a known event type{suggestion}", is_typo)


def check_context_type(name: str) -> Suspicion | None:
    """Return why a context event type is probably a typo, or ``None``.

    A name that does not resemble a documented one may be an event that the account has defined.
    """
    if name in CONTEXT_EVENT_TYPES:
        return None
    plain = name.lower().replace("_", "-").replace(" ", "-")
    close = [_CONTEXT_NAMES[name]] if name in _CONTEXT_NAMES else []
    close = close or difflib.get_close_matches(plain, CONTEXT_EVENT_TYPES, n=1, cutoff=_TYPO_SIMILARITY)
    if close:
        return Suspicion(f"{name!r} is not a context event type; did you mean {close[0]!r}?", is_typo=True)
    if name in EVENT_TYPES:
        known = ", ".join(CONTEXT_EVENT_TYPES)
        return Suspicion(f"{name!r} is a type of the events API; context has {known}", is_typo=False)
    return None


def warn_about_event_type(name: str, present: Iterable[str] = (), *, stacklevel: int) -> None:
    """Warn about a probably wrong type of the events API.

    Args:
        name: the name to check.
        present: types that the session has.
        stacklevel: as for `warnings.warn`, counted from this function.
    """
    if (suspicion := check_event_type(name, present)) is not None:
        warnings.warn(suspicion.text, UnknownEventTypeWarning, stacklevel=stacklevel)


def warn_about_context_types(names: Iterable[str], *, stacklevel: int) -> None:
    """Warn about context event types that are probably typos."""
    for name in names:
        if (suspicion := check_context_type(name)) is not None:
            warnings.warn(suspicion.text, UnknownEventTypeWarning, stacklevel=stacklevel)


def _is_similar(name: str, candidates: list[str]) -> bool:
    return bool(difflib.get_close_matches(name, candidates, n=1, cutoff=_TYPO_SIMILARITY))
