"""SessionId.parse: every form, every refusal, and what holds for any text."""

from __future__ import annotations

import json
import pickle
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullstory_async import FullStoryError, InvalidSessionId, SessionId

PAIR = "406214335320288249:3829143070270885557"
USER, SESSION = PAIR.split(":")
CLIENT = "3e2bf53f-1b2c-4d5e-8f90-29c9276febf9:cef16b56-1b2c-4d5e-8f90-d955b1a50eb5"


@pytest.mark.parametrize(
    "text",
    [
        PAIR,
        f"  {PAIR}\n",
        PAIR.replace(":", "%3A"),
        PAIR.replace(":", "%3a"),
        PAIR.replace(":", "%253A"),
        f"{USER}!{SESSION}",
        f"5423563266297856:{USER}!{SESSION}",
        f"{PAIR}:1716480000000",
        f"https://app.fullstory.com/ui/ORG/session/{PAIR}",
        f"https://app.fullstory.com/ui/ORG/session/{USER}%3A{SESSION}",
        f"https://app.fullstory.com/ui/ORG/session/{USER}%253A{SESSION}",
        f"https://www.fullstory.com/ui/ORG/discover/session/{PAIR}",
        f"https://app.eu1.fullstory.com/ui/o-234FQH-eu1/session/{PAIR}",
        f"https://www.fullstory.com/ui/ORG/session/5423563266297856:{USER}!{SESSION}",
        f"https://app.fullstory.com/ui/ORG/client-session/{PAIR}",
        f"https://app.fullstory.com/ui/ORG/segments/everyone/people:search:((a:==:b))/0/({USER}!{SESSION}(x",
        f"https://app.fullstory.com/ui/ORG/segments/everyone/({USER}!{SESSION})",
        f"https://app.fullstory.com/ui/sessions/{PAIR}",
        f"https://app.staging.fullstory.com/ui/ORG/session/{PAIR}",
        f"https://app.fullstory.com/ui/session/{PAIR}",
        f"https://app.fullstory.com/ui/ORG/session/{PAIR}:1716480000000",
        f"https://app.fullstory.com/ui/ORG/session/{PAIR}?url_source=DD",
        f"https://app.fullstory.com/ui/ORG/session/{PAIR}#t=3",
        f"https://app.fullstory.com/ui/ORG/session/{PAIR}/",
        f"app.fullstory.com/ui/ORG/session/{PAIR}",
        f"APP.FULLSTORY.COM/ui/ORG/session/{PAIR}",
        f"5423563266297856:{USER}!{SESSION}:1716480000000",
        f"https://app.fullstory.com/ui/ORG/session/{PAIR};x=1",
        f"https://app.fullstory.com/ui/ORG/session/{PAIR}%3Furl_source%3DDD",
        f"\ufeff{PAIR}\u200b",
        f"{PAIR}.",
        f"{PAIR},",
        f"https://app.fullstory.com/ui/ORG/session/{PAIR}).",
        f'https://app.fullstory.com/ui/ORG/session/{PAIR}",',
        f"https://app.fullstory.com/ui/ORG/session/{PAIR}!",
        f"https://urldefense.com/v3/__https://app.fullstory.com/ui/ORG/session/{USER}*3A{SESSION}__;JQ!!a!b$",
    ],
)
def test_each_form_becomes_the_pair(text: str) -> None:
    parsed = SessionId.parse(text)
    assert str(parsed) == PAIR
    assert parsed.is_pair
    assert type(str(parsed)) is str


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (CLIENT, CLIENT),
        (f"https://app.fullstory.com/ui/ORG/client-session/{CLIENT}", CLIENT),
        (f"{CLIENT}:1716480000000", CLIENT),
        ("-5:-6", "-5:-6"),
    ],
)
def test_client_ids_and_negative_ids_are_pairs(text: str, canonical: str) -> None:
    assert SessionId.parse(text) == canonical
    assert SessionId.parse(text).is_pair


@pytest.mark.parametrize(
    "text",
    [
        "5629499534213120",
        "abc",
        "1:2:3",
        "1:2:9999999999999",
        "a%41",
        "a?b#c",
        "ünïcode",
        "x(1)",
        "a:b",
        "%",
        "%zz",
    ],
)
def test_anything_else_is_opaque(text: str) -> None:
    assert str(SessionId.parse(text)) == text
    assert not SessionId.parse(text).is_pair


@pytest.mark.row(37)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        (".", "relative path"),
        ("..", "relative path"),
        ("%2e%2E", "relative path"),
        ("a\r\nX-Evil: 1", "control character"),
        ("a%0d%0aX", "control character"),
        ("a%250aX", "control character"),
        ("a\x00b", "control character"),
        ("a\x85b", "control character"),
        ("a\x7fb", "control character"),
        ("1/2", "slash"),
        ("a b", "white space"),
        ("summary 1:2", "white space"),
        ("1:2 3:4", "white space"),
        ("https://app.fullstory.com/ui/O/session/1:2 thanks", "white space"),
        ("https://a.test/session/1:2 https://a.test/session/3:4", "white space"),
        ("https://a.test/session/1:2,https://a.test/session/3:4", "several sessions"),
        ("https://app.fullstory.com/ui/ORG/session/a%20b", "white space"),
        ("../1:2", "slash"),
        ("a%2Fb", "slash"),
        ("a\\b", "slash"),
        ("\ud800", "lone surrogate"),
        ("x" * 513, "512 bytes"),
        ("ü" * 257, "512 bytes"),
        ("https://app.fullstory.com/ui/ORG/home", "URL without a session id"),
        ("https://app.fullstory.com", "URL without a session id"),
        ("https://app.fullstory.com/ui/ORG/session/%2E%2E", "relative path"),
        ("https://app.fullstory.com/ui/ORG/session/%20", "empty"),
    ],
)
def test_what_can_not_be_sent_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidSessionId, match=reason) as caught:
        SessionId.parse(text)
    assert isinstance(caught.value, (FullStoryError, ValueError))
    assert "\n" not in str(caught.value)


def test_an_opaque_id_in_a_url_is_decoded_once() -> None:
    assert SessionId.parse("https://h.test/session/a%2541") == "a%41"
    assert SessionId.parse("https://h.test/session/a%41") == "aA"


@pytest.mark.parametrize("value", [None, 5, b"1:2", ["1:2"]])
def test_what_is_not_text_is_refused(value: Any) -> None:
    with pytest.raises(InvalidSessionId, match="must be a string, not"):
        SessionId.parse(value)


def test_it_is_a_value() -> None:
    one, other = SessionId.parse("1!2"), SessionId.parse("1:2")
    assert one == other == "1:2"
    assert hash(one) == hash(other)
    assert len({one, other, "1:2"}) == 1
    assert sorted([SessionId("2:2"), one]) == ["1:2", "2:2"]
    assert json.dumps(one) == '"1:2"'
    assert repr(one) == "SessionId('1:2')"
    assert SessionId(one) is one


@pytest.mark.row(37)
@given(st.text())
def test_any_text_is_refused_or_one_safe_segment(text: str) -> None:
    try:
        parsed = SessionId.parse(text)
    except InvalidSessionId:
        return
    assert SessionId.parse(str(parsed)) == parsed
    assert pickle.loads(pickle.dumps(parsed)) == parsed
    segment = quote(parsed, safe="")
    assert segment not in ("", ".", "..")
    assert segment.isascii()
    assert segment.isprintable()
    assert not set(segment) & set("/?#\\ ")


FORMS = {
    "pair": "{user}:{session}",
    "percent-encoded": "{user}%3A{session}",
    "encoded twice": "{user}%253A{session}",
    "bang": "{user}!{session}",
    "individual in front": "77:{user}!{session}",
    "app": "https://app.fullstory.com/ui/O/session/{user}:{session}",
    "app, encoded": "https://app.fullstory.com/ui/O/session/{user}%3A{session}",
    "discover": "https://www.fullstory.com/ui/O/discover/session/{user}:{session}",
    "Europe": "https://app.eu1.fullstory.com/ui/O/session/{user}:{session}",
    "individual in a URL": "https://www.fullstory.com/ui/O/session/77:{user}!{session}",
    "client-session": "https://app.fullstory.com/ui/O/client-session/{user}:{session}",
    "segment": "https://app.fullstory.com/ui/O/segments/x/({user}!{session}(",
    "streams": "https://app.fullstory.com/ui/sessions/{user}:{session}",
    "no account": "https://app.staging.fullstory.com/ui/session/{user}:{session}",
    "url.now": "https://app.fullstory.com/ui/O/session/{user}:{session}:1716480000000",
    "query": "https://app.fullstory.com/ui/O/session/{user}:{session}?url_source=DD",
    "code": "`{user}:{session}`",
    "code block": "```{user}:{session}```",
    "emphasis": "**{user}:{session}**",
    "list item": "- {user}:{session}",
    "numbered item": "12. {user}:{session}",
    "quoted": "“{user}:{session}”",
    "text formula": '="{user}:{session}"',
    "Slack": "<https://app.fullstory.com/ui/O/session/{user}:{session}|Ada's replay>",
    "autolink": "<https://app.fullstory.com/ui/O/session/{user}%3A{session}>",
    "Markdown": "[Ada's replay](https://app.fullstory.com/ui/O/session/{user}:{session})",
    "Markdown with a title": '[replay](<https://app.fullstory.com/ui/O/session/{user}:{session}> "Ada")',
    "Jira": "[Ada|https://app.fullstory.com/ui/O/session/{user}:{session}]",
    "MediaWiki": "[https://app.fullstory.com/ui/O/session/{user}:{session} Ada]",
    "Org mode": "[[https://app.fullstory.com/ui/O/session/{user}:{session}][Ada]]",
    "HTML": '<a target="_blank" href="https://app.fullstory.com/ui/O/session/{user}:{session}">Ada</a>',
    "SafeLinks": (
        "https://nam02.safelinks.protection.outlook.com/?url=https%3A%2F%2Fapp.fullstory.com%2Fui%2FO%2Fsession"
        "%2F{user}%253A{session}&data=05%7C01&reserved=0"
    ),
    "Google": "https://www.google.com/url?q=https://app.fullstory.com/ui/O/session/{user}%3A{session}&sa=D",
    "Slack's redirect": (
        "https://slack-redir.net/link?url=https%3A%2F%2Fapp.fullstory.com%2Fui%2FO%2Fsession%2F{user}%3A{session}"
    ),
    "URL Defense 2": (
        "https://urldefense.proofpoint.com/v2/url?u=https-3A__app.fullstory.com_ui_O_session_{user}-3A{session}&d=x"
    ),
    "URL Defense 3": "https://urldefense.com/v3/__https://app.fullstory.com/ui/O/session/{user}:{session}__;!!x$",
}
"""Every form in which FullStory shows the pair of two numbers; besides these there are a pair of GUIDs, and
the session's number alone, which is kept as it is."""


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30)  # of each of the forms
@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_every_pair_survives_every_form(form: str, user: int, session: int) -> None:
    parsed = SessionId.parse(FORMS[form].format(user=user, session=session))
    assert parsed == f"{user}:{session}"
    assert parsed.is_pair
    assert SessionId.parse(quote(parsed, safe="")) == parsed


@given(st.uuids(), st.uuids())
def test_client_ids_survive_too(one: UUID, other: UUID) -> None:
    pair = f"{one}:{other}"
    for form in (pair, quote(pair, safe=""), f"https://app.fullstory.com/ui/O/client-session/{pair}"):
        assert SessionId.parse(form) == pair


@given(st.integers(0, 2**63 - 1))
def test_half_an_id_is_kept_and_is_no_pair(session: int) -> None:
    assert SessionId.parse(str(session)) == str(session)
    assert not SessionId.parse(str(session)).is_pair
