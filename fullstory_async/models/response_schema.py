"""ResponseSchema: the structure of a summary's answer, in the dialect that FullStory takes.

It looks like JSON Schema and says less: types are in capitals (``OBJECT``, ``STRING``, …), nothing refers to
anything else, and of JSON Schema's many rules only ``nullable``, ``enum``, ``required`` and ``format`` exist. So a schema
is translated, not passed on, and what the dialect can't say is refused with the path to it: a rule that was
silently dropped would be missed only when an answer breaks it.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import attrs
import msgspec

from fullstory_async.errors import ConfigurationError

__all__ = ["RESPONSE_TYPES", "ResponseSchema"]

RESPONSE_TYPES = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")
_NOTES = frozenset(
    {
        "$schema", "$id", "$anchor", "$comment", "$defs", "definitions",
        "default", "examples", "deprecated", "readOnly", "writeOnly",
    }
)  # fmt: skip
"""What JSON Schema says about a value without ruling anything out: it is left out."""
_KNOWN = frozenset(
    {"type", "title", "description", "items", "properties", "required", "nullable", "enum", "format"}
)
_TRANSLATED = frozenset({"$ref", "anyOf", "oneOf", "allOf", "const", "additionalProperties"})


def _check_type(_: object, __: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and value not in RESPONSE_TYPES:
        raise ConfigurationError(
            f"a response schema's type is one of {', '.join(RESPONSE_TYPES)}, not {value!r}"
        )


def _check_parts(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    parts = value.values() if isinstance(value, Mapping) else [] if value is None else [value]
    for part in parts:
        if not isinstance(part, ResponseSchema):
            raise ConfigurationError(
                f"a response schema's {attribute.name} are of ResponseSchema, not {part!r:.60}; "
                "ResponseSchema.from_json_schema reads a dict"
            )


@attrs.frozen(kw_only=True)
class ResponseSchema:
    """The structure of one value of the answer; the whole answer's is usually an ``OBJECT``."""

    type: str | None = attrs.field(default=None, validator=_check_type)
    """``STRING``, ``NUMBER``, ``INTEGER``, ``BOOLEAN``, ``ARRAY`` or ``OBJECT``."""

    title: str | None = None
    """A short name."""

    description: str | None = None
    """What is meant; the model reads it."""

    items: ResponseSchema | None = attrs.field(default=None, validator=_check_parts)
    """What an array holds."""

    properties: Mapping[str, ResponseSchema] | None = attrs.field(
        default=None, hash=False, validator=_check_parts
    )
    """What an object holds."""

    required: tuple[str, ...] | None = None
    """Which of the properties there must be."""

    nullable: bool | None = None
    """Whether the value may be null."""

    enum: tuple[str, ...] | None = None
    """The texts that are allowed."""

    format: str | None = None
    """What kind of text or number it is, as ``date-time``."""

    @classmethod
    def from_json_schema(cls, schema: Mapping[str, Any]) -> ResponseSchema:
        """Translate a JSON Schema, or a schema that is in the dialect already.

        References within the schema are followed. ``const``, a union with null, and ``additionalProperties: false`` have
        their equal here; notes such as ``default`` and ``$schema`` are left out.

        Raises:
            ConfigurationError: it says something that the dialect can't; the message has the path to it.
        """
        try:
            return _translated(schema, "$", _Source(schema, ()))
        except RecursionError:
            raise _refusal("$", "is nested too deeply") from None

    @classmethod
    def from_type(cls, kind: builtins.type[Any]) -> ResponseSchema:
        """Make the schema of an attrs class or a dataclass; `SessionSummary.as_type` reads the answer into it.

        Fields may be texts, numbers, booleans, lists, enumerations of texts, ``Literal`` texts, other such classes,
        and each of these or ``None``. Class docstrings become descriptions.

        Raises:
            ConfigurationError: the class holds something that the dialect can't say; the message has the path to it.
        """
        if not (
            isinstance(kind, builtins.type) and (attrs.has(kind) or hasattr(kind, "__dataclass_fields__"))
        ):
            raise ConfigurationError(f"from_type takes an attrs class or a dataclass, not {kind!r}")
        try:
            schema = msgspec.json.schema(kind)
        except (TypeError, NameError, RecursionError) as error:
            reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
            raise ConfigurationError(f"{kind.__name__} has no response schema: {reason}") from None
        return cls.from_json_schema(schema)

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as the service takes it: only what is set."""
        values: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "description": self.description,
            "items": None if self.items is None else self.items.to_dict(),
            "properties": None
            if self.properties is None
            else {name: each.to_dict() for name, each in self.properties.items()},
            "required": None if self.required is None else list(self.required),
            "nullable": self.nullable,
            "enum": None if self.enum is None else list(self.enum),
            "format": self.format,
        }
        return {name: value for name, value in values.items() if value is not None}


@attrs.frozen
class _Source:
    """The whole schema, and which references led to the place that is being read."""

    root: Mapping[str, Any]
    trail: tuple[str, ...]

    def follow(self, reference: Any, path: str) -> tuple[Mapping[str, Any], _Source]:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _refusal(path, f"refers to {reference!r}, which is no place in the schema")
        if reference in self.trail:
            raise _refusal(path, f"refers to {reference}, which it is a part of; the dialect can't say that")
        node: Any = self.root
        for part in reference.removeprefix("#").split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if not isinstance(node, Mapping) or name not in node:
                raise _refusal(path, f"refers to {reference}, which does not exist")
            node = node[name]
        return node, attrs.evolve(self, trail=(*self.trail, reference))


def _refusal(path: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"the response schema at {path} {reason}")


def _translated(node: Any, path: str, source: _Source) -> ResponseSchema:
    if not isinstance(node, Mapping):
        raise _refusal(path, f"is no schema but {node!r:.60}; the dialect knows only objects")
    node, source, nullable = _simplified(node, path, source)
    for word in node:
        if word not in _KNOWN | _TRANSLATED | _NOTES:
            raise _refusal(f"{path}.{word}", "can't be said in FullStory's dialect")
    enum = _enum(node, path)
    kind = _type(node, path, enum)
    _refuse_additional(node, path)
    properties = _properties(node, path, kind, source)
    return ResponseSchema(
        type=kind,
        title=_text(node, "title", path),
        description=_text(node, "description", path),
        items=_items(node, path, kind, source),
        properties=properties,
        required=_required(node, path, properties),
        nullable=True if nullable or node.get("nullable") is True else None,
        enum=enum,
        format=_text(node, "format", path),
    )


def _simplified(
    node: Mapping[str, Any], path: str, source: _Source
) -> tuple[Mapping[str, Any], _Source, bool]:
    """Follow references, and unions that are of one structure or of one with null; tell whether null was among them."""
    nullable = False
    while (word := next((each for each in _LEADING if each in node), None)) is not None:
        where = f"{path}.{word}"
        beside = {name: value for name, value in node.items() if name != word}
        if word == "$ref":
            target, source = source.follow(node[word], where)
        else:
            target, null = _only(node[word], word, where)
            nullable = nullable or null
        if not isinstance(target, Mapping):
            raise _refusal(path, f"leads to {target!r:.60}, which is no schema")
        node = _joined(target, beside, path)
    kinds, values = node.get("type"), node.get("enum")
    if isinstance(kinds, list):
        others = [kind for kind in kinds if kind != "null"]
        if len(others) != 1:
            raise _refusal(f"{path}.type", "is a choice of types, which the dialect can't say")
        node, nullable = {**node, "type": others[0]}, nullable or len(kinds) > 1
    if isinstance(values, list) and None in values and len(values) > 1:
        node, nullable = {**node, "enum": [value for value in values if value is not None]}, True
    return node, source, nullable


_LEADING = ("$ref", "allOf", "anyOf", "oneOf")


def _only(parts: Any, word: str, where: str) -> tuple[Any, bool]:
    """Return the one structure of a union, and whether it is that or null."""
    if not isinstance(parts, list) or not parts:
        raise _refusal(where, "is no list of schemas")
    others = [part for part in parts if word == "allOf" or not _is_null(part)]
    if len(others) != 1:
        raise _refusal(where, "joins or offers several structures, which the dialect can't say")
    return others[0], len(parts) > 1


def _is_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    return (
        schema.get("type") == "null"
        or schema.get("enum") == [None]
        or ("const" in schema and schema["const"] is None)
    )


def _joined(target: Mapping[str, Any], beside: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Join what a reference leads to with what stands beside it; a rule that both state is refused, a note is replaced."""
    for word in beside:
        both = word in target and target[word] != beside[word]
        if both and word not in _NOTES and word not in ("title", "description"):
            raise _refusal(
                f"{path}.{word}", "is said here and in what is referred to, which the dialect can't join"
            )
    return {**target, **beside}


def _type(node: Mapping[str, Any], path: str, enum: tuple[str, ...] | None) -> str:
    given = node.get("type")
    if given is None:  # JSON Schema may leave it to the other words
        given = next((kind for word, kind in _SAID_BY.items() if word in node), "STRING" if enum else None)
    if given is None:
        raise _refusal(path, "allows anything, which the dialect can't say: give it a type")
    if not isinstance(given, str) or given.upper() not in RESPONSE_TYPES:
        raise _refusal(f"{path}.type", f"is {given!r}, not one of {', '.join(RESPONSE_TYPES)}")
    return given.upper()


_SAID_BY = {"properties": "OBJECT", "items": "ARRAY"}


def _enum(node: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
    values = [node["const"]] if "const" in node else node.get("enum")
    if values is None:
        return None
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise _refusal(f"{path}.enum", "holds something else than texts, which the dialect can't say")
    return tuple(values)


def _items(node: Mapping[str, Any], path: str, kind: str, source: _Source) -> ResponseSchema | None:
    if kind != "ARRAY":
        return None
    if "items" not in node:
        raise _refusal(path, "is an array of anything, which the dialect can't say: give it items")
    return _translated(node["items"], f"{path}.items", source)


def _properties(
    node: Mapping[str, Any], path: str, kind: str, source: _Source
) -> dict[str, ResponseSchema] | None:
    if kind != "OBJECT":
        return None
    given = node.get("properties")
    if given is None:
        raise _refusal(path, "is an object of anything, which the dialect can't say: give it properties")
    if not isinstance(given, Mapping):
        raise _refusal(f"{path}.properties", "is no object")
    return {name: _translated(each, f"{path}.properties.{name}", source) for name, each in given.items()}


def _required(
    node: Mapping[str, Any], path: str, properties: Mapping[str, ResponseSchema] | None
) -> tuple[str, ...] | None:
    given = node.get("required")
    if not given:
        return None
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise _refusal(f"{path}.required", "is no list of names")
    for name in given:
        if not isinstance(name, str) or name not in (properties or {}):
            raise _refusal(f"{path}.required", f"names {name!r}, which is no property")
    return tuple(given)


def _refuse_additional(node: Mapping[str, Any], path: str) -> None:
    """An object holds its properties and nothing else; other rules about the rest can't be said."""
    if node.get("additionalProperties", False) is not False:
        raise _refusal(f"{path}.additionalProperties", "allows other names, which the dialect can't say")


def _text(node: Mapping[str, Any], word: str, path: str) -> str | None:
    value = node.get(word)
    if not isinstance(value, str | None):
        raise _refusal(f"{path}.{word}", f"is {value!r:.60}, not text")
    return value or None
