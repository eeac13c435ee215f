"""The page of a session in Chromium: its switches, its width on a phone, its colours, and that nothing runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fullstory_async import SessionEvents
from fullstory_async.html_pages.moments import Look, Moment, SessionRecord, Visit
from fullstory_async.html_pages.session_page import session_page
from fullstory_async.sandbox.events import events_of
from fullstory_async.sandbox.world import World
from tests.pages.browser import document_of, measured

VISIBLE = """
const shown = name => [...document.querySelectorAll(name)].filter(e => e.checkVisibility());
const count = name => shown(name).length;
"""


@pytest.fixture(scope="module")
def events() -> SessionEvents:
    world = World(0, 20, 200, 200)
    session = next(s for s in world.sessions.values() if 60 < s.event_count < 90 and not s.mobile)
    return SessionEvents.from_json(json.dumps({"events": list(events_of(world, session))}))


def test_the_switches_hide_rows(events: SessionEvents, tmp_path: Path) -> None:
    script = f"""{VISIBLE}
    const problems = document.getElementById("problems"), type = document.querySelector("select");
    const seen = {{all: count("main tr")}};
    problems.checked = true; seen.problems = count("main tr"); seen.plain = count("main tr:not(.problem)");
    problems.checked = false;
    type.value = [...type.options].find(o => o.text.startsWith("navigate")).value;
    seen.kinds = [...new Set(shown("main td.kind").map(e => e.textContent))]; seen.rows = count("main tr");
    type.selectedIndex = 0; seen.again = count("main tr");
    return seen;
    """
    seen = measured(events.to_html(), script, tmp_path)
    problems = len(events.errors()) + len(events.frustrations())
    assert seen["all"] == seen["again"] == len(events)
    assert (seen["problems"], seen["plain"]) == (problems, 0)
    assert seen["kinds"] == ["navigate"]
    assert seen["rows"] == len(events.of_type("navigate"))


def test_sections_without_a_shown_row_are_hidden(events: SessionEvents, tmp_path: Path) -> None:
    quiet = events.of_type("navigate", "console_message")
    assert quiet.errors()
    script = f"""{VISIBLE}
    document.getElementById("problems").checked = true;
    return [count("main section"), document.querySelectorAll("main section").length];
    """
    shown, every = measured(quiet.to_html(), script, tmp_path)
    assert 0 < shown <= every
    assert shown == len({page.view_id for page in quiet.errors().pages()})


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_follows_the_colour_scheme(
    events: SessionEvents, tmp_path: Path, dark: bool
) -> None:
    script = f"""{VISIBLE}
    return [innerWidth, document.documentElement.scrollWidth, count("main td.kind"),
            getComputedStyle(document.body).backgroundColor];
    """
    html = events.to_html(summary="word" * 200)
    inner, scroll, kinds, background = measured(html, script, tmp_path, width=390, dark=dark)
    assert inner == 390
    assert scroll <= inner
    assert kinds == 0
    assert background == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize(("width", "left"), [(1200, 80), (390, 67)])
def test_a_page_that_begins_with_a_gap_has_the_usual_columns(tmp_path: Path, width: int, left: int) -> None:
    looks: list[Look] = ["act" if n < 2 else "error" for n in range(2003)]
    moments = [Moment(float(n), "0:00", "", look, f"{n}", look, ()) for n, look in enumerate(looks)]
    html = session_page(SessionRecord(title="", visits=[Visit("", "", moments)]))
    script = """
    const [gap, row] = document.querySelectorAll("main tr");
    return [gap.className, row.querySelector(".at").offsetWidth, row.offsetWidth - row.lastChild.offsetLeft];
    """
    name, narrow, wide = measured(html, script, tmp_path, width=width)
    assert (name, narrow) == ("gap", left)
    assert wide > width / 2


def test_the_keyboard_reaches_the_switches_and_the_pages(events: SessionEvents, tmp_path: Path) -> None:
    script = f"""{VISIBLE}
    const names = e => e.id || e.tagName.toLowerCase();
    const reached = () => shown("input,select,summary,a[href]").filter(e => e.tabIndex >= 0 && !e.closest("svg"));
    const closed = reached().map(names);
    document.querySelector("details").open = true;
    return [closed, reached().length, [...document.querySelectorAll("svg a")].every(e => e.tabIndex < 0),
            document.querySelectorAll("nav a").length];
    """
    closed, opened, is_skipped, pages = measured(events.to_html(), script, tmp_path)
    assert closed == ["problems", "select", "summary"]
    assert opened == 3 + pages
    assert pages == len(events.pages())
    assert is_skipped


def test_nothing_runs_even_if_a_text_were_markup(events: SessionEvents, tmp_path: Path) -> None:
    evil = '<script>document.title="ran"</script><img src="x" onerror="document.title=\'ran\'">'
    forced = events.to_html().replace("<main>", f"<main>{evil}")
    assert "<title>ran" not in document_of(forced, tmp_path)
    text = document_of(events.to_html(summary=evil), tmp_path)
    assert "<img" not in text
    assert "&lt;img" in text
