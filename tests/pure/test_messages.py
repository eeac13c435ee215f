"""The user that a request asks about is removed from what a server says, however it is written there."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async.http import endpoints
from fullstory_async.messages import Request
from fullstory_async.privacy import redact_subject


def asking_for(uid: str | None = None, email: str | None = None) -> Request:
    return endpoints.list_sessions(uid=uid, email=email, limit=20)


@pytest.mark.parametrize(
    "said",
    [
        "no mary+x/1@b.test here",
        "no MARY+X/1@B.TEST here",
        r"no mary+x\/1@b.test here",
        r"no mary\u002bx\u002F1@b.test here",
        "no mary%2Bx%2F1%40b.test here",
        "no mary%2bx/1@b.test here",
        "no mary+x&#47;1@b.test here".replace("&#47;", "/"),
    ],
)
def test_it_is_found_in_every_spelling(said: str) -> None:
    assert redact_subject(said, asking_for(email="mary+x/1@b.test")) == "no [the email] here"


@pytest.mark.parametrize("uid", ["anna\N{GRINNING FACE}", r"dom\uabcd1", r"dom\/anna", "jürgen"])
@pytest.mark.parametrize("change", [str, str.upper])
@pytest.mark.parametrize("written", [str, json.dumps, lambda text: json.dumps(text).replace("/", r"\/")])
def test_nothing_of_it_is_shown_however_it_is_escaped(
    uid: str, change: Callable[[str], str], written: Callable[[str], str]
) -> None:
    assert redact_subject(f"no {written(change(uid))} here", asking_for(uid=uid)) in (
        "no [the uid] here", 'no "[the uid]" here', "[the uid]",
    )  # fmt: skip


def test_what_is_not_there_is_left_as_it_is() -> None:
    said = r"no \u00fc or \/ and nobody@b.test here"
    assert redact_subject(said, asking_for(uid="u-12", email="mary@b.test")) is said
    assert redact_subject("ab is too short", asking_for(uid="ab")) == "ab is too short"


def test_a_very_long_one_takes_no_time_and_is_not_shown() -> None:
    uid = "ü%41" * 50_000
    request = asking_for(uid=uid)
    began = time.process_time()
    for n in range(10):
        assert redact_subject(f"nothing of it {n}", request) == f"nothing of it {n}"
    for said in (uid, uid.upper(), json.dumps(uid)):
        assert redact_subject(f"no {said} here", request) == "[the uid]"
    assert time.process_time() - began < 4  # it takes a tenth of that; the pattern alone would take more


@given(st.text(min_size=4, max_size=12), st.text(max_size=12), st.booleans())
def test_no_text_is_missed(uid: str, around: str, escaped: bool) -> None:
    if not uid.isprintable() or uid.lower() in around.lower():
        return
    said = around + (json.dumps(uid)[1:-1] if escaped else uid) + around
    cleaned = redact_subject(said, asking_for(uid=uid))
    assert not re.search(re.escape(uid), cleaned, re.IGNORECASE)
    assert "[the uid]" in cleaned
