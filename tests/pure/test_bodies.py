"""Options on their way out: only what was set, no contradictions, and files that people write."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import (
    CacheOptions,
    ConfigurationError,
    ContextOptions,
    EventOptions,
    LLMOptions,
    MediaOptions,
    ProfileConfiguration,
    ResponseSchema,
    SliceOptions,
    UnknownEventTypeWarning,
)
from fullstory_async.codec.request_bodies import (
    context_body,
    dump_options,
    parse_options,
    profile_body,
    rfc3339,
    summary_body,
)
from tests.pure.test_id_rows import NaT

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
NAIVE = datetime(2026, 5, 4, 12)  # noqa: DTZ001


def context_json(**groups: Any) -> Any:
    given: dict[str, Any] = dict.fromkeys(("slice", "context", "events", "cache", "media"))
    return json.loads(context_body(**{**given, **groups}))


def test_only_what_was_set_is_sent() -> None:
    assert context_json() == {}
    assert context_json(slice=SliceOptions()) == {}
    assert context_json(
        slice=SliceOptions(mode="last", event_limit=0, end_timestamp=NOON),
        context=ContextOptions(exclude=["org"], exclude_device=False),
        events=EventOptions(include_types=iter(["click", "Added to Cart"]), trim_to_last_n_selectors=2),
        cache=CacheOptions(enable_event_cache=True),
        media=MediaOptions(include_screenshots=True, screenshot_event_types=("click",)),
    ) == {
        "slice": {"mode": "LAST", "event_limit": 0, "end_timestamp": "2026-05-04T12:00:00Z"},
        "context": {"exclude": ["org"], "exclude_device": False},
        "events": {"include_types": ["click", "Added to Cart"], "trim_to_last_n_selectors": 2},
        "cache": {"enable_event_cache": True},
        "media": {"include_screenshots": True, "screenshot_event_types": ["click"]},
    }  # fmt: skip


def test_a_summary_with_overrides_is_flat_and_names_the_profile() -> None:
    overrides = ProfileConfiguration(
        llm=LLMOptions(pre_prompt="p", temperature=0, response_schema=ResponseSchema(type="OBJECT")),
        slice=SliceOptions(event_limit=5),
    )
    assert json.loads(summary_body("support", NOON, overrides)) == {
        "config_profile": "support",
        "llm": {"pre_prompt": "p", "temperature": 0, "response_schema": {"type": "OBJECT"}},
        "slice": {"event_limit": 5, "end_timestamp": "2026-05-04T12:00:00Z"},
    }
    assert json.loads(summary_body(None, None, ProfileConfiguration())) == {}
    assert json.loads(summary_body(None, NOON, ProfileConfiguration()))["slice"]["end_timestamp"]
    with pytest.raises(ConfigurationError, match=r"twice: as an argument and in overrides\.slice"):
        summary_body(None, NOON, ProfileConfiguration(slice=SliceOptions(end_timestamp=NOON)))


def test_a_profile_is_flat_too() -> None:
    assert json.loads(
        profile_body("n", ProfileConfiguration(cache=CacheOptions(enable_event_cache=True)))
    ) == {
        "name": "n",
        "cache": {"enable_event_cache": True},
    }
    assert json.loads(profile_body("n", None)) == {"name": "n"}
    assert json.loads(profile_body(None, ProfileConfiguration(llm=LLMOptions(post_prompt="x")))) == {
        "llm": {"post_prompt": "x"}
    }
    wrong: Any = {"llm": {}}
    with pytest.raises(ConfigurationError, match="must be a ProfileConfiguration"):
        profile_body("n", wrong)


def test_times_are_written_in_utc() -> None:
    assert rfc3339(NOON) == "2026-05-04T12:00:00Z"
    assert rfc3339(NOON.astimezone(timezone(timedelta(hours=2)))) == "2026-05-04T12:00:00Z"
    assert rfc3339(NOON.replace(microsecond=5000)) == "2026-05-04T12:00:00.005000Z"


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"slice": SliceOptions(mode="LATS")}, r"slice\.mode must be FIRST, LAST or TIMESTAMP, not 'LATS'"),
        ({"slice": SliceOptions(mode="TIMESTAMP")}, r"slice\.start_timestamp must say where the slice starts"),
        ({"slice": SliceOptions(start_timestamp=NOON)}, r"only with slice\.mode TIMESTAMP"),
        ({"slice": SliceOptions(mode="FIRST", start_timestamp=NOON)}, r"only with slice\.mode TIMESTAMP, not FIRST"),
        ({"slice": SliceOptions(mode="TIMESTAMP", start_timestamp=NOON, end_timestamp=NOON)}, "must be before"),
        ({"context": ContextOptions(include=["usr"])}, r"context\.include .* not 'usr'"),
        ({"context": ContextOptions(include=["org", "user"], exclude=["org"])}, r"both name 'org'"),
        ({"context": ContextOptions(include=["org"], exclude_org_context=True)}, r"context\.exclude_org_context"),
        ({"events": EventOptions(include_types=["click"], exclude_types=["click"])}, r"both name 'click'"),
        ({"slice": {"mode": "LAST"}}, "slice must be SliceOptions"),
        ({"cache": MediaOptions()}, "cache must be CacheOptions"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_and_name_the_field(groups: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        context_json(**groups)


def test_a_profile_may_fill_in_what_an_override_leaves_open() -> None:
    start = ProfileConfiguration(slice=SliceOptions(start_timestamp=NOON))
    assert json.loads(summary_body("p", None, start))["slice"] == {"start_timestamp": "2026-05-04T12:00:00Z"}
    with pytest.raises(ConfigurationError, match="TIMESTAMP"):
        summary_body(None, None, start)


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (SliceOptions, {"start_timestamp": NAIVE}, r"start_timestamp has no time zone: .* tzinfo="),
        (SliceOptions, {"end_timestamp": "2026-05-04"}, "end_timestamp must be a datetime"),
        (SliceOptions, {"event_limit": -1}, "event_limit must be a whole number"),
        (SliceOptions, {"event_limit": True}, "event_limit"), (SliceOptions, {"duration_limit_ms": 1.5}, "duration_limit_ms"),
        (SliceOptions, {"mode": 3}, "mode must be a str"), (ContextOptions, {"exclude_org_context": 1}, "exclude_org_context must be a bool"),
        (EventOptions, {"include_types": "click"}, "include_types must be a list of strings, not 'click'"),
        (EventOptions, {"include_types": [""]}, "include_types"), (EventOptions, {"exclude_types": [3]}, "exclude_types"),
        (EventOptions, {"exclude_types": 3}, "exclude_types"), (LLMOptions, {"temperature": float("nan")}, "temperature"),
        (LLMOptions, {"temperature": -1}, "temperature"), (LLMOptions, {"pre_prompt": b"x"}, "pre_prompt must be a str"),
        (LLMOptions, {"response_schema": {"type": "OBJECT"}}, "response_schema must be a ResponseSchema"),
        (ProfileConfiguration, {"llm": {}}, "llm must be a LLMOptions"),
    ],
)  # fmt: skip
def test_values_of_a_wrong_kind_are_refused_when_options_are_made(
    kind: type, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        kind(**fields)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("rage_click", "rage-click"), ("Click", "click"), ("console_message", "console-error"), ("change", "input-change"),
        ("request", "network-error"), ("dead click", "dead-click"), ("navigat", "navigate"),
    ],
)  # fmt: skip
def test_a_type_of_the_other_vocabulary_is_a_warning(name: str, meant: str) -> None:
    for field in ("include_types", "exclude_types"):
        types: dict[str, Any] = {field: [name]}
        with pytest.warns(UnknownEventTypeWarning, match=f"did you mean '{meant}'"):
            context_json(events=EventOptions(**types))
    with pytest.warns(UnknownEventTypeWarning, match=meant):
        context_json(media=MediaOptions(screenshot_event_types=[name]))


def test_names_of_defined_events_are_no_warning() -> None:
    context_json(events=EventOptions(include_types=["Added to Cart", "click", "Checkout Started"]))


WRITTEN = {
    "llm": {
        "pre_prompt": "a",
        "temperature": 0.2,
        "response_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
    },
    "slice": {"mode": "last", "end_timestamp": "2026-05-04T12:00:00Z"},
    "events": {"include_types": ["click"]},
    "cache": None,
}


def test_a_file_becomes_options() -> None:
    assert parse_options(WRITTEN, ProfileConfiguration) == ProfileConfiguration(
        llm=LLMOptions(
            pre_prompt="a", temperature=0.2,
            response_schema=ResponseSchema(type="OBJECT", properties={"n": ResponseSchema(type="INTEGER")}),
        ),
        slice=SliceOptions(mode="LAST", end_timestamp=NOON),
        events=EventOptions(include_types=("click",)),
    )  # fmt: skip
    nat = NaT(2026, 1, 1, tzinfo=UTC)  # of pandas, in the settings of a row
    assert (
        parse_options({"end_timestamp": nat}, SliceOptions)
        == SliceOptions(end_timestamp=nat)
        == SliceOptions()
    )
    assert parse_options({"end_timestamp": NOON}, SliceOptions) == SliceOptions(
        end_timestamp=NOON
    )  # as TOML has it


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"slize": {}}, "slize is not known; did you mean 'slice'"), ({"slice": {"mod": 1}}, r"slice\.mod is not known; did you mean 'mode'"),
        ({"zzz": 1}, "zzz is not known; the known names are llm, slice"), ({"slice": 3}, "slice must be an object, not 3"), ([], "the configuration must be an object"),
        ({"slice": {"event_limit": "x"}}, r"slice\.event_limit must be a whole number"), ({"slice": {"mode": 3}}, r"slice\.mode"),
        ({"slice": {"start_timestamp": "2026-05-04T10:00:00"}}, r"slice\.start_timestamp has no time zone: write 2026-05-04T10:00:00Z"),
        ({"slice": {"start_timestamp": "noon"}}, r"slice\.start_timestamp must be a time like"), ({"slice": {"start_timestamp": 5}}, r"slice\.start_timestamp"),
        ({"slice": {"start_timestamp": NAIVE}}, r"slice\.start_timestamp has no time zone"),
        ({"events": {"include_types": "click"}}, r"events\.include_types must be a list"), ({"context": {"exclude_device": "no"}}, r"context\.exclude_device"),
        ({"llm": {"response_schema": {"type": "x"}}}, r"response schema at \$\.type"), ({"llm": {"response_schema": 5}}, "is not a schema"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_valid_names_the_field(written: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_options(written, ProfileConfiguration)


def options(kind: type[Any]) -> st.SearchStrategy[Any]:
    values: dict[Any, st.SearchStrategy[Any]] = {
        "bool | None": st.booleans(), "str | None": st.text(), "int | None": st.integers(0, 2**63), "float | None": st.floats(0, 2),
        "tuple[str, ...] | None": st.lists(st.text(min_size=1), max_size=3).map(tuple),
        "datetime | None": st.datetimes(timezones=st.just(UTC)),
    }  # fmt: skip
    fields = {
        field.name: values[field.type]
        for field in attrs.fields(kind)
        if field.type in values and field.name != "mode"
    }
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: kind(**given))


@pytest.mark.parametrize(
    "kind", [SliceOptions, ContextOptions, EventOptions, CacheOptions, MediaOptions, LLMOptions]
)
def test_what_is_written_reads_back_the_same(kind: type[Any]) -> None:
    @given(options(kind))
    def check(given: Any) -> None:
        assert parse_options(json.loads(json.dumps(dump_options(given))), kind) == given

    check()
