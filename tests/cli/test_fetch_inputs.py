"""``fetch`` over files as people have them: what it says, spends and keeps about rows that are no ids."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fullstory_async.cli import id_files
from fullstory_async.files.compression import zstd
from fullstory_async.jobs import JobReader
from fullstory_async.sandbox import Sandbox

Run = Callable[..., tuple[int, str, str]]
IDS = Sandbox().session_ids
FAST = ("--sandbox", "--rate", "10000", "--burst", "10000")


def test_several_files_of_other_programs_are_one_job(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(f"session_id;n\n{IDS[0]};1\n".encode()))
    (tmp_path / "b.txt").write_bytes(
        f"<https://app.fullstory.com/ui/O/session/{IDS[1]}|x>\r\n".encode("utf-16")
    )
    code, _, err = run("fetch", "--ids", "a.csv.gz", "--ids", "b.txt", "--events", "--job", "j", *FAST)
    assert (code, "2 results and 2 activations" in err) == (0, True), err


@pytest.mark.row(58)
def test_rows_that_are_no_ids_fail_alone_and_are_shown_as_failures(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text(f"session_id,n\n{IDS[0]},1\nTotal,2\nNULL,3\n{IDS[1]},4\n")
    command = ("fetch", "--ids", "ids.csv", "--events", "--job", "j", *FAST)
    code, _, err = run(*command, "--strict")
    assert (code, "line 3 does not look like a session id" in err) == (2, True), err
    assert not (tmp_path / "j").exists()
    code, _, err = run(*command)
    assert code == 3
    assert "note: 1 row has no id\n" in err
    assert "note: 1 row without a usable id: line 3 does not look like a session id: 'Total'\n" in err
    assert "1 invalid id counted as failed" in err
    assert JobReader(tmp_path / "j").status().spent == 2
    _, out, _ = run("job", "failures", "j")
    assert [json.loads(line)["message"] for line in out.splitlines()] == [
        "line 3 does not look like a session id: 'Total'"
    ]


@pytest.mark.row(57)
def test_a_rounded_file_is_refused_before_anything_is_sent(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text(
        "user_id,session_id\n6100490361000070000,1511755620562820000\n5415577363091000000,6138002021762420000\n"
    )
    command = ("fetch", "--ids", "ids.csv", "--events", "--job", "j", *FAST)
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert "rounded" in err
    assert "--trust-ids" in err
    assert not (tmp_path / "j").exists()
    code, _, err = run(*command, "--trust-ids", "--dry-run")
    assert (code, "2 sessions, 2 calls left" in err) == (0, True), err


def test_a_zstd_file_without_the_extra_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ids.zst").write_bytes(zstd.compress(b"1:2\n"))
    monkeypatch.setattr(id_files, "zstd", None)
    code, _, err = run("fetch", "--ids", "ids.zst", "--events", "--job", "j", *FAST)
    assert (code, "pip install 'fullstory-async[zstd]'" in err) == (2, True)
