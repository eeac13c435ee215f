"""A sandbox in a thread of its own, for tests with any event loop, or none."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from pathlib import Path

import anyio
import pytest

import fullstory_async.sandbox
from fullstory_async import ClientConfig, ClientStateError, ConfigurationError, FullStoryClient
from fullstory_async.sandbox import Fault, Sandbox, SandboxSession
from fullstory_async.testing import SandboxOptions, running_sandbox
from tests.cli.forked import Forks


def client_of(sandbox: Sandbox) -> FullStoryClient:
    return FullStoryClient(config=ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url))


async def use(sandbox: Sandbox) -> int:
    async with client_of(sandbox) as client:
        return len(await client.sessions.events(sandbox.session_ids[0]))


@pytest.mark.filterwarnings("ignore::fullstory_async.UnsharedLimiterWarning")  # of the two threads
def test_several_loops_threads_and_processes_use_one(
    forks: Forks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with running_sandbox(sessions=1, mean_events=3) as sandbox:
        counts = [asyncio.run(use(sandbox)), anyio.run(use, sandbox)]
        threads = [threading.Thread(target=lambda: counts.append(asyncio.run(use(sandbox)))) for _ in "ab"]
        for each in threads:
            each.start()
        monkeypatch.setenv("FULLSTORY_API_KEY", sandbox.api_key)
        monkeypatch.setenv("FULLSTORY_BASE_URL", sandbox.url)
        assert "admin@example.com" in forks.run("whoami", cwd=tmp_path).out
        for each in threads:
            each.join()
        assert counts == [*sandbox.event_counts.values()] * 4
        assert len(sandbox.requests.of("whoami")) == 1
        sandbox.assert_paid(4)


def test_records_are_complete_as_soon_as_a_response_is_received() -> None:
    with running_sandbox(sessions=1, mean_events=3) as sandbox:
        for number in range(1, 20):
            asyncio.run(use(sandbox))
            assert sandbox.requests[-1].status == 200
            assert sandbox.stats()["by_status"] == {"200": number}


async def test_it_runs_beside_the_loop_of_the_test() -> None:
    with running_sandbox(sessions=1, latency=0.01) as sandbox:
        sandbox.inject(Fault.status(404), operation="events")
        session_id = sandbox.add_session(SandboxSession())
        async with client_of(sandbox) as client:
            with pytest.raises(fullstory_async.NotFoundError):
                await client.sessions.events(session_id)
            assert list(await client.sessions.events(session_id)) == []


def test_its_port_is_free_when_the_block_ends() -> None:
    used: list[Sandbox] = []
    with pytest.raises(ZeroDivisionError):
        with running_sandbox() as sandbox:
            used.append(sandbox)
            assert sandbox.url
            raise ZeroDivisionError
    with pytest.raises(ClientStateError):
        _ = used[0].url
    socket.create_server(("127.0.0.1", used[0]._port)).close()


def test_what_can_not_run_is_reported_where_it_was_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="sessions"):
        with running_sandbox(sessions=-1):
            pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(ConfigurationError, match="can't listen on port"):
            with running_sandbox(port=taken.getsockname()[1]):
                pass


def test_its_options_are_those_of_the_sandbox() -> None:
    expected = {name: each for name, each in Sandbox.__init__.__annotations__.items() if name != "return"}
    assert {name: each.__forward_arg__ for name, each in SandboxOptions.__annotations__.items()} == expected
    parameters = inspect.signature(Sandbox).parameters.values()
    assert all(each.kind is each.KEYWORD_ONLY for each in parameters)


def test_it_starts_within_milliseconds() -> None:
    """Of CPU time, which a busy machine doesn't lengthen; the best of some, as the first imports modules."""

    def cost() -> float:
        began = time.process_time()
        with running_sandbox(sessions=50):
            return time.process_time() - began

    assert min(cost() for _ in range(5)) <= 0.005
