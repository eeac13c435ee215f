"""attrs validators that raise `ConfigurationError` and name the setting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError

__all__ = ["instance_of", "is_number", "number", "whole_number"]

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


def whole_number(*, at_least: int) -> Validator:
    """Accept integers not below a bound."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise ConfigurationError(
                f"{attribute.name} must be a whole number, {at_least} or more, not {value!r}"
            )

    return check


def instance_of(kind: type) -> Validator:
    """Accept instances of a class."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kind):
            raise ConfigurationError(f"{attribute.name} must be a {kind.__name__}, not {value!r}")

    return check
