"""Sessions that are converted together have the rows that each has alone."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest

from fullstory_async.jobs import JobPlan
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.export.tables import Tables, portions
from fullstory_async.jobs.storage.records import Record
from fullstory_async.tables.columns import Schema
from fullstory_async.tables.events import Answer, columns_of_answers
from tests.odd_answers import ODD_BODIES, body, event

USERS = body(
    event("2026-05-04T10:00:00Z"),
    event("2026-05-04T10:00:01Z", "identify", {"user_id": "u-1", "user_email": "ann@acme.test"}),
    event("2026-05-04T10:00:02Z", "identify", {"user_id": "u-2"}),
    event("2026-05-04T10:00:03Z", "identify", {"user_id": "u-2", "user_email": "bob@acme.test"}),
    event("2026-05-04T10:00:04Z", "click", {"fs_rage_count": 3}, view_id="8"),
)  # fmt: skip
ONE_USER = body(event("2026-05-04T10:00:00Z"), event("2026-05-04T10:00:01Z", "identify", {"user_id": "u-3"}))
LISTS_FAIL = b'{"events": 5}'
DEEP = json.dumps({"events": [event("2026-05-04T10:00:00Z", data={"a": None})]}).encode().replace(
    b"null", b"[" * 3000 + b"]" * 3000
)  # fmt: skip
BODIES = {**ODD_BODIES, "users": USERS, "one user": ONE_USER, "malformed": LISTS_FAIL, "deep": DEEP}


def record(number: int, response: bytes | None) -> Record:
    when = datetime(2026, 5, 5, 12, number % 60, tzinfo=UTC)
    return Record(
        seq=number, session_id=f"1:{number}", input=f"1:{number}", input_columns={},
        bodies={} if response is None else {"events": response},
        fetched={} if response is None else {"events": when}, failures={},
    )  # fmt: skip


def rows_of(schema: Schema, *groups: Sequence[Record]) -> dict[str, list[Any]]:
    tables = Tables(JobPlan(events=True), Redaction.of((), "secret"), schema)
    found: dict[str, list[Any]] = {}
    for group in groups:
        for name, rows in tables.rows(*group):
            found.setdefault(name, []).extend(rows)
    return found


@pytest.mark.parametrize("schema", ["v2", "v1", "warehouse"])
def test_pairs(schema: Schema) -> None:
    for number, pair in enumerate(permutations(BODIES.values(), 2)):
        both = [record(2 * number, pair[0]), record(2 * number + 1, pair[1])]
        assert rows_of(schema, both) == rows_of(schema, *([each] for each in both))


def test_random_portions() -> None:
    chance = random.Random(3)
    readable = [
        each
        for each in (*ODD_BODIES.values(), USERS, ONE_USER)
        if columns_of_answers([Answer("1:1", each, "")])
    ]
    assert len(readable) > 10
    bodies = [*readable, None]
    for _ in range(40):
        records = [record(n, chance.choice(bodies)) for n in range(chance.randint(2, 30))]
        assert rows_of("v2", records) == rows_of("v2", *([each] for each in records))


def test_users_do_not_go_over_to_the_next_session() -> None:
    columns = columns_of_answers([Answer("1:1", USERS, None), Answer("1:2", ODD_BODIES["unicode"], None)])
    assert columns is not None
    assert list(zip(columns.values["user_uid"], columns.values["user_email"], strict=True)) == [
        ("u-1", "ann@acme.test"), ("u-1", "ann@acme.test"), ("u-2", None), ("u-2", "bob@acme.test"),
        ("u-2", "bob@acme.test"), (None, None),
    ]  # fmt: skip


def test_portions_are_small_and_in_order() -> None:
    sizes = [10, 600_000, 600_000, 5_000_000, *[1] * 45]
    records = [record(n, b" " * size) for n, size in enumerate(sizes)]
    found = list(portions(records))
    assert [each for group in found for each in group] == records
    assert [len(group) for group in found] == [3, 1, 20, 20, 5]
    assert list(portions([])) == []
