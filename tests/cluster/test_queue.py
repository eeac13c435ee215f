"""The queue of shards: procrastinate's, filled for what is unfinished, and swept when a worker dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fullstory_async.cluster.queue import SHARD_SIZE, ShardQueue
from fullstory_async.errors import StorageError
from fullstory_async.secret import Secret
from tests.cluster.postgres_servers import PASSWORD, Server
from tests.limits import SECONDS, until


@asynccontextmanager
async def opened(postgres: Server, schema: str) -> AsyncIterator[ShardQueue]:
    postgres.do(f"CREATE SCHEMA {schema}")
    async with ShardQueue(Secret(postgres.dsn()), schema=schema) as queue:
        await queue.create()
        yield queue


def jobs(postgres: Server, schema: str, status: str = "%") -> int:
    ((count,),) = postgres.do(
        f"SELECT count(*) FROM {schema}.procrastinate_jobs "
        f"WHERE status::text LIKE '{status}' AND queue_name = 'fullstory-shards'"
    )
    return int(count)


class Work:
    """Counts its shards; what each of them does is given."""

    def __init__(self, shard: Callable[[int], Awaitable[None]], unfinished: int = 0) -> None:
        self.ran = 0
        self._shard, self._unfinished = shard, unfinished

    async def run_shard(self) -> None:
        self.ran += 1
        await self._shard(self.ran)

    async def count_unfinished(self) -> int:
        return self._unfinished


async def nothing(_: int) -> None: ...


@asynccontextmanager
async def served(queue: ShardQueue, work: Work) -> AsyncIterator[None]:
    serving = asyncio.create_task(queue.serve(work, name="test"))
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.wait([serving], timeout=SECONDS)
        assert serving.cancelled()


async def test_a_worker_that_lost_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancelled: list[str] = []

    async def keep_serving(_: ShardQueue, queue: str, name: str) -> None:
        assert name == "test"
        # asyncio.wait_for of Python 3.11 may end so, with the result of what it waited for
        while cancelled.count(queue) < 3:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(SECONDS)
            cancelled.append(queue)
        raise asyncio.CancelledError

    monkeypatch.setattr("fullstory_async.cluster.queue._LOST", 0.01)
    monkeypatch.setattr(ShardQueue, "_keep_serving", keep_serving)
    async with served(ShardQueue(Secret("postgresql://nowhere")), Work(nothing)):
        await asyncio.sleep(0)
    assert len(cancelled) == 6


async def test_a_job_that_runs_on_is_not_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def keep_serving(self: ShardQueue, queue: str, name: str) -> None:
        assert name == "test"
        try:
            await asyncio.sleep(SECONDS)
        finally:
            with self._counted():
                await asyncio.sleep(0.3)
                ended.append(queue)

    monkeypatch.setattr("fullstory_async.cluster.queue._LOST", 0.05)
    monkeypatch.setattr(ShardQueue, "_keep_serving", keep_serving)
    async with served(ShardQueue(Secret("postgresql://nowhere")), Work(nothing)):
        await asyncio.sleep(0)
    assert sorted(ended) == ["fullstory-shards", "fullstory-sweeps"]


async def test_an_error_of_a_worker_ends_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep_serving(_: ShardQueue, queue: str, name: str) -> None:
        if queue == "fullstory-sweeps":
            raise ZeroDivisionError
        await asyncio.sleep(SECONDS)

    monkeypatch.setattr(ShardQueue, "_keep_serving", keep_serving)
    with pytest.raises(ZeroDivisionError):
        await ShardQueue(Secret("postgresql://nowhere")).serve(Work(nothing), name="test")


async def test_many_processes_create_the_tables_once(postgres: Server, schema: str) -> None:
    postgres.do(f"CREATE SCHEMA {schema}")
    queues = [ShardQueue(Secret(postgres.dsn()), schema=schema) for _ in range(4)]
    for each in queues:
        await each.__aenter__()
    await asyncio.gather(*(each.create() for each in queues))
    await queues[0].create()
    for each in queues:
        await each.__aexit__(None, None, None)
    ((tables,),) = postgres.do(f"SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'")
    assert tables == 4


async def test_there_are_shards_for_what_is_unfinished_and_no_more(postgres: Server, schema: str) -> None:
    async with opened(postgres, schema) as queue:
        assert await queue.fill(0) == 0
        assert await queue.fill(2 * SHARD_SIZE + 1) == 3
        assert await queue.fill(2 * SHARD_SIZE) == 0
        assert await queue.fill(5 * SHARD_SIZE) == 2
        assert await queue.fill(10**9) == 995
        assert jobs(postgres, schema, "todo") == 1000
        # it holds no personal data
        assert postgres.do(f"SELECT DISTINCT args FROM {schema}.procrastinate_jobs") == [({},)]


async def test_shards_run_one_at_a_time_and_leave_nothing(postgres: Server, schema: str) -> None:
    running = most = 0

    async def shard(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    work = Work(shard)
    async with opened(postgres, schema) as queue:
        await queue.fill(5 * SHARD_SIZE)
        async with served(queue, work):
            # none of them is left behind as succeeded
            await until(lambda: work.ran == 5 and jobs(postgres, schema) == 0)
            assert await queue.fill(SHARD_SIZE) == 1
            await until(lambda: work.ran == 6)
    assert most == 1


async def test_a_shard_that_failed_is_run_again(postgres: Server, schema: str) -> None:
    async def shard(number: int) -> None:
        if number == 1:
            raise StorageError("away")

    work = Work(shard)
    async with opened(postgres, schema) as queue:
        await queue.fill(SHARD_SIZE)
        async with served(queue, work):
            await until(lambda: work.ran == 2)


async def test_a_stop_lets_the_shard_that_runs_end(postgres: Server, schema: str) -> None:
    ended = False

    async def shard(_: int) -> None:
        nonlocal ended
        await asyncio.sleep(0.5)
        ended = True

    work = Work(shard)
    async with opened(postgres, schema) as queue:
        await queue.fill(2 * SHARD_SIZE)
        async with served(queue, work):
            await until(lambda: work.ran == 1)
    assert ended
    assert (jobs(postgres, schema, "todo"), jobs(postgres, schema, "doing")) == (1, 0)


async def test_the_shards_of_a_dead_worker_are_queued_again_even_if_a_sweep_died_too(
    postgres: Server, schema: str
) -> None:
    async with opened(postgres, schema) as queue:
        await queue.fill(2 * SHARD_SIZE)
        # as a worker leaves it that was killed in a shard and in a sweep
        postgres.do(
            f"SET search_path = {schema}",
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 minute'), (now())",
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id) "
            "VALUES ('fullstory-sweeps', 'fullstory.sweep', 'doing', 1)",
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = id "
            "WHERE queue_name = 'fullstory-shards'",
        )
        assert jobs(postgres, schema, "doing") == 2
        assert await queue.sweep() == 2
        # the worker whose heart beats keeps its own
        assert (jobs(postgres, schema, "todo"), jobs(postgres, schema, "doing")) == (1, 1)
        assert await queue.sweep() == 0


async def test_the_periodic_sweep_fills_the_queue(postgres: Server, schema: str) -> None:
    work = Work(nothing, unfinished=SHARD_SIZE)
    async with opened(postgres, schema) as queue, served(queue, work):
        await until(lambda: work.ran > 0)


async def test_serving_survives_the_death_of_postgres(postgres: Server, schema: str) -> None:
    work = Work(nothing)
    async with opened(postgres, schema) as queue:
        await queue.fill(SHARD_SIZE)
        async with served(queue, work):
            await until(lambda: work.ran == 1)
            postgres.kill()
            with pytest.raises(StorageError) as failed:
                await queue.fill(SHARD_SIZE)
            assert PASSWORD not in str(failed.value)
            await asyncio.sleep(2)
            postgres.start()
            await queue.fill(SHARD_SIZE)
            await until(lambda: work.ran == 2)
