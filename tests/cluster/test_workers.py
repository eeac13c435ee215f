"""Workers as processes: killed, stopped, out of budget, without Postgres for a while."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import RateLimit
from fullstory_async.sandbox import Fault
from fullstory_async.testing import running_sandbox
from tests.cluster.commands import Cluster, terminate
from tests.cluster.postgres_servers import Server, new_name
from tests.examples import ROOT, blocks
from tests.limits import SECONDS, wait_until

PAGE = ROOT / "docs" / "cluster.md"
FAST = ("--rate", "1000", "--burst", "1000")


@pytest.fixture
def cluster(postgres: Server, schema: str, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    with ExitStack() as stack:

        def make(**settings: Any) -> Cluster:
            options: Any = {"sessions": 300, "mean_events": 5, **settings}
            sandbox = stack.enter_context(running_sandbox(**options))
            return Cluster(postgres, sandbox, schema, tmp_path)

        yield make


def test_two_workers_one_killed_and_the_other_finishes_everything(
    cluster: Callable[..., Cluster], schema: str
) -> None:
    here = cluster(sessions=400, latency=0.1, rate_limit=RateLimit(60, 60))
    here.prepare(max_activations=450)
    with here.workers(2, "--until-done", "--concurrency", "8", "--rate", "60", "--burst", "60") as (one, two):
        here.until_answers(150)
        one.kill()
        # as if most of its lease had passed, and of the time for its heartbeat; the other one renews its own
        here.postgres.do(
            f"UPDATE {schema}.workers SET expires = expires - interval '15 s'",
            f"UPDATE {schema}.procrastinate_workers SET last_heartbeat = last_heartbeat - interval '15 s'",
        )
        _, err = two.communicate(timeout=SECONDS)
        assert two.returncode == 0, err
    found, charged = here.status(), here.sandbox.activations
    assert (found["sessions"], found["done"], found["failed"]) == (400, 400, 0)
    assert 400 <= charged <= found["spent"] <= 450
    assert charged <= 400 + 8
    # the limit was one, for both
    assert "429" not in here.sandbox.stats()["by_status"]
    code, _, err = here.run("export", "events.jsonl")
    assert code == 0, err
    rows = Counter(
        json.loads(line)["full_session_id"]
        for line in (here.folder / "events.jsonl").read_text().splitlines()
    )
    assert rows == here.sandbox.event_counts


def test_after_sigterm_there_are_no_new_calls_and_those_in_flight_are_kept(
    cluster: Callable[..., Cluster],
) -> None:
    here = cluster(latency=1.0)
    here.prepare()
    with here.workers(1, "--concurrency", "10", *FAST) as (worker,):
        wait_until(lambda: here.sandbox.stats()["requests"] >= 21)  # whose owner it asked for, and two rounds
        before = here.sandbox.activations
        code, err = terminate(worker)
    assert code == 0
    assert "Stopping: waiting up to 5 s for calls in flight" in err
    assert here.sandbox.activations <= before + 10
    found = here.status()
    assert found["done"] == found["spent"] == here.sandbox.activations
    # others can have the rest at once, without waiting for a lease
    assert (found["claimed"], found["sent"], found["workers"], found["at_risk"]) == (0, 0, 0, 0)
    assert found["pending"] == 300 - found["done"]


def test_calls_in_flight_get_five_seconds_and_count_as_at_risk_afterwards(
    cluster: Callable[..., Cluster],
) -> None:
    here = cluster()
    here.sandbox.inject(Fault.stall(3600), operation="events", times=None)
    here.prepare()
    with here.workers(1, "--concurrency", "10", *FAST) as (worker,):
        # as long as no response came, each of them may be of 64 MB, for which there is room for some only
        wait_until(lambda: here.sandbox.stats()["requests"] == 1 + 4)
        began = time.monotonic()
        code, _ = terminate(worker)
    assert code == 0
    assert time.monotonic() - began > 4.5
    found = here.status()
    assert (found["spent"], found["at_risk"], found["pending"]) == (4, 4, 300)


def test_a_budget_that_is_used_up_ends_all_workers(cluster: Callable[..., Cluster]) -> None:
    here = cluster()
    here.prepare(max_activations=100)
    with here.workers(3, *FAST) as workers:
        ended = [(each.communicate(timeout=SECONDS)[1], each.returncode) for each in workers]
    assert [code for _, code in ended] == [7, 7, 7]
    assert all("budget" in err for err, _ in ended)
    # the first that finds it used up ends at once, and what it had reserved and not sent is free again
    assert 100 - 3 * 32 <= here.sandbox.activations == here.status()["spent"] <= 100


def test_a_rejected_key_ends_a_worker(cluster: Callable[..., Cluster]) -> None:
    here = cluster()
    here.prepare()
    code, _, err = here.run("work", *FAST, FULLSTORY_API_KEY="wrong")
    assert code == 4, err
    assert here.status()["spent"] == 0


def test_a_session_that_fails_permanently_is_told_by_the_exit_code(cluster: Callable[..., Cluster]) -> None:
    here = cluster(sessions=20)
    here.sandbox.inject(
        Fault.status(404), operation="events", session_id=here.sandbox.session_ids[3], times=None
    )
    here.prepare()
    code, _, err = here.run("work", "--until-done", *FAST)
    assert code == 3, err
    assert "19 fetched, 1 failed" in err
    assert (here.status()["done"], here.status()["failed"]) == (19, 1)


def test_workers_go_on_by_themselves_when_postgres_was_killed(cluster: Callable[..., Cluster]) -> None:
    here = cluster(latency=0.1, sessions=400)
    here.prepare()
    with here.workers(2, "--until-done", "--concurrency", "8", "--rate", "100") as workers:
        here.until_answers(50)
        here.postgres.kill()
        time.sleep(3)
        here.postgres.start()
        ended = [(each.communicate(timeout=SECONDS)[1], each.returncode) for each in workers]
    assert [code for _, code in ended] == [0, 0], "\n".join(err for err, _ in ended)
    found = here.status()
    assert (found["done"], found["failed"]) == (400, 0)
    assert here.sandbox.activations <= found["spent"]
    # what was paid for was held in memory until Postgres was back
    assert here.sandbox.activations == 400


def test_in_an_outage_of_the_service_a_worker_only_probes(cluster: Callable[..., Cluster]) -> None:
    here = cluster()
    here.prepare()
    # ten in a row, and the probes after 1 and 2 seconds; the one after 4 seconds finds the service
    here.sandbox.inject(Fault.status(503), operation="events", times=10 + 2)
    began = time.monotonic()
    with here.workers(1, "--concurrency", "1", *FAST) as (worker,):
        here.until_answers(300 - 12)
        assert time.monotonic() - began > 7
        code, err = terminate(worker)
    assert code == 0
    assert "288 fetched, 12 failed" in err
    # those that failed are tried again after a minute
    found = here.status()
    assert (found["done"], found["failed"], found["pending"]) == (288, 12, 0)
    assert here.sandbox.activations == 288


def test_a_worker_that_is_stopped_in_an_outage_ends_and_says_what_it_waited_for(
    cluster: Callable[..., Cluster],
) -> None:
    here = cluster()
    here.sandbox.inject(Fault.status(503), operation="events", times=None)
    here.prepare()
    with here.workers(1, "--concurrency", "1", *FAST) as (worker,):
        wait_until(lambda: here.status()["failed"] >= 10 + 1)
        code, err = terminate(worker)
    assert code == 0
    assert "waiting: ServerError: " in err
    found = here.status()
    # the rest of the shard is free at once
    assert (found["claimed"], found["sent"], found["pending"]) == (0, 0, 300 - found["failed"])


def test_the_role_of_the_page_is_enough_for_a_worker(cluster: Callable[..., Cluster]) -> None:
    here, role = cluster(sessions=20), new_name("worker")
    here.prepare()
    (grants,) = (text for text in blocks(PAGE.read_text(), "sql") if "CREATE ROLE" in text)
    here.postgres.do(grants.replace("fullstory_worker", role).replace("fullstory", here.schema))
    dsn = here.postgres.dsn(user=role, password="a long one")
    code, _, err = here.run("work", "--until-done", *FAST, FULLSTORY_CLUSTER_DSN=dsn)
    assert code == 0, err
    assert here.status()["done"] == 20
