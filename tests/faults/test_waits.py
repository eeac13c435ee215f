"""Rows 75 to 78: files that are locked, threads that can't be had, scopes that cancel again and again, forks."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest

from fullstory_async import (
    ActivationLedger,
    APITimeoutError,
    AuthenticationError,
    FullStoryClient,
    RateLimit,
    RateLimiter,
    ResponseCache,
    StorageError,
    concurrency,
)
from fullstory_async.cluster.redis_slots import RedisSlots
from fullstory_async.concurrency import shielded
from fullstory_async.files import private_database
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.storage.schema import DATABASE_NAME
from fullstory_async.sandbox import Sandbox
from fullstory_async.secret import Secret
from tests.limits import SECONDS
from tests.wire.servers import client_of, connected

EVENTS = JobPlan(events=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a SQLite file, as another program may, for longer than any deadline of a test."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@asynccontextmanager
async def metered(folder: Path) -> AsyncIterator[tuple[Sandbox, FullStoryClient, ActivationLedger]]:
    """Run a client with a ledger and a cache, both of which exist."""
    ledger, cache = ActivationLedger(folder / "ledger"), ResponseCache(folder / "cache")
    sandbox = Sandbox(users=1, sessions=3, mean_events=2)
    async with connected(sandbox, ledger=ledger, cache=cache) as client:
        await client.sessions.events(sandbox.session_ids[0])
        await client.sessions.summary(sandbox.session_ids[0])
        yield sandbox, client, ledger


async def our_timeout(call: Callable[[float | None], Awaitable[object]]) -> str:
    with pytest.raises(APITimeoutError) as caught:
        await call(0.2)
    assert (caught.value.sent, caught.value.attempts, caught.value.may_have_cost) == (False, 0, False)
    return caught.value.message


async def callers_timeout(call: Callable[[float | None], Awaitable[object]]) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await call(None)
    assert type(caught.value) is TimeoutError


async def cancellation(call: Callable[[float | None], Awaitable[object]]) -> None:
    task = asyncio.ensure_future(call(None))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def anyios_scope(call: Callable[[float | None], Awaitable[object]]) -> None:
    with anyio.move_on_after(0.05) as scope:
        await call(None)
    assert scope.cancelled_caught


ENDINGS = (callers_timeout, cancellation, anyios_scope)


@pytest.mark.row(75)
@pytest.mark.parametrize("file", ["ledger", "cache"])
async def test_row_75_deadlines_hold_while_a_file_is_locked(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_database, "_BUSY_SECONDS", SECONDS)
    async with metered(tmp_path) as (sandbox, client, ledger):
        other, free = sandbox.session_ids[1:]

        async def events(timeout: float | None) -> None:
            await client.sessions.events(other, timeout=timeout)

        async def summary(timeout: float | None) -> None:
            await client.sessions.summary(other, timeout=timeout)

        async with asyncio.timeout(SECONDS / 4):
            with locked(tmp_path / file):
                for call in (summary,) if file == "cache" else (events, summary):
                    assert f" {tmp_path / file}" in await our_timeout(call)
                    for ending in ENDINGS:
                        await ending(call)
                if file == "cache":
                    await client.sessions.events(free)  # needs another file
            assert sandbox.activations == 2 + (file == "cache")
            # what was counted for them is released
            assert await ledger.spent(client.config.key_fingerprint) == sandbox.activations
            await summary(None)


@pytest.mark.row(75)
async def test_row_75_a_release_goes_on_and_closing_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_database, "_BUSY_SECONDS", SECONDS)
    ledger = ActivationLedger(tmp_path / "ledger")
    sandbox, limiter = Sandbox(users=1, sessions=1, mean_events=2), RateLimiter(RateLimit(0.01, 1))
    async with connected(sandbox, ledger=ledger, limiter=limiter) as client:
        await client.sessions.list(uid="u-1")  # takes the only token
        call = asyncio.create_task(client.sessions.events(sandbox.session_ids[0]))
        while not await ledger.spent(client.config.key_fingerprint):
            await asyncio.sleep(0.005)
        with locked(ledger.path):
            call.cancel()
            await asyncio.wait([call])
            closing = asyncio.create_task(client.close())
            await asyncio.sleep(0.05)
            assert not closing.done()
        await closing
    with sqlite3.connect(ledger.path) as database:
        assert database.execute("SELECT activations FROM spent").fetchall() == [(0,)]
    database.close()


@pytest.mark.row(75)
async def test_row_75_closing_waits_no_longer_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(private_database, "_BUSY_SECONDS", 0.5)
    for module in ("api.context", "files.ledger"):
        monkeypatch.setattr(f"fullstory_async.{module}.FINISH_SECONDS", 0.05)
    async with metered(tmp_path) as (sandbox, client, ledger):
        over = asyncio.Event()

        async def put(*_: object) -> None:
            await over.wait()

        monkeypatch.setattr(ResponseCache, "put", put)
        # a paid summary is returned in time, cached or not
        assert (await client.sessions.summary(sandbox.session_ids[1], timeout=0.2)).text
        reservation = await ledger.reserve("key")
        with locked(ledger.path):
            ledger.release(reservation)
            await client.close()
        assert f"the activation ledger {ledger.path} is busy" in caplog.text
        assert f"not be cached: 1; the response cache {tmp_path / 'cache'} is busy" in caplog.text
        over.set()


@pytest.mark.row(75)
async def test_row_75_a_locked_job_keeps_nobody_waiting(tmp_path: Path) -> None:
    sandbox = Sandbox(users=1, sessions=8, mean_events=2)
    folder = tmp_path / "job"
    async with asyncio.timeout(SECONDS / 4), connected(sandbox) as client:
        async with Job.open(folder, client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids[:4])
            with locked(folder / DATABASE_NAME):
                for ending in ENDINGS:
                    await ending(lambda _: job.add(sandbox.session_ids))
                    await ending(lambda _: job.purge(sandbox.session_ids[0]))
                    await ending(lambda _: job.run())
            assert sandbox.activations == 0
            report = await job.run()
            assert report.done == report.spent == sandbox.activations == 3  # the erasure was made
            await job.add(sandbox.session_ids)
            for ending in ENDINGS[1:]:
                run = asyncio.create_task(job.run(concurrency=1))
                while len(sandbox.requests) % 4 != 3:
                    await asyncio.sleep(0)
                with locked(folder / DATABASE_NAME):
                    await ending(lambda _, run=run: run)  # type: ignore[misc]
                sandbox.requests.append(sandbox.requests[-1])
            report = await job.run()
        assert (report.done, report.spent) == (7, sandbox.activations)
        with locked(folder / DATABASE_NAME):
            await cancellation(lambda _: Job.open(folder).__aenter__())
        assert [result.session_id async for result in JobReader(folder).results()] == sandbox.session_ids[1:]


@pytest.mark.row(76)
async def test_row_76_the_programs_own_executor_is_full(tmp_path: Path) -> None:
    over = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        blocking = asyncio.ensure_future(asyncio.to_thread(over.wait))
        try:
            async with asyncio.timeout(SECONDS / 4), metered(tmp_path) as (sandbox, client, _):
                assert await client.sessions.summary(sandbox.session_ids[0])
                async with client_of(sandbox.url.replace("127.0.0.1", "localhost")) as named:
                    with pytest.raises(AuthenticationError):  # so the name was looked up
                        await named.sessions.list(uid="u-1")
                async with Job.open(tmp_path / "job", client=client, plan=EVENTS) as job:
                    await job.add(sandbox.session_ids)
                    assert (await job.run()).done == 3
                    assert len([result async for result in job.results()]) == 3
                    await job.export(tmp_path / "out.jsonl")
            assert not blocking.done()
        finally:
            over.set()
            await blocking


@pytest.mark.row(76)
async def test_row_76_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(concurrency, "_STORAGE_SECONDS", 0.2)
    async with metered(tmp_path) as (sandbox, client, ledger):
        await ledger.finish()
        reservation = await ledger.reserve("key")
        async with Job.open(tmp_path / "job", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)

            def refuse(_: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            while any(each.name.startswith("fullstory the") for each in threading.enumerate()):
                await asyncio.sleep(0.005)
            monkeypatch.setattr(threading.Thread, "start", refuse)
            one = sandbox.session_ids[1]
            with pytest.raises(
                StorageError, match=f"ledger {ledger.path} can't be used now: can't start new thread"
            ):
                await client.sessions.events(one)
            with pytest.raises(StorageError, match=r"cache can't be used now: can't start new thread"):
                await client.sessions.summary(one)
            assert (await job.run()).reason == "storage failed"
            with pytest.raises(StorageError, match=r"job can't be used now"):
                await anext(job.results())
            with pytest.raises(StorageError, match=r"job2 can't be"):
                await Job.open(tmp_path / "job2", plan=EVENTS).__aenter__()
            ledger.release(reservation)
            assert "an activation that was not spent stays counted" in caplog.text
        assert sandbox.activations == 2


@pytest.mark.row(77)
async def test_row_77_a_caller_that_is_cancelled_again_and_again_leaves() -> None:
    """As anyio does it: an event loop that waits all the same does nothing but wake its task."""
    over, cancelled = asyncio.Event(), 0

    async def work() -> None:
        await over.wait()

    async def wait() -> None:
        await shielded(work())

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    while not waiting.done():
        assert cancelled < 100
        cancelled += waiting.cancel()
        await asyncio.sleep(0)
    assert waiting.cancelled()
    over.set()


@pytest.mark.row(77)
async def test_row_77_a_job_whose_block_anyio_ends_is_closed_in_the_background(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    async with asyncio.timeout(SECONDS / 4):
        async with Job.open(folder, plan=EVENTS) as job:
            await job.add(["1:2"])
        with ExitStack() as until_then:
            with anyio.CancelScope() as scope:
                async with Job.open(folder) as job:
                    until_then.enter_context(locked(folder / DATABASE_NAME))
                    asyncio.get_running_loop().call_later(0.05, scope.cancel)
                    await job.purge("1:2")
            assert scope.cancelled_caught
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
        async with Job.open(folder) as job:
            assert job.counts.items == 0  # erased, although nobody waited for it


FORK = """
import asyncio, multiprocessing, os, sys, traceback
from fullstory_async import ActivationLedger, ClientConfig, FullStoryClient, RateLimit, RateLimiter, ResponseCache
from fullstory_async.sandbox import Sandbox

folder = sys.argv[1]
limiter = RateLimiter(RateLimit(1000, 1000))
ledger, cache = ActivationLedger(f"{folder}/ledger"), ResponseCache(f"{folder}/cache")

async def use(url, key, session):
    config = ClientConfig(api_key=key, base_url=url)
    async with FullStoryClient(config=config, limiter=limiter, ledger=ledger, cache=cache) as client:
        await client.sessions.events(session)
        await client.sessions.summary(session)
        return await ledger.spent(config.key_fingerprint)

def in_child(*arguments):
    # in the middle of the parent's loop, which runs there and not here
    try:
        print("child:", asyncio.run(use(*arguments)), flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)

async def main():
    async with Sandbox(users=1, sessions=4, mean_events=2) as sandbox:
        arguments = sandbox.url, sandbox.api_key
        print("parent:", await use(*arguments, sandbox.session_ids[0]), flush=True)
        child = os.fork()
        if child == 0:
            in_child(*arguments, sandbox.session_ids[1])
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            await asyncio.sleep(0.01)
        process = multiprocessing.get_context("fork").Process(
            target=in_child, args=(*arguments, sandbox.session_ids[2])
        )
        process.start()
        while process.is_alive():
            await asyncio.sleep(0.01)
        print("parent:", await use(*arguments, sandbox.session_ids[3]), flush=True)
        assert sandbox.activations == 8

asyncio.run(main())
"""


@pytest.mark.row(78)
@pytest.mark.skipif(sys.platform == "win32", reason="no os.fork")
def test_row_78_a_forked_process_uses_what_was_made_before_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["parent: 2", "child: 4", "child: 6", "parent: 8", ""], done.stderr


@pytest.mark.row(78)
@pytest.mark.parametrize("forked", [False, True])
def test_row_78_connections_of_the_parent_process_are_never_closed(
    *, forked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child shares the parent's epoll: closing there would take the connection from the parent's loop."""
    store = RedisSlots(Secret("redis://127.0.0.1:9"), "key", timeout=1)
    connection = weakref.ref(store._connected())
    if forked:
        monkeypatch.setattr(os, "getpid", lambda: -1)
    store.detach()
    gc.collect()
    assert (connection() is not None) == forked
