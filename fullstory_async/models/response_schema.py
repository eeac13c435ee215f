"""ResponseSchema: the structure of a summary's response, in FullStory's dialect of JSON Schema.

The dialect resembles JSON Schema and supports less: types are in capitals (``OBJECT``, ``STRING``, …),
there are no references, and of JSON Schema's many rules only ``nullable``, ``enum``, ``required`` and
``format`` exist. So a schema is translated, not passed on. What the dialect can't express is rejected with
its path: a rule that is silently dropped would be missed only when a response breaks it.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import attrs
import msgspec

from fullstory_async.errors import ConfigurationError
from fullstory_async.json_ready import JsonReady

__all__ = ["RESPONSE_TYPES", "ResponseSchema"]

RESPONSE_TYPES = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")
_ANNOTATIONS = frozenset(
    {
        "$schema", "$id", "$anchor", "$comment", "$defs", "definitions",
        "default", "examples", "deprecated", "readOnly", "writeOnly",
    }
)  # fmt: skip
"""Keywords of JSON Schema that describe a value and allow every one: they are left out."""
_DIALECT = frozenset(
    {"type", "title", "description", "items", "properties", "required", "nullable", "enum", "format"}
)
_TRANSLATABLE = frozenset({"$ref", "anyOf", "oneOf", "allOf", "const", "additionalProperties"})


def _check_type(_: object, __: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and value not in RESPONSE_TYPES:
        raise ConfigurationError(
            f"a response schema's type must be one of {', '.join(RESPONSE_TYPES)}, not {value!r}"
        )


def _check_schemas(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    schemas = value.values() if isinstance(value, Mapping) else [] if value is None else [value]
    for schema in schemas:
        if not isinstance(schema, ResponseSchema):
            raise ConfigurationError(
                f"a response schema's {attribute.name} must be ResponseSchema, not {schema!r:.60}; "
                "ResponseSchema.from_json_schema reads a dict"
            )


@attrs.frozen(kw_only=True)
class ResponseSchema(JsonReady):
    """The structure of one value; the whole response is usually an ``OBJECT``."""

    type: str | None = attrs.field(default=None, validator=_check_type)
    """``STRING``, ``NUMBER``, ``INTEGER``, ``BOOLEAN``, ``ARRAY`` or ``OBJECT``."""

    title: str | None = None
    """A short name."""

    description: str | None = None
    """The meaning of the value; the model reads it."""

    items: ResponseSchema | None = attrs.field(default=None, validator=_check_schemas)
    """The structure of an array's items."""

    properties: Mapping[str, ResponseSchema] | None = attrs.field(
        default=None, hash=False, validator=_check_schemas
    )
    """The structure of each of an object's properties."""

    required: tuple[str, ...] | None = None
    """The properties that must be present."""

    nullable: bool | None = None
    """Whether the value may be null."""

    enum: tuple[str, ...] | None = None
    """The allowed strings."""

    format: str | None = None
    """The format of a string or a number, such as ``date-time``."""

    @classmethod
    def from_json_schema(cls, schema: Mapping[str, Any]) -> ResponseSchema:
        """Translate a JSON Schema, or a schema in the dialect.

        References within the schema are resolved. ``const``, a union with null, and ``additionalProperties:
        false`` have equivalents; annotations such as ``default`` and ``$schema`` are left out.

        Raises:
            ConfigurationError: the dialect can't express a part of it; the message has the path.
        """
        try:
            return _translate(schema, "$", _Document(schema, ()))
        except RecursionError:
            raise _error("$", "is nested too deeply") from None

    @classmethod
    def from_type(cls, kind: builtins.type[Any]) -> ResponseSchema:
        """Generate the schema of an attrs class or a dataclass.

        `SessionSummary.as_type` reads the response into ``kind``, the class. Fields may be strings, numbers,
        booleans, lists, enumerations of strings, ``Literal`` strings, other such classes, and each of these
        or ``None``. Class docstrings become descriptions.

        Raises:
            ConfigurationError: the dialect can't express a field; the message has the path.
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
        """Return the schema as JSON for the service, without unset fields."""
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
class _Document:
    """The complete schema, and the references that were followed to the current node."""

    root: Mapping[str, Any]
    trail: tuple[str, ...]

    def follow(self, reference: Any, path: str) -> tuple[Mapping[str, Any], _Document]:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _error(path, f"refers to {reference!r}, which is not a location in the schema")
        # a recursive schema would be translated forever
        if reference in self.trail:
            raise _error(
                path, f"refers to {reference}, which contains it; the dialect can't express recursion"
            )
        node: Any = self.root
        for part in reference.removeprefix("#").split("/")[1:]:
            # RFC 6901: "~1" first, or "~01" would become "/"
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if not isinstance(node, Mapping) or name not in node:
                raise _error(path, f"refers to {reference}, which does not exist")
            node = node[name]
        return node, attrs.evolve(self, trail=(*self.trail, reference))


def _error(path: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"the response schema at {path} {reason}")


def _translate(node: Any, path: str, document: _Document) -> ResponseSchema:
    if not isinstance(node, Mapping):
        raise _error(path, f"is not a schema: {node!r:.60}; the dialect has only objects")
    node, document, nullable = _simplify(node, path, document)
    for word in node:
        if word not in _DIALECT | _TRANSLATABLE | _ANNOTATIONS:
            raise _error(f"{path}.{word}", "can't be expressed in FullStory's dialect")
    enum = _enum(node, path)
    kind = _type(node, path, enum)
    _reject_additional(node, path)
    properties = _properties(node, path, kind, document)
    return ResponseSchema(
        type=kind,
        title=_string(node, "title", path),
        description=_string(node, "description", path),
        items=_items(node, path, kind, document),
        properties=properties,
        required=_required(node, path, properties),
        nullable=True if nullable or node.get("nullable") is True else None,
        enum=enum,
        format=_string(node, "format", path),
    )


def _simplify(
    node: Mapping[str, Any], path: str, document: _Document
) -> tuple[Mapping[str, Any], _Document, bool]:
    """Resolve references and trivial unions.

    Returns the resolved node, its document, and whether a union or a list allowed null. A union is trivial
    if it has one option besides null.
    """
    nullable = False
    # one may lead to the next: a reference to a union with a reference in it
    while (word := next((each for each in _INDIRECTIONS if each in node), None)) is not None:
        where = f"{path}.{word}"
        beside = {name: value for name, value in node.items() if name != word}
        if word == "$ref":
            target, document = document.follow(node[word], where)
        else:
            target, null = _single_option(node[word], word, where)
            nullable = nullable or null
        if not isinstance(target, Mapping):
            raise _error(path, f"leads to {target!r:.60}, which is not a schema")
        node = _merge(target, beside, path)
    kinds, values = node.get("type"), node.get("enum")
    if isinstance(kinds, list):
        others = [kind for kind in kinds if kind != "null"]
        if len(others) != 1:
            raise _error(f"{path}.type", "is a union of types, which the dialect can't express")
        node, nullable = {**node, "type": others[0]}, nullable or len(kinds) > 1
    if isinstance(values, list) and None in values and len(values) > 1:
        node, nullable = {**node, "enum": [value for value in values if value is not None]}, True
    return node, document, nullable


_INDIRECTIONS = ("$ref", "allOf", "anyOf", "oneOf")


def _single_option(parts: Any, word: str, where: str) -> tuple[Any, bool]:
    """Return the only option of a union besides null, and whether null is one."""
    if not isinstance(parts, list) or not parts:
        raise _error(where, "is not a list of schemas")
    others = [part for part in parts if word == "allOf" or not _is_null(part)]
    if len(others) != 1:
        raise _error(where, "combines several schemas, which the dialect can't express")
    return others[0], len(parts) > 1


def _is_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    return (
        schema.get("type") == "null"
        or schema.get("enum") == [None]
        or ("const" in schema and schema["const"] is None)
    )


def _merge(target: Mapping[str, Any], beside: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Merge a reference's target with the keywords beside the reference.

    A rule that both have is rejected; an annotation of the target is replaced.
    """
    # both rules would apply in JSON Schema, and to replace one would drop the other silently
    for word in beside:
        both = word in target and target[word] != beside[word]
        if both and word not in _ANNOTATIONS and word not in ("title", "description"):
            raise _error(
                f"{path}.{word}", "is set here and in the referenced schema, which the dialect can't combine"
            )
    return {**target, **beside}


def _type(node: Mapping[str, Any], path: str, enum: tuple[str, ...] | None) -> str:
    given = node.get("type")
    # JSON Schema may omit the type if another keyword implies it
    if given is None:
        given = next(
            (kind for word, kind in _IMPLIED_TYPES.items() if word in node), "STRING" if enum else None
        )
    if given is None:
        raise _error(path, "allows any value, which the dialect can't express: give it a type")
    if not isinstance(given, str) or given.upper() not in RESPONSE_TYPES:
        raise _error(f"{path}.type", f"is {given!r}, not one of {', '.join(RESPONSE_TYPES)}")
    return given.upper()


_IMPLIED_TYPES = {"properties": "OBJECT", "items": "ARRAY"}


def _enum(node: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
    values = [node["const"]] if "const" in node else node.get("enum")
    if values is None:
        return None
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise _error(f"{path}.enum", "contains a value other than strings, which the dialect can't express")
    return tuple(values)


def _items(node: Mapping[str, Any], path: str, kind: str, document: _Document) -> ResponseSchema | None:
    if kind != "ARRAY":
        return None
    if "items" not in node:
        raise _error(path, "is an array of any values, which the dialect can't express: give it items")
    return _translate(node["items"], f"{path}.items", document)


def _properties(
    node: Mapping[str, Any], path: str, kind: str, document: _Document
) -> dict[str, ResponseSchema] | None:
    if kind != "OBJECT":
        return None
    given = node.get("properties")
    if given is None:
        raise _error(
            path, "is an object of any properties, which the dialect can't express: give it properties"
        )
    if not isinstance(given, Mapping):
        raise _error(f"{path}.properties", "is not an object")
    return {name: _translate(each, f"{path}.properties.{name}", document) for name, each in given.items()}


def _required(
    node: Mapping[str, Any], path: str, properties: Mapping[str, ResponseSchema] | None
) -> tuple[str, ...] | None:
    given = node.get("required")
    if not given:
        return None
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise _error(f"{path}.required", "is not a list of names")
    for name in given:
        if not isinstance(name, str) or name not in (properties or {}):
            raise _error(f"{path}.required", f"names {name!r}, which is not a property")
    return tuple(given)


def _reject_additional(node: Mapping[str, Any], path: str) -> None:
    """Reject any rule about further properties other than forbidding them."""
    if node.get("additionalProperties", False) is not False:
        raise _error(
            f"{path}.additionalProperties", "allows other properties, which the dialect can't express"
        )


def _string(node: Mapping[str, Any], word: str, path: str) -> str | None:
    value = node.get(word)
    if not isinstance(value, str | None):
        raise _error(f"{path}.{word}", f"is {value!r:.60}, not a string")
    return value or None
