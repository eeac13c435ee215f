"""Ids files: plain lines, CSV, JSON Lines."""

from __future__ import annotations

import pytest

from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.ids import read_ids


def read(tmp_path, text, column=None):
    path = tmp_path / "ids"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_ids(str(path), column)


@pytest.mark.parametrize(
    "text",
    [
        "1:2\n3:4\n",
        "\ufeff1:2\r\n# comment\r\n\r\n  3!4  \r\n",
        "session_id\n1:2\n3:4\n",
        "name,Session ID,plan\nx,1:2,pro\ny,3%3A4,free\n",
        "UserId,SessionId\n1,2\n3,4\n",
        'fsUrl,x\n"https://app.fullstory.com/ui/O/session/1:2",1\nhttps://app.fullstory.com/ui/O/session/3:4,2\n',
        '{"session_id": "1:2"}\n\n{"id": "3:4", "x": [1]}\n',
        '{"UserId": 1, "SessionId": 2}\n{"userId": "3", "sessionId": "4"}\n',
        '{"sessionId": "1:2", "userId": "9"}\n{"url": "https://app.fullstory.com/ui/O/session/3:4"}\n',
    ],
)
def test_every_form_gives_the_same_ids(tmp_path, text):
    assert read(tmp_path, text).ids == ("1:2", "3:4")


def test_a_named_column_wins(tmp_path):
    assert read(tmp_path, "id,mine\n9:9,1:2\n", "mine").ids == ("1:2",)
    assert read(tmp_path, '{"id": "9:9", "mine": "1:2"}\n', "mine").ids == ("1:2",)
    with pytest.raises(UsageError, match="without the column 'mine'"):
        read(tmp_path, '{"id": "9:9"}\n', "mine")
    with pytest.raises(UsageError, match="no column 'mine'"):
        read(tmp_path, "1:2\n", "mine")


def test_large_integers_stay_exact(tmp_path):
    assert read(tmp_path, '{"UserId": 9007199254740993, "SessionId": 9223372036854775807}\n').ids == (
        "9007199254740993:9223372036854775807",
    )


def test_duplicates_and_bad_ids_are_counted(tmp_path):
    found = read(tmp_path, "1:2\n1!2\na/b\na/b\n..\n")
    assert found.ids == ("1:2", "a/b", "..")
    assert (found.duplicates, found.invalid) == (2, 2)


def test_empty_cells_are_skipped_and_rows_that_are_no_objects_refused(tmp_path):
    assert read(tmp_path, "mine,x\n1:2,a\n,b\n", "mine").ids == ("1:2",)
    with pytest.raises(UsageError, match="id column"):
        read(tmp_path, '{"id": "1:2"}\n[1]\n')
