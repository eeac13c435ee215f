"""PostgresStore: whoever asks, each answer is bought once, kept, counted, and free from then on."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from fullstory_async import (
    ClientConfig,
    Failure,
    FullStoryClient,
    Outcome,
    RateLimit,
    SessionEvents,
    Success,
)
from fullstory_async.cluster import Postgres, PostgresStore, claims
from fullstory_async.cluster.answers import Settlement
from fullstory_async.cluster.stored import Busy, Claim, ClaimLost
from fullstory_async.errors import (
    ActivationBudgetError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    NotFoundError,
    ServerError,
    StorageError,
)
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.jobs import Job, JobPlan
from fullstory_async.sandbox import Fault, Sandbox
from tests.cluster.pgbouncers import pgbouncer
from tests.cluster.postgres_servers import Server, new_name
from tests.limits import until

ROOT = Path(__file__).parents[2]


def config_of(sandbox: Sandbox, **options: Any) -> ClientConfig:
    return ClientConfig(
        api_key=sandbox.api_key, base_url=sandbox.url, **{"rate_limit": RateLimit(1000, 1000), **options}
    )


@attrs.define
class Bench:
    """A sandbox, and stores on one database."""

    server: Server
    schema: str
    sandbox: Sandbox
    ids: list[str]

    def store(self, **options: Any) -> PostgresStore:
        return PostgresStore(self.server.dsn(), config_of(self.sandbox), schema=self.schema, **options)

    def client(self, **options: Any) -> FullStoryClient:
        return FullStoryClient(config=config_of(self.sandbox), **options)

    def ask(self, query: str) -> Any:
        """Return the first value of a query; ``$.`` is the schema."""
        rows = self.server.do(query.replace("$.", f'"{self.schema}".'))
        return rows[0][0] if rows else None


@asynccontextmanager
async def bench(
    server: Server, schema: str, sessions: int = 40, *, events: int = 5, **options: Any
) -> AsyncIterator[Bench]:
    async with Sandbox(sessions=sessions, mean_events=events, **options) as sandbox:
        yield Bench(server, schema, sandbox, [str(each) for each in sandbox.session_ids])


async def fetched(
    store: PostgresStore, client: FullStoryClient, ids: Iterable[str] | AsyncIterable[str], **options: Any
) -> list[Outcome[SessionEvents]]:
    async with store.events_many(client, ids, **options) as results:
        return [outcome async for outcome in results]


async def test_an_answer_is_bought_once_and_then_free(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client:
        async with at.store() as store:
            bought = await fetched(store, client, at.ids)
            at.sandbox.assert_paid(40)
            assert [each.value.activations for each in bought if isinstance(each, Success)] == [1] * 40
        async with at.store() as store:
            kept = await fetched(store, client, at.ids)
            async with store.raw_many(client, at.ids) as results:
                raw = {outcome.session_id: outcome.unwrap() async for outcome in results}
            status = await store.status()
        at.sandbox.assert_paid(40)
        assert [each.value.activations for each in kept if isinstance(each, Success)] == [0] * 40
        assert {each.attempts for each in kept} == {0}
        values = {each.session_id: each.unwrap() for each in bought}
        assert {each.session_id: each.unwrap() for each in kept} == values
        assert raw == {session_id: value.raw for session_id, value in values.items()}
        assert {value.response_info.source for value in values.values() if value.response_info} == {"service"}
        assert (status.sessions, status.done, status.spent, status.at_risk) == (40, 40, 40, 0)
        assert (status.pending, status.claimed, status.sent, status.workers) == (0, 0, 0, 1)
        assert (status.organisation, status.month_spent) == ("SANDBOX", 40)


async def test_whoever_asks_for_what_another_fetches_waits_for_its_answer(
    postgres: Server, schema: str
) -> None:
    async with (
        bench(postgres, schema, latency=0.2) as at,
        at.client() as client,
        at.store() as one,
        at.store() as two,
    ):
        results = await asyncio.gather(
            fetched(one, client, at.ids, concurrency=8), fetched(two, client, at.ids[::-1], concurrency=8),
            fetched(one, client, at.ids[10:] + at.ids[:10], concurrency=8),
        )  # fmt: skip
        at.sandbox.assert_paid(40)
        for outcomes in results:
            assert sorted(each.session_id for each in outcomes if isinstance(each, Success)) == sorted(at.ids)
        assert at.ask("SELECT count(*) FROM $.answers") == 40


async def test_the_same_id_twice_is_bought_once(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema, latency=0.05) as at, at.client() as client, at.store() as store:
        outcomes = await fetched(store, client, at.ids[:5] * 3)
        at.sandbox.assert_paid(5)
        assert len([each for each in outcomes if isinstance(each, Success)]) == 15


async def test_an_activation_is_counted_once_whatever_ledger_the_client_has(
    postgres: Server, schema: str, tmp_path: Path
) -> None:
    async with bench(postgres, schema) as at, at.store() as store:
        async with at.client(limiter=store.limiter, ledger=store.ledger) as client:
            await fetched(store, client, at.ids[:10])
            await client.sessions.events(at.ids[0])
            assert (await store.status()).spent == 11
        ledger = ActivationLedger(tmp_path / "ledger.sqlite3")
        async with at.client(ledger=ledger) as client:
            await fetched(store, client, at.ids[10:15])
        assert (await store.status()).spent == 16
        assert await ledger.spent(config_of(at.sandbox).key_fingerprint) == 5
        at.sandbox.assert_paid(16)


async def test_ids_are_added_once_and_in_order(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.store() as store:
        first = await store.add([*at.ids[:30], "not an id", at.ids[0]])
        assert (first.new, first.known, first.refused) == (30, 1, 1)
        again = await store.add({"session_id": each, "ticket": "7"} for each in [*at.ids, ""])
        assert (again.new, again.known, again.refused, again.without_id) == (10, 30, 0, 1)
        assert at.ask("SELECT array_agg(session_id ORDER BY seq) FROM $.sessions") == at.ids
        async with at.store(budget="other") as other:
            assert (await other.add(at.ids)).new == 40
            assert (await other.status()).sessions == 40


async def test_claims_are_disjoint_and_free_to_lose(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as one:
        await one.add(at.ids)
        async with at.store() as two:
            first, second = await one.claim(15), await two.claim(15)
            third = await one.claim(100)
            assert first + second + third == at.ids
            assert await two.claim(5) == []
            status = await one.status()
            assert (status.claimed, status.sent, status.spent, status.pending) == (40, 0, 0, 0)
        assert await one.claim(100) == second  # freed when the other one was closed
        one.release([*first, "1:2"])
        await until(lambda: at.ask("SELECT count(*) FROM $.claims") == 25)
        await fetched(one, client, second)
        at.sandbox.assert_paid(15)
        assert (await one.status()).spent == 15


async def test_what_is_left_to_fetch_is_counted_up_to_a_limit(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as one:
        await one.add(at.ids)
        assert (await one.count_left(1000), await one.count_left(7)) == (40, 7)
        at.sandbox.inject(Fault.status(503), operation="events", session_id=at.ids[0], times=None)
        at.sandbox.inject(Fault.status(404), operation="events", session_id=at.ids[1], times=None)
        await fetched(one, client, at.ids[:10])
        assert await one.count_left(1000) == 30
        at.ask("WITH due AS (UPDATE $.failures SET retry_at = now() WHERE NOT permanent RETURNING 1) "
               "SELECT count(*) FROM due")  # fmt: skip
        assert await one.count_left(1000) == 31


async def test_a_claim_that_fails_halfway_gives_what_it_has(
    postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, connections = Postgres.connection, 0

    @asynccontextmanager
    async def fails_the_second_time(database: Postgres, **options: Any) -> AsyncIterator[Any]:
        nonlocal connections
        connections += 1
        if connections == 2:
            raise StorageError("the connection broke")
        async with connect(database, **options) as connection:
            yield connection

    async with bench(postgres, schema) as at, at.store() as one:
        await one.add(at.ids)
        assert await one.claim(3) == at.ids[:3]
        monkeypatch.setattr(Postgres, "connection", fails_the_second_time)
        # otherwise nobody would ever fetch them, as this process lives on
        assert await one.claim(100) == at.ids[3:]
        assert connections == 2


async def test_a_fan_out_ends_at_the_cap_and_kept_answers_stay_free(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store(max_activations=25) as store:
        with pytest.raises(ActivationBudgetError, match="of 25 activations is used up"):
            await fetched(store, client, at.ids)
        at.sandbox.assert_paid(25)
        kept = [row[0] for row in postgres.do(f'SELECT session_id FROM "{schema}".sessions WHERE state = 1')]
        assert len(kept) == 25
        assert len(await fetched(store, client, kept)) == 25
        assert (await store.status()).spent == 25


async def test_a_permanent_failure_is_kept_and_another_is_tried_again(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as store:
        at.sandbox.inject(Fault.status(500), operation="events", session_id=at.ids[1])
        ids = ["1:2", *at.ids[:2]]
        failed = {each.session_id: each for each in await fetched(store, client, ids)}
        assert isinstance(failed["1:2"], Failure)
        assert isinstance(failed["1:2"].error, NotFoundError)
        assert isinstance(failed[at.ids[1]], Failure)
        status, sent = await store.status(), len(at.sandbox.requests.of("events"))
        assert (status.failed, status.done) == (2, 1)
        again = {each.session_id: each for each in await fetched(store, client, ids)}
        assert isinstance(again["1:2"], Failure)
        assert isinstance(again["1:2"].error, NotFoundError)
        assert "recorded" in again["1:2"].error.message
        assert (again["1:2"].attempts, again["1:2"].error.may_have_cost) == (0, False)
        assert isinstance(again[at.ids[1]], Success)
        assert len(at.sandbox.requests.of("events")) == sent + 1
        status = await store.status()
        assert (status.failed, status.done) == (1, 2)
        assert at.sandbox.activations <= status.spent


async def test_a_service_that_fails_every_call_costs_little(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema, sessions=200) as at, at.client() as client, at.store() as store:
        failing = at.sandbox.inject(Fault.status(500), operation="events", times=None)
        with pytest.raises(ServerError):
            await fetched(store, client, at.ids, concurrency=8, network_patience=2)
        assert failing.hits < 40
        status = await store.status()
        assert status.spent == status.at_risk == failing.hits
        assert status.done == 0


async def test_a_service_that_is_back_in_time_is_waited_for(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as store:
        at.sandbox.inject(Fault.status(500), operation="events", times=12)
        outcomes = await fetched(store, client, at.ids, concurrency=4)
        assert len(outcomes) == 40
        assert len([each for each in outcomes if isinstance(each, Success)]) == 28


async def test_the_network_is_waited_for(postgres: Server, schema: str) -> None:
    async with Sandbox(sessions=10, mean_events=5) as sandbox:
        ids, port = [str(each) for each in sandbox.session_ids], int(sandbox.url.rpartition(":")[2])
        config = config_of(sandbox)
    async with (
        PostgresStore(postgres.dsn(), config, schema=schema) as store,
        FullStoryClient(config=config) as client,
    ):
        walk = asyncio.create_task(fetched(store, client, ids))
        await asyncio.sleep(1)
        async with Sandbox(sessions=10, mean_events=5, port=port) as sandbox:
            first = await walk
            sandbox.assert_paid(10)
        again = asyncio.create_task(fetched(store, client, [*ids, "1:2", "3:4"]))
        await asyncio.sleep(1)
        async with Sandbox(sessions=10, mean_events=5, port=port):
            second = await again
        assert all(isinstance(each, Success) for each in first)
        assert {each.session_id for each in second if isinstance(each, Failure)} == {"1:2", "3:4"}
        assert {type(each.error) for each in second if isinstance(each, Failure)} == {NotFoundError}


async def test_a_failure_with_any_text_is_kept(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as store:
        body = json.dumps({"code": "a\0b", "message": "\ud800 c\0d"})
        at.sandbox.inject(Fault.status(400, body=body), operation="events", session_id=at.ids[1])
        outcomes = await fetched(store, client, at.ids[:10])
        assert len([each for each in outcomes if isinstance(each, Success)]) == 9
        assert at.ask("SELECT code || message FROM $.failures") == "a b  c d"
        assert (await store.status()).failed == 1


async def test_what_was_not_charged_is_given_back(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as store:
        at.sandbox.inject(Fault.retry_after(0.1), operation="events", times=3)
        assert len(await fetched(store, client, at.ids[:10])) == 10
        assert (await store.status()).spent == 10
        at.sandbox.inject(Fault.status(401), operation="events", times=None)
        with pytest.raises(AuthenticationError):
            await fetched(store, client, at.ids[10:])
        await until(lambda: at.ask("SELECT count(*) FROM $.claims") == 0)  # nobody waits for that
        status = await store.status()
        assert (status.spent, status.at_risk, status.month_spent) == (10, 0, 10)


async def status_of(at: Bench) -> Any:
    async with at.store() as store:
        return await store.status()


async def test_a_call_that_is_left_in_flight_is_counted_and_bought_again(
    postgres: Server, schema: str
) -> None:
    async with bench(postgres, schema) as at, at.client() as client:
        at.sandbox.inject(Fault.stall(), operation="events", times=4)
        async with at.store() as store, store.events_many(client, at.ids[:4]):
            await until(lambda: len(at.sandbox.requests.of("events")) == 4)
        status = await status_of(at)
        assert (status.spent, status.at_risk, status.pending, status.workers) == (4, 4, 4, 0)
        async with at.store() as store:
            await fetched(store, client, at.ids[:4])
            status = await store.status()
        assert (status.spent, status.at_risk, status.done) == (8, 4, 4)
        assert at.sandbox.activations <= 8


async def test_a_claim_is_not_given_out_again_before_its_end_is_saved(postgres: Server, schema: str) -> None:
    """Else the end of the first call would give back the activation of the second."""
    async with bench(postgres, schema) as at, at.store() as store:
        run = store._run
        assert run is not None
        first = await run.claims.take(at.ids[0])
        assert isinstance(first, Claim)
        month = await run.claims.mark(first)
        assert await run.claims.take(at.ids[0]) == Busy()
        await run.settlements.submit(Settlement(claim=first, spent=0, month=month))
        second = await run.claims.take(at.ids[0])
        assert isinstance(second, Claim)
        with pytest.raises(ClaimLost):
            await run.claims.mark(first)
        await run.claims.mark(second)
        await run.settlements.submit(
            Settlement(claim=first, spent=0, month=month)
        )  # once more: nothing is left
        assert (await store.status()).spent == 1


def lose_confirmations(store: PostgresStore, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connections of a store break between a commit and its confirmation, one time in three."""
    run = store._run
    assert run is not None
    database = run.claims.lease._database
    real = database.connection

    @asynccontextmanager
    async def unconfirmed(**options: Any) -> AsyncIterator[Any]:
        async with real(**options) as connection:
            yield connection
        if rng.random() < 0.33:
            raise StorageError("the connection broke")

    monkeypatch.setattr(database, "connection", unconfirmed)


async def test_confirmations_that_are_lost_change_no_count(
    postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(postgres, schema, latency=0.02) as at, at.client() as client:
        async with at.store() as store:
            await store.add(at.ids)
            lose_confirmations(store, random.Random(7), monkeypatch)
            found: list[str] = []
            while len(found) < 10:
                with suppress(StorageError):
                    found += await store.claim(10 - len(found))
            outcomes = await fetched(store, client, at.ids, concurrency=4)
            assert all(isinstance(each, Success) for each in outcomes)
            await until(lambda: at.ask("SELECT count(*) FROM $.claims") == 0)
            monkeypatch.undo()
            status = await store.status()
        at.sandbox.assert_paid(40)
        assert (status.spent, status.at_risk, status.done, status.month_spent) == (40, 0, 40, 40)
        assert at.ask("SELECT count(*) FROM $.answers") == 40


async def leave_at_random(
    store: PostgresStore, client: FullStoryClient, ids: list[str], rng: random.Random
) -> None:
    """Fetch all ids in fan-outs that are left early, most of them, or cancelled."""
    while left := [*ids]:
        rng.shuffle(left)
        walk = asyncio.create_task(fetched(store, client, left, concurrency=rng.randint(1, 12)))
        done, _ = await asyncio.wait([walk], timeout=rng.uniform(0.0, 0.25))
        walk.cancel()
        await asyncio.wait([walk])
        if done and not walk.cancelled():
            return


async def test_fan_outs_that_are_left_at_random_lose_no_count(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema, latency=0.02) as at, at.client() as client:
        async with at.store() as one, at.store() as two:
            walks = (
                leave_at_random(store, client, at.ids, random.Random(n))
                for n, store in enumerate((one, two, one))
            )
            await asyncio.gather(*walks)
        status = await status_of(at)
        assert (status.done, status.claimed, status.sent, status.workers) == (40, 0, 0, 0)
        assert status.spent == status.done + status.at_risk
        assert 40 <= at.sandbox.activations <= status.spent
        assert at.ask("SELECT count(*) FROM $.claims") == 0


@pytest.mark.filterwarnings("ignore:two open clients")
async def test_an_expired_lease_sends_nothing_and_overwrites_nothing(
    postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.8)
    async with bench(postgres, schema) as at, at.store() as one, at.store() as two:
        at.server.do(f'UPDATE "{schema}".workers SET expires = now()')
        slow = config_of(at.sandbox, rate_limit=RateLimit(0.5, 1), max_wait=60.0)
        async with FullStoryClient(config=slow) as waiting, at.client() as client:
            async with one.events_many(waiting, at.ids[:10]) as results:
                first = await anext(results)
                await until(lambda: at.ask("SELECT count(*) FROM $.claims WHERE sent > 0") == 2)
                # as if the process stood still for longer than its lease: nobody renews it
                beats = one._run.claims.lease._task  # type: ignore[union-attr]
                assert beats is not None
                beats.cancel()
                others = [each for each in at.ids[:10] if each != first.session_id]
                taken = await fetched(two, client, others)
                sent = len(at.sandbox.requests.of("events"))
                assert sent == 10
                rest = [outcome async for outcome in results]
        assert len(at.sandbox.requests.of("events")) == 10
        assert {each.session_id for each in rest if isinstance(each, Success)} == set(others)
        assert all(isinstance(each, Success) for each in taken)
        status = await two.status()
        assert status.done == 10
        assert (at.sandbox.activations, status.spent, status.at_risk) == (10, 12, 2)


async def test_while_postgres_is_away_a_fan_out_waits_and_goes_on(
    postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE", 1.0)  # it expires meanwhile, but nobody else can take anything over
    async with (
        bench(postgres, schema, sessions=60, latency=0.3) as at,
        at.client() as client,
        at.store() as store,
    ):
        async with store.events_many(client, at.ids, concurrency=16) as results:
            outcomes = [await anext(results)]
            await until(lambda: len(at.sandbox.requests.of("events")) > 20)
            await asyncio.to_thread(postgres.kill)
            await asyncio.sleep(1.5)  # the answers that were on their way arrive meanwhile
            sent = len(at.sandbox.requests.of("events"))
            await asyncio.sleep(0.5)
            assert len(at.sandbox.requests.of("events")) == sent < 60
            with pytest.raises(StorageError):
                await store.status()
            await asyncio.to_thread(postgres.start)
            outcomes += [outcome async for outcome in results]
        assert sorted(each.session_id for each in outcomes if isinstance(each, Success)) == sorted(at.ids)
        at.sandbox.assert_paid(60)
        status = await store.status()
        assert (status.done, status.spent, status.at_risk) == (60, 60, 0)


async def test_what_is_held_meanwhile_has_a_bound(
    postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullstory_async.cluster.store_run.MAX_BYTES", 800_000)
    async with (
        bench(postgres, schema, events=100, latency=0.5) as at,
        at.client() as client,
        at.store() as store,
    ):
        assert store._run is not None
        room = store._run.room
        async with store.raw_many(client, at.ids[:25]) as results:
            outcomes = [await anext(results) for _ in range(6)]
            await until(lambda: len(at.sandbox.requests.of("events")) > client.stats.activations)
            await asyncio.to_thread(postgres.kill)
            await until(lambda: room.held > 0)
            await asyncio.sleep(1)  # those that were on their way have arrived
            assert 0 < room.held < 800_000 + room.sizes.largest
            await asyncio.to_thread(postgres.start)
            outcomes += [outcome async for outcome in results]
        assert sum(len(each.unwrap()) for each in outcomes) > 1_600_000
        at.sandbox.assert_paid(25)
        assert (room.open_calls, room.held) == (0, 0)


async def test_paid_answers_that_can_not_be_saved_are_reported(
    postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullstory_async.cluster.store.FINISH_SECONDS", 0.5)
    async with bench(postgres, schema, latency=2.0) as at, at.client() as client:
        store = await at.store().open()
        async with store.events_many(client, at.ids[:4]):
            await until(lambda: len(at.sandbox.requests.of("events")) == 4)
            await asyncio.to_thread(postgres.kill)
            await until(lambda: at.sandbox.activations == 4)
            await until(lambda: client.stats.activations == 4)
            await asyncio.sleep(0.2)
        with pytest.raises(
            StorageError, match="4 results, for which 4 activations were spent, could not"
        ) as caught:
            await store.close()
        assert caught.value.may_have_cost
        await asyncio.to_thread(postgres.start)
        status = await status_of(at)
        assert (status.spent, status.done) == (4, 0)


async def test_a_damaged_answer_is_noticed(
    postgres: Server, schema: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as store:
        await fetched(store, client, at.ids[:5])
        at.server.do(
            f'UPDATE "{schema}".answers SET body = set_byte(body, 60, get_byte(body, 60) # 255) '
            f"WHERE seq = (SELECT seq FROM \"{schema}\".sessions WHERE session_id = '{at.ids[2]}')"
        )
        outcomes = {each.session_id: each for each in await fetched(store, client, at.ids[:5])}
        damaged = outcomes.pop(at.ids[2])
        assert isinstance(damaged, Failure)
        assert isinstance(damaged.error, StorageError)
        assert "is damaged" in damaged.error.message
        assert all(isinstance(each, Success) for each in outcomes.values())
        with caplog.at_level(logging.WARNING):
            await store.export(tmp_path / "friday.jsonl")
        rows = (tmp_path / "friday.sessions.jsonl").read_text().splitlines()
        assert len(rows) == 4
        assert f"the result of the session {at.ids[2]} is damaged" in caplog.text


async def test_another_organisation_is_refused(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client:
        async with at.store() as store:
            await fetched(store, client, at.ids[:2])
        # a key whose organisation is asked for by the first call
        other = ClientConfig(api_key="na1.other", base_url=at.sandbox.url)
        at.sandbox.api_key = "na1.other"
        at.server.do(f"UPDATE \"{schema}\".budgets SET organisation = 'OTHER'")
        async with (
            PostgresStore(postgres.dsn(), other, schema=schema) as store,
            FullStoryClient(config=other) as client2,
        ):
            with pytest.raises(
                ConfigurationError, match="of the organisation OTHER, and the key is of SANDBOX"
            ):
                await fetched(store, client2, at.ids)
            with pytest.raises(ConfigurationError, match="another key than the store"):
                store.events_many(client, at.ids)
        # and one that was asked before is refused at once
        with pytest.raises(ConfigurationError, match="of the organisation OTHER, and the key is of SANDBOX"):
            await at.store().open()
        async with PostgresStore(postgres.dsn(), other, schema=schema, budget="own") as store:
            assert (await store.status()).organisation == "SANDBOX"
        at.sandbox.assert_paid(2)


async def test_purge_leaves_nothing_and_lets_nothing_in_again(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as store:
        erased = at.ids[1]
        async with at.store(budget="other") as other:
            await other.add(at.ids[:3])
        at.sandbox.inject(Fault.status(500), operation="events", session_id=at.ids[2])
        await fetched(store, client, at.ids[:3])
        await store.add(at.ids)
        assert await store.purge(erased)
        assert await store.purge(at.ids[2])
        assert not await store.purge(erased)
        names = [
            row[0] for row in postgres.do(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
        ]
        for each in names:
            rows = postgres.do(
                f'SELECT count(*) FROM "{schema}"."{each}" t WHERE t::text LIKE \'%{erased}%\''
            )
            assert rows == [(0,)], each
        assert at.ask("SELECT count(*) FROM $.answers") == 1
        assert at.ask("SELECT count(*) FROM $.failures") == 0
        assert (await store.add(at.ids)).new == 0
        paid = at.sandbox.activations
        [outcome] = await fetched(store, client, [erased])
        assert isinstance(outcome, Failure)
        assert "was erased" in str(outcome.error)
        assert at.sandbox.activations == paid
        assert (await store.status()).sessions == 38


async def test_a_session_that_is_purged_in_flight_is_not_kept(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema, latency=0.3) as at, at.client() as client, at.store() as store:
        async with store.events_many(client, at.ids[:2]) as results:
            await until(lambda: len(at.sandbox.requests.of("events")) == 2)
            assert await store.purge(at.ids[0])
            assert len([outcome async for outcome in results]) == 2
        assert at.ask("SELECT count(*) FROM $.answers") == 1
        status = await store.status()
        assert (status.sessions, status.done, status.spent, status.claimed, status.sent) == (1, 1, 2, 0, 0)


@pytest.mark.parametrize("file", ["friday.jsonl", "friday.csv"])
async def test_an_export_equals_that_of_a_job(
    postgres: Server, schema: str, tmp_path: Path, file: str
) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as store:
        ids = [*at.ids, "1:2"]
        await fetched(store, client, ids)
        async with Job.open(tmp_path / "job", client=client, plan=JobPlan(events=True)) as job:
            await job.add(
                [row[0] for row in postgres.do(f'SELECT session_id FROM "{schema}".sessions ORDER BY seq')]
            )
            await job.run()
            (tmp_path / "of_job").mkdir()
            ours = await job.export(tmp_path / "of_job" / file)
        (tmp_path / "of_store").mkdir()
        counts: list[int] = []
        theirs = await store.export(tmp_path / "of_store" / file, progress=counts.append)
        assert [each.name for each in ours] == [each.name for each in theirs]
        assert counts[-1] == 41
        assert len(ours) >= 3
        for one, two in zip(ours, theirs, strict=True):
            if file.endswith(".jsonl"):
                assert lines(one) == lines(two)
            else:
                assert one.read_text().splitlines()[0] == two.read_text().splitlines()[0]
                assert one.read_text().count("\n") == two.read_text().count("\n")


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, without the times at which they were fetched."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if name not in ("fetched_at", "failed_at", "at")}
        for row in rows
    ]


async def test_a_role_with_the_rights_of_the_page_can_work(
    postgres: Server, schema: str, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    [block] = re.findall(r"```sql\n(CREATE ROLE .*?)```", page, re.DOTALL)
    role = new_name("worker")
    async with bench(postgres, schema) as at, at.client() as client:
        async with at.store():
            pass  # the owner creates the tables
        postgres.do(block.replace("fullstory_worker", role).replace(" fullstory", f" {schema}"))
        dsn = postgres.dsn(user=role, password="a long one")
        async with PostgresStore(dsn, config_of(at.sandbox), schema=schema, max_activations=30) as store:
            await store.add(at.ids)
            await fetched(store, client, [*await store.claim(10), "1:2"])
            assert await store.purge(at.ids[0])
            await store.export(tmp_path / "friday.jsonl")
            status = await store.status()
        assert (status.done, status.failed, status.spent) == (9, 1, 11)


async def test_pgbouncer_in_transaction_mode_is_enough(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client:
        with pgbouncer(postgres, size=2) as dsn:
            opened = [PostgresStore(dsn, config_of(at.sandbox), schema=schema) for _ in range(3)]
            async with opened[0] as one, opened[1] as two, opened[2] as three:
                await asyncio.gather(*(fetched(each, client, at.ids) for each in (one, two, three)))
                at.sandbox.assert_paid(40)
                assert (await two.status()).done == 40


async def test_what_a_store_says_when_it_is_used_wrongly(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.client() as client:
        store = at.store()
        with pytest.raises(ClientStateError, match="not open"):
            await store.status()
        with pytest.raises(ClientStateError, match="not open"):
            store.events_many(client, at.ids)
        with pytest.raises(TypeError, match="async with"), store:
            pass
        async with at.store() as opened:
            with pytest.raises(ConfigurationError, match="concurrency must be"):
                opened.events_many(client, at.ids, concurrency=0)
            with pytest.raises(ConfigurationError, match="network_patience must be"):
                opened.raw_many(client, at.ids, network_patience=-1)
        with pytest.raises(ConfigurationError, match="budget must be a name"):
            at.store(budget="")
        assert "PostgresStore(Postgres('Postgres at 127.0.0.1" in repr(store)
