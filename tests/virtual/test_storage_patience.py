"""For how long a run waits for the disk with paid responses in hand, and for a ledger before it sends."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fullstory_async.errors import FullStoryError, JobStorageError, StorageError
from fullstory_async.http.call import Call
from fullstory_async.jobs.run_state import STORAGE_PATIENCE, RunState
from fullstory_async.messages import Request
from fullstory_async.testing import FakeTransport, json_response
from tests.fakes import make_pipeline
from tests.virtual_time import now

pytestmark = pytest.mark.virtual_time

EVENTS = Request(operation="events", path="/v2/sessions/1%3A2/events", session_id="1:2", metered=True)


class Failing:
    """A store whose disk fails for some seconds, and the display of the run."""

    def __init__(self, seconds: float) -> None:
        self.until = now() + seconds
        self.failure: Exception | None = None
        self.waited: list[FullStoryError] = []
        self.writer = SimpleNamespace(room=SimpleNamespace(is_used=False))

    async def flush(self) -> None:
        if now() < self.until:
            raise failure()

    def report_waiting(self, error: FullStoryError) -> None:
        self.waited.append(error)


def failure(*, permanent: bool = False) -> JobStorageError:
    error = JobStorageError("the job can't be written")
    error.permanent = permanent
    return error


def state_of(failing: Failing) -> RunState:
    given = cast("Any", failing)
    return RunState(given, given, given, 60, 60)


@pytest.mark.parametrize("seconds", [0.1, 36, 59])
async def test_a_disk_that_recovers_in_time_is_waited_for(seconds: float) -> None:
    failing, began = Failing(seconds), now()
    assert await state_of(failing).wait_until_saved(failure())
    assert seconds <= now() - began < seconds + 6
    assert failing.waited


async def test_a_disk_that_does_not_recover_is_given_up() -> None:
    failing, began = Failing(math.inf), now()
    state = state_of(failing)
    assert not await state.wait_until_saved(failure())
    assert STORAGE_PATIENCE <= now() - began < STORAGE_PATIENCE + 6
    later = now()
    assert not await state.wait_until_saved(failure())  # the next response doesn't begin anew
    assert now() == later


async def test_what_time_can_not_heal_is_not_waited_for() -> None:
    state, began = state_of(Failing(5)), now()
    assert not await state.wait_until_saved(failure(permanent=True))
    assert not state.can_wait(failure(permanent=True))
    assert now() == began


async def test_a_call_that_was_not_sent_waits_for_its_ledger_unless_it_may_have_cost() -> None:
    state = state_of(Failing(5))
    assert state.can_wait(StorageError("the ledger can't be used now"))
    assert not state.can_wait(StorageError("the ledger can't be used now", may_have_cost=True))
    state.store.writer.room.is_used = True
    assert not state.can_wait(failure())


class Ledger:
    """A meter whose file can't be used until some time."""

    name = "the ledger"

    def __init__(self, seconds: float, error: StorageError) -> None:
        self.until, self.error, self.held = now() + seconds, error, 0

    async def reserve(self) -> None:
        if now() < self.until:
            raise self.error
        self.held += 1

    def release(self, _: object) -> None:
        self.held -= 1


@pytest.mark.row(106)
async def test_a_single_call_waits_for_its_ledger_a_moment_within_its_time() -> None:
    for seconds, timeout, waited in ((3, 600, True), (60, 600, False), (3, 2, False)):
        transport, began = FakeTransport([json_response({"events": []})]), now()
        ledger = Ledger(seconds, StorageError("the ledger can't be used now"))
        pipeline = make_pipeline(transport, ledger=ledger)
        call = Call(EVENTS, timeout)
        if waited:
            assert await pipeline.fetch(call, lambda response: response.status) == 200
            assert seconds <= now() - began < seconds + 2
        else:
            with pytest.raises(StorageError) as caught:
                await pipeline.fetch(call, lambda response: response.status)
            assert (caught.value.attempts, caught.value.may_have_cost) == (0, False)
            assert now() - began <= min(10, timeout)
        assert (len(transport.sent), ledger.held) == (waited, waited)


async def test_a_damaged_ledger_is_not_waited_for() -> None:
    error = StorageError("its count can't be known")
    error.permanent = True
    began, pipeline = now(), make_pipeline(FakeTransport([]), ledger=Ledger(3, error))
    with pytest.raises(StorageError):
        await pipeline.fetch(Call(EVENTS), lambda response: response.status)
    assert now() == began
