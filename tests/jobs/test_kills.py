"""kill -9 at random moments: nothing is lost or stored twice, and little is paid for again.

FULLSTORY_KILLS sets how often; ``nox -s kills`` does it fifty times, with five thousand ids.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fullstory_async.jobs import JobReader
from fullstory_async.jobs.storage.schema import has_job
from tests.cli.forked import Forks, Running
from tests.limits import A_TEST, FACTOR

KILLS = int(os.environ.get("FULLSTORY_KILLS", "3"))
IDS = 5000 if KILLS > 3 else 250
CONCURRENCY = 16
CALLS_BETWEEN = 150
"""Most calls between one kill and the next; all kills together need fewer than there are."""


@pytest.fixture
def served(forks: Forks, tmp_path: Path) -> Iterator[dict[str, str]]:
    options = ("--sessions", str(IDS), "--mean-events", "5", "--latency", "0.03")
    with forks.sandbox(*options, cwd=tmp_path) as settings:
        yield settings


def ask(served: dict[str, str], path: str) -> dict[str, Any]:
    with urllib.request.urlopen(served["FULLSTORY_BASE_URL"] + path) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def resuming(folder: Path) -> list[str]:
    """Return the option that resumes a job; none if the kill came before there was one.

    A kill while the ids were being added leaves some of them out, so all runs name them again.
    """
    return ["--resume"] if folder.exists() and has_job(folder) else []


def wait_for_any_moment(running: Running, served: dict[str, str], rng: random.Random) -> None:
    """Wait for a number of charged calls; or, one time in four, for a time: the job may not exist yet."""
    if rng.random() < 0.25:
        time.sleep(rng.uniform(0.1, 1.0))
        return
    goal = ask(served, "/_sandbox/stats")["activations"] + rng.randint(1, CALLS_BETWEEN)
    while ask(served, "/_sandbox/stats")["activations"] < goal:
        assert running.exists(), running.wait().err
        time.sleep(0.005)


@pytest.mark.row(43)
@pytest.mark.timeout(1500 * FACTOR if KILLS > 3 else A_TEST)
def test_kills_at_random_moments(served: dict[str, str], forks: Forks, tmp_path: Path) -> None:
    ids = ask(served, "/_sandbox/sessions")["session_ids"]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    folder, rng = tmp_path / "friday.job", random.Random(KILLS)
    fetch = (
        "fetch", "--job", str(folder), "--yes", "--rate", "100000", "--burst", "100000", "--concurrency", str(CONCURRENCY),
        "--ids", str(tmp_path / "ids.txt"), "--events", "--summary", "support",
    )  # fmt: skip
    for _ in range(KILLS):
        with forks.start(*fetch, *resuming(folder), cwd=tmp_path, environment=served) as running:
            wait_for_any_moment(running, served, rng)
            os.kill(running.pid, signal.SIGKILL)
        killed = running.wait()
        assert killed.code == 128 + signal.SIGKILL, killed.err
    run = forks.run(*fetch, *resuming(folder), cwd=tmp_path, environment=served)
    assert run.code == 0, run.err

    reader = JobReader(folder)
    found = {record.session_id: sorted(record.bodies) for record in reader.records()}
    assert found == {session_id: ["events", "summary"] for session_id in ids}  # none lost, none twice
    charged = ask(served, "/_sandbox/stats")["activations"]
    again = charged - 2 * len(ids)
    spent = reader.status().spent
    print(f"{KILLS} kills, {again} calls paid for again, {spent} counted, {charged} charged")  # noqa: T201
    assert 0 <= again <= KILLS * CONCURRENCY
    assert charged <= spent <= charged + KILLS * CONCURRENCY
    assert re.search(r"Finished: \d+ results", run.err)
