"""The names of event types, and what somebody who mistyped one probably meant.

There are two sets, which must not be mixed: the events API's, with underscores, and context's, with dashes. Both
are open, and context also takes the names of events that an account has defined, so a strange name is never
refused; it is a warning, since asking for a type that does not exist finds nothing, and may cost an activation.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable

from fullstory_async.models.views import EVENT_TYPES

__all__ = ["CONTEXT_EVENT_TYPES", "UnknownEventTypeWarning", "warn_of_context_types", "warn_of_event_type"]

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


def warn_of_event_type(name: str, present: Iterable[str] = (), *, stacklevel: int) -> None:
    """Warn of a name that is no documented type of the events API, and is not ``present`` either.

    ``stacklevel`` is counted as `warnings.warn` counts it, from here.
    """
    if name in EVENT_TYPES or name in set(present):
        return
    known = sorted({*EVENT_TYPES, *present})
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    suggestion = (
        f"; did you mean {close[0]!r}?" if close else f"; FullStory documents {', '.join(EVENT_TYPES)}"
    )
    text = f"{name!r} is no known type of event{suggestion}"
    warnings.warn(text, UnknownEventTypeWarning, stacklevel=stacklevel)


def warn_of_context_types(names: Iterable[str], *, stacklevel: int) -> None:
    """Warn of names that look like a documented type of context's, but are none.

    Any other name may be that of an event that the account has defined.
    """
    for name in names:
        if name in CONTEXT_EVENT_TYPES:
            continue
        plain = name.lower().replace("_", "-").replace(" ", "-")
        close = [_IN_OTHER_WORDS[name]] if name in _IN_OTHER_WORDS else []
        close = close or difflib.get_close_matches(plain, CONTEXT_EVENT_TYPES, n=1, cutoff=0.8)
        if not close and name in EVENT_TYPES:
            text = f"{name!r} is a type of the events API; context knows {', '.join(CONTEXT_EVENT_TYPES)}"
            warnings.warn(text, UnknownEventTypeWarning, stacklevel=stacklevel)
        if close:
            text = f"{name!r} is no type of event in context; did you mean {close[0]!r}?"
            warnings.warn(text, UnknownEventTypeWarning, stacklevel=stacklevel)
