"""Faults written as text, for a command line.

``status(503) operation=events share=0.05``: a fault's name, its parameters in parentheses as Python literals
(numbers, strings in quotes; nothing is evaluated), and conditions. Without ``times`` the fault stays.
"""

from __future__ import annotations

import ast
import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from fullstory_async.deprecation import warn_renamed
from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.registry import fault
from fullstory_async.sandbox.faults.rules import Fault, catalogue

__all__ = ["read_fault"]

_NOTATION = re.compile(r"\s*(\w+)\s*(\(.*\))?\s*(.*)", re.DOTALL)
_RENAMED = {"veto": "no_retry"}


def read_fault(text: str) -> tuple[Fault, dict[str, Any]]:
    """Parse a fault and its conditions, for ``Sandbox.inject(fault, **conditions)``.

    Raises:
        ConfigurationError: the text has another form; the message shows the right one.
    """
    found = _NOTATION.fullmatch(text)
    if found is None:
        raise ConfigurationError(
            f"{text!r} is not a fault; write one like 'status(503) operation=events share=0.05'"
        )
    name, arguments, conditions = found.groups()
    if name in _RENAMED:
        warn_renamed(f"the fault {name!r}", repr(_RENAMED[name]))
        name = _RENAMED[name]
    entries = {entry.name: entry for entry in catalogue()}
    if name not in entries:
        raise ConfigurationError(f"there is no fault {name!r}; {_suggestion(name, entries)}")
    return _make_fault(entries[name], arguments or "()"), _parse_conditions(conditions)


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _make_fault(entry: fault[...], arguments: str) -> Fault:
    try:
        call = ast.parse(f"_{arguments}", mode="eval").body
        # text such as "(1)(2)" or "(1) + (2)" parses, too, but is not a list of parameters
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise TypeError(call)
        given = [ast.literal_eval(each) for each in call.args]
        named = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        entry.signature.bind(*given, **named)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise ConfigurationError(
            f"{entry.name}{arguments} can't be read; it is written {entry.call}, with texts in quotes"
        ) from None
    make: Callable[..., Fault] = getattr(Fault, entry.name)
    return make(*given, **named)


def _parse_conditions(text: str) -> dict[str, Any]:
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
                f"{word!r} is not a condition; write {', '.join(_CONDITIONS)} as name=value"
            )
        if name in seen:
            raise ConfigurationError(f"{name} is given twice")
        seen.add(name)
        try:
            given[name] = _CONDITIONS[name](value)
        except ValueError:
            raise ConfigurationError(f"{name} must be a number, not {value!r}") from None
    return given


def _parse_times(text: str) -> int | None:
    return None if text == "always" else int(text)


_CONDITIONS: dict[str, Callable[[str], Any]] = {
    "operation": str, "session_id": str, "times": _parse_times, "skip": int, "share": float, "seed": str,
}  # fmt: skip
