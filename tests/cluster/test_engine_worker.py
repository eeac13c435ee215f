"""EngineWorker: what the tasks of a data engine get from the store, in a process of many threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import attrs
import pytest

from fullstory_async import ClientConfig, RateLimit
from fullstory_async.cluster import StoreOptions
from fullstory_async.cluster.engine_worker import EngineWorker, arrow_batches, arrow_table, worker_of_process
from fullstory_async.errors import ActivationBudgetError, AuthenticationError, ServerError, StorageError
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.testing import running_sandbox
from tests.cluster.postgres_servers import Server


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(sessions=20, mean_events=5) as sandbox:
        yield sandbox


@pytest.fixture
def options(sandbox: Sandbox, postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch) -> StoreOptions:
    monkeypatch.setenv("FULLSTORY_CLUSTER_DSN", postgres.dsn())
    config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(1000, 1000))
    return StoreOptions(config=config, schema=schema)


def ids_of(sandbox: Sandbox) -> list[str]:
    return [str(each) for each in sandbox.session_ids]


def test_a_session_that_cannot_be_had_has_no_rows_and_the_others_have(
    sandbox: Sandbox, options: StoreOptions, caplog: pytest.LogCaptureFixture
) -> None:
    ids, missing = ids_of(sandbox), "1234567890123:9876543210987"
    with closing(EngineWorker(options)) as worker, caplog.at_level(logging.WARNING, "fullstory_async"):
        table = arrow_table(worker, [*ids[:3], missing, "no id", *ids[3:]])
    assert set(table["full_session_id"].to_pylist()) == set(ids)
    texts = sorted(record.getMessage() for record in caplog.records)
    assert texts == [
        "the events of a session are missing: InvalidSessionId", "the events of a session are missing: NotFoundError",
    ]  # fmt: skip


def test_a_task_with_another_failure_fails_at_its_end_and_costs_nothing_again(
    sandbox: Sandbox, options: StoreOptions
) -> None:
    ids = ids_of(sandbox)
    sandbox.inject(Fault.status(500), operation="events", session_id=ids[0], times=1)
    with closing(EngineWorker(options)) as worker:
        got = []
        with pytest.raises(ServerError):
            for session_id, _ in worker.bodies(ids):
                got.append(session_id)
        assert sorted(got) == sorted(ids[1:])
        before = len(sandbox.requests.of("events"))
        assert {session_id for session_id, _ in worker.bodies(ids[1:])} == set(ids[1:])
        assert len(sandbox.requests.of("events")) == before


@pytest.mark.parametrize("reason", ["budget", "key"])
def test_what_stops_all_calls_ends_a_task_at_once(
    sandbox: Sandbox, options: StoreOptions, reason: str
) -> None:
    if reason == "budget":
        options = attrs.evolve(options, max_activations=5)
    with closing(EngineWorker(options)) as worker:
        if reason == "key":
            sandbox.inject(Fault.status(401), operation="events", times=None)
        with pytest.raises(ActivationBudgetError if reason == "budget" else AuthenticationError):
            list(worker.bodies(ids_of(sandbox)))
    assert sandbox.stats()["activations"] <= (5 if reason == "budget" else 0)


def test_the_threads_of_a_process_share_one_worker(sandbox: Sandbox, options: StoreOptions) -> None:
    ids = ids_of(sandbox)

    def task(part: list[str]) -> tuple[EngineWorker, int]:
        worker = worker_of_process(options)
        return worker, sum(batch.num_rows for batch in arrow_batches(worker, part))

    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(task, [ids[n::4] for n in range(4)]))
    [worker] = {worker for worker, _ in done}
    assert worker_of_process(options) is worker
    loops = [each for each in threading.enumerate() if each.name == "fullstory-engine"]
    assert len(loops) == 1
    assert all(rows for _, rows in done)
    assert len(sandbox.requests.of("events")) == len(ids)
    worker.close()


def test_a_task_that_is_given_up_leaves_the_worker_usable(sandbox: Sandbox, options: StoreOptions) -> None:
    ids = ids_of(sandbox)
    with closing(EngineWorker(options)) as worker:
        bodies = worker.bodies(ids)
        next(bodies)
        bodies.close()
        assert len(list(worker.bodies(ids))) == len(ids)


def test_a_worker_that_cannot_be_opened_leaves_no_thread(
    options: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLSTORY_CLUSTER_DSN", "host=127.0.0.1 port=1 dbname=none")
    with pytest.raises(StorageError):
        EngineWorker(options)
    assert "fullstory-engine" not in {each.name for each in threading.enumerate()}
