"""Ids from Excel workbooks and Parquet files: the same columns, refusals and warnings as from CSV."""

from __future__ import annotations

import struct
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.id_parquet import parquet_rows
from fullstory_async.cli.ids import read_ids
from fullstory_async.ids.inputs import SessionInput

IDS = [f"{6100490361070812345 + n * 7919}:{1511755620562823211 + n * 104729}" for n in range(4)]
LINKS = [f"https://app.fullstory.com/ui/O/session/{each}" for each in IDS]
HALVES = [tuple(map(int, each.split(":"))) for each in IDS]

Rows = list[list[Any]]


def workbook(path: Path, **sheets: Rows) -> Path:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def inputs(source: Path | str, column: str | None = None) -> list[tuple[str, str, dict[str, str]]]:
    with closing(read_ids([str(source)], column)) as found:
        return [
            (each.session_id, each.text, dict(each.columns))
            if isinstance(each, SessionInput)
            else (each, each, {})
            for each in found.inputs()
        ]


def notes(source: Path) -> str:
    with closing(read_ids([str(source)])) as found:
        return "\n".join(found.notes())


def test_a_workbook_is_a_table_below_its_title(tmp_path: Path) -> None:
    rows: Rows = [
        ["Tickets of May"], [], ["Ticket", "Replay", "Opened", "VIP"],
        [4711, LINKS[0], datetime(2026, 5, 4, 10), True], [4712, None, None, False],  # noqa: DTZ001
        ["A-1", f"see {LINKS[1]}", None, None],
    ]  # fmt: skip
    path = workbook(tmp_path / "a.xlsx", Empty=[], Notes=[["nothing"], ["here"]], May=rows)
    assert inputs(path) == [
        (IDS[0], LINKS[0], {"Ticket": "4711", "Opened": "2026-05-04T10:00:00", "VIP": "true"}),
        (IDS[1], f"see {LINKS[1]}", {"Ticket": "A-1"}),
    ]
    assert notes(path) == "1 row has no id"
    assert len(inputs(path, "replay")) == 2


def test_a_sheet_can_be_named_and_others_with_ids_are_noted(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", May=[["id"], [IDS[0]]], June=[["id"], [IDS[1]]])
    assert [each[0] for each in inputs(path)] == [IDS[0]]
    assert notes(path) == (
        "the sheet 'May' was read; 'June' may have ids too: name one as in FILE.xlsx#SHEET"
    )
    assert [each[0] for each in inputs(f"{path}#June")] == [IDS[1]]
    with pytest.raises(UsageError, match="has no sheet 'July'; its sheets are: May, June"):
        inputs(f"{path}#July")
    named = tmp_path / "b#June"
    named.write_text(IDS[2])
    assert inputs(named) == [(IDS[2], IDS[2], {})]
    (tmp_path / "c.csv").write_text(IDS[2])
    with pytest.raises(UsageError, match="only Excel workbooks have sheets"):
        inputs(f"{tmp_path}/c.csv#June")


def test_a_workbook_without_a_header_is_a_list(tmp_path: Path) -> None:
    assert [each[0] for each in inputs(workbook(tmp_path / "a", A=[[each] for each in IDS]))] == IDS


def test_ids_that_excel_rounded_are_refused(tmp_path: Path) -> None:
    rows: Rows = [["device_id", "session_id"], *map(list, HALVES)]
    with pytest.raises(UsageError, match="the id in row 2 of the sheet 'A' was rounded"):
        inputs(workbook(tmp_path / "a.xlsx", A=rows))
    texts: Rows = [["device_id", "session_id"], *([str(half) for half in pair] for pair in HALVES)]
    assert [each[0] for each in inputs(workbook(tmp_path / "b.xlsx", A=texts))] == IDS


def encrypted() -> bytes:
    """Return the smallest file that is to a reader what Excel makes of a workbook with a password."""
    end, free, fat = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 62, 3, 0xFFFE, 9, 6)
    head += struct.pack("<118I", 0, 1, 1, 0, 4096, end, 0, end, 0, 0, *[free] * 108)

    def entry(name: str, kind: int, child: int, start: int) -> bytes:
        raw = f"{name}\0".encode("utf-16-le")
        fields = (len(raw), kind, 1, free, free, child, start, 4096)
        return raw.ljust(64, b"\0") + struct.pack("<HBBIII36xIQ", *fields)

    sectors = struct.pack("<128I", fat, end, *range(3, 10), end, *[free] * 118)
    folder = entry("Root Entry", 5, 1, end) + entry("EncryptedPackage", 2, free, 2) + bytes(256)
    return head + sectors + folder + bytes(4096)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04" + bytes(100), "can't be read as an Excel workbook, it is damaged or something else"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "can't be read as an Excel workbook"),
        (encrypted(), "is encrypted; save it without a password"),
        (b"PAR1" + bytes(100), "can't be read as a Parquet file, it is damaged, encrypted or something else"),
        (b"PAR1", "can't be read as a Parquet file"),
        (b"PARE" + bytes(100), "can't be read as a Parquet file"),
    ],
)
def test_a_damaged_or_encrypted_file_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "ids.xlsx").write_bytes(data)
    with pytest.raises(UsageError, match=reason):
        inputs(tmp_path / "ids.xlsx")


def test_a_workbook_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", A=[["id"], *([f"{n}:{each}"] for n, each in enumerate(IDS))])
    data = path.read_bytes()
    at = data.index(b"xl/worksheets/sheet1.xml") + 60
    path.write_bytes(data[:at] + bytes(40) + data[at + 40 :])
    with pytest.raises(UsageError, match="can't be read as an Excel workbook"):
        inputs(path)


def test_an_empty_table_has_no_ids(tmp_path: Path) -> None:
    for path in (
        workbook(tmp_path / "a.xlsx", A=[]),
        workbook(tmp_path / "b.xlsx", A=[["id"]]),
        parquet(tmp_path / "c.parquet", {"id": pa.array([], pa.string())}),
    ):
        with pytest.raises(UsageError, match="has no session ids|no column holds session ids"):
            inputs(path)


def test_a_parquet_file_is_a_table(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        {
            "device_id": pa.array([each[0] for each in HALVES], pa.int64()),
            "session_id": pa.array([*(each[1] for each in HALVES[:3]), None], pa.int64()),
            "ticket": [7.0, None, 9.5, 8.0], "at": pa.array([1, 2, None, 3], pa.timestamp("ns", "UTC")),
            "who": pa.array([b"ann", None, b"bob", b"eve"], pa.binary()), "org": [{"name": "x"}] * 4,
            "tags": [["a"]] * 4,
        },
    )  # fmt: skip
    when = datetime(1970, 1, 1, tzinfo=UTC).isoformat()
    assert inputs(path) == [
        (IDS[0], IDS[0], {"ticket": "7", "at": when, "who": "ann", "org.name": "x"}),
        (IDS[1], IDS[1], {"at": when, "org.name": "x"}),
        (IDS[2], IDS[2], {"ticket": "9.5", "who": "bob", "org.name": "x"}),
    ]
    assert notes(path) == "1 row has no id"


def test_ids_in_columns_of_doubles_are_refused(tmp_path: Path) -> None:
    columns = {
        name: [float(pair[n]) for pair in HALVES] for n, name in enumerate(("device_id", "session_id"))
    }
    with pytest.raises(UsageError, match="the id in row 1 was rounded"):
        inputs(parquet(tmp_path / "a.parquet", columns))


def test_a_parquet_file_is_read_in_batches(tmp_path: Path) -> None:
    count, padding = 30_000, "x" * 1000
    columns = {"id": [str(n) for n in range(count)], "note": [f"{n}{padding}" for n in range(count)]}
    path = parquet(tmp_path / "a.parquet", columns, use_dictionary=False, data_page_size=100_000)
    before, most, number = pa.total_allocated_bytes(), 0, 0
    for where, row in parquet_rows(str(path)):
        number += 1
        assert (where, row["id"]) == (f"row {number}", str(number - 1))
        most = max(most, pa.total_allocated_bytes() - before)
    assert number == count
    assert 1_000_000 < most < 10_000_000, "a batch is 1 MB, and the whole column 30 MB"
