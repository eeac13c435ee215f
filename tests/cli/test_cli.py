"""The command line as a user meets it: data, messages, files and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import (
    ActivationBudgetError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    DecodeError,
    InvalidSessionId,
    JobError,
    JobLockedError,
    JobStorageError,
    LimiterUnavailable,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ResponseTooLarge,
    ServerError,
    SessionId,
    StorageError,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async.cli import main
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError, exit_for
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.world import World
from fullstory_async.secret import Secret
from tests.cli.conftest import Run
from tests.cli.forked import Forks
from tests.limits import SECONDS
from tests.wire.proxies import bundle, certificate

WORLD = World(0, 20, 200, 200)
IDS = [str(session_id) for session_id, session in WORLD.sessions.items() if session.event_count < 60][:6]


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.smoke
def test_help_teaches(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for word in ("sessions", "events", "summary", "fetch", "sandbox", "demo", "Exit codes", "activation"):
        assert word in out
    for command in ("sessions", "events", "summary", "fetch", "sandbox", "demo"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert len(out) > 300
    assert run("--version")[1].strip()


def test_sessions(run: Run) -> None:
    code, out, err = run("sessions", "--email", "ada@example.com", "--sandbox")
    assert (code, err) == (0, "")
    assert len(lines(out)) == 20
    assert set(lines(out)[0]) == {"full_session_id", "device_id", "session_id", "url", "created"}
    everything = lines(run("sessions", "--uid", "u-1", "--all", "--sandbox")[1])
    assert len(everything) == len(WORLD.of_user(uid="u-1", email=None))
    assert len(lines(run("sessions", "--uid", "u-1", "--limit", "3", "--sandbox")[1])) == 3
    code, out, _ = run("sessions", "--uid", "u-2", "--sandbox", "--output", "table")
    assert (code, "created" in out, "{" in out) == (0, True, False)
    assert run("sessions", "--uid", "nobody", "--sandbox") == (0, "", "no sessions\n")


@pytest.mark.smoke
def test_events_and_summary(run: Run) -> None:
    code, out, _ = run("events", IDS[0], "--sandbox")
    assert code == 0
    assert len(lines(out)) == WORLD.sessions[SessionId(IDS[0])].event_count
    assert {"event_type", "event_time", "event_properties"} <= set(lines(out)[0])
    code, out, _ = run(
        "events", f"https://app.fullstory.com/ui/O/session/{IDS[0]}", "--sandbox", "--output", "table"
    )
    assert (code, "click" in out) == (0, True)
    code, out, _ = run("summary", IDS[0], "--profile", "triage", "--sandbox")
    assert (code, lines(out)[0]["response"]["needs_follow_up"] in (True, False)) == (0, True)
    assert lines(run("summary", IDS[0], "--sandbox")[1])[0]["config_profile_id"] is None


def test_verbose_logs_each_request_and_no_e_mail(run: Run) -> None:
    code, out, err = run("sessions", "--email", "ada@example.com", "--sandbox", "--verbose")
    assert (code, len(lines(out))) == (0, 20)
    assert "attempt 1, status 200" in err
    assert "ada@" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("events", "1:2", "--sandbox"), 5, "session not found"),
        (("events", "..", "--sandbox"), 2, "relative path"),
        (("events", "1:2"), 2, "FULLSTORY_API_KEY"),
        (("summary", IDS[0], "--profile", "nonsense", "--sandbox"), 5, "no such profile"),
        (("sessions", "--sandbox"), 2, "give --email, --uid, --session-uid or --emails"),
        (
            ("events", "1:2", "--sandbox"),
            5,
            "session not found [may have cost an activation]; check the id, and with",
        ),
        (
            ("whoami", "--base-url", "https://127.0.0.1:9", "--api-key-file", "key"),
            8,
            "; check the network, the proxy and --base-url",
        ),
        (("sessions", "--uid", "u", "--limit", "0", "--sandbox"), 2, "--limit"),
        (("sessions", "--uid", "u", "--limit", "5", "--all", "--sandbox"), 2, "exclude each other"),
        (("sandbox", "--port", "99999"), 2, "port"),
        (("sandbox", "--mean-events", "30000"), 2, "mean_events"),
        (("sessions", "--uid", "u", "--nonsense"), 2, "--nonsense"),
        (("nonsense",), 2, "nonsense"),
        (("events",), 2, "fullstory-async events: SESSION_ID is missing."),
        (
            ("events", "ada@example.com"),
            2,
            "an e-mail address is not a session id; 'fullstory-async sessions --email'",
        ),
        (("events", "a", "b", "c"), 2, "too many arguments: 'b', 'c'."),
        (
            ("sessions", "ada@example.com"),
            2,
            "too many arguments: 'ada@example.com'. Name the user with an option, such as --email or --uid.",
        ),
        (("fetch", "--ids", "ids.txt", "--events"), 2, "fullstory-async fetch: --job is missing."),
        (
            ("fetch", "--ids", "ids.txt", "--jobs", "a"),
            2,
            "--job is missing. Did you mean",  # older versions of cyclopts quote the two names
        ),
        (("fetch", "--ids", "ids.txt", "--job"), 2, "--job needs a value."),
        (
            ("job", "export", "fri.job"),
            2,
            "fullstory-async: OUT is missing: name a file, or a folder with --out-dir",
        ),
        (("job", "purge", "fri.job"), 2, "--session is missing."),
        (
            ("whoami", "--base-url", "http://example.com", "--api-key-file", "key"),
            2,
            "use https:// (a program may pass",
        ),
        (("whoami", "--sandbox", "--base-url", "https://example.com"), 2, "exclude each other"),
        (("sandbox", "--sessions", "-1"), 2, "sessions must be 0 or more, not -1"),
        (("events", "1:2", "--sandbox", "--rate", "0"), 2, "rate"),
        (("events", "1:2", "--sandbox", "--burst", "0"), 2, "burst"),
        (("events", "1:2", "--sandbox", "--rate", "adaptve"), 2, '"adaptve" is neither a number'),
        (("events", "1:2", "--sandbox", "--rate", "fast"), 2, 'nor "adaptive"'),
        (("events", "1:2", "--sandbox", "--rate", "adaptive", "--burst", "5"), 2, "--burst"),
        (("events", "1:2", "--sandbox", "--timeout", "-1"), 2, "overall_timeout"),
        (("events", "1:2", "--api-key-file", "missing"), 2, "missing"),
        (("sandbox", "--burst", "5"), 2, "--rate"),
        (("sandbox", "--users", "0"), 2, "users"),
        (("demo", "--sessions", "0"), 2, "--sessions"),
        (("demo", "--rate", "0"), 2, "rate"),
        (("demo", "--out-dir", "a/b"), 2, "can't be created"),
        (("demo", "--out-dir", "."), 2, "exists"),
    ],
)
def test_errors_are_one_line_and_a_code(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "key").write_text("na1.key")
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert (len(err.splitlines()), "Traceback" in err) == (1, False)


NETWORK = (
    ("--proxy", "socks5://ada:canary@x"), ("--ca-file", "missing.pem"), ("--client-cert", "missing.pem"),
    ("--client-key", "key"), ("--sandbox", "--proxy", "http://ada:canary@x"), ("--sandbox", "--ca-file", "key"),
)  # fmt: skip


@pytest.mark.parametrize("options", NETWORK)
def test_what_is_wrong_with_the_network_is_said_in_one_line(
    run: Run, tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.key")
    (tmp_path / "key").write_text("no key")
    code, out, err = run("whoami", *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "canary" not in err


def test_the_network_comes_from_options_or_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.key")
    ca, (cert, key) = bundle(tmp_path), certificate(tmp_path)
    files = ("--ca-file", str(ca), "--client-cert", str(cert), "--client-key", str(key))
    code, _, err = run("whoami", "--proxy", "http://ada:canary@127.0.0.1:1", "--timeout", "0.5", *files)
    assert (code, "no connection to the proxy: Cannot connect to host 127.0.0.1:1 [" in err) == (8, True)
    assert "canary" not in err
    monkeypatch.setenv("HTTPS_PROXY", "http://ada:canary@127.0.0.1:2\n")
    assert (
        "no connection to the proxy: Cannot connect to host 127.0.0.1:2 ["
        in run("whoami", "--timeout", "0.5")[2]
    )
    monkeypatch.setenv("NO_PROXY", "fullstory.com,x.invalid")
    code, _, err = run("whoami", "--timeout", "0.5", "--base-url", "http://x.invalid", "--allow-http")
    assert (code, "x.invalid" in err) == (8, True)
    monkeypatch.setenv("SSL_CERT_FILE", "missing.pem")
    code, _, err = run("whoami")
    assert (code, "SSL_CERT_FILE" in err) == (2, True)
    assert run("whoami", "--sandbox")[0] == 0


def test_options_are_printed_without_the_proxys_login() -> None:
    given = Connection(
        proxy=Secret("http://ada:canary@proxy.test:3128"), ca_file=Path("ca.pem"), allow_http=True
    )
    assert given.as_options() == ["--allow-http", "--proxy", "http://proxy.test:3128", "--ca-file", "ca.pem"]


def test_the_key_comes_from_the_environment_or_a_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("na1.wrong\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    nobody = ("events", "1:2", "--base-url", "http://127.0.0.1:1", "--timeout", "0.5")
    assert run(*nobody, "--api-key-file", "key")[0] == 8
    assert run(*nobody, "--api-key-file", "bytes")[0] == 2
    code, _, err = run(*nobody)
    assert (code, "--api-key-file" in err) == (2, True)
    monkeypatch.setenv("FULLSTORY_API_KEY_FILE", "key")
    assert "no connection" in run(*nobody)[2]
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.other")
    assert run(*nobody)[0] == 8


def test_an_unreadable_response_is_printed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Sandbox.__aenter__

    async def begin_badly(self: Sandbox) -> Sandbox:
        self.inject(Fault.wrong_shape("wrong types"), times=None)
        return await begin(self)

    monkeypatch.setattr(Sandbox, "__aenter__", begin_badly)
    code, out, err = run("events", IDS[0], "--sandbox")
    assert (code, out) == (1, '{"events": 5}')
    assert "as it was received" in err


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    command = (
        f"{sys.executable} -m fullstory_async events {IDS[0]} --sandbox | head -n 1; exit ${{PIPESTATUS[0]}}"
    )
    run = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS
    )
    assert run.returncode in (0, 141)
    assert len(run.stdout.splitlines()) == 1
    assert run.stderr == "1 activation spent (in the sandbox)\n"


@pytest.mark.parametrize("arguments", [("--help",), ("fetch", "--help"), ("job", "export", "--help")])
def test_help_into_a_closed_pipe_ends_as_data_does(
    forks: Forks, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = forks.run(*arguments, cwd=tmp_path, streams={1: writing})
    os.close(writing)
    assert (ended.code, ended.err) == (141, "")


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main(["demo"])
    assert ended.value.code == 2
    assert "pip install 'fullstory-async[cli]'" in capsys.readouterr().err


@pytest.mark.row(30)
@pytest.mark.row(33)
@pytest.mark.row(45)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2), (ConfigurationError("x"), 2), (InvalidSessionId("x"), 2), (AuthenticationError("x"), 4),
        (PermissionDeniedError("x"), 4), (NotFoundError("x"), 5), (RateLimitedError("x"), 6), (APITimeoutError("x"), 6),
        (ServerError("x"), 8), (ConnectError("x"), 8), (ProtocolError("x"), 8), (JobLockedError("x"), 75), (JobError("x"), 2), (JobStorageError("x"), 1), (ActivationBudgetError("x"), 7),
        (OSError("x"), 1), (ClientStateError("x"), 1), (UnexpectedRedirect("x"), 9), (UnexpectedResponseError("x"), 9), (ResponseTooLarge("x"), 1),
        (BadRequestError("x"), 1), (DecodeError("x"), 1), (PaginationError("x"), 1), (StorageError("x"), 1),
        (ConnectError("x", permanent=True), 8), (LimiterUnavailable("x"), 8),
    ],
)  # fmt: skip
def test_each_error_has_its_code(error: Exception, code: int) -> None:
    assert exit_for(error) == code
    assert Exit(code)
