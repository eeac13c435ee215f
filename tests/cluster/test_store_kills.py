"""kill -9 of workers and of Postgres at random moments: nothing is lost, stored twice, or spent beyond the cap.

``nox -s kills-cluster`` runs it with 20 000 ids. FULLSTORY_CLUSTER_KILLS holds the numbers of ids, of workers,
of kills of a worker, and of kills of Postgres.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import attrs
import pytest

from fullstory_async.cluster import StoreStatus
from fullstory_async.sandbox import Sandbox
from tests.cluster.postgres_servers import Server
from tests.cluster.store_worker import OUT_OF_BUDGET, Settings
from tests.limits import A_TEST, FACTOR, SECONDS, until

IDS, WORKERS, KILLS, SERVER_KILLS = map(
    int, os.environ.get("FULLSTORY_CLUSTER_KILLS", "400,3,4,1").split(",")
)
LONG = KILLS > 4
CONCURRENCY = 8


class Crew:
    """Workers in processes of their own, which are started again when they were killed."""

    def __init__(self, folder: Path, *settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self.running: list[asyncio.subprocess.Process] = []

    async def start(self, number: int) -> asyncio.subprocess.Process:
        with (self._folder / f"worker-{number}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self._settings[number].command(), stdout=asyncio.subprocess.DEVNULL, stderr=log
            )

    async def __aenter__(self) -> Self:
        self.running = [await self.start(number) for number in range(len(self._settings))]
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self.running:
            with contextlib.suppress(ProcessLookupError):
                each.kill()
            await each.wait()

    async def kill(self, number: int) -> bool:
        """Kill a worker and start it again; return whether it was still at work."""
        killed = self.running[number]
        was_at_work = killed.returncode is None
        with contextlib.suppress(ProcessLookupError):
            killed.kill()
        await killed.wait()
        self.running[number] = await self.start(number)
        return was_at_work

    async def wait(self) -> list[int]:
        """Wait until all have ended; return their exit codes."""
        async with asyncio.timeout(SECONDS * (10 if LONG else 1)):
            return [await each.wait() for each in self.running]

    def log(self) -> str:
        return "".join(each.read_text() for each in sorted(self._folder.glob("worker-*.log")))[-4000:]


def served() -> Sandbox:
    return Sandbox(sessions=IDS, users=max(20, IDS // 20), mean_events=5, latency=0.03)


def settings_of(server: Server, schema: str, sandbox: Sandbox, **options: Any) -> Settings:
    return Settings(
        dsn=server.dsn(), schema=schema, base_url=sandbox.url, api_key=sandbox.api_key, concurrency=CONCURRENCY,
        **options,
    )  # fmt: skip


def stored(server: Server, schema: str) -> list[str]:
    """Return the ids of all answers that the database has, each as often as it has them."""
    query = f'SELECT s.session_id FROM "{schema}".answers a JOIN "{schema}".sessions s USING (seq)'
    return [row[0] for row in server.do(query)]


async def charged(sandbox: Sandbox, activations: float) -> None:
    await until(lambda: sandbox.activations >= activations)


async def status_of(settings: Settings) -> StoreStatus:
    async with settings.store() as store:
        return await store.status()


@pytest.mark.timeout(3000 * FACTOR if LONG else A_TEST)
async def test_kills_lose_nothing_and_buy_little_again(postgres: Server, schema: str, tmp_path: Path) -> None:
    async with served() as sandbox:
        await kill_at_random(sandbox, settings_of(postgres, schema, sandbox), postgres, tmp_path)


async def kill_at_random(sandbox: Sandbox, settings: Settings, postgres: Server, tmp_path: Path) -> None:
    rng, ids = random.Random(KILLS), [str(each) for each in sandbox.session_ids]
    async with settings.store() as store:
        assert (await store.add(ids)).new == IDS
    moments = sorted(rng.uniform(0.02, 0.85) * IDS for _ in range(KILLS + SERVER_KILLS))
    of_server = set(rng.sample(range(len(moments)), SERVER_KILLS))
    kills, began = 0, time.monotonic()
    async with Crew(tmp_path, *[settings] * WORKERS) as crew:
        for number, moment in enumerate(moments):
            await charged(sandbox, moment)
            if number in of_server:
                await asyncio.to_thread(postgres.kill)
                await asyncio.sleep(rng.uniform(0.1, 1.0))
                await asyncio.to_thread(postgres.start)
            else:
                kills += await crew.kill(rng.randrange(WORKERS))
        assert set(await crew.wait()) == {0}, crew.log()
    status, paid = await status_of(settings), sandbox.activations
    print(  # noqa: T201
        f"{IDS} ids, {WORKERS} workers, {kills} kills, {SERVER_KILLS} of Postgres, {time.monotonic() - began:.0f} s: "
        f"{paid - IDS} bought again, {paid} charged, {status.spent} counted, {status.at_risk} at risk"
    )
    assert kills == KILLS, crew.log()
    assert sorted(stored(postgres, settings.schema)) == sorted(ids)  # none lost, none twice
    assert (status.done, status.pending, status.claimed, status.sent) == (IDS, 0, 0, 0)
    assert IDS <= paid <= status.spent == IDS + status.at_risk
    assert paid - IDS <= kills * CONCURRENCY
    assert status.spent - paid <= (kills + SERVER_KILLS * WORKERS) * CONCURRENCY


@pytest.mark.timeout(3000 * FACTOR if LONG else A_TEST)
async def test_kills_never_pass_the_cap(postgres: Server, schema: str, tmp_path: Path) -> None:
    async with served() as sandbox:
        cap = 2000 if LONG else 200
        await kill_below_a_cap(sandbox, settings_of(postgres, schema, sandbox, cap=cap), postgres, tmp_path)


async def kill_below_a_cap(sandbox: Sandbox, capped: Settings, postgres: Server, tmp_path: Path) -> None:
    cap = capped.cap or 0
    rng = random.Random(cap)
    async with capped.store() as store:
        await store.add(sandbox.session_ids)
    async with Crew(tmp_path, *[capped] * WORKERS) as crew:
        for moment in sorted(rng.uniform(0.05, 0.9) * cap for _ in range(KILLS)):
            await charged(sandbox, moment)
            await crew.kill(rng.randrange(WORKERS))
        assert set(await crew.wait()) == {OUT_OF_BUDGET}, crew.log()
    status = await status_of(capped)
    assert sandbox.activations <= status.spent <= cap
    assert status.spent == cap
    assert cap - KILLS * CONCURRENCY <= status.done == len(stored(postgres, capped.schema)) <= cap


async def test_wrong_clocks_change_nothing(postgres: Server, schema: str, tmp_path: Path) -> None:
    async with served() as sandbox:
        await work_with_wrong_clocks(sandbox, settings_of(postgres, schema, sandbox), postgres, tmp_path)


async def work_with_wrong_clocks(
    sandbox: Sandbox, settings: Settings, postgres: Server, tmp_path: Path
) -> None:
    wrong = [attrs.evolve(settings, wrong_by=seconds) for seconds in (-3600.0, 0.0, 3600.0)]
    ids = [str(each) for each in sandbox.session_ids[:200]]
    async with settings.store() as store:
        await store.add(ids)
    async with Crew(tmp_path, *wrong) as crew:
        assert await crew.wait() == [0, 0, 0], crew.log()
    assert sorted(stored(postgres, settings.schema)) == sorted(ids)
    status = await status_of(settings)
    assert (sandbox.activations, status.spent, status.at_risk) == (200, 200, 0)
    latest = f'SELECT max(abs(extract(epoch FROM now() - at))) FROM "{settings.schema}".answers'
    assert postgres.do(latest)[0][0] < 600


@pytest.fixture(autouse=True)
def _running(postgres: Server) -> Iterator[None]:
    yield
    postgres.start()


async def test_a_process_that_stood_still_sends_nothing_more(
    postgres: Server, schema: str, tmp_path: Path
) -> None:
    async with served() as sandbox:
        await stand_still(sandbox, settings_of(postgres, schema, sandbox, lease=1.0), postgres, tmp_path)


async def stand_still(sandbox: Sandbox, settings: Settings, postgres: Server, tmp_path: Path) -> None:
    ids = [str(each) for each in sandbox.session_ids[:300]]
    async with settings.store() as store:
        await store.add(ids)
    (tmp_path / "others").mkdir()
    async with Crew(tmp_path, settings) as crew:
        await charged(sandbox, 50)
        os.kill(crew.running[0].pid, signal.SIGSTOP)
        async with Crew(tmp_path / "others", settings) as others:
            assert await others.wait() == [0], others.log()
        assert sorted(stored(postgres, settings.schema)) == sorted(ids)
        sent, kept = len(sandbox.requests.of("events")), times_of(postgres, settings.schema)
        os.kill(crew.running[0].pid, signal.SIGCONT)
        assert await crew.wait() == [0], crew.log()
    assert len(sandbox.requests.of("events")) == sent
    assert times_of(postgres, settings.schema) == kept
    status = await status_of(settings)
    assert 300 <= sandbox.activations <= 300 + CONCURRENCY
    assert sandbox.activations <= status.spent <= 300 + CONCURRENCY
    assert (status.done, status.claimed, status.sent) == (300, 0, 0)


def times_of(server: Server, schema: str) -> list[tuple[Any, ...]]:
    """Return when each answer came."""
    return server.do(f'SELECT seq, at FROM "{schema}".answers ORDER BY seq')
