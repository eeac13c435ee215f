"""Copies of an error: each caller of a shared request gets one of its own."""

from __future__ import annotations

import copy
from types import FunctionType
from typing import TypeVar, cast

__all__ = ["separate"]

E = TypeVar("E", bound=BaseException)


def separate(error: E) -> E:
    """Return an equal error with a traceback, notes and causes of its own.

    Callers raise it through their own frames and note on it what they know, which other callers must not see.
    """
    copies: dict[int, BaseException] = {}
    return cast("E", _copy(error, copies))


def _copy(error: BaseException, copies: dict[int, BaseException]) -> BaseException:
    """Copy an exception and its causes, which may form a circle; ``copies`` are those so far, by `id`."""
    if id(error) in copies:
        return copies[id(error)]
    try:
        mine = _same_again(error, copies)
    # the constructor of a program's own class may raise anything; such an error is shared instead of copied
    except Exception:  # noqa: BLE001
        return copies.setdefault(id(error), error)
    copies[id(error)] = mine
    mine.__dict__.update(vars(error))
    if "__notes__" in vars(error):
        mine.__notes__ = list(error.__notes__)
    if error.__cause__ is not None:
        mine.__cause__ = _copy(error.__cause__, copies)
    mine.__suppress_context__ = True
    return mine.with_traceback(error.__traceback__)


def _same_again(error: BaseException, copies: dict[int, BaseException]) -> BaseException:
    cls = type(error)
    if isinstance(error, BaseExceptionGroup):
        return cls.__new__(cls, error.message, [_copy(each, copies) for each in error.exceptions])
    if isinstance(cls.__init__, FunctionType):
        # without it: its arguments are not known; ``__new__`` keeps the ``args``
        return cls.__new__(cls, *error.args)
    # a built-in one, such as an `OSError`, keeps more than its ``args``
    return copy.copy(error)
