"""What is nobody else's business, kept out of what prints itself.

Loggers, debuggers and error trackers print variables: those of objects, by their repr, and those of every frame that an
exception has passed. So the API key is a `Secret` wherever this package holds it, and an error leaves the frames behind
in which addresses and answers stood.
"""

from __future__ import annotations

from typing import NoReturn, Self, TypeVar

__all__ = ["Secret", "without_frames"]

E = TypeVar("E", bound=BaseException)


class Secret(str):
    """A text that its repr does not show and that does not pickle. It is a `str`, as headers have to be: `str()` gives the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


def without_frames(error: E) -> E:
    """Return an exception as if it came from here: without the frames it has passed and what was handled in them.

    To be raised outside of the handler that caught it, or Python would attach what it was caught in.
    """
    error.__context__ = None
    return error.with_traceback(None)
