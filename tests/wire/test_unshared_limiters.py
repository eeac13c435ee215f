"""Two open clients of one key with a limiter each: one warning, and none where they don't add up."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator

import pytest

from fullstory_async import FullStoryClient, RateLimiter, UnsharedLimiterWarning
from fullstory_async.cluster import RedisRateLimiter
from fullstory_async.ratelimit import unshared
from tests.wire.servers import client_of

URL = "http://127.0.0.1:9"
"""Nothing is sent."""


@pytest.fixture(autouse=True)
def _no_clients_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullstory_async.client.OPEN_CLIENTS", unshared.OpenClients())


@pytest.fixture
def issued() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True, action="always", category=UnsharedLimiterWarning) as found:
        yield found


async def test_two_limiters_of_one_key_are_warned_of_once(issued: list[warnings.WarningMessage]) -> None:
    async with client_of(URL), client_of(URL), client_of(URL):
        pass
    [warning] = issued
    assert warning.filename == __file__
    assert "limiter=first.limiter" in str(warning.message)


async def test_opening_by_hand_warns_too(issued: list[warnings.WarningMessage]) -> None:
    first, second = client_of(URL), client_of(URL, limiter=RateLimiter())
    for client in (first, second):
        await client.open()
        await client.open()
    await first.close()
    await second.close()
    assert [warning.filename for warning in issued] == [__file__]


async def test_one_after_the_other_and_other_services_and_keys_are_fine(
    issued: list[warnings.WarningMessage],
) -> None:
    for _ in range(3):
        async with client_of(URL):
            pass
    async with client_of(URL) as client, client_of("http://127.0.0.1:10"):
        async with client_of(URL, limiter=client.limiter):
            pass
        async with FullStoryClient("na1.other", config=client.config):
            pass
    assert not issued


async def test_a_shared_bucket_is_one_limiter(issued: list[warnings.WarningMessage]) -> None:
    config = client_of(URL).config
    limiters = [RedisRateLimiter("redis://127.0.0.1:1", config) for _ in range(2)]
    async with client_of(URL, limiter=limiters[0]), client_of(URL, limiter=limiters[1]):
        assert not issued
        async with client_of(URL):
            pass
    assert len(issued) == 1


def test_clients_of_a_loop_that_is_closed_do_not_count(issued: list[warnings.WarningMessage]) -> None:
    left_open, clients = client_of(URL), unshared.OpenClients()

    async def opened() -> None:
        clients.add(left_open, "account", left_open.limiter)

    asyncio.run(opened())
    clients.check("account", RateLimiter())
    assert not issued


async def test_a_client_that_is_gone_does_not_count(issued: list[warnings.WarningMessage]) -> None:
    unshared_clients = unshared.OpenClients()
    limiter, client = RateLimiter(), client_of(URL)
    unshared_clients.add(client, "account", client.limiter)
    unshared_clients.check("account", limiter)
    assert len(issued) == 1
    other = unshared.OpenClients()
    other.add(client, "account", client.limiter)
    del client
    gc.collect()
    other.check("account", limiter)
    assert len(issued) == 1


async def test_a_warning_that_is_an_error_leaves_nothing_open() -> None:
    with warnings.catch_warnings(action="error", category=UnsharedLimiterWarning):
        async with client_of(URL):
            refused = client_of(URL)
            with pytest.raises(UnsharedLimiterWarning):
                await refused.open()
            assert "unopened" in repr(refused) or "closed" in repr(refused)
        async with client_of(URL):
            pass
