"""The FastAPI service of examples/ in a real uvicorn, beside the test and as a process that is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from examples import fastapi_service
from fullstory_async.jobs import JobReader
from fullstory_async.sandbox import Fault, Sandbox, SandboxSession
from tests.limits import SECONDS, wait_until

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def service(
    fullstory_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    """Run the service in a thread, against the sandbox, as the environment says."""
    monkeypatch.setenv("SERVICE_FOLDER", str(tmp_path))
    monkeypatch.setenv("FULLSTORY_RATE_LIMIT", "1000/1000")
    with in_a_thread() as client:
        yield client


@contextmanager
def in_a_thread() -> Iterator[httpx.Client]:
    server = uvicorn.Server(uvicorn.Config(fastapi_service.app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def status_of(response: httpx.Response) -> tuple[int, str, bool]:
    problem = response.json()
    return response.status_code, problem["error"], problem["may_have_cost"]


def test_events_are_lines_of_json(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    click = {"event_type": "click", "event_properties": {"fs_rage_count": 4}}
    session_id = fullstory_sandbox.add_session(SandboxSession(events=[click, {"event_type": "load"}]))
    response = service.get(f"/sessions/{session_id}/events")
    assert response.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in response.text.splitlines()]
    assert [each["type"] for each in events] == ["click", "load"]
    empty = fullstory_sandbox.add_session(SandboxSession())
    assert service.get(f"/sessions/{empty}/events").text == ""
    fullstory_sandbox.assert_paid(2)


def test_events_are_sent_while_they_arrive(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    session_id = max(fullstory_sandbox.event_counts.items(), key=lambda item: item[1])[0]
    fullstory_sandbox.inject(Fault.stall_body(3600), operation="events")
    with service.stream("GET", f"/sessions/{session_id}/events") as response:
        # an hour before the second half; a caller who leaves ends the call
        assert json.loads(next(response.iter_lines()))["type"]


def test_a_stream_that_breaks_ends_with_the_error(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    session_id = max(fullstory_sandbox.event_counts.items(), key=lambda item: item[1])[0]
    fullstory_sandbox.inject(Fault.truncate_body(), operation="events")
    lines = service.get(f"/sessions/{session_id}/events").text.splitlines()
    assert len(lines) > 1
    assert json.loads(lines[-1]) == {"error": "ProtocolError"}


def test_errors_have_statuses(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    first = fullstory_sandbox.session_ids[0]
    for path in ("/sessions/9:9/events", "/sessions/9:9/summary"):
        assert status_of(service.get(path)) == (404, "NotFoundError", True)
    assert service.get("/sessions/a b/events").status_code == 422
    fullstory_sandbox.inject(Fault.retry_after(3600))
    busy = service.get(f"/sessions/{first}/events")
    assert status_of(busy) == (503, "RateLimitedError", False)
    assert 3590 < int(busy.headers["retry-after"]) <= 3600


def test_a_rejected_key_is_not_the_callers_fault(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    fullstory_sandbox.api_key = "na1.another"
    response = service.get(f"/sessions/{fullstory_sandbox.session_ids[0]}/events")
    assert status_of(response) == (502, "AuthenticationError", False)


def test_an_outage_is_503(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    fullstory_sandbox.inject(Fault.status(503), times=None)
    response = service.get(f"/sessions/{fullstory_sandbox.session_ids[0]}/events")
    assert response.status_code == 503


def test_a_used_up_budget_is_402(
    fullstory_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_FOLDER", str(tmp_path))
    monkeypatch.setenv("SERVICE_MONTHLY_CAP", "1")
    first, second = fullstory_sandbox.session_ids[:2]
    with in_a_thread() as client:
        assert client.get(f"/sessions/{first}/events").status_code == 200
        refused = client.get(f"/sessions/{second}/events")
    assert status_of(refused) == (402, "ActivationBudgetError", False)
    fullstory_sandbox.assert_paid(1)


def test_a_summary_is_paid_for_once(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    path = f"/sessions/{fullstory_sandbox.session_ids[0]}/summary"
    first, second = service.get(path).json(), service.get(path).json()
    assert first == second
    assert first["summary"]
    fullstory_sandbox.assert_paid(1)


def test_metrics_are_counters_for_prometheus(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    for session_id in fullstory_sandbox.session_ids[:3]:
        service.get(f"/sessions/{session_id}/events")
    response = service.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert "# TYPE fullstory_activations_total counter" in lines
    values = dict(line.split() for line in lines if not line.startswith("#"))
    assert (values["fullstory_activations_total"], values["fullstory_requests_total"]) == ("3", "3")
    assert all(re.fullmatch(r"fullstory_[a-z_]+_total", name) for name in values)


def test_a_job_runs_beside_the_requests(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    assert service.get("/jobs/friday").status_code == 404
    assert service.put("/jobs/..%2F..", json=[]).status_code == 404
    assert service.put("/jobs/UPPER", json=[]).status_code == 422
    ids = fullstory_sandbox.session_ids[:20]
    assert service.put("/jobs/friday", json=ids).status_code == 202
    wait_until(lambda: service.get("/jobs/friday").json()["left"] == 0)
    assert service.get("/jobs/friday").json()["done"] == 20
    fullstory_sandbox.assert_paid(20)


@pytest.mark.fullstory(latency=0.3)
def test_a_running_job_is_not_started_twice(service: httpx.Client, fullstory_sandbox: Sandbox) -> None:
    ids = fullstory_sandbox.session_ids
    assert service.put("/jobs/friday", json=ids).status_code == 202
    assert status_of(service.put("/jobs/friday", json=ids)) == (409, "JobLockedError", False)


@pytest.mark.fullstory(sessions=30, mean_events=3, latency=0.1)
def test_sigterm_saves_what_was_paid_for_and_the_job_resumes(
    fullstory_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_FOLDER", str(tmp_path))
    monkeypatch.setenv("FULLSTORY_RATE_LIMIT", "20/2")
    command = [sys.executable, "-m", "uvicorn", "--port", "0", "examples.fastapi_service:app"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next(found[0] for line in process.stderr if (found := re.search(r"http://[\d.:]+", line)))
        assert httpx.put(f"{address}/jobs/friday", json=fullstory_sandbox.session_ids).status_code == 202
        wait_until(lambda: fullstory_sandbox.activations > 5)
        os.kill(process.pid, signal.SIGTERM)
        log = process.communicate(timeout=SECONDS)[1]
    finally:
        process.kill()
    assert "Traceback" not in log
    assert process.returncode in (0, -signal.SIGTERM)
    stopped = JobReader(tmp_path / "friday").status()
    # every response that was paid for is saved
    assert 5 < stopped.done == stopped.spent == fullstory_sandbox.activations < 30
    assert (stopped.at_risk, stopped.reserved) == (0, 0)
    monkeypatch.setenv("FULLSTORY_RATE_LIMIT", "1000/1000")
    with in_a_thread() as client:
        assert client.put("/jobs/friday", json=fullstory_sandbox.session_ids).status_code == 202
        wait_until(lambda: JobReader(tmp_path / "friday").status().left == 0)
    assert JobReader(tmp_path / "friday").status().done == 30
    fullstory_sandbox.assert_paid(30)
