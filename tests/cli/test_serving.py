"""``fullstory-async sandbox``: its faults, listed and injected from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from fullstory_async.sandbox.faults import catalogue


def test_the_faults_are_listed(run):
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
    ],
)
def test_a_wrong_fault_is_a_usage_error(run, fault, message):
    code, out, err = run("sandbox", "--port", "0", "--fault", fault)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_faults_from_the_command_line_act():
    command = [
        sys.executable, "-m", "fullstory_async", "sandbox", "--port", "0", "--users", "1", "--sessions", "2",
        "--fault", "status(503) operation=whoami times=2", "--fault", "html_error_page(418) operation=whoami skip=1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url, key = (process.stdout.readline().strip().partition("=")[2] for _ in range(2))
        request = urllib.request.Request(f"{url}/me", headers={"Authorization": f"Basic {key}"})
        statuses = []
        for _ in range(4):
            try:
                statuses.append(urllib.request.urlopen(request).status)
            except urllib.error.HTTPError as error:
                statuses.append(error.code)
                error.close()
        with urllib.request.urlopen(f"{url}/_sandbox/stats") as answer:
            assert json.load(answer)["by_status"] == {"503": 2, "200": 1, "418": 1}
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.wait(10)
        process.stdout.close()
    assert statuses == [503, 503, 200, 418]
    assert process.returncode in (0, 130)
