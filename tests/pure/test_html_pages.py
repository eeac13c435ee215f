"""Pages of a session: no text becomes markup, their size is limited, and they load nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fullstory_async import SessionEvent, SessionEvents, SessionSummary
from fullstory_async.html_pages.document import POLICY
from fullstory_async.html_pages.moments import Look, Moment, SessionRecord, Visit, arrange
from fullstory_async.html_pages.session_page import session_page

START = datetime(2026, 5, 4, 10, tzinfo=UTC)
HOSTILE = st.one_of(
    st.text(st.characters(), max_size=20),
    st.sampled_from(
        [
            "<script>alert(1)</script>", "\"><img src=x onerror='alert(1)'>", "</title></style><b>", "'",
            "</option></select>", "&lt;", "<!--", "-->", "]]>", "\u202e<i>", "\ud800", "\x00<", "javascript:alert(1)",
        ]
    ),
)  # fmt: skip


class Reader(HTMLParser):
    """The tags of a page in order, each with the names of its attributes, and its texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def event(kind: str, seconds: float | None = 0.0, **fields: Any) -> SessionEvent:
    when = None if seconds is None else START + timedelta(seconds=seconds)
    return SessionEvent(type=kind, timestamp=when, **fields)


def session(text: str) -> SessionEvents:
    """Return events with a text in every place that a page shows."""
    source = {
        "title": text, "url": {"full_url": f"https://x/{text}", "path": text},
        "user_agent": {"browser": text, "operating_system": text}, "location": {"city": text, "country": text},
    }  # fmt: skip
    return SessionEvents(
        f"1:{text}",
        [
            event("navigate", 0, view_id=text, source_properties=source),
            event("identify", 1, data={"user_display_name": f"n{text}"}),
            event("click", 2, data={"target": {"text": f"t{text}"}, "fs_rage_count": 1}),
            event("exception", 3, data={"message": f"m{text}"}),
            event(f"type{text}", 4),
        ],
    )


@given(HOSTILE)
@settings(max_examples=30, deadline=None)
def test_no_text_becomes_markup(text: str) -> None:
    harmless = Reader(session("x").to_html(summary="x"))
    read = Reader(session(f"x{text}").to_html(summary=f"x{text}"))
    assert read.tags == harmless.tags
    assert all(link.startswith("#") for link in read.links)


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    html = session("x").to_html(summary=SessionSummary(summary="She gave up.\nTwice."))
    read = Reader(html)
    assert not {"script", "link", "img", "iframe", "form", "object"} & {tag for tag, _ in read.tags}
    assert not re.search(r"url\(|@import|https?://(?!x/x)", html)
    assert f'content="{POLICY}"' in html
    assert "default-src 'none'" in POLICY
    assert "She gave up.\nTwice." in "".join(read.texts)


def test_links_lead_to_the_events() -> None:
    read = Reader(session("x").to_html())
    assert {link[1:] for link in read.links} <= set(read.ids)
    # screenshots in context end in these anchors
    assert (START + timedelta(seconds=3)).isoformat() in read.ids
    assert len(read.ids) == len(set(read.ids))


def test_times_of_a_selection_count_from_the_start_of_the_session() -> None:
    found = session("x")
    html = found.errors().to_html()
    assert '<td class="at">0:03.0</td>' in html
    assert "A selection: 1 of 5 events." in html
    assert "Clicked" not in html


def test_a_page_without_events_or_times() -> None:
    assert "No events." in SessionEvents("1:2", []).to_html()
    html = SessionEvents("1:2", [event("click", None), event("", None)]).to_html()
    assert "<svg" not in html
    assert html.count("<tr") == 2


def test_repeats_are_one_row() -> None:
    clicks = [event("click", n / 10, data={"target": {"text": "Buy"}}) for n in range(30)]
    html = SessionEvents("1:2", clicks).to_html()
    assert html.count("<tr") == 1
    assert "×30 until 0:02.9" in html
    assert "30 events in" in html


def moments(kinds: str) -> list[Moment]:
    """Return a moment for each letter; an upper-case one is a problem."""
    return [
        Moment(float(n), "", str(n), kind, kind, "error" if kind.isupper() else "act", ())
        for n, kind in enumerate(kinds)
    ]


def shape(visits: list[str], most: int) -> tuple[list[str], int]:
    sections, left_out = arrange([Visit("", "", moments(kinds)) for kinds in visits], most)
    rows = (
        "".join(row.moments[0].kind if row.moments else str(row.left_out) for row in s.rows) for s in sections
    )
    return list(rows), left_out


def test_problems_are_kept_first() -> None:
    assert shape(["aabA", "cd"], 9) == (["abA", "cd"], 0)
    assert shape(["abcA", "de", "fB"], 4) == (["ab1A", "1B"], 4)
    assert shape(["ABCa"], 2) == (["AB2"], 2)
    assert shape([], 2) == ([], 0)


def test_twenty_thousand_events_stay_light() -> None:
    text = "<" * 5000
    kinds: tuple[Look, ...] = ("dim", "act", "error", "go", "warn")
    visits = [
        Visit(
            text,
            text,
            [Moment(at := 9.0 * n + k, "", str(at), str(k), text, kinds[k % 5], ()) for k in range(9)],
        )
        for n in range(2222)
    ]
    html = session_page(
        SessionRecord(title=text, summary=text, length="1:00", seconds=20_000.0, visits=visits)
    )
    assert "17,998 of 19,998 events are left out" in html
    # each row may have a gap before it, and each page one at its end
    assert 2000 < html.count("<tr") < 6000
    # a text of 300 characters that are all escaped is the worst case
    assert len(html) < 5_000_000
    strip = html[html.index("<svg") : html.index("</svg>")]
    assert strip.count("<rect") <= 400
    assert len(strip) < 200_000
