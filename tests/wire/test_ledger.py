"""ActivationLedger: the activations of a key in a month, over clients, jobs and processes."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from fullstory_async import (
    ActivationBudgetError,
    ActivationLedger,
    APITimeoutError,
    AuthenticationError,
    ClientConfig,
    ConfigurationError,
    ConnectError,
    FullStoryClient,
    Hooks,
    Meter,
    NotFoundError,
    RateLimit,
    RateLimiter,
    RetryPolicy,
    ServerError,
    StorageError,
    concurrency,
)
from fullstory_async.files import private_database
from fullstory_async.jobs import Job, JobPlan, StopReason
from fullstory_async.sandbox import Fault, Sandbox
from tests.cli.forked import Forks
from tests.limits import SECONDS
from tests.wire.servers import client_of, raw_server
from tests.wire.test_transport import hang, silent_listener

DECEMBER = 1_796_083_200.0


@asynccontextmanager
async def opened(ledger: ActivationLedger, **settings: Any) -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    client_settings = {"rate_limit": RateLimit(10_000, 10_000), **settings.pop("client", {})}
    async with Sandbox(**{"users": 2, "sessions": 30, "mean_events": 5, **settings}) as sandbox:
        config = ClientConfig(**{"api_key": sandbox.api_key, "base_url": sandbox.url, **client_settings})
        async with FullStoryClient(config=config, ledger=ledger) as client:
            yield sandbox, client


async def test_it_counts_what_costs_and_releases_what_did_not(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger.db")
    async with opened(ledger) as (sandbox, client):

        async def spent() -> int:
            return await ledger.spent(client.config.key_fingerprint)

        one = sandbox.session_ids[0]
        await client.sessions.list(uid="u-1")
        await client.whoami()
        assert await spent() == 0
        await client.sessions.events(one)
        await client.sessions.context(one)
        await client.sessions.summary(one)
        assert await spent() == 3
        sandbox.inject(Fault.retry_after(1))
        await client.sessions.events(one)
        assert await spent() == 4
        for code, error, cost in ((401, Exception, 0), (404, NotFoundError, 1), (500, ServerError, 1)):
            before = await spent()
            sandbox.inject(Fault.status(code))
            with pytest.raises(error):
                await client.sessions.events(one)
            assert await spent() == before + cost
        assert await ledger.spent("another key") == 0
    async with opened(
        ledger, client={"base_url": "http://127.0.0.1:9", "retry": RetryPolicy(attempts=1)}
    ) as (_, client):
        before = await ledger.spent(client.config.key_fingerprint)
        with pytest.raises(ConnectError):
            await client.sessions.events("1:2")
        assert await ledger.spent(client.config.key_fingerprint) == before


async def test_a_cap_holds_and_nothing_is_sent_beyond_it(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger.db", monthly_cap=10)
    async with opened(ledger) as (sandbox, client):
        # more at a time could end at 9: a call that is dropped before it is sent is released
        async with client.sessions.events_many(sandbox.session_ids, concurrency=1) as results:
            outcomes = []
            with pytest.raises(ActivationBudgetError, match="cap of 10 activations is reached: 10 are spent"):
                async for outcome in results:
                    outcomes.append(outcome)
        assert sum(outcome.value is not None for outcome in outcomes) == 10
        assert sandbox.activations == 10
        with pytest.raises(ActivationBudgetError):
            await client.sessions.summary(sandbox.session_ids[0])
        assert len(await client.sessions.list(uid="u-1"))  # what is free is free


async def test_calls_that_a_cap_stops_before_they_are_sent_are_not_counted(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger.db", monthly_cap=10)
    async with opened(ledger) as (sandbox, client):
        async with client.sessions.events_many(sandbox.session_ids, concurrency=8) as results:
            answers = 0
            with pytest.raises(ActivationBudgetError):
                async for outcome in results:
                    answers += outcome.value is not None
        assert answers == sandbox.activations == await ledger.spent(client.config.key_fingerprint)
        assert 2 < answers <= 10


async def test_an_activation_that_waited_for_the_file_over_the_end_of_a_month_counts_in_the_next(
    tmp_path: Path,
) -> None:
    now = [1_780_271_999.0]  # the last second of May 2026
    ledger = ActivationLedger(tmp_path / "ledger.db", clock=lambda: now[0])
    assert await ledger.add("a-key", 1) == "2026-05"
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(ledger.reserve("a-key"))
        await asyncio.sleep(0.1)  # long enough to wait for the lock; the test can't fail if it is not
        now[0] += 1
        another.execute("COMMIT")
    assert (await waiting).month == "2026-06"


async def test_a_job_stops_at_it_and_goes_on_next_month(tmp_path: Path) -> None:
    now = [DECEMBER - 60]
    ledger = ActivationLedger(tmp_path / "ledger.db", monthly_cap=25, clock=lambda: now[0])
    async with opened(ledger) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
            await job.add(sandbox.session_ids)
            report = await job.run(
                concurrency=1
            )  # more could end at 24, with a call that is dropped before it is sent
            assert (report.reason, report.done, report.spent) == (StopReason.BUDGET_REACHED, 25, 25)
            now[0] = DECEMBER + 60
            report = await job.run()
            assert (report.reason, report.done, sandbox.activations) == (StopReason.FINISHED, 30, 30)
        assert await ledger.spent(client.config.key_fingerprint) == 5


async def test_cancelled_calls_count_only_if_they_were_sent(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger.db")
    async with opened(ledger) as (sandbox, client):
        sandbox.inject(Fault.stall(), operation="events", times=None)
        sent = asyncio.create_task(client.sessions.events(sandbox.session_ids[0]))
        while not sandbox.requests:
            await asyncio.sleep(0.01)
        sent.cancel()
        await asyncio.wait([sent])
        assert await ledger.spent(client.config.key_fingerprint) == 1
        with pytest.raises(APITimeoutError):
            await client.sessions.events(sandbox.session_ids[0], timeout=1.0)
        assert await ledger.spent(client.config.key_fingerprint) == 2
    limiter = RateLimiter(RateLimit(0.01, 1))
    async with Sandbox(users=1, sessions=1) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        async with FullStoryClient(config=config, limiter=limiter, ledger=ledger) as client:
            await client.sessions.list(uid="u-1")
            waiting = asyncio.create_task(client.sessions.events(sandbox.session_ids[0]))
            await asyncio.sleep(0.1)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert await ledger.spent(client.config.key_fingerprint) == 2


HAMMER = """
import asyncio, sys
from fullstory_async import ActivationBudgetError, ActivationLedger

async def main(path):
    ledger, done = ActivationLedger(path, monthly_cap=150), 0
    async def one():
        nonlocal done
        try:
            await ledger.add("key", 1)
            done += 1
        except ActivationBudgetError:
            pass
    await asyncio.gather(*(one() for _ in range(80)))
    print(done)

asyncio.run(main(sys.argv[1]))
"""


def test_several_processes_share_a_cap(forks: Forks, tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = [
            stack.enter_context(forks.start(str(tmp_path / "ledger.db"), script=HAMMER, cwd=tmp_path))
            for _ in range(3)
        ]
    assert sum(int(process.wait().out) for process in running) == 150
    assert asyncio.run(ActivationLedger(tmp_path / "ledger.db").spent("key")) == 150


WAITING = """
import asyncio, sys
from fullstory_async import ActivationLedger, ClientConfig, FullStoryClient, RateLimit

async def main(url, key, path):
    config = ClientConfig(api_key=key, base_url=url, rate_limit=RateLimit(0.5, 1))
    async with FullStoryClient(config=config, ledger=ActivationLedger(path, monthly_cap=50)) as client:
        async with client.sessions.events_many(sys.stdin.read().split(), concurrency=32) as results:
            async for _ in results:
                print("response", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_fan_out_killed_while_it_waits_for_the_rate_limit_has_counted_hardly_more_than_it_sent(
    tmp_path: Path,
) -> None:
    """Two calls at most reserve ahead of the limiter at this rate, and not one for each worker."""
    ledger = ActivationLedger(tmp_path / "ledger.db")
    async with Sandbox(users=2, sessions=64, mean_events=2) as sandbox:
        key = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url).key_fingerprint
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WAITING, sandbox.url, sandbox.api_key, str(ledger.path),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n".join(sandbox.session_ids).encode())
            process.stdin.close()
            assert await process.stdout.readline() == b"response\n"
            before, counted = 0, await ledger.spent(key)
            while counted > before:  # until all workers wait
                await asyncio.sleep(0.3)
                before, counted = counted, await ledger.spent(key)
        finally:
            process.kill()
            await process.wait()
        assert process.returncode == -signal.SIGKILL
        assert sandbox.activations < 64 - 32  # each of the 32 workers still had a call to make
        assert sandbox.activations <= await ledger.spent(key) <= sandbox.activations + 2


async def test_a_ledger_that_can_not_be_written_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_database, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(concurrency, "_STORAGE_SECONDS", 0.05)
    ledger = ActivationLedger(tmp_path / "ledger.db")
    async with opened(ledger) as (sandbox, client):
        await client.sessions.events(sandbox.session_ids[0])
        with closing(sqlite3.connect(ledger.path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StorageError, match="locked"):
                await client.sessions.events(sandbox.session_ids[0])
        assert sandbox.activations == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": ""},
        {"path": 5},
        {"path": "x", "monthly_cap": -1},
        {"path": "x", "monthly_cap": 1.5},
        {"path": "x", "monthly_cap": True},
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ActivationLedger(**arguments)


class OwnMeter:
    """A meter of a user's own: a name and two methods are enough."""

    name = "my meter"

    def __init__(self) -> None:
        self.events: list[object] = []

    async def reserve(self) -> str:
        self.events.append("reserve")
        return f"receipt {len(self.events)}"

    def release(self, reservation: str) -> None:
        self.events.append(reservation)


class FinishedMeter(OwnMeter):
    async def finish(self) -> None:
        self.events.append("finish")


async def test_a_client_takes_a_meter_of_one_s_own() -> None:
    own, finished = OwnMeter(), FinishedMeter()
    meter: Meter = own
    async with Sandbox(sessions=2) as sandbox:
        [session_id, *_] = sandbox.session_ids
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        async with FullStoryClient(config=config, ledger=meter) as client:
            await client.sessions.events(session_id)
        async with FullStoryClient("na1.wrong", config=config, ledger=finished) as client:
            with pytest.raises(AuthenticationError):
                await client.sessions.events(session_id)
    assert own.events == ["reserve"]
    assert finished.events == ["reserve", "receipt 1", "finish"]


@pytest.mark.parametrize("given", ["file.db", 5, OwnMeter, [OwnMeter()]])
def test_what_is_no_meter_is_refused(given: object) -> None:
    with pytest.raises(
        ConfigurationError, match="ledger must be an ActivationLedger or another Meter, with a name"
    ):
        FullStoryClient("na1.key", ledger=cast("Any", given))


@asynccontextmanager
async def locked(path: Path, seconds: float) -> AsyncIterator[None]:
    """Lock the file for a while, as another process may."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(seconds, database.execute, "ROLLBACK")
    try:
        yield
    finally:
        await asyncio.sleep(seconds)
        database.close()


async def test_a_call_whose_time_is_over_while_it_waits_for_the_ledger_is_not_sent(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger")
    async with Sandbox(users=1, sessions=1, mean_events=2) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        async with FullStoryClient(config=config, ledger=ledger) as client:
            await client.sessions.events(sandbox.session_ids[0])
            async with locked(tmp_path / "ledger", 0.6):
                with pytest.raises(APITimeoutError) as caught:
                    await client.sessions.events(sandbox.session_ids[0], timeout=0.2)
            assert (caught.value.sent, caught.value.attempts, caught.value.may_have_cost) == (False, 0, False)
            assert (sandbox.activations, client.stats.activations_at_risk) == (1, 0)
            assert await ledger.spent(client.config.key_fingerprint) == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_a_call_that_is_cancelled_while_it_waits_for_the_ledger_counts_nothing(
    tmp_path: Path, times: int
) -> None:
    ledger = ActivationLedger(tmp_path / "ledger")
    async with Sandbox(users=1, sessions=1, mean_events=2) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        async with FullStoryClient(config=config, ledger=ledger) as client:
            await client.sessions.events(sandbox.session_ids[0])
            async with locked(tmp_path / "ledger", 0.4):
                calls = [
                    asyncio.create_task(client.sessions.events(sandbox.session_ids[0])) for _ in range(5)
                ]
                await asyncio.sleep(0.2)
                for _ in range(times):
                    for call in calls:
                        call.cancel()
                    await asyncio.sleep(0.01)
                await asyncio.wait(calls)
            assert all(call.cancelled() for call in calls)
            assert await ledger.spent(client.config.key_fingerprint) == sandbox.activations == 1


async def test_a_fan_out_that_is_stopped_and_then_left_releases_what_it_counted(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger.db")
    async with opened(ledger) as (sandbox, client):
        key = client.config.key_fingerprint
        assert await ledger.spent(key) == 0
        async with locked(ledger.path, 0.3):
            async with client.sessions.events_many(sandbox.session_ids, concurrency=4) as results:
                await asyncio.sleep(0.1)  # they wait for the ledger
                results.stop()
                await asyncio.sleep(0.01)
        assert (sandbox.activations, await ledger.spent(key)) == (0, 0)


async def test_a_ledger_that_refuses_a_second_attempt_does_not_hide_what_the_first_may_have_cost(
    tmp_path: Path,
) -> None:
    ledger = ActivationLedger(tmp_path / "ledger", monthly_cap=1)
    retry = RetryPolicy(repeat_metered=True, wait_initial=0, wait_jitter=0)
    async with Sandbox(users=1, sessions=1, mean_events=2) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, retry=retry)
        async with FullStoryClient(config=config, ledger=ledger) as client:
            sandbox.inject(Fault.reset(), times=None)
            with pytest.raises(ActivationBudgetError) as caught:
                await client.sessions.events(sandbox.session_ids[0])
    error = caught.value
    assert (error.attempts, error.may_have_cost, error.session_id) == (1, True, sandbox.session_ids[0])
    assert type(error.__cause__).__name__ == "ProtocolError"
    assert sandbox.activations == 1


@pytest.mark.parametrize("operation", ["events", "stream", "summary", "fan-out"])
@pytest.mark.parametrize("given", [False, True])
async def test_what_is_cancelled_while_it_connects_was_never_sent(
    operation: str, given: bool, tmp_path: Path
) -> None:
    calls = {
        "events": lambda client: client.sessions.events("1:2"),
        "stream": lambda client: anext(client.sessions.stream_events("1:2")),
        "summary": lambda client: client.sessions.summary("1:2"),
        "fan-out": one_of_many,
    }
    ledger = ActivationLedger(tmp_path / "ledger")
    listener, fillers = await silent_listener()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with aiohttp.ClientSession() as session:
        async with client_of(url, session=session if given else None, ledger=ledger) as client:
            call = asyncio.ensure_future(calls[operation](client))
            while not client.stats.requests:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            assert client.stats.activations_at_risk == 0
            assert await ledger.spent(client.config.key_fingerprint) == 0
    for each in (listener, *fillers):
        each.close()


async def one_of_many(client: FullStoryClient) -> None:
    async with client.sessions.events_many(["1:2"]) as results:
        await anext(results)


async def test_what_is_cancelled_when_it_was_sent_is_counted(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger")
    async with raw_server(hang) as server, client_of(server.url, ledger=ledger) as client:
        call = asyncio.ensure_future(client.sessions.events("1:2"))
        while not server.requests:
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait([call])
        assert client.stats.activations_at_risk == 1
        assert await ledger.spent(client.config.key_fingerprint) == 1


async def test_calls_that_waited_for_the_ledger_keep_to_the_rate_when_it_is_free(tmp_path: Path) -> None:
    """They hold no tokens meanwhile, which would all be used at once."""
    sent, limit = [], RateLimit(20, 1)
    hooks = Hooks(on_request=lambda _: sent.append(asyncio.get_running_loop().time()))
    ledger = ActivationLedger(tmp_path / "ledger")
    async with Sandbox(users=1, sessions=9, mean_events=2) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=limit)
        async with FullStoryClient(config=config, ledger=ledger, hooks=hooks) as client:
            await client.sessions.events(sandbox.session_ids[0])
            async with locked(tmp_path / "ledger", 0.6):
                await asyncio.gather(*map(client.sessions.events, sandbox.session_ids[1:]))
            assert await ledger.spent(client.config.key_fingerprint) == 9
    assert len(sent) == 9
    assert sent[1] - sent[0] > 0.5
    assert sent[8] - sent[1] >= 7 / limit.rate - 0.01


CANCELLED_TWICE = """
import asyncio, sys, threading
from fullstory_async import ActivationLedger, ClientConfig, FullStoryClient, RateLimit, RateLimiter

async def main():
    ledger, limiter = ActivationLedger(sys.argv[1]), RateLimiter(RateLimit(1, 1))
    config = ClientConfig(api_key="na1.a2V5", base_url="http://127.0.0.1:9")
    await limiter.acquire()
    async with FullStoryClient(config=config, ledger=ledger, limiter=limiter) as client:
        waiting = asyncio.create_task(client.sessions.events("1:2"))
        while not await ledger.spent(config.key_fingerprint):
            await asyncio.sleep(0.001)
        # the disk is slow from now on
        ledger._thread.run_later(threading.Event().wait, 0.5)
        waiting.cancel()
        asyncio.get_running_loop().call_later(0.05, asyncio.current_task().cancel)

try:
    asyncio.run(main())
except asyncio.CancelledError:
    print("cancelled while it closed")
"""


@pytest.mark.row(109)
async def test_row_109_a_program_that_ends_after_two_cancellations_leaves_nothing_counted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger"
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CANCELLED_TWICE, str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    printed, errors = await program.communicate()
    assert (printed, errors) == (b"cancelled while it closed\n", b"")
    assert await ActivationLedger(path).spent(ClientConfig(api_key="na1.a2V5").key_fingerprint) == 0


@pytest.mark.row(109)
async def test_row_109_two_cancellations_in_any_turns_of_the_loop(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger")
    async with opened(ledger, client={"rate_limit": RateLimit(1, 1)}) as (sandbox, client):
        await client.limiter.acquire()
        for turns in range(100):
            task = asyncio.create_task(client.sessions.events(sandbox.session_ids[0], timeout=SECONDS))
            for _ in range(turns // 4):
                await asyncio.sleep(0)
            task.cancel()
            for _ in range(turns % 4):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert client.stats.requests == sandbox.activations == client.stats.activations
        assert await ledger.spent(client.config.key_fingerprint) == sandbox.activations


@pytest.mark.row(109)
def test_row_109_a_loop_that_is_closed_with_a_call_that_waits(tmp_path: Path) -> None:
    ledger, loop = ActivationLedger(tmp_path / "ledger"), asyncio.new_event_loop()
    waiting = ledger.reserve("key")
    loop.run_until_complete(first_step(waiting))
    waiting.close()
    assert loop.run_until_complete(ledger.spent("key")) == 0
    loop.close()


async def first_step(work: Coroutine[Any, Any, object]) -> None:
    """Let some work begin to wait."""
    work.send(None)
