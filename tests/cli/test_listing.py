"""Lists of sessions: a table on a terminal, JSON Lines in a pipe, many users at once, and a user's latest session."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import SessionId
from fullstory_async.cli.output import local_time
from fullstory_async.sandbox.world import World
from tests.cli.conftest import Run
from tests.cli.terminals import Terminals

WORLD = World(0, 20, 200, 200)
ADA = [str(session.id) for session in WORLD.of_user(uid=None, email="ada@example.com")]
NEWEST = ADA[::-1]
ROW = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d) UTC +(\d+:\d+)", re.MULTILINE)
CODES = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\")


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_terminal_gets_a_table_newest_first_in_local_time(terminals: Terminals, tmp_path: Path) -> None:
    command = ("sessions", "--email", "ada@example.com", "--sandbox", "--limit", "3")
    zone = {"TZ": "UTC", "COLUMNS": "80"}
    ended = terminals.run(*command, cwd=tmp_path, streams="stdout,stderr", environment=zone)
    shown = CODES.sub("", ended.shown)
    assert [found[1] for found in ROW.findall(shown)] == NEWEST[:3]
    assert "there are more sessions: list them with --limit N or --all" in shown
    # the URL does not fit, so the id links to it
    assert "http://" not in shown
    assert (
        f";http://127.0.0.1:{re.findall(r';http://127.0.0.1:([0-9]+)/', ended.shown)[0]}/ui/" in ended.shown
    )
    wide = terminals.run(
        *command, cwd=tmp_path, streams="stdout,stderr", environment={**zone, "COLUMNS": "200"}
    )
    assert "http://127.0.0.1" in CODES.sub("", wide.shown)


def test_a_pipe_gets_json_lines_in_the_order_of_the_service(run: Run) -> None:
    code, out, err = run("sessions", "--email", "ada@example.com", "--sandbox", "--limit", "3")
    assert (code, err) == (0, "")
    assert [row["full_session_id"] for row in lines(out)] == ADA[-3:]


def test_a_table_says_nothing_of_more_where_there_are_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    for limit in (("--all",), ("--limit", str(len(ADA)))):
        code, out, err = run(
            "sessions", "--email", "ada@example.com", "--sandbox", "--output", "table", *limit
        )
        assert (code, err) == (0, "")
        assert [found[1] for found in ROW.findall(out)] == NEWEST


def test_many_users_are_listed_in_one_go(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mails"
    file.write_text("\ufeffnobody@example.com\r\n\r\n ada@example.com \nada@example.com\ngrace@example.com\n")
    code, out, err = run("sessions", "--emails", "mails", "--sandbox", "--limit", "2")
    assert (code, err) == (0, "no sessions of 1 of 3 users\n")
    assert [row["email"] for row in lines(out)] == ["ada@example.com"] * 2 + ["grace@example.com"] * 2
    assert [row["full_session_id"] for row in lines(out)[:2]] == ADA[-2:]
    code, out, err = run("sessions", "--emails", "mails", "--sandbox", "--limit", "1", "--output", "table")
    assert (code, out.split()[0], "there are more sessions of 2 users" in err) == (0, "email", True)
    (tmp_path / "rows").write_text(run("sessions", "--emails", "mails", "--sandbox", "--limit", "2")[1])
    assert run("fetch", "--ids", "rows", "--events", "--job", "j", "--sandbox", "--dry-run")[0] == 0


def test_addresses_are_read_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("ada@example.com\n"))
    code, out, _ = run("sessions", "--emails", "-", "--sandbox", "--limit", "1")
    assert (code, [row["email"] for row in lines(out)]) == (0, ["ada@example.com"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no addresses"),
        ("email,name\na@b.c,A", "one e-mail address per line"),
        ("ada", "one e-mail"),
        (None, "can't be read"),
    ],
)
def test_a_file_that_holds_no_addresses_is_refused(
    run: Run, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "mails").write_text(text)
    code, out, err = run("sessions", "--emails", "mails", "--sandbox")
    assert (code, out, said in err) == (2, "", True)
    assert run("sessions", "--emails", "mails", "--uid", "u-1", "--sandbox")[0] == 2


def test_the_latest_session_of_a_user_is_summarised(run: Run) -> None:
    code, out, err = run("summary", "--email", "ada@example.com", "--latest", "--sandbox")
    assert (code, lines(out)[0]["full_session_id"]) == (0, NEWEST[0])
    assert f"latest session: {NEWEST[0]}, " in err
    code, out, err = run("summary", "--email", "nobody@example.com", "--latest", "--sandbox")
    assert (code, out, "no sessions" in err) == (5, "", True)
    for wrong in (
        (),
        ("--latest",),
        ("--email", "a@b.c"),
        (ADA[0], "--latest"),
        (ADA[0], "--email", "a@b.c"),
    ):
        assert run("summary", *wrong, "--sandbox")[0] == 2


def test_events_as_a_web_page(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, out, _ = run("events", ADA[0], "--sandbox", "--output", "html", "--type", "click")
    assert (code, out.startswith("<!doctype html>"), "A selection: " in out) == (0, True, True)
    opened: list[str] = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def open_first(url: str) -> bool:
        opened.append(url)
        return len(opened) == 1

    monkeypatch.setattr("webbrowser.open", open_first)
    for said in ("opened file:", "open it yourself: file:"):
        code, out, err = run("events", ADA[0], "--sandbox", "--output", "html", "--open")
        assert (code, out, said in err) == (0, "", True)
    path = Path(opened[0].removeprefix("file://"))
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert path.stat().st_mode & 0o777 == 0o600
    code, _, err = run("events", ADA[0], "--sandbox", "--open")
    assert (code, "--open goes with --output html" in err) == (2, True)


def test_events_and_context_count_from_the_same_time(run: Run) -> None:
    web = next(str(s.id) for s in WORLD.sessions.values() if 60 < s.event_count < 90 and not s.mobile)
    timeline = run("events", web, "--sandbox", "--type", "navigate", "--output", "timeline")[1]
    context = run("context", web, "--sandbox", "--markdown")[1]
    pages = re.findall(r"^ +(\d+:\d\d\.\d) →", timeline, re.MULTILINE)
    assert re.findall(r"^- (\d+:\d\d\.\d) \*\*navigate", context, re.MULTILINE) == pages
    assert len(pages) > 1


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Set this machine's time zone, until the test ends."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a Windows process can't be changed")
def test_every_table_has_the_same_clock_with_its_name(run: Run, zone: Callable[[str], None]) -> None:
    zone("JST-9")
    created = WORLD.sessions[SessionId(NEWEST[0])].created.astimezone(timezone(timedelta(hours=9)))
    minute = f"{created:%Y-%m-%d %H:%M}"
    listed = run("sessions", "--email", "ada@example.com", "--sandbox", "--output", "table")[1]
    assert f"{minute} JST" in listed
    for output in ("table", "timeline"):
        shown = run("events", NEWEST[0], "--sandbox", "--output", output)[1]
        assert re.search(rf"^{minute}:\d\d JST", shown, re.MULTILINE), output


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a Windows process can't be changed")
def test_the_first_and_last_hours_of_time_have_a_name_too(zone: Callable[[str], None]) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for name, when in (("EST5", first), ("JST-9", last)):
        zone(name)
        assert local_time(when).endswith(" UTC")
    assert local_time(None) == ""
