"""Secret: a text that shows itself in no operation but `Secret.reveal`.

Error trackers, loggers and debuggers print whatever they find in a stack frame, and of a `str` the whole
text, whatever its subclass overrides. So a secret is not a `str`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn, Self

from fullstory_async.spelling import Finder, Reading, finder_of

__all__ = ["Secret"]

_SHORTEST = 8
"""Length below which a secret is not replaced: it may be a common word. As much of a longer one is."""


class Secret:
    """A text that is not shown: an API key, a password, a URL that holds one.

    Its `str` and `repr` are ``<secret>``; it can't be sliced, joined, encoded, iterated over or pickled.
    Two secrets with the same text are equal.
    """

    __slots__ = ("_finder", "reveal")

    reveal: Callable[[], str]
    """Return the text itself."""

    def __init__(self, text: str) -> None:
        """Hide a text."""
        if not isinstance(text, str):
            kind = type(text).__name__
            del text  # it may be a key all the same, and tracebacks show variables
            raise TypeError(f"a secret must be a str, not {kind}")
        # bound methods of built-in types: not even a walk over the attributes shows what they are bound to,
        # and requests take no further function of ours
        self.reveal = str.__str__(text).__str__
        self._finder: Callable[[], Iterator[Finder]] | None = None

    @classmethod
    def of(cls, given: str | Secret) -> Secret:
        """Return a text as a secret, and a secret as it is."""
        return given if isinstance(given, Secret) else cls(given)

    def map(self, change: Callable[[str], str]) -> Secret:
        """Return another secret, made from the text of this one."""
        return Secret(change(self.reveal()))

    def startswith(self, prefix: str) -> bool:
        """Return whether the text begins with a prefix."""
        return self.reveal().startswith(prefix)

    def redact(self, reading: Reading, instead: str) -> Reading:
        """Return a text with something else instead of this one: whole, cut, escaped or in base64."""
        if self._finder is None:
            hidden = self.reveal()
            known = [finder_of(hidden, least=_SHORTEST)] if len(hidden) >= _SHORTEST else []
            self._finder = known.__iter__
        for finder in self._finder():
            reading = reading.without(finder, instead)
        return reading

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret):
            return self.reveal() == other.reveal()
        if isinstance(other, str):
            warnings.warn(
                "comparing a secret such as config.api_key with a text is deprecated, and will be False in "
                "the next version; compare its reveal()",
                DeprecationWarning,
                stacklevel=2,
            )
            return self.reveal() == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __repr__(self) -> str:
        return "<secret>"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self
