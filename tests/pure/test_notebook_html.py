"""Results in a notebook: HTML of bounded size, in which nothing that a web page sent becomes markup."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from fullstory_async import Page, Session, SessionContext, SessionEvent, SessionEvents, SessionSummary
from fullstory_async.jobs import JobReport, StopReason
from fullstory_async.models import ContextPage, DeviceContext, UserContext

EVIL = "<img src=x onerror=\"alert('1')\">\u202e&<script>alert(1)</script>"
TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "pre"}
START = datetime(2026, 5, 4, 10, tzinfo=UTC)


class _Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] += 1
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def click(text: str, n: int = 0) -> SessionEvent:
    data = {"target": {"text": text}, "fs_rage_count": n % 2}
    return SessionEvent(type=f"click{text}" if n < 0 else "click", timestamp=START, data=data)


def shown(text: str) -> Any:
    """Return each kind of result, with a text in every place that a service or a user can fill."""
    return {
        "page": Page(items=tuple(Session(session_id=text, user_id=text) for _ in range(3)), next_token="t"),
        "page of texts": Page(items=(text,)),
        "events": SessionEvents(text, [click(text), click(text, -1)]),
        "context": SessionContext(
            session_id=text,
            user=UserContext(email=text, display_name=text, properties={text: text}),
            device=DeviceContext(browser=text),
            pages=(ContextPage(url=text, title=text),),
        ),
        "summary": SessionSummary(session_id=text, config_profile_id=text, summary=text),
        "structured": SessionSummary(session_id=text, response={text: [text]}),
        "report": JobReport(
            reason=StopReason.FINISHED, detail=text, done=1, failed=Counter({text: 2}), spent=1, at_risk=0,
            new_responses=1, newly_spent=1, dropped=0, left=0, seconds=1.5,
        ),
    }  # fmt: skip


def test_a_text_of_a_page_stays_text() -> None:
    for name, result in shown(EVIL).items():
        read = _Reader(result._repr_html_())
        assert set(read.tags) <= TAGS, name
        assert read.attributes <= {"scope", "colspan"}
        whole = "".join(read.texts)
        assert "<script>alert(1)</script>" in whole
        assert "\u202e" not in whole


def test_its_size_is_bounded() -> None:
    for name, result in shown("<" * 100_000).items():
        assert len(result._repr_html_()) < 40_000, name


def test_a_long_list_shows_its_first_rows_and_the_number_of_the_others() -> None:
    read = _Reader(SessionEvents("1:2", [click("Buy", n) for n in range(1234)])._repr_html_())
    assert read.tags["tr"] == 22
    assert read.texts[0] == "Session 1:2: 1,234 events in 0 s"
    assert read.texts[-1] == "… and 1,214 more"
    assert read.texts[6:10] == [
        "2026-05-04 10:00:00.000+00:00",
        "click",
        "Clicked “Buy”",
        "2026-05-04 10:00:00.000+00:00",
    ]
    assert "rage click" in read.texts


def test_each_table_has_a_caption_and_headers() -> None:
    for result in shown("a").values():
        read = _Reader(result._repr_html_())
        assert read.tags["caption"] == read.tags["table"] > 0
        assert read.tags["th"]


def test_a_page_shows_what_the_repr_of_its_items_shows() -> None:
    page = Page(items=(Session(session_id="2", user_id="1", url="https://app.test/1:2", created=START),))
    html = page._repr_html_()
    assert "Page with 1 item<" in html
    assert "<td>2</td><td>1</td><td>2026-05-04 10:00:00.000+00:00</td>" in html
    assert "app.test" not in html
    assert "Page with 0 items<" in Page()._repr_html_()


def test_the_context_shows_facts_without_escapes_for_markdown() -> None:
    html = shown("a_b*")["context"]._repr_html_()
    assert '<th scope="row">User</th><td>a_b*, a_b*</td>' in html
    assert '<th scope="row">Properties</th><td>a_b*: a_b*</td>' in html
