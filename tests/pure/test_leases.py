"""Leases of a shared limiter: how many slots, when each is due, and what a window can hold at most."""

from __future__ import annotations

import random

import attrs
import pytest

from fullstory_async import RateLimit
from fullstory_async.cluster.lease import LEASE, Lease, lease_size
from fullstory_async.cluster.slots import GUARD, Grant, arguments, interval_of
from fullstory_async.ratelimit.bucket import MARGIN, usable_burst
from tests.virtual.test_ratelimit import worst_excess


@pytest.mark.parametrize(
    ("rate", "wanted", "size"),
    [
        (0.1, 100, 1),
        (20, 100, 1),
        (39.9, 100, 1),
        (40, 1, 1),
        (40, 100, 2),
        (59.9, 100, 2),
        (60, 100, 3),
        (100, 3, 3),
        (100, 100, 5),
        (1000, 1000, 50),
        (1000, 1, 1),
    ],
)
def test_a_question_takes_50_ms_of_slots_at_most_and_one_for_each_call_that_waits(
    rate: float, wanted: int, size: int
) -> None:
    assert lease_size(rate, wanted) == size
    assert size == 1 or size / rate <= LEASE


@pytest.mark.parametrize(
    ("offset", "due"),
    [
        (0.2, [1.2, 1.21, 1.22, 1.23, 1.24]),
        (0.0, [1.0, 1.01, 1.02, 1.03, 1.04]),
        (-0.02, [1.0, 1.0, 1.0, 1.01, 1.02]),
        (-0.5, [1.0] * 5),
    ],
)
def test_each_slot_is_due_at_its_own_time_and_the_burst_makes_it_due_at_once(
    offset: float, due: list[float]
) -> None:
    lease = Lease(Grant(5, offset, 0.0, "1"), 0.01, granted_at=1.0)
    found = []
    while not lease.is_empty:
        found.append(lease.due)
        lease.use()
    assert found == pytest.approx(due)


@pytest.mark.parametrize(
    ("now", "left"),
    [(1.0, 5), (1.0499, 5), (1.051, 4), (1.065, 3), (1.0899, 1), (1.0901, 0), (5.0, 0)],
)
def test_slots_that_are_too_old_are_lost_and_no_others(now: float, left: int) -> None:
    lease = Lease(Grant(5, 0.0, 0.0, "1"), 0.01, granted_at=1.0)
    lease.drop_missed(now)
    found = 0
    while not lease.is_empty:
        assert now - lease.due <= MARGIN
        lease.use()
        found += 1
    assert found == left


@pytest.mark.parametrize(
    ("offset", "confirmed"),
    [(-1.0, [True] * 5), (0.01, [True] * 5), (0.03, [True] * 3 + [False] * 2), (0.06, [False] * 5)],
)
def test_a_slot_holds_unchecked_as_long_as_the_guard(offset: float, confirmed: list[bool]) -> None:
    lease = Lease(Grant(5, offset, 0.0, "1"), 0.01, granted_at=1.0)
    found = []
    for _ in range(5):
        found.append(lease.is_confirmed)
        lease.use()
    assert found == confirmed


def test_one_check_at_the_first_slot_covers_the_whole_lease() -> None:
    for rate in (40, 50, 99, 100, 1000):
        count = lease_size(rate, 10**6)
        lease = Lease(Grant(count, 0.3, 0.0, "1"), interval_of(rate) / 1e6, granted_at=1.0)
        lease.confirmed_at = lease.due
        for _ in range(count):
            assert lease.is_confirmed
            lease.use()


@attrs.define
class Gcra:
    """The function of the server, in microseconds: neither pauses nor losses."""

    arrival: int = 0

    def take(self, now: int, interval: int, tolerance: int, count: int) -> Grant:
        arrival = max(self.arrival, now)
        self.arrival = arrival + count * interval
        return Grant.parse(count, arrival - tolerance - now, 0, 1)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("rate", "burst"), [(40, 1), (50, 5), (100, 1), (100, 2), (100, 5), (200, 200), (1000, 3)]
)
def test_no_window_holds_more_than_the_promise_whenever_each_process_wakes(
    rate: float, burst: float, seed: int
) -> None:
    """Processes lease what they can, wake up to `MARGIN` late, and leave slots unused."""
    chance, server = random.Random(seed), Gcra()
    interval, tolerance, *_ = arguments(rate, usable_burst(rate, burst))
    asked = [10.0 + chance.random() * 0.1 for _ in range(4)]
    sent: list[float] = []
    while len(sent) < 600:
        process = min(range(4), key=asked.__getitem__)
        now = asked[process]
        count = lease_size(rate, chance.choice([1, 2, 1000]))
        lease = Lease(server.take(round(now * 1e6), interval, tolerance, count), interval / 1e6, now)
        while not lease.is_empty:
            now = max(now, lease.due) + chance.choice([0, 0, 0.001, 0.02, MARGIN, 0.2])
            lease.drop_missed(now)
            if not lease.is_empty:
                assert lease.due <= now + 1e-9
                lease.use()
                sent.append(now)
        asked[process] = now
    assert worst_excess(sorted(sent), RateLimit(rate, burst)) <= rate * LEASE + 1e-3


def test_the_guard_outlasts_a_lease() -> None:
    assert LEASE <= GUARD
