"""``fullstory-async sandbox``: its faults, listed and injected from the command line."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fullstory_async.sandbox.faults import catalogue
from fullstory_async.sandbox.world import World
from tests.cli.conftest import Run
from tests.cli.forked import Forks
from tests.limits import SECONDS

ID = str(next(iter(World(0, 1, 2, 200).sessions)))


def test_the_faults_are_listed(run: Run) -> None:
    code, out, err = run("sandbox", "--list-faults")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.partition("(")[0] for line in lines[::2]] == [entry.name for entry in catalogue()]
    assert "truncate_body(share=0.5, *, framing='length')" in lines
    assert all(
        line.startswith("    ") and line.endswith(("is charged.", "not charged.")) for line in lines[1::2]
    )
    assert "`" not in out


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("stauts(503)", "there is no fault 'stauts'; did you mean 'status'?"),
        ("status(five)", "it is written status(code, *, headers=None, body=None, charged=False)"),
        ("status(503) share=2", "share must be a number from 0 to 1"),
        ("status(503) operation=event", "there is no operation 'event'; there are whoami, list, events"),
        ("status(__import__('os').getpid())", "can't be read"),
        ("status(503.5)", "a fault's code must be a whole number from 200 to 599"),
        ("redirect_loop(code=307.5)", "a fault's code must be a whole number from 300 to 399"),
        ("status(503, charged='no')", "a fault's charged must be True or False, not 'no'"),
        ("redirect_loop(charged=0)", "a fault's charged must be True or False, not 0"),
        ("drop times=1 times=2", "times is given twice"),
        ("drop session_id=9:9", "the sandbox has no session 9:9"),
        ("drop session_id=../x", "session id"),
        ("status(503, headers={'X Y': 'z'})", "a fault's header 'X Y' is not a valid HTTP header name"),
        ("status(503, headers={'': 'z'})", "a fault's header '' is not a valid HTTP header name"),
        ("status(503, headers={'X:Y': 'z'})", "a fault's header 'X:Y' is not a valid HTTP header name"),
        ("wrong_content_type('text/html; charset=x')", "a fault's content_type must be like 'text/html'"),
    ],
)
def test_a_wrong_fault_is_a_usage_error(run: Run, fault: str, message: str) -> None:
    code, out, err = run("sandbox", "--port", "0", "--fault", fault)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_what_it_prints_on_a_terminal_is_pasted_into_a_shell(tmp_path: Path) -> None:
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "fullstory_async", "sandbox", "--port", "0", "--sessions", "5"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=inside, stderr=subprocess.PIPE) as server:
        printed = ""
        while printed.count("\n") < 2:
            printed += os.read(terminal, 1000).decode()
        pasted = printed.replace("\r", "")
        script = f"{pasted}{shlex.quote(sys.executable)} -m fullstory_async sessions --uid u-1 --all"
        run = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS
        )
        server.send_signal(signal.SIGINT)
    os.close(inside)
    os.close(terminal)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout
    assert not [line for line in pasted.splitlines() if not re.match(r"export FULLSTORY_\w+=\S+$", line)]


def test_a_public_url_and_a_fault_from_the_command_line_act(run: Run, forks: Forks, tmp_path: Path) -> None:
    options = ("--public-url", "https://sandbox.test/", "--fault", "empty_lists_omitted")
    with forks.sandbox("--users", "1", "--sessions", "2", *options, cwd=tmp_path) as settings:
        url, key = settings.values()
        found = {}
        for uid in ("u-1", "nobody"):
            request = urllib.request.Request(
                f"{url}/sessions/v2?uid={uid}", headers={"Authorization": f"Basic {key}"}
            )
            with urllib.request.urlopen(request) as answer:
                found[uid] = json.load(answer)
    bases = {each["fsUrl"].partition("/ui/")[0] for each in found["u-1"]["sessions"]}
    assert (bases, found["nobody"]) == ({"https://sandbox.test"}, {})
    code, _, err = run("sandbox", "--public-url", "sandbox.test", "--port", "0")
    assert (code, "public_url must be like 'https://sandbox.test'" in err) == (2, True)


def test_faults_from_the_command_line_act(forks: Forks, tmp_path: Path) -> None:
    options = (
        "--users", "1", "--sessions", "2", "--fault", "status(503) operation=whoami times=2",
        "--fault", "html_error_page(418) operation=whoami skip=1",
        "--fault", f"status(410) session_id={ID.replace(':', '!')}",
    )  # fmt: skip
    with forks.sandbox(*options, cwd=tmp_path) as settings:
        url, key = settings.values()
        request = urllib.request.Request(f"{url}/me", headers={"Authorization": f"Basic {key}"})
        statuses = []
        for _ in range(4):
            try:
                statuses.append(urllib.request.urlopen(request).status)
            except urllib.error.HTTPError as error:
                statuses.append(error.code)
                error.close()
        request = urllib.request.Request(f"{url}/v2/sessions/{ID}/events", headers=request.headers)
        with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(request):
            pass
        caught.value.close()
        with urllib.request.urlopen(f"{url}/_sandbox/stats") as answer:
            assert json.load(answer)["by_status"] == {"503": 2, "200": 1, "418": 1, "410": 1}
    assert statuses == [503, 503, 200, 418]
