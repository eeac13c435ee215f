"""From decoded JSON to a class that the caller wrote, strictly: through cattrs, with no value changed to fit.

cattrs by itself would call ``int("5")``, ``str(None)`` or ``bool("false")``. A language model wrote what is read here,
so a wrong type is something that the caller wants to know of.
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

__all__ = ["reasons", "structured"]

T = TypeVar("T")

_logger = logging.getLogger("fullstory_async.structuring")


def structured(value: Any, kind: type[T]) -> T:
    """Make an instance of ``kind``. Raises `DecodeError` with the paths of what does not fit."""
    if not (isinstance(kind, type) and _has_fields(kind)):
        raise ConfigurationError(f"the type must be an attrs class, a dataclass or a TypedDict, not {kind!r}")
    if value is None:
        raise DecodeError(
            "the summary has no structured response, only text: its profile has no response schema; use .text"
        )
    if not isinstance(value, Mapping):
        raise DecodeError(f"the response does not fit {kind.__name__}: expected an object, not {value!r:.60}")
    try:
        msgspec.convert(
            value, kind
        )  # which checks more strictly than cattrs does, and says better what is wrong
    except msgspec.ValidationError as error:
        text = str(error).replace(" - at ", " @ ").replace("`", "")
        raise DecodeError(f"the response does not fit {kind.__name__}: {text}") from None
    except TypeError:
        _logger.debug("msgspec does not know a type of %s; cattrs alone reads it", kind.__name__)
    try:
        return _converter.structure(value, kind)
    except cattrs.errors.StructureHandlerNotFoundError as error:
        raise ConfigurationError(f"{kind.__name__} can't be read from JSON: {error}") from None
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        text = reasons(error, "$")
    raise DecodeError(f"the response does not fit {kind.__name__}: {text}")


def reasons(error: BaseException, path: str) -> str:
    """Say what did not fit, with the path to each."""
    if isinstance(error, cattrs.BaseValidationError):
        return "; ".join(cattrs.transform_error(error, path=path, format_exception=_reason))
    return f"{_reason(error, None)} @ {path}"


def _reason(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return str(error)


def _has_fields(kind: type) -> bool:
    return attrs.has(kind) or hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__total__")


def _exactly(*kinds: type) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"expected {kinds[0].__name__}, not {type(value).__name__}")
        return value

    return check


def _make_converter() -> cattrs.Converter:
    converter = make_converter(detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, lambda value, kind: float(_exactly(float, int)(value, kind)))
    return converter


_converter = _make_converter()
