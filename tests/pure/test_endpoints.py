"""From arguments to a Request: paths quoted once, both names of the profile, extras checked."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from fullstory_async import ConfigurationError, InvalidSessionId, SessionId
from fullstory_async.http import endpoints
from fullstory_async.http.options import CallOptions
from fullstory_async.messages import Request

ID = SessionId("1:2")


def test_list() -> None:
    request = endpoints.list_sessions(uid="u-1", email=None, limit=20)
    assert (request.method, request.path) == ("GET", "/sessions/v2")
    assert request.query == (("uid", "u-1"), ("limit", "20"))
    assert not request.metered
    both = endpoints.list_sessions(uid="u", email="e", limit=5, token="t")
    assert dict(both.query) == {"uid": "u", "email": "e", "limit": "5", "pagination_token": "t"}


def test_events() -> None:
    request = endpoints.session_events(ID)
    assert request.path == "/v2/sessions/1%3A2/events"
    assert (request.session_id, request.metered, request.slow) == ("1:2", True, False)
    assert request.query == ()


def test_summary_sends_the_profile_under_both_names() -> None:
    request = endpoints.session_summary(ID, config_profile_id="support")
    assert request.path == "/v2/sessions/1%3A2/summary"
    assert dict(request.query) == {"config_profile_id": "support", "config_profile": "support"}
    assert (request.metered, request.slow) == (True, True)
    assert endpoints.session_summary(ID, config_profile_id=None).query == ()


def test_only_an_id_that_is_no_pair_gets_the_hint() -> None:
    assert endpoints.session_events(ID).not_found_hint == ""
    assert "USER:SESSION" in endpoints.session_events(SessionId("5629499534213120")).not_found_hint
    assert (
        "USER:SESSION" in endpoints.session_summary(SessionId("abc"), config_profile_id=None).not_found_hint
    )


@given(st.text(min_size=1, max_size=60))
def test_any_id_stays_one_segment_on_the_wire(text: str) -> None:
    try:
        session_id = SessionId(text)
    except InvalidSessionId:
        return
    raw = URL("http://h" + endpoints.session_events(session_id).path, encoded=True).raw_path
    head, version, noun, segment, tail = raw.split("/")
    assert (head, version, noun, tail) == ("", "v2", "sessions", "events")
    assert unquote(segment) == session_id


def test_extras_are_added_and_replace() -> None:
    request = Request(operation="list", path="/p", query=(("limit", "20"), ("uid", "u")))
    options = CallOptions(None, {"limit": 5, "enable_event_cache": True, "off": False}, {"X-Trace": "1"})
    changed = options.apply(request)
    assert changed.query == (("uid", "u"), ("limit", "5"), ("enable_event_cache", "true"), ("off", "false"))
    assert changed.headers == {"X-Trace": "1"}
    assert CallOptions().apply(request) == request


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"timeout": 0}, "timeout"), ({"timeout": -1}, "timeout"), ({"timeout": float("nan")}, "timeout"),
        ({"timeout": "5"}, "timeout"), ({"query": {"a": None}}, "extra_query"), ({"query": {"a": 1.5}}, "extra_query"),
        ({"headers": {"Authorization": "x"}}, "Authorization"), ({"headers": {"host": "x"}}, "host"),
        ({"headers": {"a b": "x"}}, "header name"), ({"headers": {"": "x"}}, "header name"),
        ({"headers": {"X-A": "a\r\nB: c"}}, "X-A"), ({"headers": {"X-A": 5}}, "X-A"), ({"headers": {"X-A": "ü"}}, "X-A"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        CallOptions(**options)


def test_text_that_no_url_can_hold_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="surrogate"):
        CallOptions().apply(Request(operation="list", path="/p", query=(("uid", "\ud800"),)))
