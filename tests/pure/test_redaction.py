"""Redaction: the fields that names, paths and patterns stand for, and the similar ones that are named."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from fullstory_async import ConfigurationError
from fullstory_async.jobs.export.redaction import Redaction

ROW: dict[str, Any] = {
    "full_session_id": "1:2",
    "event_properties": {
        "user_email": "a", "userEmail": "b", "Email": "c", "email.home": "d", "phone": None,
        "user": {"email": "e", "tags": [{"Email": "f", "n": 1}]},
    },
    "source_properties": {"url": {"full_url": "u", "path": "p"}, "email": "g", "title": "t"},
    "page_title": "t",
}  # fmt: skip


def left(redaction: Redaction, value: Any = ROW) -> set[str]:
    """Return the texts of e-mail fields that a redaction leaves."""
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for each in value.values():
                collect(each)
        elif isinstance(value, list):
            for each in value:
                collect(each)
        elif isinstance(value, str):
            found.add(value)

    collect(redaction.apply(value))
    return found & set("abcdefgupt")


@pytest.mark.parametrize(
    ("given", "hidden"),
    [
        ("user_email", "a"),
        ("USER_EMAIL", "a"),
        ("email", "cefg"),
        ("*email*", "abcdefg"),
        ("*_EMAIL", "a"),
        ("event_properties.email", "cef"),
        ("event_properties.user.email", "ef"),
        ("Event_Properties.tags.email", "f"),
        ("user.*", "ef"),
        ("source_properties.user.email", ""),
        ("email.home", "d"),
        ("event_properties.EMAIL.home", "d"),
        ("event_properties.email.*", "d"),
        ("source_properties.email.home", ""),
        ("source_properties", "upg"),
        ("page_title", "t"),
        ("page_url", "u"),
    ],
)
def test_a_name_a_path_or_a_pattern_stands_for_fields(given: str, hidden: str) -> None:
    redaction = Redaction.of([given], "secret")
    assert left(redaction) == set("abcdefgupt") - set(hidden)
    assert bool(redaction.hidden[given]) == bool(hidden)


def test_a_column_is_redacted_as_a_whole_only_by_its_own_name() -> None:
    redaction = Redaction.of(
        {"page_*": "hash", "page_title": "drop", "event_properties.view_id": "drop"}, "s"
    )
    names = ("page_title", "PAGE_TITLE", "page_url", "view_id", "event_properties")
    assert [redaction.how(name) for name in names] == ["drop", "drop", "hash", None, None]


def test_equal_values_have_equal_fingerprints_in_every_place() -> None:
    redacted = Redaction.of({"page_title": "hash"}, "secret").apply(ROW)
    assert redacted["page_title"] == redacted["source_properties"]["title"] != "t"


def test_similar_fields_that_were_left_are_named(caplog: pytest.LogCaptureFixture) -> None:
    redaction = Redaction.of(["user_email", "fone", "event_properties.email", "*url*"], "secret")
    redaction.apply(ROW)
    assert redaction.near_misses == {
        "user_email": ["userEmail", "email"],
        "event_properties.email": ["email", "email.home", "userEmail"],
    }
    assert redaction.missing == ["fone"]
    with caplog.at_level(logging.WARNING):
        redaction.warn()
    assert "redacted user_email, and left similar fields as they are: userEmail, email" in caplog.text
    assert Redaction.of(["*email*"], "secret").near_misses == {}


def test_a_field_inside_a_redacted_one_is_not_left() -> None:
    redaction = Redaction.of(["user", "mail"], "secret")
    redaction.apply({"event_properties": {"user": {"e_mail": "x", "mail": "y"}}})
    assert (redaction.near_misses, dict(redaction.hidden)) == ({}, {"user": 1, "mail": 1})


@pytest.mark.parametrize("given", ["user_email", [""], [3], {"a": "blur"}, ["a..b"], [".a"], ["."], None, 5])
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="redact"):
        Redaction.of(given, "secret")


def test_documents_of_any_shape_take_little_memory() -> None:
    redaction = Redaction.of(["email"], "secret")
    for number in range(20_000):
        redaction.apply({"event_properties": {f"name {number}": 1}})
    assert len(redaction.left) <= 10_000
