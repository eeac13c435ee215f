"""Settings for recordings: what `vcr_settings` leaves of requests and responses."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from fullstory_async.testing import vcr_settings

SETTINGS = vcr_settings()


def scrubbed_request(uri: str, body: bytes | None = None) -> Any:
    return SETTINGS["before_record_request"](SimpleNamespace(uri=uri, body=body))


def scrubbed_body(document: Any) -> Any:
    body = {"string": json.dumps(document).encode()}
    response = SETTINGS["before_record_response"]({"headers": {}, "body": body})
    return json.loads(response["body"]["string"])


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("email=ada%40example.com&limit=20", "email=hidden&limit=20"),
        ("uid=4711&uid=", "uid=hidden&uid=hidden"),
        ("session_uid=visit-1", "session_uid=hidden"),
        ("trace=ada", "trace=hidden"),
        (
            "config_profile=support&config_profile_id=support",
            "config_profile=support&config_profile_id=support",
        ),
        ("", ""),
    ],
)
def test_values_of_the_query_are_hidden(query: str, left: str) -> None:
    request = scrubbed_request(f"https://api.fullstory.com/sessions/v2?{query}#x")
    assert request.uri == "https://api.fullstory.com/sessions/v2" + (f"?{left}" if left else "")
    # requests are scrubbed once more before they are looked up
    assert scrubbed_request(request.uri).uri == request.uri


def test_session_ids_stay_and_addresses_in_paths_go() -> None:
    assert scrubbed_request("https://x.test/v2/sessions/1%3A2/events").uri.endswith(
        "/v2/sessions/1%3A2/events"
    )
    assert "ada" not in scrubbed_request("https://x.test/v2/visit_profile/ada%40example.com").uri


def test_bodies_of_requests() -> None:
    body = json.dumps({"llm": {"pre_prompt": "Write to ada@example.com."}}).encode()
    assert json.loads(scrubbed_request("https://x.test/", body).body) == {
        "llm": {"pre_prompt": "Write to hidden@example.com."}
    }
    assert scrubbed_request("https://x.test/").body is None
    assert scrubbed_request("https://x.test/", b"to=ada@example.com&x").body == b"to=hidden@example.com&x"


def test_users_in_bodies_of_responses() -> None:
    event = {
        "event_type": "identify", "device_id": "12", "userId": "12", "sessionId": "34", "view_id": None,
        "event_properties": {
            "user_id": 4711, "user_email": "Ada <ada@example.com>", "user_display_name": "Ada L.",
            "text": ["mailto:ada.l+x@mail.example.com?a", "@handle", "a @ b"], "n": 1.5,
        },
        "source_properties": {"location": {"ip_address": "203.0.113.7", "lat_long": "1,2", "city": "Berlin"}},
    }  # fmt: skip
    left = scrubbed_body({"events": [event], "ada@example.com": True})
    assert left == {
        "events": [
            {
                "event_type": "identify", "device_id": "12", "userId": "12", "sessionId": "34", "view_id": None,
                "event_properties": {
                    "user_id": "hidden", "user_email": "hidden@example.com", "user_display_name": "hidden",
                    "text": ["mailto:hidden@example.com?a", "@handle", "a @ b"], "n": 1.5,
                },
                "source_properties": {
                    "location": {"ip_address": "hidden", "lat_long": "hidden", "city": "Berlin"}
                },
            }
        ],
        "hidden@example.com": True,
    }  # fmt: skip


def test_the_program_gets_what_was_received() -> None:
    received = {
        "headers": {"Set-Cookie": ["a"], "Content-Type": ["text/html"]},
        "body": {"string": b"<p>ada@example.com</p>"},
        "url": "https://x.test/sessions/v2?email=ada%40example.com",
        "status": {"code": 200},
    }
    left = SETTINGS["before_record_response"](received)
    assert left == {
        "headers": {"Content-Type": ["text/html"]},
        "body": {"string": b"<p>hidden@example.com</p>"},
        "url": "https://x.test/sessions/v2?email=hidden",
        "status": {"code": 200},
    }
    assert received["body"] == {"string": b"<p>ada@example.com</p>"}


def test_the_key_is_hidden_and_settings_are_a_dict_of_ones_own() -> None:
    assert ("authorization", "hidden") in SETTINGS["filter_headers"]
    assert vcr_settings() is not vcr_settings()
