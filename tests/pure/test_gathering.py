"""Gatherer: what gathers while a group is being written is the next group, and nothing is lost while that fails."""

from __future__ import annotations

import asyncio

import pytest

from fullstory_async.cluster.gathering import Gatherer
from fullstory_async.errors import ClientStateError, ConfigurationError, StorageError

pytestmark = pytest.mark.virtual_time


class Doubler(Gatherer[int, int]):
    """Doubles numbers, a second for each group; 13 is refused."""

    def __init__(self) -> None:
        super().__init__("numbers", most=4)
        self.groups: list[list[int]] = []
        self.failures: list[StorageError] = []
        self.undone: list[int] = []
        self.most_at_once = 4

    async def write(self, items: list[int]) -> list[int | Exception]:
        await asyncio.sleep(1)
        if self.failures:
            raise self.failures.pop(0)
        self.groups.append(items[: self.most_at_once])
        return [ConfigurationError("13") if each == 13 else 2 * each for each in items[: self.most_at_once]]

    def left(self, result: int) -> None:
        self.undone.append(result)


class Keeper(Doubler):
    def keeps(self, item: int) -> bool:
        return item > 100


async def test_what_gathers_is_written_together() -> None:
    doubler = Doubler()
    began = asyncio.get_running_loop().time()
    first = asyncio.create_task(doubler.submit(1))
    await asyncio.sleep(0.5)
    results = await asyncio.gather(*(doubler.submit(n) for n in range(2, 8)), return_exceptions=True)
    assert (await first, results) == (2, [4, 6, 8, 10, 12, 14])
    assert doubler.groups == [[1], [2, 3, 4, 5], [6, 7]]
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.01)


async def test_an_error_of_one_item_is_its_own() -> None:
    doubler = Doubler()
    results = await asyncio.gather(*(doubler.submit(n) for n in (12, 13, 14)), return_exceptions=True)
    assert results[0] == 24
    assert isinstance(results[1], ConfigurationError)
    assert results[2] == 28


async def test_what_does_not_fit_is_written_next() -> None:
    doubler = Doubler()
    doubler.most_at_once = 1
    assert await asyncio.gather(*(doubler.submit(n) for n in (1, 2, 3))) == [2, 4, 6]
    assert doubler.groups == [[1], [2], [3]]


async def test_a_failure_that_may_pass_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    doubler = Doubler()
    doubler.failures = [StorageError("away") for _ in range(20)]
    asyncio.get_running_loop().call_later(30, doubler.submit_later, 5)
    assert await doubler.submit(4) == 8
    assert (await doubler.finish(1), doubler.groups) == ([], [[4, 5]])
    assert [record.message.partition(":")[0] for record in caplog.records] == ["numbers", "numbers"]


async def test_a_failure_that_stays_is_raised() -> None:
    doubler = Doubler()
    doubler.failures = [StorageError("no such table")]
    doubler.failures[0].permanent = True
    with pytest.raises(StorageError, match="no such table"):
        await doubler.submit(4)
    assert await doubler.submit(5) == 10


async def test_one_item_that_is_refused_takes_no_others_with_it() -> None:
    class Picky(Doubler):
        async def write(self, items: list[int]) -> list[int | Exception]:
            if 13 in items:
                raise ValueError("13 can't be stored")
            return await super().write(items)

    picky = Picky()
    results = await asyncio.gather(*(picky.submit(n) for n in (11, 12, 13)), return_exceptions=True)
    assert results[:2] == [22, 24]
    assert isinstance(results[2], ValueError)
    assert picky.groups == [[11], [12]]
    assert await picky.submit(15) == 30


async def test_whoever_leaves_is_not_written_or_undone() -> None:
    doubler = Doubler()
    tasks = [asyncio.create_task(doubler.submit(n)) for n in range(6)]
    await asyncio.sleep(0.5)
    tasks[1].cancel()
    tasks[5].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert doubler.groups == [[0, 1, 2, 3], [4]]
    assert doubler.undone == [2]


async def test_some_items_are_written_though_their_caller_has_left() -> None:
    keeper = Keeper()
    tasks = [asyncio.create_task(keeper.submit(n)) for n in (1, 101, 2)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    assert await keeper.finish(5) == []
    assert keeper.groups == [[101]]


async def test_what_could_not_be_written_is_returned() -> None:
    doubler = Doubler()
    doubler.failures = [StorageError("away") for _ in range(20)]
    task = asyncio.create_task(doubler.submit(1))
    doubler.submit_later(2)
    assert await doubler.finish(5) == [2, 1]
    with pytest.raises(ClientStateError, match="was closed"):
        await task
