"""Ids in rows: any table with a column of ids is read by that column, and lost digits are found by their chance."""

from __future__ import annotations

import enum
import math
import pickle
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from numbers import Integral
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import ConfigurationError, InvalidSessionId, SessionId
from fullstory_async.ids.cells import Kind, read_cell
from fullstory_async.ids.columns import choose
from fullstory_async.ids.rounding import LossCheck
from fullstory_async.ids.rows import Row, RowReader
from fullstory_async.session_id import UnusableId

LARGE = st.integers(10**17, 2**62 - 1).map(lambda number: 2 * number + 1)
PAIRS = st.builds("{}:{}".format, LARGE, LARGE)
OTHER_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(allow_nan=True, width=16), st.datetimes(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "fullstory" not in text),
    st.sampled_from(["10:42", "2026-05-04T10:00:00Z", "https://example.com/session", "1.5", "ada@example.com", "16:9"]),
)  # fmt: skip
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_ ", min_size=1, max_size=8).filter(lambda name: name.strip(" _"))


def read(rows: list[Any], column: str | None = None) -> list[Row]:
    reader = RowReader(column)
    found: list[Row] = []
    for number, row in enumerate(rows, 1):
        found += reader.push(row, f"row {number}")
    return [*found, *reader.finish()]


@given(
    ids=st.lists(PAIRS, min_size=1, max_size=12, unique=True), name=NAMES, others=st.lists(NAMES, max_size=4, unique=True),
    form=st.sampled_from(["{}", "see https://app.fullstory.com/ui/O/session/{}.", "`{}`", "'{}", ' "{}" ']), data=st.data(),
)  # fmt: skip
def test_any_table_with_a_column_of_ids_is_read_by_it(
    ids: list[str], name: str, others: list[str], form: str, data: st.DataObject
) -> None:
    columns: list[str] = data.draw(st.permutations([*dict.fromkeys([name, *others])]))
    rows = [
        {each: form.format(one) if each == name else data.draw(OTHER_VALUES) for each in columns}
        for one in ids
    ]
    assert choose(rows).columns == (name,)
    assert [row.id for row in read(rows)] == ids


@given(
    st.lists(st.tuples(LARGE, LARGE), min_size=1, max_size=12),
    st.sampled_from(["device_id", "userId", "User ID"]),
)
def test_two_columns_of_halves_are_joined(pairs: list[tuple[int, int]], device: str) -> None:
    rows = [{device: one, "name": "x", "SessionId": str(other)} for one, other in pairs]
    assert [row.id for row in read(rows)] == [f"{one}:{other}" for one, other in pairs]


@pytest.mark.row(57)
@given(st.lists(st.tuples(LARGE, LARGE), min_size=4, max_size=20, unique=True), st.sampled_from([15, 16]))
def test_rounded_ids_are_always_refused(pairs: list[tuple[int, int]], digits: int) -> None:
    def rounded(number: int) -> int:
        return int(round(number, digits - len(str(number))))

    large = [pair for pair in pairs if min(pair) > 10**18]
    if len(large) >= 4:
        with pytest.raises(ConfigurationError, match="rounded"):
            read([{"id": ":".join(map(str, map(rounded, pair)))} for pair in large])


@given(st.lists(st.tuples(LARGE, LARGE), min_size=1, max_size=100, unique=True))
def test_random_ids_are_never_taken_for_rounded(pairs: list[tuple[int, int]]) -> None:
    check = LossCheck()
    # random numbers as FullStory's are; hypothesis prefers round ones
    numbers = random.Random(repr(pairs))
    for _ in pairs:
        pair = f"{numbers.randrange(10**17, 2**63)}:{numbers.randrange(10**17, 2**63)}"
        check.add(pair)
        check.add_link(pair, ends_text=True)
    assert check.find() == ""


@pytest.mark.parametrize("numbers", [2, 4, 40, 200])
def test_zeros_are_refused_exactly_when_their_chance_is_below_one_in_a_million(numbers: int) -> None:
    decisions = []
    for zeros in range(numbers + 20):
        check = LossCheck(distinct=True)
        each, more = divmod(zeros, numbers)
        for n in range(numbers):
            trailing = each + (n < more)
            check.add(f"{(9 * 10 ** (18 - trailing) + 10 * n + 1) * 10**trailing}:1")
        chance = 1 - math.fsum(math.comb(k + numbers - 1, k) * 0.1**k * 0.9**numbers for k in range(zeros))
        decisions.append(bool(check.find()))
        if chance > 1e-12:
            assert decisions[-1] == (chance < 1e-6), (zeros, chance)
    assert decisions == sorted(decisions)
    assert decisions[-1] or numbers == 200


@pytest.mark.parametrize("value", ["7", "1:2", 5, None, "hello 5", ["1:2"], True])
def test_single_values_are_read_without_a_column(value: object) -> None:
    [row] = read([value])
    assert row.given is value
    expected = {"7": "7", "1:2": "1:2", 5: "5", None: None}
    if isinstance(value, (str, int, type(None))) and not isinstance(value, bool) and value in expected:
        assert row.id == expected[value]
    else:
        assert isinstance(row.id, UnusableId)


class Number:
    """An integer of another library, such as numpy."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value


class NAType:
    """The missing value of pandas, which can't be compared."""

    def __ne__(self, other: object) -> bool:
        raise TypeError

    __hash__ = None  # type: ignore[assignment]


class NaT(datetime):
    """The missing time of pandas, which equals nothing and has no time zone to ask for."""

    def utcoffset(self) -> timedelta | None:
        raise ValueError("NaTType does not support utcoffset")

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


Integral.register(Number)
GUID = "0a1b2c3d-0000-4000-8000-abcdef012345"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (Number(2**60), Kind.HALF, str(2**60)),
        (5736495272951808.0, Kind.HALF, "5736495272951808"),
        ("5736495272951808.0", Kind.HALF, "5736495272951808"),
        (Decimal(6100490361000072123), Kind.HALF, "6100490361000072123"),
        (UUID(GUID), Kind.HALF, GUID),
        (6.1e18, Kind.ROUNDED, "6.1e+18"),
        ("6,1E+18", Kind.ROUNDED, "6,1E+18"),
        ("1.5117556205628227e+18", Kind.ROUNDED, "1.5117556205628227e+18"),
        (float("nan"), Kind.EMPTY, ""),
        (NAType(), Kind.EMPTY, ""),
        (NaT(2026, 1, 1, tzinfo=UTC), Kind.EMPTY, ""),
        (None, Kind.EMPTY, ""),
        ("#N/A", Kind.EMPTY, ""),
        ("12.50", Kind.TEXT, "12.50"),
        (True, Kind.TEXT, "True"),
        (b"1:2", Kind.TEXT, "b'1:2'"),
        ("10:42", Kind.SHORT_PAIR, "10:42"),
        ("-5:42", Kind.SHORT_PAIR, "-5:42"),
        (f"{GUID}:{GUID}", Kind.PAIR, f"{GUID}:{GUID}"),
    ],
)  # fmt: skip
def test_a_value_is_what_it_says(value: object, kind: Kind, text: str) -> None:
    cell = read_cell(value)
    assert (cell.kind, cell.text) == (kind, text)


@given(st.from_regex(r"[0-9]{1,22}:[0-9]{1,22}", fullmatch=True))
def test_a_plain_pair_is_what_it_is_in_quotation_marks(pair: str) -> None:
    assert read_cell(pair) == read_cell(f"'{pair}'")
    assert read_cell(pair).text == pair


@given(st.one_of(OTHER_VALUES, st.text(), st.decimals(), st.integers(), st.floats(), st.binary()))
def test_any_value_can_be_read(value: object) -> None:
    read_cell(value)
    [row] = read([{"id": value, "session_id": "1:2"}])
    assert row.where == "row 1"


def test_an_unusable_id_is_refused_with_its_reason_everywhere() -> None:
    unusable = UnusableId("Total", "line 6 does not look like a session id")
    copy = pickle.loads(pickle.dumps(unusable))
    assert (copy, copy.reason) == ("Total", unusable.reason)
    with pytest.raises(InvalidSessionId, match="line 6"):
        SessionId(unusable)


class Ids(str, enum.Enum):  # noqa: UP042  (StrEnum has a __str__ of its own)
    """Ids as a program may name them."""

    ADA = "1:2"


def test_a_member_of_an_enum_is_its_text() -> None:
    assert str(SessionId(Ids.ADA)) == "1:2"
    assert type(str(SessionId(Ids.ADA))) is str
    assert read([{"id": Ids.ADA}])[0].id == "1:2"


def test_documents_of_other_shapes_are_read_by_their_own() -> None:
    pair = "5415577363091004123:6138002021762428123"
    rows: list[Mapping[str, Any]] = [
        {"sessionId": pair, "n": 1},
        {"url": f"https://app.fullstory.com/ui/O/session/{pair}"},
        {"x": 1},
    ]
    assert [str(row.id) for row in read(rows)][:2] == [pair, pair]
    assert isinstance(read(rows)[2].id, UnusableId)


def test_rows_are_held_back_until_their_columns_are_known() -> None:
    reader = RowReader()
    found: Iterator[Row] = reader.push({"id": "1:2"}, "row 1")
    assert [*found] == []
    assert reader.holds_rows
    assert [row.id for row in reader.finish()] == ["1:2"]
    assert [row.id for row in reader.push({"id": "3:4"}, "row 2")] == ["3:4"]
