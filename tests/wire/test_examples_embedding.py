"""The programs of examples/ against a sandbox: a worker, threads, and a server's processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples import prefork, threads, worker
from fullstory_async import ActivationLedger, ClientConfig, RateLimit
from fullstory_async.jobs import JobReader, StopReason
from fullstory_async.sandbox import Sandbox

IDS = 6


@contextmanager
def sandbox_in_a_thread(**options: Any) -> Iterator[Sandbox]:
    """Run a sandbox beside the event loops of a test."""
    loop, sandbox = asyncio.new_event_loop(), Sandbox(sessions=IDS, mean_events=3, **options)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(sandbox.__aenter__(), loop).result()
        yield sandbox
    finally:
        asyncio.run_coroutine_threadsafe(sandbox.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def settings(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, rate: str = "1000/1000") -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", sandbox.api_key)
    monkeypatch.setenv("FULLSTORY_BASE_URL", sandbox.url)
    monkeypatch.setenv("FULLSTORY_RATE_LIMIT", rate)


async def test_a_worker_stops_under_sigterm_and_resumes_without_paying_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(sessions=IDS, mean_events=3, latency=0.02) as sandbox:
        settings(sandbox, monkeypatch, rate="40/1")
        running = asyncio.create_task(
            worker.work(ClientConfig.from_env(), sandbox.session_ids, tmp_path / "w.job")
        )
        while not sandbox.activations:
            await asyncio.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)
        first = await running
        assert first.reason is StopReason.INTERRUPTED
        assert 0 < first.done < IDS
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        monkeypatch.setenv("FULLSTORY_RATE_LIMIT", "1000/1000")
        second = await worker.work(ClientConfig.from_env(), sandbox.session_ids, tmp_path / "w.job")
        assert (second.reason, second.done, second.spent) == (StopReason.FINISHED, IDS, IDS)
        assert sandbox.activations == IDS
    assert JobReader(tmp_path / "w.job").status().left == 0


def test_the_worker_logs_its_report_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with sandbox_in_a_thread() as sandbox:
        settings(sandbox, monkeypatch)
        (tmp_path / "ids.txt").write_text("\n".join(sandbox.session_ids))
        assert worker.main(str(tmp_path / "ids.txt"), str(tmp_path / "w.job")) == 0
        assert json.loads(capsys.readouterr().out)["reason"] == "finished"
        monkeypatch.setenv("FULLSTORY_API_KEY", "na1.wrong")
        (tmp_path / "ids.txt").write_text("1:2")
        assert worker.main(str(tmp_path / "ids.txt"), str(tmp_path / "other.job")) == 1


def test_threads_call_one_client_and_have_clients_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with sandbox_in_a_thread() as sandbox:
        settings(sandbox, monkeypatch)
        threads.main(*sandbox.session_ids)
        counts = {str(each): count for each, count in sandbox.event_counts.items()}
        assert sandbox.activations == 2 * IDS
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [dict(lines[:IDS]), dict(lines[IDS:])] == 2 * [
        {each: str(count) for each, count in counts.items()}
    ]
    share = threads.share_of(ClientConfig(api_key="na1.key", rate_limit=RateLimit(8, 2)), 4)
    assert share.rate_limit == RateLimit(2, 1)


async def ask(app: prefork.App, path: str) -> tuple[int, Any]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("no body is read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app({"type": "http", "path": path}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def serve(app: prefork.App, *paths: str) -> list[tuple[int, Any]]:
    """Start a worker's application as a server does, send requests, and shut it down."""
    asked, told = asyncio.Queue[dict[str, Any]](), asyncio.Queue[dict[str, Any]]()
    asked.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(app({"type": "lifespan"}, asked.get, told.put))
    assert await told.get() == {"type": "lifespan.startup.complete"}
    answers = [await ask(app, path) for path in paths]
    asked.put_nowait({"type": "lifespan.shutdown"})
    assert await told.get() == {"type": "lifespan.shutdown.complete"}
    await life
    return answers


async def test_a_worker_process_answers_and_keeps_the_common_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    async with Sandbox(sessions=IDS, mean_events=3) as sandbox:
        settings(sandbox, monkeypatch)
        first, second, third = sandbox.session_ids[:3]
        workers = [prefork.App(workers=2, ledger=str(ledger), monthly_cap=3) for _ in range(2)]
        found, unknown, unusable, other = await serve(
            workers[0], f"/sessions/{first}", "/sessions/9:9", "/sessions/a b", "/"
        )
        assert found[0] == 200
        assert len(found[1]["events"]) == sandbox.event_counts[first]
        assert [unknown[0], unusable[0], other[0]] == [404, 422, 404]
        # the other worker has what is left of the month; a 404 may have cost one too
        one, none = await serve(workers[1], f"/sessions/{second}", f"/sessions/{third}")
        assert (one[0], none) == (200, (503, {"error": "ActivationBudgetError", "retry_after": None}))
        assert sandbox.activations == 2
        assert await ActivationLedger(ledger).spent(ClientConfig.from_env().key_fingerprint) == 3


def test_the_fork_comes_before_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox_in_a_thread() as sandbox:
        settings(sandbox, monkeypatch)
        app = prefork.App(workers=2, ledger=str(tmp_path / "ledger"), monthly_cap=100)
        children = []
        for session_id in sandbox.session_ids[:2]:
            if not (child := os.fork()):
                status = 1
                try:
                    status = 0 if asyncio.run(serve(app, f"/sessions/{session_id}"))[0][0] == 200 else 2
                finally:
                    os._exit(status)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        assert sandbox.activations == 2
