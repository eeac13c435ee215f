"""A ledger or summary cache that the system refuses to open for a moment: no descriptors, no permission."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    FullStoryClient,
    RateLimit,
    ResponseCache,
    StorageError,
    concurrency,
)
from fullstory_async.files.private_database import PrivateDatabase
from fullstory_async.jobs import Job, JobPlan, run_state
from fullstory_async.jobs.report import JobProgress
from fullstory_async.sandbox import Sandbox

NOBODY = 65534
Break = Callable[[bool], None]


@contextmanager
def without_descriptors() -> Iterator[Break]:
    """Let this process open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def set_broken(broken: bool) -> None:
        # not the lowest free one: a connection that closes would free a lower one
        resource.setrlimit(resource.RLIMIT_NOFILE, (0 if broken else soft, hard))

    try:
        yield set_broken
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def without_permission(folder: Path) -> Iterator[Break]:
    """Take a folder's permissions away; root is another user in the thread that opens files."""
    libc, real, is_broken = ctypes.CDLL(None), PrivateDatabase.transaction, False

    @contextmanager
    def transaction(self: PrivateDatabase, **options: Any) -> Iterator[Any]:
        libc.setfsuid(NOBODY if is_broken and os.geteuid() == 0 else os.geteuid())
        with real(self, **options) as database:
            yield database

    def set_broken(broken: bool) -> None:
        nonlocal is_broken
        is_broken = broken
        folder.chmod(0 if broken else 0o700)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PrivateDatabase, "transaction", transaction)
        yield set_broken
        set_broken(False)


@pytest.fixture(params=["no descriptors", "no permission"])
def set_broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Break]:
    (tmp_path / "files").mkdir(0o700)
    how = (
        without_descriptors() if request.param == "no descriptors" else without_permission(tmp_path / "files")
    )
    with how as set_broken:
        yield set_broken


def message_of(request: pytest.FixtureRequest) -> str:
    return (
        "too many" if request.node.callspec.params["set_broken"] == "no descriptors" else "permission denied"
    )


@pytest.mark.row(106)
async def test_calls_wait_and_send_nothing_meanwhile(
    tmp_path: Path, set_broken: Break, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, cache = (
        ActivationLedger(tmp_path / "files" / "ledger"),
        ResponseCache(tmp_path / "files" / "cache"),
    )
    async with Sandbox(users=1, sessions=2, mean_events=5) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        async with FullStoryClient(config=config, ledger=ledger, cache=cache) as client:
            one, two = sandbox.session_ids
            await client.sessions.summary(one)
            set_broken(True)
            calls = [client.sessions.events(one), client.sessions.summary(one), client.sessions.summary(two)]
            waiting = [asyncio.ensure_future(call) for call in calls]
            await asyncio.wait(waiting, timeout=0.4)
            assert not any(call.done() for call in waiting)
            assert sandbox.activations == 1
            set_broken(False)
            await asyncio.gather(*waiting)
            assert sandbox.activations == 3 == await ledger.spent(client.config.key_fingerprint)
            monkeypatch.setattr(concurrency, "_STORAGE_SECONDS", 0.2)
            set_broken(True)
            for call in (client.sessions.events(two), client.sessions.summary(two)):
                with pytest.raises(StorageError, match=f"(?i){message_of(request)}") as caught:
                    await call
                assert not caught.value.may_have_cost
            set_broken(False)
            assert sandbox.activations == 3


@pytest.mark.row(106)
async def test_jobs_wait_and_go_on(
    tmp_path: Path, set_broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_state, "_FIRST_PAUSE", 0.01)
    ledger, waited, is_broken = ActivationLedger(tmp_path / "files" / "ledger"), asyncio.Event(), False

    def break_it(now: JobProgress) -> None:
        nonlocal is_broken
        if now.done >= 4 and not is_broken:
            is_broken = True
            set_broken(True)
        if "waiting for the disk" in (now.last_error or ""):
            waited.set()

    async with Sandbox(users=2, sessions=20, mean_events=5, latency=0.02) as sandbox:
        config = ClientConfig(
            api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(100_000, 100_000)
        )
        async with FullStoryClient(config=config, ledger=ledger) as client:
            async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
                await job.add(sandbox.session_ids)
                running = asyncio.create_task(job.run(concurrency=2, progress=break_it))
                await waited.wait()
                set_broken(False)
                report = await running
            assert (report.reason, report.done, report.spent) == ("finished", 20, 20)
            assert sandbox.activations == 20 == await ledger.spent(client.config.key_fingerprint)
