"""The catalogue as a list, and faults written as text, for a command line.

``status(503) operation=events share=0.05``: a fault's name, its parameters in parentheses as Python would
take them (numbers, texts in quotes, nothing that is evaluated), and conditions. Without ``times`` the fault stays.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.registry import Fault, describe

__all__ = ["Entry", "catalogue", "read_fault"]

_NOTATION = re.compile(r"\s*(\w+)\s*(\(.*\))?\s*(.*)", re.DOTALL)


@attrs.frozen
class Entry:
    """One fault of the catalogue."""

    name: str
    """What it is called: ``truncate_body``."""
    call: str
    """How it is written, with its parameters and their defaults: ``truncate_body(share=0.5, *, framing='length')``."""
    description: str
    """What it does, in one line."""
    charged: bool
    """Whether the work is done and charged, unless a parameter says otherwise."""


def catalogue() -> Iterator[Entry]:
    """List every fault, in the order of `Fault`."""
    for name, maker in vars(Fault).items():
        if not isinstance(maker, staticmethod):
            continue
        parameters = inspect.signature(maker.__func__).parameters
        strip_traceback = [each.replace(annotation=inspect.Parameter.empty) for each in parameters.values()]
        charged = parameters["charged"].default if "charged" in parameters else True
        yield Entry(name, f"{name}{inspect.Signature(strip_traceback)}", describe(maker.__func__), charged)


def read_fault(text: str) -> tuple[Fault, dict[str, Any]]:
    """Read a fault and its conditions, for ``Sandbox.inject(fault, **conditions)``.

    Raises:
        ConfigurationError: the text is not of that form; the message says how it should be.
    """
    found = _NOTATION.fullmatch(text)
    if found is None:
        raise ConfigurationError(
            f"{text!r} is no fault; write one like 'status(503) operation=events share=0.05'"
        )
    name, arguments, conditions = found.groups()
    entries = {entry.name: entry for entry in catalogue()}
    if name not in entries:
        raise ConfigurationError(f"there is no fault {name!r}; {_known(name, entries)}")
    return _made(entries[name], arguments or "()"), _conditions(conditions)


def _known(word: str, words: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(words)}"


def _made(entry: Entry, arguments: str) -> Fault:
    make: Callable[..., Fault] = getattr(Fault, entry.name)
    try:
        call = ast.parse(f"_{arguments}", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise TypeError(call)
        given = [ast.literal_eval(each) for each in call.args]
        named = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        inspect.signature(make).bind(*given, **named)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise ConfigurationError(
            f"{entry.name}{arguments} can't be read; it is written {entry.call}, with texts in quotes"
        ) from None
    return make(*given, **named)


def _conditions(text: str) -> dict[str, Any]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = [text]
    given: dict[str, Any] = {"times": None}
    seen: set[str] = set()
    for word in words:
        name, _, value = word.partition("=")
        if name not in _CONDITIONS or not value:
            raise ConfigurationError(
                f"{word!r} is no condition; write {', '.join(_CONDITIONS)} as name=value"
            )
        if name in seen:
            raise ConfigurationError(f"{name} is given twice")
        seen.add(name)
        try:
            given[name] = _CONDITIONS[name](value)
        except ValueError:
            raise ConfigurationError(f"{name} must be a number, not {value!r}") from None
    return given


def _times(text: str) -> int | None:
    return None if text == "always" else int(text)


_CONDITIONS: dict[str, Callable[[str], Any]] = {
    "operation": str, "session_id": str, "times": _times, "skip": int, "share": float, "seed": str,
}  # fmt: skip
