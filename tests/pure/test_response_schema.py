"""ResponseSchema: from JSON Schema and from classes to the service's dialect, and what it refuses."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import datetime
from typing import Any, Literal, TypedDict

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import ConfigurationError, DecodeError, ResponseSchema, SessionSummary


class Mood(enum.Enum):
    CALM = "calm"
    ANGRY = "angry"


@attrs.frozen
class Step:
    """One thing that the user did."""

    what: str
    seconds: float = 0.0


@attrs.define
class Report:
    title: str
    steps: list[Step]
    mood: Mood
    urgency: Literal["low", "high"]
    count: int
    follow_up: bool
    last: Step | None = None
    when: datetime | None = None
    tags: tuple[str, ...] = ()


@dataclasses.dataclass
class Linked:
    next: Linked | None = None


@dataclasses.dataclass
class Loose:
    more: dict[str, int]


@dataclasses.dataclass
class Anything:
    value: Any


class Typed(TypedDict, total=False):
    title: str
    count: int


STEP = {
    "type": "OBJECT",
    "title": "Step",
    "description": "One thing that the user did.",
    "properties": {"what": {"type": "STRING"}, "seconds": {"type": "NUMBER"}},
    "required": ["what"],
}


def test_a_class_becomes_a_schema() -> None:
    schema = ResponseSchema.from_type(Report).to_dict()
    assert schema["type"] == "OBJECT"
    assert schema["required"] == ["title", "steps", "mood", "urgency", "count", "follow_up"]
    properties = schema["properties"]
    assert properties["title"] == {"type": "STRING"}
    assert properties["steps"] == {"type": "ARRAY", "items": STEP}
    assert (properties["mood"]["type"], set(properties["mood"]["enum"])) == ("STRING", {"angry", "calm"})
    assert set(properties["urgency"]["enum"]) == {"high", "low"}
    assert properties["count"] == {"type": "INTEGER"}
    assert properties["follow_up"] == {"type": "BOOLEAN"}
    assert properties["last"] == {**STEP, "nullable": True}
    assert properties["when"] == {"type": "STRING", "nullable": True}
    assert properties["tags"] == {"type": "ARRAY", "items": {"type": "STRING"}}
    assert ResponseSchema.from_json_schema(schema) == ResponseSchema.from_type(Report)
    assert ResponseSchema.from_json_schema(json.loads(json.dumps(schema))).to_dict() == schema


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Loose, r"\$\.properties\.more\.additionalProperties"), (Anything, r"\$\.properties\.value "),
        (Linked, r"\$\.properties\.next.*which contains it"), (int, "an attrs class or a dataclass"), (Report("", [], Mood.CALM, "low", 1, True), "an attrs class"),
    ],
)  # fmt: skip
def test_a_class_that_the_dialect_can_not_say_is_refused_with_the_path(kind: Any, path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        ResponseSchema.from_type(kind)


@pytest.mark.parametrize(
    ("schema", "dialect"),
    [
        ({"type": "string"}, {"type": "STRING"}),
        ({"type": "STRING", "nullable": True}, {"type": "STRING", "nullable": True}),
        ({"type": ["string", "null"], "format": "date"}, {"type": "STRING", "nullable": True, "format": "date"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "n"}, {"type": "INTEGER", "nullable": True, "description": "n"}),
        ({"oneOf": [{"type": "boolean"}]}, {"type": "BOOLEAN"}),
        ({"enum": ["a", "b", None]}, {"type": "STRING", "nullable": True, "enum": ["a", "b"]}),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}),
        ({"properties": {"a": {"type": "number"}}, "additionalProperties": False}, {"type": "OBJECT", "properties": {"a": {"type": "NUMBER"}}}),
        ({"items": {"type": "string"}}, {"type": "ARRAY", "items": {"type": "STRING"}}),
        ({"type": "object", "properties": {}}, {"type": "OBJECT", "properties": {}}),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"type": "STRING", "nullable": True, "enum": ["a"]}),
        ({"anyOf": [{"$ref": "#/$defs/u"}, {"const": None}], "$defs": {"u": {"type": ["integer", "null"]}}}, {"type": "INTEGER", "nullable": True}),
        ({"oneOf": [{"anyOf": [{"type": "string"}, {"enum": [None]}]}]}, {"type": "STRING", "nullable": True}),
        ({"allOf": [{"type": "string", "title": "theirs"}], "title": "mine", "default": 1}, {"type": "STRING", "title": "mine"}),
        (
            {"$schema": "x", "$id": "y", "$comment": "z", "type": "string", "default": "d", "examples": []},
            {"type": "STRING"},
        ),
        (
            {"$ref": "#/$defs/a~1b%25", "description": "mine", "$defs": {"a/b%": {"type": "string", "description": "theirs"}}},
            {"type": "STRING", "description": "mine"},
        ),
        ({"allOf": [{"$ref": "#/definitions/x"}], "title": "t", "definitions": {"x": {"type": "integer"}}}, {"type": "INTEGER", "title": "t"}),
        (
            {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}]}, "$defs": {"x": {"type": "integer"}}},
            {"type": "ARRAY", "items": {"type": "INTEGER", "nullable": True}},
        ),
    ],
)  # fmt: skip
def test_json_schema_is_translated(schema: dict[str, Any], dialect: dict[str, Any]) -> None:
    assert ResponseSchema.from_json_schema(schema).to_dict() == dialect


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (5, r"at \$ is not a schema"), ({}, r"at \$ allows any value"), ({"type": "null"}, r"\$\.type is 'null'"),
        ({"type": "string", "minLength": 3}, r"\$\.minLength can't be expressed"), ({"type": "text"}, r"\$\.type is 'text'"),
        ({"type": 5}, r"\$\.type"), ({"type": ["string", "integer"]}, r"\$\.type is a union of types"),
        ({"type": "array"}, r"at \$ is an array of any values"), ({"items": [{"type": "string"}]}, r"\$\.items is not a schema"),
        ({"type": "object", "properties": {"a": {"pattern": "x", "type": "string"}}}, r"\$\.properties\.a\.pattern"),
        ({"properties": {"a": {"items": {"type": "integer", "maximum": 3}}}}, r"\$\.properties\.a\.items\.maximum"),
        ({"properties": []}, r"\$\.properties is not an object"), ({"properties": {}, "required": ["a"]}, r"\$\.required names 'a'"),
        ({"properties": {}, "required": "a"}, r"\$\.required"), ({"properties": {}, "required": [["a"]]}, r"\$\.required"),
        ({"enum": [1, 2]}, r"\$\.enum contains a value other than strings"), ({"enum": []}, r"\$\.enum"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, r"\$\.anyOf combines several"), ({"anyOf": "x"}, r"\$\.anyOf is not a list"),
        ({"allOf": [{"type": "string"}, {"title": "x"}]}, r"\$\.allOf combines several"), ({"type": "object"}, "object of any properties"), ({"enum": "abc"}, r"\$\.enum"),
        ({"$ref": "https://x.test/s.json"}, "not a location in the schema"), ({"$ref": "#Anchor"}, "not a location in the schema"),
        ({"$ref": "#/$defs/a", "required": ["x"], "$defs": {"a": {"properties": {"x": {"type": "string"}, "y": {"type": "string"}}, "required": ["y"]}}}, r"\$\.required is set here and"),
        ({"allOf": [{"properties": {"a": {"type": "string"}}}], "properties": {"b": {"type": "string"}}}, r"\$\.properties is set here and"),
        ({"anyOf": [{"type": "string"}], "oneOf": [{"type": "string"}, {"type": "integer"}]}, r"\$\.oneOf combines several"), ({"$ref": "#/$defs/x"}, "does not exist"),
        ({"$ref": "#"}, "which contains it"), ({"$ref": "#/$defs/x", "$defs": {"x": 3}}, "not a schema"),
        ({"properties": {"n": {"$ref": "#"}}}, r"\$\.properties\.n\.properties\.n\.\$ref refers to #, which contains it"),
        ({"type": "string", "description": 3}, r"\$\.description is 3, not a string"),
        ({"type": "object", "additionalProperties": True}, r"\$\.additionalProperties"),
    ],
)  # fmt: skip
def test_what_the_dialect_can_not_say_is_refused_with_the_path(schema: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ResponseSchema.from_json_schema(schema)


def test_a_bottomless_schema_is_refused() -> None:
    schema: Any = {"type": "string"}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        ResponseSchema.from_json_schema(schema)


DIALECT = st.recursive(
    st.builds(
        ResponseSchema,
        type=st.sampled_from(["STRING", "NUMBER", "INTEGER", "BOOLEAN"]),
        description=st.none() | st.text(min_size=1),
        nullable=st.none() | st.just(value=True),
    ),
    lambda inner: (
        st.builds(ResponseSchema, type=st.just("ARRAY"), items=inner)
        | st.builds(ResponseSchema, type=st.just("OBJECT"), properties=st.dictionaries(st.text(), inner))
    ),
    max_leaves=10,
)


@given(DIALECT)
def test_the_dialect_translates_into_itself(schema: ResponseSchema) -> None:
    assert ResponseSchema.from_json_schema(schema.to_dict()) == schema


ANSWER = {
    "title": "t", "steps": [{"what": "w", "seconds": 2}], "mood": "calm", "urgency": "low", "count": 3, "follow_up": True,
    "last": None, "when": "2026-05-04T10:00:00+00:00", "tags": ["a"], "unknown": 1,
}  # fmt: skip


def test_a_response_becomes_the_class_that_asked_for_it() -> None:
    report = SessionSummary(response=ANSWER).as_type(Report)
    assert report == Report(
        title="t", steps=[Step("w", 2.0)], mood=Mood.CALM, urgency="low", count=3, follow_up=True,
        when=datetime.fromisoformat("2026-05-04T10:00:00+00:00"), tags=("a",),
    )  # fmt: skip
    assert isinstance(report.steps[0].seconds, float)
    assert SessionSummary(response={"title": "t", "count": 1}).as_type(Typed) == {"title": "t", "count": 1}
    assert SessionSummary(response={"more": {"a": 1}}).as_type(Loose) == Loose({"a": 1})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": "3"}, r"Expected int, got str @ \$\.count"), ({"count": True}, r"Expected int, got bool @ \$\.count"),
        ({"title": None}, r"Expected str, got null @ \$\.title"), ({"follow_up": "yes"}, r"@ \$\.follow_up"),
        ({"steps": [{"what": "w"}, {}]}, r"missing required field what @ \$\.steps"), ({"mood": "odd"}, r"@ \$\.mood"),
        ({"urgency": "odd"}, r"@ \$\.urgency"), ({"steps": 5}, r"@ \$\.steps"), ({"when": "odd"}, r"@ \$\.when"),
        ({"tags": "abc"}, r"Expected array, got str @ \$\.tags"), ({"tags": {"a": 1}}, r"@ \$\.tags"), ({"steps": [[]]}, r"Expected object, got array"),
    ],
)  # fmt: skip
def test_a_response_that_does_not_fit_says_where(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        SessionSummary(response={**ANSWER, **change}).as_type(Report)


@pytest.mark.parametrize("response", ["text", 5, [], [1]])
def test_a_response_that_is_no_object_does_not_fit(response: Any) -> None:
    for kind in (Report, Step, Typed):
        with pytest.raises(DecodeError, match=f"does not fit {kind.__name__}"):
            SessionSummary(response=response).as_type(kind)


def test_a_class_that_only_cattrs_knows_is_read_too() -> None:
    @attrs.define
    class Either:
        one: Step | Report | None
        count: int

    assert SessionSummary(response={"one": {"what": "w"}, "count": 1}).as_type(Either) == Either(Step("w"), 1)
    with pytest.raises(DecodeError, match=r"expected int, not str @ \$\.count"):
        SessionSummary(response={"one": None, "count": "1"}).as_type(Either)


def test_a_schema_made_by_hand_is_checked() -> None:
    wrong: list[dict[str, Any]] = [
        {"type": "object"},
        {"type": 5},
        {"items": {"type": "STRING"}},
        {"properties": {"a": {"type": "STRING"}}},
    ]
    for fields in wrong:
        with pytest.raises(ConfigurationError, match="a response schema's"):
            ResponseSchema(**fields)


def test_text_summaries_have_no_type_and_only_classes_are_types() -> None:
    with pytest.raises(DecodeError, match=r"only text.*use \.text"):
        SessionSummary(summary="x").as_type(Report)
    kinds: list[Any] = [int, dict, list[int], "Report"]
    for kind in kinds:
        with pytest.raises(ConfigurationError, match="must be an attrs class"):
            SessionSummary(response={}).as_type(kind)


def test_text_is_always_printable() -> None:
    assert SessionSummary(summary="a\x1b[2Jb\n\tc\ud800").text == "a�[2Jb\n\tc�"
    assert SessionSummary(response={"ü": [1]}).text == '{\n  "ü": [\n    1\n  ]\n}'
    assert SessionSummary(response=[]).text == "[]"
    assert SessionSummary().text == ""
    assert SessionSummary(summary="").text == ""
    assert SessionSummary(summary="", response={"a": 1}).text == '{\n  "a": 1\n}'
