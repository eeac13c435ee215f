"""Rows as Arrow record batches."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from fullstory_async import ConfigurationError
from fullstory_async.tables.arrow import arrow_schema, column_batch
from fullstory_async.tables.columns import TABLES, Column, Kind
from fullstory_async.tables.rows import columns_of

VALUES: dict[Kind, tuple[Any, Any]] = {
    "text": ("Zoë 東京 \0\u2028", "Zoë 東京 \0\u2028"), "name": ("click", "click"), "integer": (2**53 + 1, 2**53 + 1),
    "number": (0.1, 0.1), "boolean": (False, False), "json": ('{"a":1}', '{"a":1}'), "texts": (("a", "b|c"), ["a", "b|c"]),
    "time": ("2026-05-04T10:00:00.500001Z", datetime(2026, 5, 4, 10, 0, 0, 500001, UTC)),
}  # fmt: skip
COLUMNS = tuple(Column(f"a_{kind}", kind) for kind in VALUES)


def test_each_kind_keeps_its_values_and_its_nulls() -> None:
    rows = [tuple(given for given, _ in VALUES.values()), (None,) * len(VALUES)]
    batch = column_batch(COLUMNS, [columns_of(rows, len(COLUMNS))])
    expected = {f"a_{kind}": value for kind, (_, value) in VALUES.items()}
    assert batch.to_pylist() == [expected, dict.fromkeys(expected)]
    assert batch.schema == arrow_schema(COLUMNS)
    assert column_batch(COLUMNS, [columns_of([], len(COLUMNS))]).num_rows == 0


def test_times_of_all_years_are_kept() -> None:
    texts = ["0001-01-02T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"]
    [times] = column_batch([Column("at", "time")], [[texts]]).columns
    assert [value.as_py().strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27) for value in times] == texts
    assert times.type == pa.timestamp("us", tz="UTC")


def test_the_schema_says_what_is_never_null_and_what_has_few_values() -> None:
    schema = arrow_schema(TABLES["events"])
    assert not schema.field("full_session_id").nullable
    assert schema.field("event_time").nullable
    assert pa.types.is_dictionary(schema.field("browser").type)


def test_without_pyarrow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'fullstory-async\[parquet\]'"):
        arrow_schema(COLUMNS)
