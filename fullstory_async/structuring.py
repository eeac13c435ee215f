"""Build a caller's own class from decoded JSON, strictly: no value is converted to fit.

cattrs alone would call ``int("5")``, ``str(None)`` or ``bool("false")``. A language model wrote the JSON
that is read here, so the caller needs to know about a wrong type.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import cattrs
import msgspec
from cattrs.preconf.json import make_converter

from fullstory_async.errors import ConfigurationError, DecodeError

__all__ = ["explain", "structure_strictly"]

T = TypeVar("T")

_logger = logging.getLogger("fullstory_async.structuring")


def structure_strictly(value: Any, kind: type[T]) -> T:
    """Build an instance of ``kind`` from decoded JSON.

    Raises:
        DecodeError: the value does not fit; the message has the path of each mismatch.
        ConfigurationError: ``kind`` is not a class that JSON can be read into.
    """
    if not (isinstance(kind, type) and _has_fields(kind)):
        raise ConfigurationError(f"the type must be an attrs class, a dataclass or a TypedDict, not {kind!r}")
    if value is None:
        raise DecodeError(
            "the summary has no structured response, only text: its profile has no response schema; use .text"
        )
    if not isinstance(value, Mapping):
        raise DecodeError(f"the response does not fit {kind.__name__}: expected an object, not {value!r:.60}")
    try:
        # only a check, whose result is dropped: msgspec is stricter than cattrs and its messages are clearer
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error).replace(" - at ", " @ ").replace("`", "")
        raise DecodeError(f"the response does not fit {kind.__name__}: {text}") from None
    except TypeError:
        _logger.debug("msgspec does not support a type of %s; cattrs alone reads it", kind.__name__)
    try:
        return _converter.structure(value, kind)
    except cattrs.errors.StructureHandlerNotFoundError as error:
        raise ConfigurationError(f"{kind.__name__} can't be read from JSON: {error}") from None
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        text = explain(error, "$")
    # raised outside the except block: the cause's frames hold the response
    raise DecodeError(f"the response does not fit {kind.__name__}: {text}")


def explain(error: BaseException, path: str) -> str:
    """Return what did not fit, each with its path, from an error of cattrs."""
    if isinstance(error, cattrs.BaseValidationError):
        return "; ".join(cattrs.transform_error(error, path=path, format_exception=_reason))
    return f"{_reason(error, None)} @ {path}"


def _reason(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return str(error)


def _has_fields(kind: type) -> bool:
    """Return whether a type is an attrs class, a dataclass or a `TypedDict`."""
    return attrs.has(kind) or hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__total__")


def _require(*kinds: type) -> Callable[[Any, Any], Any]:
    """Return a hook that accepts instances of these types unchanged."""

    def check(value: Any, _: Any) -> Any:
        # bool is a subclass of int, but true is not a number in JSON
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"expected {kinds[0].__name__}, not {type(value).__name__}")
        return value

    return check


def _make_converter() -> cattrs.Converter:
    converter = make_converter(detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _require(kind))
    # JSON writes 2.0 as 2, so an integer is a valid float
    converter.register_structure_hook(float, lambda value, kind: float(_require(float, int)(value, kind)))
    return converter


_converter = _make_converter()
