"""Context and profiles: from the response to the model, and to Markdown."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import (
    ConfigurationError,
    ContextEvent,
    ContextPage,
    DecodeError,
    Profile,
    SessionContext,
)
from fullstory_async.codec import decode_context, decode_key_owner, decode_profile, decode_profiles
from fullstory_async.messages import Response
from fullstory_async.models import ScreenSize, UserContext
from fullstory_async.session_id import SessionId

ID = SessionId("5:6")
ANSWER: dict[str, Any] = {
    "context_data": {
        "context": {
            "session_id": "5:6", "session_url": "https://app.fullstory.com/ui/O/session/5:6",
            "session_created_at": "2026-05-04T10:00:00Z",
            "org_context": {"org_id": "O", "name": "Acme", "industry": "Retail", "domain": "acme.test", "country": "US"},
            "user_context": {"user_uid": "u-1", "display_name": "Ann", "email": "ann@acme.test", "properties": {"plan": "pro"}},
            "location_context": {"country": "US", "region": "GA", "city": "Atlanta"},
            "device_context": {
                "browser": "Chrome 120", "operating_system": "macOS 14",
                "screen_size": {"height_pixels": "1080", "width_pixels": 1920}, "viewport_size": {"height_pixels": 900},
            },
        },
        "pages": [
            None,
            {"url": "https://acme.test/cart", "title": "Cart", "tab": 1, "events": [
                {"type": "click", "description": "Clicked Checkout", "timestamp": "2026-05-04T10:00:05.120Z",
                 "content": "Checkout", "properties": {"a": [1]}, "screenshot_url": None}, None, {"type": "rage-click"},
            ]},
            {"url": "https://acme.test/"},
        ],
        "unknown": 1,
    }
}  # fmt: skip


def decoded(body: object) -> SessionContext:
    return decode_context(Response(status=200, body=json.dumps(body).encode()), ID)


def test_every_field_is_decoded() -> None:
    found = decoded(ANSWER)
    assert (found.session_id, found.session_url) == ("5:6", "https://app.fullstory.com/ui/O/session/5:6")
    assert found.created is not None
    assert found.created.isoformat() == "2026-05-04T10:00:00+00:00"
    assert found.org is not None
    assert (found.org.org_id, found.org.name, found.org.industry) == ("O", "Acme", "Retail")
    assert (found.org.domain, found.org.country) == ("acme.test", "US")
    assert found.user == UserContext(
        user_uid="u-1", display_name="Ann", email="ann@acme.test", properties={"plan": "pro"}
    )
    assert found.location is not None
    assert (found.location.country, found.location.region, found.location.city) == ("US", "GA", "Atlanta")
    assert found.device is not None
    assert (found.device.browser, found.device.operating_system) == ("Chrome 120", "macOS 14")
    assert found.device.screen_size == ScreenSize(width_pixels=1920, height_pixels=1080)
    assert found.device.viewport_size == ScreenSize(height_pixels=900)
    cart, home = found.pages
    assert (cart.url, cart.title, cart.tab) == ("https://acme.test/cart", "Cart", 1)
    click, rage = cart.events
    assert (click.type, click.description, click.content) == ("click", "Clicked Checkout", "Checkout")
    assert (click.properties, click.screenshot_url) == ({"a": [1]}, None)
    assert click.timestamp is not None
    assert click.timestamp.isoformat() == "2026-05-04T10:00:05.120000+00:00"
    assert (rage.type, rage.timestamp) == ("rage-click", None)
    assert home.events == ()
    assert json.loads(found.raw) == ANSWER


@pytest.mark.parametrize(
    "body",
    [{}, {"context_data": None}, {"context_data": {}}, {"context_data": {"context": None, "pages": None}}],
)
def test_what_is_missing_is_nothing(body: dict[str, Any]) -> None:
    found = decoded(body)
    assert attrs.evolve(found, raw=b"") == SessionContext(session_id="5:6")
    assert found.to_markdown().startswith("# Session 5:6\n")


@pytest.mark.parametrize("body", [[], None, "text"])
def test_a_response_that_is_no_object_is_an_error(body: object) -> None:
    with pytest.raises(DecodeError, match=r"@ \$"):
        decoded(body)


def test_what_is_odd_is_left_out_and_nothing_else() -> None:
    page = {
        "tab": "main", "title": "Cart", "url": ["x"],
        "events": [3, {"type": "click", "description": [1], "content": {"a": 1}, "timestamp": "odd", "properties": [1]}, "x"],
    }  # fmt: skip
    context = {
        "session_id": "5:6", "org_context": "Acme", "user_context": {"email": "a@b.c", "properties": 3},
        "device_context": {"browser": "B", "screen_size": {"height_pixels": 1080.5, "width_pixels": "1920"}},
    }  # fmt: skip
    found = decoded({"context_data": {"context": context, "pages": [page, 3]}})
    assert found.user is not None
    assert (found.org, found.user.email, found.user.properties) == (None, "a@b.c", {})
    assert found.device is not None
    assert found.device.screen_size == ScreenSize(width_pixels=1920)
    assert found.pages == (ContextPage(title="Cart", events=(ContextEvent(type="click"),)),)
    assert decoded({"context_data": 3}).pages == ()
    assert decoded({"context_data": {"context": 3, "pages": {"a": 1}}}).pages == ()


def test_markdown() -> None:
    assert decoded(ANSWER).to_markdown() == (
        "# Session 5:6\n"
        "\n"
        "- Replay: <https://app.fullstory.com/ui/O/session/5:6>\n"
        "- Began: 2026-05-04 10:00:00 UTC\n"
        "- User: Ann, ann@acme.test, u-1\n"
        "- Properties: plan: pro\n"
        "- Organisation: Acme, Retail, acme.test\n"
        "- Place: Atlanta, GA, US\n"
        "- Device: Chrome 120, macOS 14\n"
        "\n"
        "## Cart (tab 1)\n"
        "\n"
        "<https://acme.test/cart>\n"
        "\n"
        "- 0:05.1 **click** Clicked Checkout\n"
        "- **rage-click**\n"
        "\n"
        "## https://acme.test/\n"
        "\n"
    )


def evil_mention() -> str:
    return SessionContext(pages=(ContextPage(title="hello @everyone and @here, a@b.c"),)).to_markdown()


def test_what_stands_on_a_page_is_no_markdown() -> None:
    evil = SessionContext(
        session_id="1:2",
        session_url="https://x.test/a>\n# b c",
        pages=(
            ContextPage(
                title="[click](https://evil.test)\n# me", url="javascript:alert(1)>x",
                events=(ContextEvent(type="*x*", content="`code` **bold** <b> \x1b[2J\u202e"),),
            ),
        ),
    )  # fmt: skip
    text = evil.to_markdown()
    assert "- Replay: <https://x.test/a#bc>\n" in text
    assert "\n## \\[click\\](https://evil.test) # me\n" in text
    assert "\njavascript:alert(1)\\>x\n" in text
    assert "@everyone" not in evil_mention()
    assert "- **\\*x\\*** \\`code\\` \\*\\*bold\\*\\* \\<b\\> \\[2J\n" in text
    assert all(c.isprintable() or c == "\n" for c in text)


LONG = SessionContext(
    session_id="1:2",
    pages=(
        ContextPage(
            title="Page", events=tuple(ContextEvent(type="click", content=f"number {n}") for n in range(500))
        ),
    ),
)


def test_a_long_session_keeps_its_beginning_and_its_end() -> None:
    text = LONG.to_markdown(max_characters=1000)
    assert len(text) <= 1000
    assert text.startswith("# Session 1:2")
    assert "number 0" in text
    assert "number 499" in text
    left_out = int(text.split("… ")[1].split(" ")[0])
    assert left_out + text.count("**click**") + 3 == 503  # with the page's heading and the lines around it
    assert len(LONG.to_markdown()) > 10_000


@given(st.integers(1, 20_000))
def test_markdown_is_never_longer_than_allowed(limit: int) -> None:
    assert 0 < len(LONG.to_markdown(max_characters=limit)) <= limit


@pytest.mark.parametrize("limit", [0, -5, 2.5, True, None, "9"])
def test_a_limit_that_makes_no_sense_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_characters"):
        LONG.to_markdown(max_characters=limit)


PROFILE: dict[str, Any] = {
    "id": "1c07280f", "name": "Support summary",
    "configuration": {
        "slice": {"mode": "LAST", "event_limit": 200, "duration_limit_ms": "600000"}, "context": {"exclude": ["org"]},
        "events": {"include_types": ["navigate", "click"]}, "cache": {"enable_event_cache": True},
    },
    "llm": {
        "pre_prompt": "…", "temperature": 0.2,
        "response_schema": {
            "type": "OBJECT", "properties": {"list": {"type": "ARRAY", "items": {"type": "STRING", "enum": ["a"]}}},
            "required": ["list"],
        },
    },
    "unknown": {},
}  # fmt: skip


def response(value: object) -> Response:
    return Response(status=200, body=json.dumps(value).encode())


def check_profile(profile: Profile) -> None:
    assert (profile.id, profile.name) == ("1c07280f", "Support summary")
    found = profile.configuration
    assert found.slice is not None
    assert (found.slice.mode, found.slice.event_limit, found.slice.duration_limit_ms) == (
        "LAST",
        200,
        600_000,
    )
    assert found.context is not None
    assert found.events is not None
    assert (found.context.exclude, found.events.include_types) == (("org",), ("navigate", "click"))
    assert found.cache is not None
    assert found.cache.enable_event_cache is True
    assert found.llm is not None
    assert (found.llm.pre_prompt, found.llm.temperature, found.llm.post_prompt) == ("…", 0.2, None)
    assert found.llm.response_schema is not None
    assert found.llm.response_schema.to_dict() == PROFILE["llm"]["response_schema"]


def test_a_profile_is_decoded_nested_and_flat() -> None:
    check_profile(decode_profile(response(PROFILE)))
    flat = {**PROFILE, **PROFILE["configuration"], "profile_id": PROFILE["id"]}
    del flat["configuration"], flat["id"]
    check_profile(decode_profile(response(flat)))
    assert decode_profile(response({"id": "x"})) == Profile(id="x")
    strange = {"id": "x", "configuration": {"slice": {"mode": "NEWEST"}}}
    found = decode_profile(response(strange)).configuration.slice
    assert found is not None
    assert found.mode == "NEWEST"  # the set may grow


def test_entries_that_can_not_be_used_are_left_out() -> None:
    page = decode_profiles(
        response({"profiles": [None, {"name": "alpha"}, PROFILE, {"id": ""}], "next_pagination_token": "t"})
    )
    (profile,) = page
    check_profile(profile)
    assert json.loads(profile.raw) == PROFILE
    assert (page.next_token, page.received) == ("t", 4)
    assert decode_profiles(response({})).items == ()
    assert (
        decode_profiles(response({"profiles": [3, {"name": "alpha", "llm": {"temperature": "hot"}}]})).items
        == ()
    )


@pytest.mark.parametrize(
    "configuration",
    [
        {"slice": {"event_limit": "many", "mode": "LAST"}}, {"slice": {"event_limit": -1, "mode": "LAST"}},
        {"slice": {"mode": "LAST"}, "events": {"include_types": "click"}}, {"slice": {"mode": "LAST"}, "events": "x"},
        {"slice": {"mode": "LAST"}, "cache": {"enable_event_cache": "true"}}, {"slice": {"mode": "LAST"}, "llm": {"temperature": -1}},
        {"slice": {"mode": "LAST"}, "llm": {"response_schema": "x"}}, {"slice": {"mode": "LAST"}, "events": {"include_types": [""]}},
    ],
)  # fmt: skip
def test_what_is_odd_in_a_profile_is_left_out_and_nothing_else(configuration: dict[str, Any]) -> None:
    found = decode_profile(response({"id": "x", "configuration": configuration}))
    assert found.configuration.slice is not None
    assert found.configuration.slice.mode == "LAST"
    assert "many" not in repr(found)


def test_a_schema_that_the_dialect_does_not_know_is_read_as_far_as_it_goes() -> None:
    schema = {
        "type": ["STRING", "NULL"],
        "items": 3,
        "properties": {"a": {"type": "STRING", "enum": ["x", None]}, "b": 3},
    }
    llm = decode_profile(response({"id": "x", "llm": {"response_schema": schema}})).configuration.llm
    assert llm is not None
    assert llm.response_schema is not None
    assert llm.response_schema.to_dict() == {"properties": {"a": {"type": "STRING", "enum": ["x"]}}}


def test_the_next_pages_token_is_not_the_requests_own() -> None:
    page = decode_profiles(
        response({"profiles": [], "pagination_token": "same", "next_pagination_token": "next"})
    )
    assert page.next_token == "next"


def test_whose_key_it_is() -> None:
    owner = decode_key_owner(
        response({"email": "a@b.c", "orgId": "O", "role": "ARCHITECT", "embedPartnerId": "x"})
    )
    assert (owner.email, owner.org_id, owner.role) == ("a@b.c", "O", "ARCHITECT")
    assert decode_key_owner(response({})).role is None


def test_times_count_from_the_first_event_if_the_devices_clock_is_behind() -> None:
    body = json.loads(json.dumps(ANSWER))
    body["context_data"]["context"]["session_created_at"] = "2026-05-04T10:30:00Z"
    body["context_data"]["pages"][1]["events"][2]["timestamp"] = "2026-05-04T10:01:10Z"
    lines = decoded(body).to_markdown().splitlines()
    assert [line.split(" Clicked")[0] for line in lines if re.match(r"- \d+:", line)] == [
        "- 0:00.0 **click**",
        "- 1:04.9 **rage-click**",
    ]
