"""The commands about single sessions, profiles and keys, as a user meets them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import SessionEvent, SessionEvents, SessionId
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.links import SessionLink
from fullstory_async.cli.output import print_csv, print_json, print_rows
from fullstory_async.cli.timeline import print_timeline
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.world import World
from fullstory_async.tables.columns import Column
from tests.cli.conftest import Run

WORLD = World(0, 20, 200, 200)
ONE = next(
    str(i) for i, session in WORLD.sessions.items() if 60 < session.event_count < 90 and not session.mobile
)


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_for_programs(run: Run) -> None:
    code, out, _ = run("events", ONE, "--sandbox")
    everything = lines(out)
    assert (code, len(everything)) == (0, WORLD.sessions[SessionId(ONE)].event_count)
    assert json.loads(run("events", ONE, "--sandbox", "--output", "json")[1]) == everything
    rows = list(csv.DictReader(io.StringIO(run("events", ONE, "--sandbox", "--output", "csv")[1])))
    assert [row["event_type"] for row in rows] == [event["event_type"] for event in everything]
    assert [json.loads(row["event_properties"]) for row in rows] == [
        event["event_properties"] for event in everything
    ]
    assert list(rows[0]) == list(everything[0])
    assert [row["frustrations"] for row in rows] == ["|".join(row["frustrations"]) for row in everything]


def test_selections_of_events(run: Run) -> None:
    everything = lines(run("events", ONE, "--sandbox")[1])
    middle = everything[30]["event_time"]

    def chosen(*options: str) -> list[Any]:
        code, out, err = run("events", ONE, "--sandbox", *options)
        assert (code, err) == (0, "1 activation spent (in the sandbox)\n")
        return lines(out)

    clicks = [event for event in everything if event["event_type"] == "click"]
    assert clicks
    assert chosen("--type", "click") == clicks
    assert chosen("--type", "click,change") == chosen("--type", "click", "--type", "change")
    assert chosen("--since", middle) == everything[30:]
    assert chosen("--until", middle) == everything[:30]
    errors, frustrations = chosen("--errors"), chosen("--frustrations")
    assert 0 < len(errors) < len(everything)
    both = chosen("--errors", "--frustrations")
    assert len(both) == len([e for e in everything if e in errors or e in frustrations])
    assert chosen("--errors", "--type", "exception") == [e for e in errors if e["event_type"] == "exception"]


def test_an_unknown_type_is_a_warning(run: Run) -> None:
    code, out, err = run("events", ONE, "--sandbox", "--type", "hovered_over")
    assert (code, out) == (0, "")
    assert re.fullmatch(
        r"fullstory-async: 'hovered_over' is not a known event type; .*\n1 activation .*\n", err
    )
    code, _, err = run("context", ONE, "--sandbox", "--set", "events.include_types=Added to Cart")
    assert (code, err) == (0, "1 activation spent (in the sandbox)\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("events", "--type", "clik"), "did you mean 'click'"),
        (("events", "--type", "click, Click"), "'Click' is not a known event type"),
        (("events", "--type", "mouse-thrash"), "did you mean 'mouse_thrash'"),
        (("events", "--type", "rage_click"), "'rage_click' is not a known event type"),
        (("events", "--type", ""), "one of them is empty"),
        (("events", "--type", "click,"), "one of them is empty"),
        (("context", "--set", "events.include_types=click,rageclick"), "did you mean 'rage-click'"),
        (("context", "--set", "events.exclude_types=rage_click"), "did you mean 'rage-click'"),
        (("context", "--set", "media.screenshot_event_types=navigat"), "did you mean 'navigate'"),
        (("context", "--set", "events.include_types="), "has no value"),
        (("summary", "--set", "events.include_types=rageclick"), "did you mean 'rage-click'"),
    ],
)
def test_a_typo_in_an_event_type_is_found_before_anything_is_sent(
    run: Run, service: Sandbox, arguments: tuple[str, str, str], said: str
) -> None:
    command, *options = arguments
    code, out, err = run(command, ONE, *options)
    assert (code, out, len(service.requests)) == (2, "", 0)
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "“é😀”"), ("ascii", r"\u201c"), ("latin-1", r"\u201c")]
)
def test_json_is_in_utf_8_where_the_output_carries_it_and_moves_no_cursor(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    row = {"text": "“é😀”\x9b2J\x1b\x7f\u2028\u202e\ud800\U000e0001\n"}
    for printed, value in ((print_rows, row), (print_json, [row])):
        written = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding))
        printed([row])
        text = written.getvalue().decode(encoding)
        assert shown in text
        assert json.loads(text) == value
        allowed = "\n" if encoding == "utf-8" else "\n\x7f"  # which is ASCII, and no terminal minds
        assert all(char.isprintable() or char in allowed for char in text)


def test_events_for_people(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = run("events", ONE, "--sandbox", "--output", "table", "--errors", "--frustrations")
    assert code == 0
    assert out.splitlines()[0].split() == ["time", "type", "what", "marks"]
    assert "rage click" in out
    code, out, _ = run("events", ONE, "--sandbox", "--output", "timeline")
    assert code == 0
    assert out.splitlines()[0] == f"Session {ONE}"
    assert f"{WORLD.sessions[SessionId(ONE)].event_count} events" in out.splitlines()[1]
    assert re.search(r"^ +0:00\.0 → \S+ /\w*", out, re.MULTILINE)
    assert re.search(r"^ +\d+:\d\d\.\d ! Clicked .* rage click", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 100


EVIL = {"text": '=HYPERLINK("x")\x1b[2J\r\n\u202e', "raw_selector": "b"}


def test_cells_are_no_formulas_and_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "a": "=1+1",
            "b": "-5",
            "c": "@x",
            "d": " +x",
            "e": "\t=x",
            "f": "-x",
            "g": "a\x1b[2Jb\nc",
            "h": "1e5",
            "i": "\uff1d1",
            "k": None,
        }
    ]
    print_csv(tuple(Column(name, "text") for name in rows[0]), [tuple(row.values()) for row in rows])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row == {
        "a": "'=1+1", "b": "-5", "c": "'@x", "d": "' +x", "e": "'\t=x", "f": "'-x",
        "g": "a\x1b[2Jb\nc", "h": "1e5", "i": "'\uff1d1", "k": "",
    }  # fmt: skip
    evil = SessionEvents(
        "1:2",
        [
            SessionEvent(type="click", data={"target": EVIL}, source_properties={"title": "\x1b]0;x\x07"}),
            SessionEvent(type="odd\x1b[2J"),
        ],
    )
    print_timeline(StreamConsole(), evil)
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "HYPERLINK" in shown


def test_a_timeline_of_anything(capsys: pytest.CaptureFixture[str]) -> None:
    print_timeline(StreamConsole(), SessionEvents("1:2"))
    assert "0 events" in capsys.readouterr().out
    odd = SessionEvents(
        "1:2",
        [
            SessionEvent(),
            SessionEvent(type="crash", source_type="mobile_app"),
            SessionEvent(source_type="server"),
        ],
    )
    print_timeline(StreamConsole(), odd)
    shown = capsys.readouterr().out
    assert "The app crashed" in shown
    assert "Sent by a server" in shown


def test_context(run: Run) -> None:
    code, out, _ = run(
        "context", ONE, "--sandbox", "--set", "slice.event_limit=5", "--set", "context.exclude=org,user"
    )
    assert code == 0
    (row,) = lines(out)
    assert row["full_session_id"] == ONE
    assert not {"org", "user"} & set(row)
    assert sum(len(page["events"]) for page in row["pages"]) <= 5
    code, out, _ = run("context", ONE, "--sandbox", "--markdown", "--max-characters", "700")
    assert (code, len(out) <= 700, out.startswith(f"# Session {ONE}")) == (0, True, True)
    assert len(run("context", ONE, "--sandbox", "--markdown")[1]) > 700


def test_an_unknown_profile_is_distinguished_from_an_unknown_session(run: Run, service: Sandbox) -> None:
    code, out, err = run("summary", ONE, "--profile", "suport")
    assert (code, out, service.activations) == (5, "", 0)
    # the profile is wrong, not the session's id or the key
    assert err.endswith("there is no profile 'suport'; 'fullstory-async profiles list' lists them\n")
    assert [request.operation for request in service.requests] == ["summary", "profile"]
    code, _, err = run("summary", "1:2", "--profile", "support")
    assert (code, "profiles list" in err) == (5, False)
    service.inject(Fault.status(403), operation="profile", times=None)
    code, _, err = run("summary", ONE, "--profile", "suport")
    assert (code, "no such profile" in err, "profiles list" in err) == (5, True, False)
    assert run("summary", ONE, "--profile", "support")[0] == 0


def test_summary_with_settings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("From a file")
    (tmp_path / "schema.json").write_text('{"type": "object", "properties": {"errors": {"type": "integer"}}}')
    code, out, _ = run(
        "summary", ONE, "--sandbox", "--profile", "support", "--output", "text",
        "--set", "llm.pre_prompt=@prompt.txt", "--set", "slice.mode=last", "--set", "slice.event_limit=7",
    )  # fmt: skip
    assert (code, "From a file" in out, "with 7 events" in out) == (0, True, True)
    (row,) = lines(
        run(
            "summary",
            ONE,
            "--sandbox",
            "--set",
            "llm.response_schema=@schema.json",
            "--set",
            "llm.temperature=0.1",
        )[1]
    )
    assert isinstance(row["response"]["errors"], int)
    events = lines(run("events", ONE, "--sandbox")[1])
    out = run("summary", ONE, "--sandbox", "--end-timestamp", events[9]["event_time"], "--output", "text")[1]
    assert "with 9 events" in out


def test_a_cached_summary_costs_nothing(run: Run, service: Sandbox, tmp_path: Path) -> None:
    for _ in range(3):
        assert run("summary", ONE, "--cache", "kept.db")[0] == 0
    assert service.activations == 1
    assert run("summary", ONE, "--cache", "kept.db", "--profile", "support")[0] == 0
    assert service.activations == 2


def test_whoami(run: Run, service: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(run("whoami")[1]) == [{"email": "admin@example.com", "org_id": "SANDBOX", "role": "ADMIN"}]
    assert "ADMIN" in run("whoami", "--output", "table")[1]
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.wrong")
    code, _, err = run("whoami")
    assert (code, "401" in err) == (4, True)


def test_the_endpoint_of_a_list_can_be_chosen(run: Run, service: Sandbox) -> None:
    rows = []
    for options, path in (
        ((), "/sessions/v2"),
        (("--list-api", "v1"), "/sessions/v2"),
        (("--list-api", "v2"), "/v2/sessions"),
    ):
        rows.append(lines(run("sessions", "--uid", "u-1", *options)[1]))
        assert service.requests[-1].raw_path.startswith(f"{path}?")
    assert (
        [row["full_session_id"] for row in rows[0]]
        == [row["full_session_id"] for row in rows[1]]
        == [row["full_session_id"] for row in rows[2]]
        != []
    )
    code, _, err = run("sessions", "--uid", "u-1", "--list-api", "v3")
    assert (code, "--list-api" in err) == (2, True)


def test_a_session_by_its_uid(run: Run) -> None:
    session = WORLD.sessions[SessionId(ONE)]
    (row,) = lines(run("sessions", "--session-uid", session.session_uid, "--sandbox")[1])
    assert row["full_session_id"] == ONE
    code, _, err = run("sessions", "--session-uid", "x", "--uid", "u-1", "--sandbox")
    assert (code, "excludes email and uid" in err) == (2, True)


GUIDS = "3e2bf53f-1b2c-4d5e-8f90-29c9276febf9:cef16b56-1b2c-4d5e-8f90-d955b1a50eb5"


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("https://app.fullstory.com/ui/1ENq/session/1%3A2?url_source=DD", {},
         ("1:2", "1ENq", "na1", "https://app.fullstory.com/ui/1ENq/session/1:2")),
        ("https://www.fullstory.com/ui/1ENq/discover/session/1:2", {},
         ("1:2", "1ENq", "na1", "https://app.fullstory.com/ui/1ENq/session/1:2")),
        ("https://app.eu1.fullstory.com/ui/o-2-eu1/session/7:1!2", {},
         ("1:2", "o-2-eu1", "eu1", "https://app.eu1.fullstory.com/ui/o-2-eu1/session/1:2")),
        ("app.fullstory.com/ui/O/session/1:2", {},
         ("1:2", "O", "na1", "https://app.fullstory.com/ui/O/session/1:2")),
        ("https://app.fullstory.com/ui/O/segments/x/(1!2(", {},
         ("1:2", "O", "na1", "https://app.fullstory.com/ui/O/session/1:2")),
        (f"https://app.fullstory.com/ui/O/client-session/{GUIDS}", {},
         (GUIDS, "O", "na1", f"https://app.fullstory.com/ui/O/client-session/{GUIDS}")),
        ("https://app.fullstory.com/ui/sessions/1:2", {}, ("1:2", None, "na1", None)),
        ("https://app.fullstory.com/ui/session/1:2", {}, ("1:2", None, "na1", None)),
        ("http://127.0.0.1:8765/ui/SANDBOX/session/1:2", {},
         ("1:2", "SANDBOX", None, "http://127.0.0.1:8765/ui/SANDBOX/session/1:2")),
        ("1:2", {}, ("1:2", None, None, None)), ("1:2", {"api_key": "eu1.x"}, ("1:2", None, "eu1", None)),
        ("1!2", {"org": "o-1-na1"},
         ("1:2", "o-1-na1", "na1", "https://app.fullstory.com/ui/o-1-na1/session/1:2")),
        ("1:2", {"org": "O", "api_key": "eu1.x"},
         ("1:2", "O", "eu1", "https://app.eu1.fullstory.com/ui/O/session/1:2")),
        (GUIDS, {"org": "O", "api_key": "key"},
         (GUIDS, "O", None, f"https://app.fullstory.com/ui/O/client-session/{GUIDS}")),
        ("a+name", {"org": "a b"},
         ("a+name", "a b", None, "https://app.fullstory.com/ui/a%20b/session/a%2Bname")),
    ],
)  # fmt: skip
def test_what_a_session_link_contains(text: str, options: dict[str, Any], expected: tuple[Any, ...]) -> None:
    link = SessionLink.read(text, **options)
    assert (str(link.id), link.org, link.region, link.url) == expected


def test_id(run: Run) -> None:
    code, out, err = run("id", "https://app.fullstory.com/ui/O/session/1%3A2")
    assert (code, err) == (0, "")
    assert lines(out) == [
        {
            "full_session_id": "1:2",
            "device_id": "1",
            "session_id": "2",
            "region": "na1",
            "org": "O",
            "replay_url": "https://app.fullstory.com/ui/O/session/1:2",
        }
    ]
    code, out, err = run("id", "5629499534213120")
    assert (code, "not a USER:SESSION pair" in err, "--org" in err) == (0, True, True)
    code, out, err = run("id", "../x")
    assert (code, out, "slash" in err) == (2, "", True)
    assert "1:2" in run("id", "1!2", "--org", "O", "--output", "table")[1]


PROFILE_TOML = """
name = "From a file"
[llm]
pre_prompt = "Say it briefly."
response_schema = { type = "object", properties = { n = { type = "integer" } } }
[slice]
mode = "TIMESTAMP"
start_timestamp = 2026-05-04T10:00:00Z
[events]
include_types = ["click"]
"""


def test_profiles_from_making_to_deleting(
    run: Run, service: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.toml").write_text(PROFILE_TOML)
    code, out, _ = run("profiles", "create", "p.toml")
    made = json.loads(out)
    assert (code, made["name"], made["slice"]["start_timestamp"]) == (
        0,
        "From a file",
        "2026-05-04T10:00:00Z",
    )
    assert made["llm"]["response_schema"]["properties"] == {"n": {"type": "INTEGER"}}
    code, out, _ = run("profiles", "get", made["id"])
    assert (code, json.loads(out)) == (0, made)
    (tmp_path / "p.json").write_text(
        json.dumps({**made, "name": "Edited", "slice": {"event_limit": 5, "mode": "LAST"}})
    )
    changed = json.loads(run("profiles", "update", made["id"], "p.json")[1])
    assert (changed["name"], changed["slice"]["event_limit"], changed["llm"]) == ("Edited", 5, made["llm"])
    nested = {
        "id": made["id"],
        "configuration": {"cache": {"enable_event_cache": True}},
        "llm": {"post_prompt": "x"},
    }
    (tmp_path / "nested.json").write_text(json.dumps(nested))
    assert json.loads(run("profiles", "update", made["id"], "nested.json")[1])["cache"] == {
        "enable_event_cache": True
    }
    assert made["id"] in {profile["id"] for profile in lines(run("profiles", "list")[1])}
    code, out, _ = run("profiles", "list", "--output", "table")
    assert (code, "Support" in out, "structured" in out) == (0, True, True)
    code, out, err = run("profiles", "delete", made["id"])
    assert (code, out, err) == (0, "", f"deleted {made['id']}\n")
    code, _, err = run("profiles", "get", made["id"])
    assert (code, "no such profile" in err) == (5, True)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"llm": {"pre_prompt": "x"}}')))
    assert json.loads(run("profiles", "create", "-", "--name", "Piped")[1])["name"] == "Piped"


@pytest.mark.parametrize(
    ("arguments", "file", "said"),
    [
        (("profiles", "create", "f.json"), '{"name": "x", "slize": {}}',
         "slize is not known; did you mean 'slice'"),
        (("profiles", "create", "f.json"), '{"name": "x", "slice": {"event_limit": "5"}}',
         "slice.event_limit must be a whole number"),
        (("profiles", "create", "f.json"), '{"name": "x", "slice": {"mode": "TIMESTAMP"}}',
         "slice.start_timestamp"),
        (("profiles", "create", "f.json"), '{"name": 5}', "name must be text"),
        (("profiles", "create", "f.json"), "{}", "has no name"),
        (("profiles", "create", "f.json"), "{", "can't be read as JSON"),
        (("profiles", "create", "f.json"), "[]", "must hold an object"),
        (("profiles", "create", "f.toml"), "a = ", "can't be read as TOML"),
        (("profiles", "create", "f"), "a b", "can't be read as TOML"),
        (("profiles", "create", "f.json"), '{"name": "x", "configuration": 3}',
         "configuration must be an object"),
        (("profiles", "create", "f.json"),
         '{"name": "x", "llm": {"response_schema": {"type": "string", "minLength": 1}}}', "$.minLength"),
        (("profiles", "create", "missing.json"), "", "No such file"),
        (("profiles", "update", "support", "f.json"), "{}", "nothing to change"),
        (("profiles", "update", "support", "f.json"), '{"id": "sales", "name": "x"}',
         "belongs to the profile sales"),
        (("summary", ONE, "--set", "llm"), "", "takes group.field=value"),
        (("summary", ONE, "--set", "llm.pre_prompt"), "", "takes group.field=value"),
        (("summary", ONE, "--set", "lm.pre_prompt=x"), "", "knows the groups llm, slice"),
        (("summary", ONE, "--set", "llm.prompt=x"), "", "did you mean 'pre_prompt'"),
        (("summary", ONE, "--set", "slice.event_limit=many"), "", "takes true, false or a number"),
        (("summary", ONE, "--set", "slice.event_limit=1.5"), "", "slice.event_limit must be"),
        (("summary", ONE, "--set", "llm.response_schema=x"), "", "takes a JSON Schema"),
        (("summary", ONE, "--set", "llm.pre_prompt=@no"), "", "no can't be read"),
        (("summary", ONE, "--set", "slice.end_timestamp=2026-05-04T10:00:00"), "",
         "slice.end_timestamp has no time zone: write 2026-05-04T10:00:00Z"),
        (("summary", ONE, "--end-timestamp", "noon"), "", "--end-timestamp must be a time like"),
        (("context", ONE, "--set", "media.include_screenshots=maybe"), "", "true, false or a number"),
        (("context", ONE, "--set", "slice.mode=odd"), "", "slice.mode must be"),
        (("context", ONE, "--max-characters", "5"), "", "goes with --markdown"),
        (("context", ONE, "--markdown", "--max-characters", "0"), "", "1 or more"),
        (("events", ONE, "--since", "2026-05-04T10:00:00"), "",
         "--since has no time zone: write 2026-05-04T10:00:00Z"),
        (("events", ONE, "--since", "2026-05-05T00:00:00Z", "--until", "2026-05-04T00:00:00Z"), "",
         "--since must be before --until"),
        (("events", ONE, "--output", "xml"), "", "xml"),
    ],
)  # fmt: skip
def test_bad_input_is_reported_before_any_request(
    run: Run, service: Sandbox, tmp_path: Path, arguments: tuple[str, ...], file: str, said: str
) -> None:
    for name in ("f.json", "f.toml", "f"):
        (tmp_path / name).write_text(file)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert service.requests == []


def test_help_of_each_command(run: Run) -> None:
    for command in ("events", "context", "summary", "whoami", "id", "profiles"):
        code, out, _ = run(command, "--help")
        assert (code, len(out) > 300) == (0, True)
    for command in ("list", "get", "create", "update", "delete"):
        assert run("profiles", command, "--help")[0] == 0
