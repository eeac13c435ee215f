"""PostgresLedger: one budget for all machines, which is never passed."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import ClientConfig, FullStoryClient, Meter, RetryPolicy, Success
from fullstory_async.cluster import Postgres, PostgresLedger
from fullstory_async.errors import (
    ActivationBudgetError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    StorageError,
)
from fullstory_async.sandbox import Sandbox
from tests.cluster.postgres_servers import Server
from tests.limits import SECONDS, wait_until

CALLERS = 8


def ledger_of(database: Postgres, **options: Any) -> PostgresLedger:
    return PostgresLedger(database, "the-key", **options)


def spenders(
    server: Server, schema: str, cap: int, folder: Path, *wrong_by: float
) -> list[subprocess.Popen[bytes]]:
    """Start a process for each clock; each writes what it reserves to a file of its own."""
    started = []
    for number, seconds in enumerate(wrong_by):
        with (folder / f"spender-{number}").open("wb") as out:
            command = [sys.executable, "-m", "tests.cluster.spender"]
            arguments = [server.dsn(), schema, str(cap), str(CALLERS), str(seconds)]
            started.append(subprocess.Popen([*command, *arguments], stdout=out, stdin=subprocess.PIPE))
    wait_until(lambda: all(file.stat().st_size for file in folder.glob("spender-*")))
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    return started


def reserved(folder: Path) -> list[str]:
    """Return the months of all reservations that the processes know of."""
    return [line for file in sorted(folder.glob("spender-*")) for line in file.read_text().splitlines()[1:]]


async def test_many_callers_are_counted_by_few_statements(database: Postgres, postgres: Server) -> None:
    async with database:
        ledger = ledger_of(database, max_activations=500)
        await ledger.open()
        [[before]] = postgres.do("SELECT pg_current_xact_id()::text::bigint")
        months = {each.month for each in await asyncio.gather(*(ledger.reserve() for _ in range(500)))}
        [[after]] = postgres.do("SELECT pg_current_xact_id()::text::bigint")
        assert after - before < 10
        status = await ledger.status()
        assert {status.month} == months
        assert (status.spent, status.month_spent, status.max_activations) == (500, 500, 500)
        with pytest.raises(
            ActivationBudgetError, match="'default' of 500 activations is used up: 500 are spent"
        ):
            await ledger.reserve()


async def test_of_callers_that_come_together_as_many_are_counted_as_fit(database: Postgres) -> None:
    async with database:
        ledger = ledger_of(database, max_activations=7)
        results = await asyncio.gather(*(ledger.reserve() for _ in range(10)), return_exceptions=True)
        errors = [each for each in results if isinstance(each, ActivationBudgetError)]
        assert len(errors) == 3
        assert len({id(each) for each in errors}) == 3
        assert await ledger.spent() == 7


async def test_the_month_s_cap_holds_over_all_budgets_of_a_key(database: Postgres) -> None:
    async with database:
        first, second = ledger_of(database, budget="a", monthly_cap=3), ledger_of(database, budget="b")
        for ledger in (first, second, second):
            await ledger.reserve()
        for ledger in (first, second):
            with pytest.raises(ActivationBudgetError, match="the month's cap of 3 activations is reached"):
                await ledger.reserve()
        other = PostgresLedger(database, "another-key", budget="b")
        await other.reserve()
        assert (await first.status()).month_spent == 3
        assert [await each.spent() for each in (first, second)] == [1, 3]


async def test_another_month_begins_anew_and_a_release_belongs_to_its_own(database: Postgres) -> None:
    async with database:
        ledger = ledger_of(database, monthly_cap=2)
        old = await ledger.reserve()
        async with database.connection() as connection:  # a month passes
            await connection.execute(database.statement("UPDATE {schema}.months SET month = '2020-01'"))
        await asyncio.gather(ledger.reserve(), ledger.reserve())
        ledger.release(type(old)("2020-01"))
        await ledger.finish()
        status = await ledger.status()
        assert (status.month_spent, status.spent) == (2, 2)


async def test_a_cap_is_kept_until_a_number_replaces_it(
    database: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with database:
        await ledger_of(database, max_activations=1).reserve()
        later = ledger_of(database)
        with pytest.raises(ActivationBudgetError):
            await later.reserve()
        assert not caplog.records
        await ledger_of(database, max_activations=2).reserve()
        assert "max_activations in" in caplog.text
        assert "is now 2 for all machines; it was 1" in caplog.text
        assert (await later.status()).to_dict()["max_activations"] == 2


async def test_a_budget_belongs_to_one_organisation(database: Postgres) -> None:
    async with database:
        first = PostgresLedger(database, "k", "o-1")
        await first.reserve()
        await ledger_of(database).reserve()  # not known yet
        with pytest.raises(ConfigurationError, match="is of the organisation o-1, the key of o-2"):
            await PostgresLedger(database, "k", "o-2").reserve()
        with pytest.raises(ConfigurationError, match="of the organisation o-1"):
            await ledger_of(database).assign("o-2")
        assert (await first.status()).organisation == "o-1"
        assert await first.spent() == 2


async def test_cancelled_callers_leave_nothing_counted(database: Postgres) -> None:
    async with database:
        ledger = ledger_of(database)
        rng = random.Random(4)
        for _ in range(60):
            callers = [asyncio.create_task(ledger.reserve()) for _ in range(4)]
            await asyncio.sleep(rng.choice([0, 0.0005, 0.002]))
            for each in callers:
                each.cancel()
            for result in await asyncio.gather(*callers, return_exceptions=True):
                if not isinstance(result, BaseException):
                    ledger.release(result)
        await ledger.finish()
        assert await ledger.spent() == 0
        assert (await ledger.status()).month_spent == 0


async def test_activations_count_with_the_transaction_that_spends_them(database: Postgres) -> None:
    async with database:
        ledger = ledger_of(database, max_activations=5)
        await ledger.open()
        with pytest.raises(ZeroDivisionError):
            async with database.connection() as connection:
                await ledger.reserve_in(connection, 3)
                _ = 1 / 0
        assert await ledger.spent() == 0
        async with database.connection() as connection:
            grant = await ledger.reserve_in(connection, 7)
        assert grant.activations == 5
        async with database.connection() as connection:
            await ledger.release_in(connection, 2, month=grant.month)
        assert await ledger.spent() == 3


async def test_a_budget_whose_row_is_gone_does_not_begin_anew(database: Postgres) -> None:
    async with database:
        ledger = ledger_of(database)
        await ledger.reserve()
        async with database.connection() as connection:
            await connection.execute(database.statement("DELETE FROM {schema}.budgets"))
        with pytest.raises(
            StorageError, match="'default' does not exist in Postgres at .*: .* its row was deleted"
        ):
            await ledger.reserve()


async def test_it_serves_one_event_loop_after_another_and_not_two_at_once(database: Postgres) -> None:
    ledger = ledger_of(database)
    async with database:
        await ledger.reserve()
        with pytest.raises(ClientStateError, match="used in another event loop, which still runs"):
            await asyncio.to_thread(lambda: asyncio.run(_reserve(ledger)))
    later = ledger_of(database)
    for _ in range(2):
        await asyncio.to_thread(lambda: asyncio.run(_reserve(later)))
    await later.reserve()
    assert await later.spent() == 4
    await database.close()


async def _reserve(ledger: PostgresLedger) -> None:
    await ledger.reserve()


def test_processes_that_are_killed_never_pass_the_cap(postgres: Server, schema: str, tmp_path: Path) -> None:
    """The clocks of the machines are wrong by an hour in both directions, which changes nothing."""
    cap = 1500
    started = spenders(postgres, schema, cap, tmp_path, -3600.0, 3600.0, 0.0)
    wait_until(lambda: len(reserved(tmp_path)) > cap // 4)
    started[0].kill()
    assert [each.wait(SECONDS) for each in started] == [-signal.SIGKILL, 0, 0]
    known = reserved(tmp_path)
    [[spent, month_spent]] = postgres.do(
        f"SELECT b.spent, m.spent FROM {schema}.budgets b, {schema}.months m WHERE b.name = 'shared'"
    )
    assert spent == month_spent == cap
    # only what was on its way to the process that died is counted and not spent
    assert cap - CALLERS <= len(known) <= cap
    [[month]] = postgres.do("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')")
    assert Counter(known) == {month: len(known)}


def test_a_server_that_is_killed_again_and_again_never_lets_the_cap_be_passed(
    postgres: Server, schema: str, tmp_path: Path
) -> None:
    cap, kills = 1200, 3
    started = spenders(postgres, schema, cap, tmp_path, 0.0, 0.0)
    for _ in range(kills):
        more = len(reserved(tmp_path)) + cap // 10
        wait_until(lambda more=more: len(reserved(tmp_path)) > more)  # type: ignore[misc]
        postgres.kill()
        postgres.start()
    assert [each.wait(SECONDS) for each in started] == [0, 0]
    [[spent]] = postgres.do(f"SELECT spent FROM {schema}.budgets WHERE name = 'shared'")
    assert spent == cap
    # of each process, the callers of one statement may be counted without knowing it
    assert cap - kills * 2 * CALLERS <= len(reserved(tmp_path)) <= cap


async def test_a_client_counts_with_it_what_it_sends(database: Postgres) -> None:
    async with database, Sandbox(sessions=5) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, retry=RetryPolicy(attempts=1))
        ledger = PostgresLedger(database, config.key_fingerprint, max_activations=3)
        meter: Meter = ledger
        async with FullStoryClient(config=config, ledger=meter) as client:
            ids = sandbox.session_ids
            outcomes = []
            with pytest.raises(ActivationBudgetError, match="'default' of 3 activations is used up"):
                async with client.sessions.events_many(ids, concurrency=4) as results:
                    async for outcome in results:
                        outcomes.append(outcome)
        assert len([each for each in outcomes if isinstance(each, Success)]) == 3
        sandbox.assert_paid(3)
        assert await ledger.spent() == 3

        wrong = ClientConfig(api_key="na1.wrong", base_url=sandbox.url)
        other = PostgresLedger(database, wrong.key_fingerprint, budget="other")
        async with FullStoryClient(config=wrong, ledger=other) as client:
            with pytest.raises(AuthenticationError):
                await client.sessions.events(ids[0])
        assert await other.spent() == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"budget": ""}, "budget must be a name"),
        ({"max_activations": -1}, "max_activations must be a whole number"),
        ({"monthly_cap": True}, "monthly_cap must be a whole number"),
        ({"database": "postgresql://h/d"}, "database must be a Postgres, not str"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, Any], text: str) -> None:
    given: dict[str, Any] = {"database": Postgres("postgresql://h/d"), "key_fingerprint": "k", **arguments}
    with pytest.raises(ConfigurationError, match=text):
        PostgresLedger(**given)
