"""Standard streams that are closed, full or read by nobody: the exit code says so, and Python's own exit adds nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.limits import SECONDS

PROGRAM = (sys.executable, "-m", "fullstory_async")
PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
LINK = "https://app.fullstory.com/ui/ORG/session/1:2"

buffered_or_not = pytest.mark.parametrize(
    "environment", [PLAIN, {**PLAIN, "PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"]
)


@contextmanager
def nobody_reads() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextmanager
def full_disk() -> Iterator[int]:
    with Path("/dev/full").open("wb") as full:
        yield full.fileno()


def ends(*arguments: str, environment: dict[str, str], **streams: Any) -> tuple[int, Any, Any]:
    """Run a command; return its exit code, and its output and messages where they were not redirected."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    run = subprocess.run([*PROGRAM, *arguments], **streams, env=environment, text=True, timeout=SECONDS)
    return run.returncode, run.stdout, run.stderr


def ends_with_closed(redirection: str, *arguments: str, environment: dict[str, str]) -> tuple[int, str, str]:
    shell = ("sh", "-c", f'exec "$@" {redirection}', "sh")
    run = subprocess.run(
        [*shell, *PROGRAM, *arguments], capture_output=True, text=True, env=environment, timeout=SECONDS
    )
    return run.returncode, run.stdout, run.stderr


# one flushes what it prints, and one leaves that to the end
PRINTING = [("id", LINK), ("sandbox", "--list-faults")]


@buffered_or_not
@pytest.mark.parametrize("arguments", PRINTING)
def test_output_that_nobody_reads_is_silent(arguments: tuple[str, str], environment: dict[str, str]) -> None:
    with nobody_reads() as pipe:
        assert ends(*arguments, environment=environment, stdout=pipe) == (141, None, "")


@buffered_or_not
@pytest.mark.parametrize("arguments", PRINTING)
def test_output_on_a_full_disk_is_an_error(arguments: tuple[str, str], environment: dict[str, str]) -> None:
    with full_disk() as disk:
        code, _, err = ends(*arguments, environment=environment, stdout=disk)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("fullstory-async: ")
    assert err.endswith("No space left on device\n")


@buffered_or_not
@pytest.mark.parametrize("arguments", PRINTING)
def test_a_closed_output_is_an_error(arguments: tuple[str, str], environment: dict[str, str]) -> None:
    code, _, err = ends_with_closed(">&-", *arguments, environment=environment)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("fullstory-async: ")
    assert err.endswith("Bad file descriptor\n")


@buffered_or_not
def test_a_closed_output_does_not_matter_to_a_command_that_prints_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Nor does a file that it opens take the output's place."""
    (tmp_path / "ids").write_text("1:2\n")
    job = str(tmp_path / "j")
    fetch = ("fetch", "--ids", str(tmp_path / "ids"), "--events", "--job", job, "--sandbox")
    code, _, err = ends_with_closed(">&- <&-", *fetch, environment=environment)
    assert code == 3, err  # the sandbox knows no such session
    code, out, err = ends("job", "status", job, environment=environment)
    assert (code, json.loads(out)["failed"], err) == (0, 1, "")


USAGE = ("fetch", "--no-such-option")


@buffered_or_not
def test_messages_that_cannot_be_written_change_nothing(environment: dict[str, str]) -> None:
    with nobody_reads() as pipe, full_disk() as disk:
        for stream in (pipe, disk):  # `id` warns of what is no pair
            code, out, _ = ends("id", "nobody", environment=environment, stderr=stream)
            assert (code, json.loads(out)["session_id"]) == (0, "nobody")
        assert ends(*USAGE, environment=environment, stderr=disk)[:2] == (2, "")
    code, out, err = ends_with_closed("2>&-", "id", "nobody", environment=environment)
    assert (code, json.loads(out)["session_id"], err) == (0, "nobody", "")


@buffered_or_not
def test_with_neither_stream_the_code_still_tells(environment: dict[str, str]) -> None:
    with full_disk() as disk:
        assert ends(*PRINTING[1], environment=environment, stdout=disk, stderr=disk)[0] == 1
    for arguments, code in ((PRINTING[0], 1), (USAGE, 2)):
        assert ends_with_closed(">&- 2>&- <&-", *arguments, environment=environment)[0] == code


@contextmanager
def service(body: bytes) -> Iterator[str]:
    """A service that answers everything with one body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name in the base class)
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@buffered_or_not
@pytest.mark.parametrize("size", [10, 100_000])  # kept until the end, and written at once
def test_the_first_error_decides_the_code(size: int, environment: dict[str, str]) -> None:
    body = b'{"events": 5, "x": "%s"}' % (b"x" * size)
    with service(body) as url, nobody_reads() as pipe:
        asked = ("events", "1:2", "--base-url", url)
        code, _, err = ends(*asked, environment={**environment, "FULLSTORY_API_KEY": "na1.x"}, stdout=pipe)
    assert code == 1
    assert "as it came" in err
    assert "Traceback" not in err


@buffered_or_not
def test_a_closed_input_is_a_usage_error(environment: dict[str, str]) -> None:
    for arguments in (
        ("profiles", "create", "-"),
        ("fetch", "--ids", "-", "--events", "--job", "j", "--sandbox"),
    ):
        code, out, err = ends_with_closed(
            "<&-", *arguments, environment={**environment, "FULLSTORY_API_KEY": "x"}
        )
        assert (code, out) == (2, "")
        assert "is closed" in err
