"""attrs validators that raise `ConfigurationError` and name the setting."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from datetime import datetime
from numbers import Integral
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.error_base import without_secrets
from fullstory_async.errors import ConfigurationError

__all__ = [
    "MAX_INTEGER",
    "exact_integer",
    "exact_text",
    "file_path",
    "instance_of",
    "integer",
    "is_number",
    "number",
    "positive_integer",
    "shown",
    "strings",
    "time_or_none",
    "time_with_zone",
    "timezone_aware",
]

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


_SHOWN = 200
"""Characters of a rejected value that a message shows."""
MAX_INTEGER = 2**63 - 1
"""The largest integer that the service's int64 fields hold."""


def shown(value: object) -> str:
    """Return the repr of a rejected value, shortened, without an API key or a password in the wrong place."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of more than 4300 digits
        return "an integer with thousands of digits"
    text = without_secrets(text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def exact_integer(value: Any) -> Any:
    """Return an integer of another library, such as numpy, as an `int`; any other value as it is."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def exact_text(value: Any) -> Any:
    """Return the text itself of a subclass of `str`; any other value as it is.

    ``str()`` of a member of an `enum.Enum` is its name, not its text.
    """
    return str.__str__(value) if isinstance(value, str) else value


def file_path(value: Any, name: str) -> Path:
    """Return the absolute path of a file. ``~`` is the home directory.

    Raises:
        ConfigurationError: it isn't a path, or can't be made absolute: without that, a program that changes
            its working directory would name another file.
    """
    if not isinstance(value, (str, os.PathLike)) or not str(value) or "\0" in str(value):
        raise ConfigurationError(f"{name} must be a file's path, not {shown(value)}")
    try:
        return Path(value).expanduser().absolute()
    except (OSError, RuntimeError) as error:  # no working directory, no home
        raise ConfigurationError(f"{name} {value} can't be used: {error}") from None


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number that fits a float, and no bool."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def number(*, above: float | None = None, at_least: float | None = None, optional: bool = False) -> Validator:
    """Accept finite numbers within a bound.

    Args:
        above: the exclusive lower bound.
        at_least: the inclusive lower bound; give one of the two.
        optional: whether ``None`` is accepted too.
    """
    wanted = f"a finite number above {above}" if above is not None else f"a finite number, {at_least} or more"

    def in_range(value: Any) -> bool:
        return (above is None or value > above) and (at_least is None or value >= at_least)

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if not (is_number(value) and in_range(value)):
            raise ConfigurationError(f"{attribute.name} must be {wanted}, not {shown(value)}")

    return check


def integer(*, at_least: int, optional: bool = False) -> Validator:
    """Accept integers from a lower bound on, those of numpy too, and ``None`` if ``optional``."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        # bool is a subclass of int, and True is never meant as 1
        if (
            isinstance(value, bool)
            or not isinstance(value, Integral)
            or not at_least <= int(value) <= MAX_INTEGER
        ):
            raise ConfigurationError(
                f"{attribute.name} must be a whole number, {at_least} or more, not {shown(value)}"
            )

    return check


def instance_of(kind: type, *, optional: bool = False) -> Validator:
    """Accept instances of a class, and ``None`` if ``optional``."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (isinstance(value, kind) or (value is None and optional)):
            raise ConfigurationError(f"{attribute.name} must be a {kind.__name__}, not {shown(value)}")

    return check


def strings(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a tuple of non-empty strings, or ``None``."""
    if value is not None and not (
        isinstance(value, tuple) and all(isinstance(item, str) and item for item in value)
    ):
        raise ConfigurationError(f"{attribute.name} must be a list of strings, not {shown(value)}")


def time_with_zone(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a `datetime` with a time zone, or ``None``."""
    timezone_aware(value, attribute.name)


def time_or_none(value: datetime | None) -> datetime | None:
    """Return a time; ``None`` for the ``NaT`` of pandas, which is a `datetime` and equals nothing."""
    return None if value != value else value  # noqa: PLR0124


def timezone_aware(value: datetime | None, name: str) -> None:
    """Raise `ConfigurationError` unless the value is ``None`` or an aware `datetime`."""
    if value is None:
        return
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{name} must be a datetime, not {shown(value)}")
    if value.utcoffset() is None:
        raise ConfigurationError(
            f"{name} has no time zone: {value.isoformat()}; "
            "add one, as in datetime(2026, 5, 4, 10, tzinfo=timezone.utc)"
        )


def positive_integer(value: object, name: str, *, or_else: str = "") -> None:
    """Raise `ConfigurationError` unless the value is an integer of 1 or more.

    Args:
        value: the value to check.
        name: the setting's name, for the message.
        or_else: what else the caller accepts, for the message.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= int(value) <= MAX_INTEGER:
        alternative = f", or {or_else}" if or_else else ""
        raise ConfigurationError(f"{name} must be a whole number, 1 or more{alternative}, not {shown(value)}")
