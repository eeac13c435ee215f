"""The names of event types, and what somebody who mistyped one probably meant.

There are two sets, which must not be mixed: the events API's, with underscores, and context's, with dashes. Both
are open, and context also takes the names of events that an account has defined, so a program's strange name is never
refused; it is a warning, since asking for a type that does not exist finds nothing, and may cost an activation. What a
person types on the command line is refused where it is a slip, before anything is sent.
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
    "doubt_of_context_type",
    "doubt_of_event_type",
    "warn_of_context_types",
    "warn_of_event_type",
]

_CLOSE = 0.8
"""How alike two names are, of 1, that are one name and a slip."""

CONTEXT_EVENT_TYPES = (
    "navigate", "click", "dead-click", "error-click", "rage-click", "input-change", "network-error",
    "console-error", "mouse-thrash", "highlight", "copy", "paste", "element-seen",
)  # fmt: skip
"""The documented types of events in context."""

_IN_OTHER_WORDS = {
    "change": "input-change", "request": "network-error", "console_message": "console-error",
    "exception": "console-error",
}  # fmt: skip
"""Types of the events API that context calls something else altogether."""


class UnknownEventTypeWarning(UserWarning):
    """A type of event that FullStory does not document was asked for; it may be a slip of the pen."""


@attrs.frozen
class Suspicion:
    """Why a name is probably not what was meant."""

    text: str
    slip: bool
    """Whether the name is so close to a documented one that it is hardly anything else."""


def doubt_of_event_type(name: str, present: Iterable[str] = ()) -> Suspicion | None:
    """Tell what is doubtful in a name for the events API: it is not documented, and not ``present`` either."""
    if name in EVENT_TYPES or name in set(present):
        return None
    known = sorted({*EVENT_TYPES, *present})
    plain = name.lower().replace("-", "_")
    close = difflib.get_close_matches(plain, known, n=1)
    suggestion = (
        f"; did you mean {close[0]!r}?" if close else f"; FullStory documents {', '.join(EVENT_TYPES)}"
    )
    slip = plain.replace("_", "-") in CONTEXT_EVENT_TYPES or _is_close(plain, close)
    return Suspicion(f"{name!r} is no known type of event{suggestion}", slip)


def doubt_of_context_type(name: str) -> Suspicion | None:
    """Tell what is doubtful in a name for context: it looks like a documented one, but is none.

    Any other name may be that of an event that the account has defined.
    """
    if name in CONTEXT_EVENT_TYPES:
        return None
    plain = name.lower().replace("_", "-").replace(" ", "-")
    close = [_IN_OTHER_WORDS[name]] if name in _IN_OTHER_WORDS else []
    close = close or difflib.get_close_matches(plain, CONTEXT_EVENT_TYPES, n=1, cutoff=_CLOSE)
    if close:
        return Suspicion(f"{name!r} is no type of event in context; did you mean {close[0]!r}?", slip=True)
    if name in EVENT_TYPES:
        known = ", ".join(CONTEXT_EVENT_TYPES)
        return Suspicion(f"{name!r} is a type of the events API; context knows {known}", slip=False)
    return None


def warn_of_event_type(name: str, present: Iterable[str] = (), *, stacklevel: int) -> None:
    """Warn of a doubtful name for the events API. ``stacklevel`` is counted as `warnings.warn` counts it, from here."""
    if (doubt := doubt_of_event_type(name, present)) is not None:
        warnings.warn(doubt.text, UnknownEventTypeWarning, stacklevel=stacklevel)


def warn_of_context_types(names: Iterable[str], *, stacklevel: int) -> None:
    """Warn of doubtful names for context."""
    for name in names:
        if (doubt := doubt_of_context_type(name)) is not None:
            warnings.warn(doubt.text, UnknownEventTypeWarning, stacklevel=stacklevel)


def _is_close(name: str, candidates: list[str]) -> bool:
    return bool(difflib.get_close_matches(name, candidates, n=1, cutoff=_CLOSE))
