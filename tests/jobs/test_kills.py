"""kill -9 at random moments: nothing is lost, nothing is there twice, and little is paid for again.

FULLSTORY_KILLS sets how often; ``nox -s kills`` does it fifty times, with five thousand ids.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from fullstory_async.jobs import JobReader
from fullstory_async.jobs.database import has_job

KILLS = int(os.environ.get("FULLSTORY_KILLS", "5"))
IDS = 5000 if KILLS > 5 else 600
CONCURRENCY = 16


@pytest.fixture
def served():
    command = [
        sys.executable, "-m", "fullstory_async", "sandbox", "--port", "0", "--sessions", str(IDS), "--mean-events", "5",
        "--latency", "0.03" if KILLS <= 5 else "0.12",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def ask(served, path):
    with urllib.request.urlopen(served["FULLSTORY_BASE_URL"] + path) as answer:
        return json.load(answer)


@pytest.mark.row(43)
@pytest.mark.timeout(1500 if KILLS > 5 else 60)
def test_kills_at_random_moments(served, tmp_path):
    ids = ask(served, "/_sandbox/sessions")["session_ids"]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    folder, rng = tmp_path / "friday.job", random.Random(KILLS)
    fetch = [
        sys.executable, "-m", "fullstory_async", "fetch", "--job", str(folder), "--yes", "--rate", "100000", "--burst", "100000",
        "--concurrency", str(CONCURRENCY),
    ]  # fmt: skip
    first = ["--ids", str(tmp_path / "ids.txt"), "--events", "--summary", "support"]
    environment = {**os.environ, **served}
    killed = 0
    while killed < KILLS:
        exists = folder.exists() and has_job(folder)  # it may have been killed before there was one
        # a kill while the ids were being added leaves some of them out, so they are named again
        options = [*(["--resume"] if exists else []), *first]
        process = subprocess.Popen([*fetch, *options], env=environment, stderr=subprocess.PIPE, text=True)
        time.sleep(rng.uniform(0.3, 1.6))
        process.kill()
        _, said = process.communicate()
        if process.returncode == 0:
            break  # it was quicker
        assert process.returncode == -signal.SIGKILL, said
        killed += 1
    run = subprocess.run([*fetch, "--resume", *first], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert killed >= (3 if KILLS <= 5 else KILLS), "the job was over before it could be killed"

    reader = JobReader(folder)
    found = {record.session_id: sorted(record.bodies) for record in reader.records()}
    assert found == {session_id: ["events", "summary"] for session_id in ids}  # none lost, none twice
    charged = ask(served, "/_sandbox/stats")["activations"]
    again = charged - 2 * len(ids)
    spent = reader.status().spent
    print(f"{killed} kills, {again} calls paid for again, {spent} counted, {charged} charged")  # noqa: T201
    assert 0 <= again <= killed * CONCURRENCY
    assert charged <= spent <= charged + killed * CONCURRENCY
    assert re.search(r"finished: \d+ answers", run.stderr)
