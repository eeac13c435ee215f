"""What a store keeps of the inputs that its ids came from, and what becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fullstory_async.cluster import PostgresStore, adding, migrations, store_records
from fullstory_async.jobs import Job, JobPlan
from tests.cluster.postgres_servers import Server
from tests.cluster.test_store import bench, lines


def rows_of(ids: list[str]) -> list[dict[str, Any]]:
    """Return rows of tickets: most with a replay URL, some with columns that others lack."""
    return [
        {"Replay": f"https://app.fullstory.com/ui/ORG/session/{each}", "Ticket No.": f"T-{n}", "vip": n % 7 == 0}
        | ({"note\0": "a line\nbreak"} if n % 5 == 0 else {})
        for n, each in enumerate(ids)
    ]  # fmt: skip


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def exported(store: PostgresStore, folder: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """Return the rows of the table ``sessions``, by session."""
    await store.export(new(folder) / "out.jsonl", allow_missing=True, **options)
    return {row["full_session_id"]: row for row in lines(folder / "out.sessions.jsonl")}


async def test_inputs_are_exported_as_those_of_a_job(postgres: Server, schema: str, tmp_path: Path) -> None:
    async with bench(postgres, schema) as at, at.client() as client, at.store() as store:
        given = [*rows_of(at.ids), {"Replay": "no id", "Ticket No.": "T-41", "vip": False}]
        added = await store.add(given)
        assert (added.new, added.refused) == (40, 1)
        async with store.events_many(client, at.ids) as results:
            assert [outcome.error async for outcome in results if outcome.error is not None] == []
        theirs = await exported(store, tmp_path / "of_store")
        async with Job.open(tmp_path / "job", client=client, plan=JobPlan(events=True)) as job:
            await job.add(given[:-1])
            await job.run()
            await job.export(new(tmp_path / "of_job") / "out.jsonl")
        ours = {row["full_session_id"]: row for row in lines(tmp_path / "of_job" / "out.sessions.jsonl")}
        assert theirs == ours
        one = theirs[at.ids[35]]
        assert one["input"] == f"https://app.fullstory.com/ui/ORG/session/{at.ids[35]}"
        assert (one["input_ticket_no"], one["input_vip"], one["input_note"]) == (
            "T-35", "true", "a line\nbreak",
        )  # fmt: skip
        assert theirs[at.ids[1]]["input_note"] is None
        redacted = await exported(store, tmp_path / "redacted", redact=["input_*"])
        assert "T-1" not in redacted[at.ids[1]].values()


async def test_a_session_keeps_its_first_input(postgres: Server, schema: str, tmp_path: Path) -> None:
    async with bench(postgres, schema, 4) as at, at.store() as store:
        one, two, three, four = at.ids
        assert (await store.add([one, {"session": two, "ticket": "1"}])).new == 2
        later = [{"session": each, "ticket": "2", "team": "b"} for each in (one, two, three, three)]
        assert (await store.add([*later, four])).new == 2
        await asyncio.gather(*(store.add([{"session": four, f"column {n}": "x"}]) for n in range(8)))
        found = await exported(store, tmp_path / "out")
        assert [found[each]["input_ticket"] for each in at.ids] == ["2", "1", "2", None]
        assert [found[each]["input_team"] for each in at.ids] == ["b", None, "b", None]
        assert [found[each]["input"] for each in at.ids] == at.ids
        kept = [name for name in found[four] if name.startswith("input_column")]
        assert len(kept) == 8
        assert [found[four][name] for name in kept].count("x") == 1
        assert at.ask("SELECT count(*) FROM $.inputs") == 4


async def test_purge_erases_the_input_too(postgres: Server, schema: str, tmp_path: Path) -> None:
    async with bench(postgres, schema, 3) as at, at.store() as store, at.store(budget="other") as other:
        rows = [{"session": each, "email": f"{n}@example.com"} for n, each in enumerate(at.ids)]
        await store.add(rows)
        await other.add(rows)
        assert await store.purge(at.ids[0])
        assert at.ask("SELECT count(*) FROM $.inputs") == 4
        assert (await store.add(rows)).new == 0
        assert at.ask("SELECT count(*) FROM $.inputs") == 4
        found = await exported(other, tmp_path / "out")
        assert {row["input_email"] for row in found.values()} == {"1@example.com", "2@example.com"}


async def test_a_store_of_an_older_version_gets_the_tables(
    postgres: Server, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(postgres, schema, 3) as at:
        with monkeypatch.context() as older:
            older.setattr(migrations, "known", lambda known=migrations.known: known()[:3])
            async with at.store() as store:
                assert (await store.add(at.ids[:2])).new == 2
        async with at.store() as store:
            assert (await store.add({"session": each, "ticket": "7"} for each in at.ids)).new == 1
            assert await store.purge(at.ids[0])
            found = await exported(store, tmp_path / "out")
        assert {name: row["input_ticket"] for name, row in found.items()} == dict.fromkeys(at.ids[1:], "7")


async def test_a_damaged_input_costs_nothing_else(postgres: Server, schema: str, tmp_path: Path) -> None:
    async with bench(postgres, schema, 3) as at, at.store() as store:
        await store.add({"session": each, "ticket": "7"} for each in at.ids)
        postgres.do(f'UPDATE "{schema}".inputs SET input = substr(input, 2) WHERE seq = 1')
        found = await exported(store, tmp_path / "out")
        assert [found[each]["input_ticket"] for each in at.ids] == [None, "7", "7"]
        postgres.do(f'UPDATE "{schema}".input_columns SET names = \'["ti\'')
        assert "input_ticket" not in (await exported(store, tmp_path / "again"))[at.ids[1]]


async def test_rows_that_are_refused_leave_no_column(postgres: Server, schema: str, tmp_path: Path) -> None:
    async with bench(postgres, schema, 1) as at, at.store() as store:
        [one] = at.ids
        added = await store.add([{"session": one, "ticket": "7"}, {"session": "bad", "secret": "2"}])
        assert (added.new, added.refused) == (1, 1)
        found = await exported(store, tmp_path / "out")
        assert [name for name in found[one] if name.startswith("input")] == ["input", "input_ticket"]


async def test_wide_tables_are_added_and_exported_in_parts(
    postgres: Server, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    add, page = adding._add, store_records.StoreRecords._page

    async def count_added(*given: Any) -> int:
        sizes.append(len(given[2]))
        return await add(*given)

    async def count_read(*given: Any) -> list[tuple[Any, ...]]:
        rows = await page(*given)
        sizes.append(len(rows))
        return rows

    monkeypatch.setattr(adding, "_add", count_added)
    monkeypatch.setattr(adding, "_BATCH_BYTES", 3000)
    monkeypatch.setattr(store_records.StoreRecords, "_page", count_read)
    monkeypatch.setattr(store_records, "_PAGE_BYTES", 3000)
    async with bench(postgres, schema, 10) as at, at.store() as store:
        assert (await store.add({"session": each, "text": "x" * 1000} for each in at.ids)).new == 10
        assert sizes == [3, 3, 3, 1]
        sizes.clear()
        found = await exported(store, tmp_path / "out")
        assert [len(row["input_text"]) for row in found.values()] == [1000] * 10
        assert (max(sizes), sum(sizes)) == (3, 10)
