"""The key and the user of a request are found in whatever a server or proxy makes of them when it quotes."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from yarl import URL

from fullstory_async import Secret
from fullstory_async.messages import Request
from fullstory_async.privacy import Redactor, redact_subject
from fullstory_async.spelling import Reading

KEY = "na1.Canary/0f3a+Xy9zQ8w7v6u5t4s3r2q1p0+oK="
EMAIL = "Änne.canary+1@mail.example.org"
UID = 'uid canary/7 & "é" 😀'
PASSWORD = "canary/secret+1%41"


def entities(text: str, form: str) -> str:
    return "".join(form.format(ord(char)) for char in text)


def json_twice(text: str) -> str:
    return json.dumps(json.dumps(text)[1:-1])[1:-1]


def utf16(text: str) -> list[str]:
    units = text.encode("utf-16-be")
    return [units[at : at + 2].hex() for at in range(0, len(units), 2)]


def percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def wrapped(text: str, end: str = "\n", width: int = 7) -> str:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "for a query": lambda text: quote(text, safe=""),
    "for a path": quote,
    "for a form": lambda text: quote(text, safe="").replace("%20", "+"),
    "percent, everything": percent,
    "percent, lower case": lambda text: percent(text).lower(),
    "percent, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent, three times": lambda text: quote(quote(percent(text), safe=""), safe=""),
    "percent, decoded and encoded by halves": lambda text: quote(text, safe="+ /="),
    "percent, as old scripts do": lambda text: "".join(f"%u{unit}" for unit in utf16(text)),
    "HTML": html.escape,
    "HTML, twice": lambda text: html.escape(html.escape(text)),
    "HTML, decimal": lambda text: entities(text, "&#{};"),
    "HTML, decimal with zeros": lambda text: entities(text, "&#{:07};"),
    "HTML, hexadecimal": lambda text: entities(text, "&#x{:x};"),
    "HTML, upper hexadecimal": lambda text: entities(text, "&#X{:04X};"),
    "HTML, without semicolons": lambda text: re.sub(r"[^\w](?!\d)", lambda found: f"&#{ord(found[0])}", text),
    "HTML, named": lambda text: text.replace("&", "&AMP;").replace("@", "&commat;").replace("/", "&sol;").replace("+", "&plus;").replace(".", "&period;").replace("=", "&equals;"),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, twice": json_twice,
    "JSON, three times": lambda text: json.dumps(json_twice(text))[1:-1],
    "JSON, every character": lambda text: "".join(f"\\u{unit}" for unit in utf16(text)),
    "JSON, every character twice": lambda text: "".join(f"\\\\u{unit.upper()}" for unit in utf16(text)),
    "JSON, slashes": lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    "JavaScript": lambda text: "".join(f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{{{ord(c):X}}}" for c in text),
    "JSON in HTML": lambda text: html.escape(json_twice(text)),
    "a URL in JSON in HTML": lambda text: html.escape(json.dumps(quote(quote(text, safe=""), safe=""))[1:-1]),
    "HTML in a URL": lambda text: quote(entities(text, "&#{};"), safe=""),
    "lines": wrapped,
    "lines of a header": lambda text: wrapped(text, "\r\n\t"),
    "lines in JSON": lambda text: wrapped(text, "\\r\\n"),
    "lines in HTML": lambda text: wrapped(text, "<br/>\n", 11),
    "lines of a mail": lambda text: wrapped(text, "=\r\n", 13),
    "places to break": lambda text: wrapped(text, "<wbr>", 3),
    "invisible places to break": lambda text: wrapped(text, "\u200b", 3),
    "lines of a header, folded": lambda text: wrapped(text, "\r\n "),
    "a line that is continued": lambda text: wrapped(text, "\\\n  ", 5),
    "lines of a quotation": lambda text: wrapped(text, "\n > > ", 9),
    "lines of a comment": lambda text: wrapped(text, "\n# ", 9),
    "a link": lambda text: wrapped(text, "</a><a href='#'>", 9),
    "JavaScript, upper case": lambda text: "".join(f"\\X{ord(c):02X}" if ord(c) < 256 else f"\\U{{{ord(c):X}}}" for c in text),
    "UTF-16": "\0".join,
    "marked": lambda text: f"{text[:5]}<EM class='hit'>{text[5:9]}</EM>{text[9:]}",
}  # fmt: skip


BROKEN = (
    "lines",
    "lines of a header",
    "places to break",
    "invisible places to break",
    "lines of a mail",
    "lines of a quotation",
    "UTF-16",
)
"""What also breaks up the escapes of another spelling."""
ESCAPED = ("percent, everything", "percent, three times", "HTML, decimal", "HTML, hexadecimal", "HTML, named", "JSON, every character", "a URL in JSON in HTML")  # fmt: skip


def asking(**query: str) -> Request:
    return Request(operation="list", path="/sessions/v2", query=tuple(query.items()))


ABOUT = asking(email=EMAIL, uid=UID)
REDACTOR = Redactor(Secret(KEY), (Secret(PASSWORD),))


@pytest.mark.row(101)
@pytest.mark.parametrize("how", SPELLINGS)
def test_row_101_no_spelling_is_overlooked(how: str) -> None:
    write = SPELLINGS[how]
    names = {KEY: "[the API key]", EMAIL: "[the email]", UID: "[the uid]", PASSWORD: "[the proxy's password]"}
    for hidden, instead in names.items():
        said = f"(no «{write(hidden)}» & {write(hidden)}, please)"
        assert REDACTOR.text(said, ABOUT) == f"(no «{instead}» & {instead}, please)"
        assert REDACTOR.body(said.encode(), ABOUT).decode() == f"(no «{instead}» & {instead}, please)"
    assert REDACTOR.headers({"x": write(KEY)}, ABOUT) == {"x": "[the API key]"}
    assert REDACTOR.headers({f"x-{write(KEY)}": "y"}, ABOUT) == {"x-[the API key]": "y"}


@pytest.mark.row(101)
@pytest.mark.parametrize("how", BROKEN)
def test_row_101_an_escape_may_be_broken_up(how: str) -> None:
    """A server that wraps lines, or writes UTF-16, does so after it has escaped what it quotes."""
    about = asking(email="Anne.canary+1@mail.example.org", uid='uid canary/7 & "e"')
    for name in ESCAPED:
        for instead, hidden in (
            ("[the API key]", KEY),
            *((f"[the {name}]", text) for name, text in about.query),
        ):
            said = SPELLINGS[how](SPELLINGS[name](hidden))
            assert REDACTOR.text(f"no «{said}» here", about) == f"no «{instead}» here", (name, said)


@pytest.mark.row(101)
def test_row_101_what_is_cut_is_found() -> None:
    """Any eight characters of a key in a row, a ``+`` not counted; of a person, most of it, or half of it where it breaks off."""
    for start in range(len(KEY) - 9):
        for end in (start + 9, start + 15, len(KEY)):
            for part in (KEY[start:end], KEY[start:end].upper(), percent(KEY[start:end])):
                said = REDACTOR.text(f"key {part}… x", ABOUT)
                assert "[the API key]" in said
                assert len(said) <= len("key [the API key]… x") + 3, (part, said)  # a ``+`` at its edge
    for part in [EMAIL[:16], EMAIL[:21], EMAIL[:-1], EMAIL[4:], EMAIL[:13]]:
        for mark in ("", "…", "...", '"}', ")", "*", "</p>"):
            assert "anary" not in REDACTOR.text(f'"{part}{mark}', ABOUT)
    assert "canary" not in REDACTOR.text(f"no {UID[:11]}", ABOUT)
    assert "canary" not in REDACTOR.text(f"no {UID[:-3]} and more", ABOUT)


@pytest.mark.row(101)
@pytest.mark.parametrize("form", ["{}", "Basic {}", "{}:", "user:{}", "xx:{}:yy", "1{}"])
def test_row_101_a_key_in_base64_is_found(form: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(form.format(KEY).encode()).decode()
        for write in (str, percent, html.escape, lambda text: wrapped(text, "\r\n ")):
            said = REDACTOR.text(f"Authorization: Basic {write(encoded)}", ABOUT)
            assert "[the API key]" in said
            left = said.replace("[the API key]", "").removeprefix("Authorization: Basic ")
            assert len(unquote(left)) <= len(form) * 2 + 6, said


@pytest.mark.row(101)
@pytest.mark.parametrize("value", [EMAIL, UID])
def test_row_101_a_url_in_base64_is_found(value: str) -> None:
    """Pages of gateways that block a request often carry its address that way."""
    for text in (
        value,
        quote(value, safe=""),
        quote(value, safe="@"),
        str(URL("/sessions/v2").with_query(email=value)),
    ):
        for before in ("", "x", "xy"):
            said = base64.b64encode(f"{before}?email={text}&limit=1".encode()).decode()
            for write in (str, percent, lambda text: wrapped(text, "\n", 20)):
                assert "[the " in (shown := REDACTOR.text(f"blocked: {write(said)}", ABOUT))
                assert len(unquote(shown)) < len("blocked: ") + len(said) - len(value) + len("[the email]"), (
                    shown
                )


def test_a_large_body_of_an_error_is_cut() -> None:
    """The search takes time, in which the event loop does nothing else."""
    body = b"%41" * 1_000_000 + KEY.encode()
    assert REDACTOR.body(body, ABOUT) == body[: 256 * 1024]
    assert REDACTOR.body(KEY.encode() + body, ABOUT) == b"[the API key]"


def test_others_are_left_as_they_are() -> None:
    about = asking(email="mary@b.test", uid="customer-12345")
    for said in (
        "the customer is unknown", "nobody@b.test, see help.b.test and b.test/x", "customer-9876 is unknown", "na1 Canary",
        "na1.Other/0f3a", "%zz &nope; &#; \\u12 \\ %", "a \\u00fc, 100 %25 & <b>bold</b>", "one\n> two\n# three\n- four", base64.b64encode(b"GET /sessions/v2?email=anna@b.test").decode(),
    ):  # fmt: skip
        assert redact_subject(said, about) == said
        assert REDACTOR.text(said, about) == said
    assert redact_subject("an uid of 3 characters", asking(uid="uid")) == "an uid of 3 characters"
    assert Redactor(Secret("short")).text("a short key", about) == "a short key"


def test_a_long_text_that_quotes_is_replaced_whole() -> None:
    page = "x" * (1 << 20)
    assert REDACTOR.text(page + percent(KEY), ABOUT) == "[the API key]"
    assert REDACTOR.text(page, ABOUT) == page


HOSTILE = {
    "backslashes": "\\", "percents": "%", "escaped percents": "%25", "escapes of escapes": "25", "lone leads": "%c3%25", "long leads": "%f0%2525",
    "ampersands": "&", "escaped ampersands": "&amp;", "amps": "amp;", "zeros": "&#0", "letters": "&a", "spaces": " ", "tags": "<", "broken tags": "<b ",
    "the key's blocks": KEY[:4], "the key but one": KEY[:7], "the beginning of the e-mail": EMAIL[:10], "escapes": "\\u0063", "entities": "&#99;", "equal signs": "=",
    "lines": "\n", "quotations": "\n> > ", "ends of lines": "\r", "backslashes before lines": "\\\n", "broken entities": "&#\n9", "soft hyphens": "\u00ad\n", "beginnings of quotations": "\n>",
    "surrogates": "\\ud83d\\", "keys": f"{KEY} ",
}  # fmt: skip


def cpu_of(text: str) -> float:
    """Return the least CPU time of three attempts, in seconds."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        REDACTOR.text(text, ABOUT)
        times.append(time.thread_time() - began)
    return min(times)


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_text_takes_linear_time(how: str) -> None:
    """Eight times as long is eight times the work, where a square would be 64 times."""
    piece = HOSTILE[how]
    for start in ("", "%25&#"):
        small, large = (start + piece * (size // len(piece)) for size in (500, 4_000))
        assert cpu_of(large) <= 24 * cpu_of(small) + 0.002, start


def test_a_key_that_repeats_itself_takes_linear_time() -> None:
    secret = Secret("ab" * 60)
    for text in ("ab" * 2_000, "aab" * 1_300, "abababa-" * 500):
        assert "abababab" not in secret.redact(Reading(text), "…").text
