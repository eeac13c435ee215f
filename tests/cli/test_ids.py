"""Ids files: plain lines, tables, JSON; and what looks like none of them."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.id_json import json_values
from fullstory_async.cli.ids import read_ids
from fullstory_async.ids.inputs import SessionInput


def read(tmp_path: Path, text: bytes | str, column: str | None = None) -> tuple[str, ...]:
    return read_all(tmp_path, text, column)[0]


def read_all(
    tmp_path: Path, text: bytes | str, column: str | None = None
) -> tuple[tuple[str, ...], int, int]:
    """Return the ids, and how many were duplicates and invalid."""
    path = tmp_path / "ids"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with closing(read_ids([str(path)], column)) as given:
        ids = tuple(given)
        assert len(given) == len(ids)
        return ids, given.duplicates, given.invalid


@pytest.mark.parametrize(
    "text",
    [
        "1:2\n3:4\n",
        "\ufeff1:2\r\n# comment\r\n\r\n  3!4  \r\n",
        "1:2  # Ada\n\u200b3:4\n",
        '"1:2"\n"3:4"\n',
        "session_id\n# batch 2\n1:2\n3:4\n",
        '{"session_id": "1:2", "session": {"a": 1}, "url": ["x"]}\n{"id": true, "session_id": "3:4"}\n',
        "session_id\n1:2\n3:4\n",
        "# exported today\nname,Session ID,plan\nx,1:2,pro\ny,3%3A4,free\n",
        "email;session_id\na@b;1:2\nc@d;3:4\n",
        "who\tid\nx\t1:2\ny\t3:4\n",
        "order,session_id\n#1001,1:2\n#1002,3:4\n",
        'note,session_id\n"two\nlines",1:2\n"#",3:4\n',
        (
            "id,session_url\n17,https://app.fullstory.com/ui/O/session/1:2\n"
            "18,https://app.fullstory.com/ui/O/session/3:4\n"
        ),
        (
            'fsUrl,x\n"https://app.fullstory.com/ui/O/session/1:2",1\n'
            "https://app.fullstory.com/ui/O/session/3:4,2\n"
        ),
        '{"session_id": "1:2"}\n\n{"id": "3:4", "x": [1]}\n',
        '{"id": "1:2"}\n# aside\n{"id": "3:4"}\n',
        "session_ids\n1:2\n---\n3:4,\n",
        'session_id,n\n1:2,"a"b\n3:4,x\n',
        'session_id,note\n1:2,"never closed\n3:4,x\n',
        '{"session_id": "1:2"}\n"3:4"\n',
        '{"ids": ["1:2", "3:4"]}',
        '{"sessionId": "1:2", "userId": "9"}\n{"url": "https://app.fullstory.com/ui/O/session/3:4"}\n',
        '{"session_id": "1:2", "note": "a\u2028b"}\n{"session_id": "3:4"}\n',
        '["1:2", "3:4"]',
        '[\n  {"session_id": "1:2"},\n  "3:4"\n]\n',
        "1:2\nhttps://app.fullstory.com/ui/ORG/segments/x/(3!4(y\n",
    ],
)
def test_every_form_gives_the_same_ids(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == ("1:2", "3:4")


def test_a_full_session_id_wins_over_a_pair_of_columns(tmp_path: Path) -> None:
    text = "user_id,session_id,id\nu-1,2,1:2\nu-2,4,3:4\n"
    assert read(tmp_path, text) == ("1:2", "3:4")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("who,when\na@b,1:2\nc@d,3:4\n", "no column holds session ids.* the columns are: who, when"),
        ("a@b,1:2\n", "line 1 does not look like a session id"),
        ("user_id,session_id\n6.1E+18,1.5E+18\n", "the id in line 2 was rounded"),
        ('["hello world 5"]', "line 1 does not look like a session id"),
        ("user_id,session_id\n1,2\n3,4\n", "don't hold FullStory's ids"),
        ("import os\n", "line 1 does not look like a session id"),
        ("ada@example.com\n", "line 1 does not look like a session id"),
        ('{"session_id": "1:2"}\n{"session_id"\n', "line 2"),
        ('{"session_id": true}\n', "line 1 does not look like a session id: 'True'"),
        ('{"session_id": [["1:2"]]}\n', "no column holds"),
        ('{"session_id": 1.5e20}\n', "the id in line 1 was rounded"),
        ('{"name": "x"}\n{"name": "y"}\n', "the columns are: name"),
        ("[1, 2", "JSON array"),
        ("[true]", "line 1 does not look like a session id"),
        (b"\xff\xfe", "has no session ids"),
        ("", "has no session ids"),
        ("\n# nothing\n", "has no session ids"),
        ("session_id\n", "has no session ids"),
    ],
)
def test_input_that_is_not_a_list_of_ids_is_refused_with_its_line(
    tmp_path: Path, text: bytes | str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        read(tmp_path, text)


def test_a_named_column_wins(tmp_path: Path) -> None:
    assert read(tmp_path, "id,mine\n9:9,1:2\n", "mine") == ("1:2",)
    assert read(tmp_path, "id;mine\n9:9;1:2\n", "mine") == ("1:2",)
    assert read(tmp_path, '{"id": "9:9", "mine": "1:2"}\n', "mine") == ("1:2",)
    with pytest.raises(UsageError, match="there is no column 'mine'; the columns are: id"):
        read(tmp_path, '{"id": "9:9"}\n', "mine")
    with pytest.raises(UsageError, match="no column 'mine'"):
        read(tmp_path, "1:2\n", "mine")


def test_large_integers_stay_exact(tmp_path: Path) -> None:
    assert read(tmp_path, '{"UserId": 9007199254740993, "SessionId": 9223372036854775807}\n') == (
        "9007199254740993:9223372036854775807",
    )


def test_duplicates_and_bad_ids_are_counted(tmp_path: Path) -> None:
    found = read_all(tmp_path, "1:2\n1!2\na/5\na/5\n..\nabc-5\n")
    assert found == (("1:2", "a/5", "..", "abc-5"), 2, 2)


def test_empty_cells_are_skipped(tmp_path: Path) -> None:
    assert read(tmp_path, "mine,x\n1:2,a\n,b\n", "mine") == ("1:2",)
    assert read(tmp_path, '{"id": "1:2"}\n{"id": ""}\n{"id": null}\n') == ("1:2",)


def test_a_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="standard input is closed"):
        read_ids(["-"])


def test_an_endless_line_is_one_bad_id(tmp_path: Path) -> None:
    ids, _, invalid = read_all(tmp_path, "3:4\n1:2" + "x" * 200_000)
    assert (len(ids), invalid) == (2, 1)


@given(
    ids=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    chunk=st.integers(1, 50),
    space=st.sampled_from(["", " ", "\n\t"]),
)
def test_an_array_is_the_same_in_pieces_of_any_size(ids: list[int], chunk: int, space: str) -> None:
    pairs = [f"{number}:5" for number in ids]
    text = f"[{space}" + f",{space}".join(f'{space}"{pair}"{space}' for pair in pairs) + f"]{space}"
    pieces = (text[n : n + chunk] for n in range(0, len(text), chunk))
    assert [value for _, value in json_values(pieces)] == pairs == json.loads(text)


@pytest.mark.parametrize(
    "text", ["[", "[1", "[1,", "[1 2]", "[1,]", "[1]]", "[1] x", '["a]', "[,]", "[" * 100_000]
)
def test_a_malformed_array_is_refused_in_pieces_of_any_size(text: str) -> None:
    for chunk in (1, 3, 65_536) if len(text) < 100 else (65_536,):
        with pytest.raises(UsageError, match="JSON array"):
            [
                value
                for _, value in json_values(iter([text[n : n + chunk] for n in range(0, len(text), chunk)]))
            ]


def test_a_number_of_many_digits_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text('{"session": "1:2", "n": %s}' % ("9" * 5000))
    with closing(read_ids([str(tmp_path / "ids")])) as given:
        [row] = given.inputs()
    assert isinstance(row, SessionInput)
    assert (row.session_id, row.columns) == ("1:2", {"n": "9" * 5000})


def test_an_id_with_a_lone_surrogate_stays_what_it_is(tmp_path: Path) -> None:
    assert read_all(tmp_path, '["a\\ud8001", "a?1"]') == (("a\ud8001", "a?1"), 0, 1)


@pytest.mark.parametrize("form", ["lines", "array"])
def test_many_ids_are_read_in_flat_memory(tmp_path: Path, form: str) -> None:
    path, count = tmp_path / "ids", 10_000
    ids = (f"{n}:{n * 7919}" for n in range(count))
    path.write_text("\n".join(ids) if form == "lines" else json.dumps(list(ids)))
    tracemalloc.start()
    try:
        with closing(read_ids([str(path)])) as found:
            assert sum(1 for _ in found) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000
