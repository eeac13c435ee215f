"""JsonReady: models as dicts that any JSON encoder takes, and as types of pydantic and FastAPI.

A dict has the model's fields under their names. Times are ISO 8601 texts in UTC. Bytes, such as a response's
body, are left out, and so are numbers that JSON or a float can't express: they become ``None``. Half a
surrogate pair, which scripts leave when they cut a text, becomes U+FFFD: most encoders reject it. pydantic is
not imported: its schemas are plain dicts.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any

import attrs

__all__ = ["JsonReady", "replace_surrogates", "time_text"]

_SURROGATES = re.compile("[\ud800-\udfff]")


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 text can hold, with U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def time_text(when: datetime) -> str:
    """Return a time as a text in UTC with six digits, such as ``2026-05-04T10:00:00.500000Z``."""
    return f"{when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


class JsonReady:
    """A model that knows how to become JSON."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a new dict of texts, numbers, lists and dicts, for any JSON encoder.

        Bytes are left out, such as the response body in ``raw``. Times are ISO 8601 in UTC.
        """
        return _fields_of(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        """Let pydantic accept instances, and serialise them with `to_dict`."""
        as_dict = {"type": "function-plain", "function": _to_dict, "return_schema": {"type": "dict"}}
        return {"type": "is-instance", "cls": cls, "serialization": as_dict}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Describe the model in OpenAPI as an object."""
        return {"type": "object", "title": cls.__name__}


def _to_dict(model: JsonReady) -> dict[str, Any]:
    return model.to_dict()


def _fields_of(model: Any) -> dict[str, Any]:
    fields = {each.name: getattr(model, each.name) for each in attrs.fields(type(model))}
    return {
        name: _plain(value)
        for name, value in fields.items()
        if not name.startswith("_") and not isinstance(value, bytes)
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it. Raises `TypeError` for one that has no place in JSON."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None:
        return value
    for kinds, write in _WRITERS:
        if isinstance(value, kinds):
            return write(value)
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def _object(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {replace_surrogates(str(name)): _plain(item) for name, item in value.items()}


def _array(value: Iterable[Any]) -> list[Any]:
    return [_plain(item) for item in value]


def _text(value: str) -> str:
    return replace_surrogates(str.__str__(value))


def _number(value: float) -> float | None:
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond a float's range
        return None


_WRITERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, _text), ((int, float), _number), (datetime, time_text), (JsonReady, _to_dict), (Mapping, _object),
    ((list, tuple, AbstractSet), _array),
)  # fmt: skip
"""How the values of each type are written; the first type that fits counts."""
