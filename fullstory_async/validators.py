"""attrs validators that raise `ConfigurationError` and name the setting."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError

__all__ = [
    "aware",
    "instance_of",
    "is_number",
    "number",
    "positive",
    "time_with_zone",
    "whole_number",
    "words",
]

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number that a float can hold; a bool is none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def number(*, above: float | None = None, at_least: float | None = None, optional: bool = False) -> Validator:
    """Accept finite numbers above, or not below, a bound; and ``None`` where it is ``optional``."""
    wanted = f"a finite number above {above}" if above is not None else f"a finite number, {at_least} or more"

    def enough(value: Any) -> bool:
        return (above is None or value > above) and (at_least is None or value >= at_least)

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if not (is_number(value) and enough(value)):
            raise ConfigurationError(f"{attribute.name} must be {wanted}, not {value!r}")

    return check


def whole_number(*, at_least: int, optional: bool = False) -> Validator:
    """Accept integers not below a bound; and ``None`` where it is ``optional``."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise ConfigurationError(
                f"{attribute.name} must be a whole number, {at_least} or more, not {value!r}"
            )

    return check


def instance_of(kind: type, *, optional: bool = False) -> Validator:
    """Accept instances of a class; and ``None`` where it is ``optional``."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (isinstance(value, kind) or (value is None and optional)):
            raise ConfigurationError(f"{attribute.name} must be a {kind.__name__}, not {value!r}")

    return check


def words(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a tuple of texts, none of them empty, or ``None``."""
    if value is not None and not (
        isinstance(value, tuple) and all(isinstance(word, str) and word for word in value)
    ):
        raise ConfigurationError(f"{attribute.name} must be a list of texts, not {value!r}")


def time_with_zone(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a `datetime` with a time zone, or ``None``."""
    aware(value, attribute.name)


def aware(value: datetime | None, name: str) -> None:
    """Raise `ConfigurationError` for anything but ``None`` and a `datetime` with a time zone."""
    if value is None:
        return
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{name} must be a datetime, not {value!r}")
    if value.utcoffset() is None:
        raise ConfigurationError(
            f"{name} has no time zone: {value.isoformat()}; "
            "say which, as in datetime(2026, 5, 4, 10, tzinfo=timezone.utc)"
        )


def positive(value: object, name: str, *, instead: str = "") -> None:
    """Raise `ConfigurationError` for anything but an integer above 0; ``instead`` names what else is allowed."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        otherwise = f", or {instead}" if instead else ""
        raise ConfigurationError(f"{name} must be a whole number, 1 or more{otherwise}, not {value!r}")
