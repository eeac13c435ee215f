"""The report file of ``fetch``, ``--quiet``, and ``job backup`` and ``job status`` on the command line."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.fetch_report import reported
from fullstory_async.sandbox import Sandbox
from tests.cli.conftest import Run

IDS = Sandbox().session_ids
FAST = ("--sandbox", "--rate", "10000", "--burst", "10000")


def report(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir() if each.name.endswith(".part")] == []
    return found


def test_a_report_says_how_a_run_ended(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join([*IDS[:3], "1:2"]))
    command = ("fetch", "--ids", "ids", "--events", "--job", "j", "--report", "r.json", *FAST)
    assert run(*command, "--max-activations", "2")[0] == 7
    first = report(tmp_path / "r.json")
    assert (first["reason"], first["exit_code"], first["error"]) == ("budget reached", 7, None)
    assert (first["done"], first["left"], first["spent"], first["new_responses"]) == (2, 2, 2, 2)
    code, _, err = run(*command, "--resume", "--max-activations", "9", "--quiet")
    assert (code, "1 × NotFoundError" in err, "activations spent" in err) == (3, True, True)
    last = report(tmp_path / "r.json")
    assert (last["reason"], last["exit_code"], last["failed_in_run"]) == ("finished", 3, {"NotFoundError": 1})
    names = (
        "sessions",
        "calls",
        "done",
        "failed",
        "permanent",
        "left",
        "spent",
        "new_responses",
        "newly_spent",
    )
    assert [last[name] for name in names] == [4, 4, 3, 1, 1, 0, 4, 1, 2]
    assert (last["job"], last["at_risk"], last["reserved"], last["dropped"]) == ("j", 1, 0, 0)
    assert last["seconds"] > 0
    assert last["started_at"] < last["ended_at"]


def test_a_report_is_written_if_nothing_was_run(run: Run, tmp_path: Path) -> None:
    assert run("fetch", "--ids", "none", "--events", "--job", "j", "--report", "r.json", *FAST)[0] == 2
    found = report(tmp_path / "r.json")
    assert (found["exit_code"], found["reason"], found["sessions"]) == (2, None, None)
    assert found["error"] == "UsageError: the ids file 'none' can't be read: No such file or directory"
    for error, code, text in (
        (KeyboardInterrupt(), 130, "KeyboardInterrupt"), (ValueError("x"), 1, "ValueError: x"),
    ):  # fmt: skip
        with pytest.raises(type(error)), reported(tmp_path / "r.json", tmp_path / "j"):
            raise error
        assert (report(tmp_path / "r.json")["exit_code"], report(tmp_path / "r.json")["error"]) == (
            code,
            text,
        )


def test_a_place_for_the_report_is_checked_before_anything_else(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "r.json"):
        with pytest.raises(UsageError, match="--report takes a file"), reported(path, tmp_path / "j"):
            raise AssertionError("not reached")


def test_a_report_that_can_t_be_written_does_not_change_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with reported(tmp_path / "r.json", tmp_path / "j"):
        (tmp_path / "r.json").mkdir()
    assert "warning: the report" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["r.json"]


def test_a_quiet_run_without_failures_says_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(IDS[:2]))
    assert run("fetch", "--ids", "ids", "--events", "--job", "j", "--quiet", *FAST) == (0, "", "")
    assert run("job", "export", "j", "out.jsonl", "--redact", "ip_address", "--quiet") == (0, "", "")
    assert run("job", "backup", "j", "copy", "--quiet") == (0, "", "")
    assert run("job", "purge", "j", "--session", IDS[0], "--quiet") == (0, "", "")
    assert run("job", "accept-loss", "j", "--quiet") == (0, "", "")
    code, _, err = run("job", "export", "j", "out.csv", "--redact", "UserEmail", "--allow-missing", "--quiet")
    assert (code, "UserEmail" in err) == (0, True)
    assert run("job", "purge", "j", "--session", "7:7", "--quiet")[2] != ""


def test_a_backup_is_a_job_on_the_command_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(IDS[:2]))
    assert run("fetch", "--ids", "ids", "--events", "--job", "j", *FAST)[0] == 0
    code, out, err = run("job", "backup", "j", "copy")
    assert (code, out, err) == (0, "", f"{tmp_path / 'copy'}\n")
    code, _, err = run("job", "backup", "j", "copy")
    assert (code, "copy exists; name a new folder" in err) == (2, True)
    status = json.loads(run("job", "status", "copy", "--json")[1])
    assert status == {
        **json.loads(run("job", "status", "j", "--output", "table", "--json")[1]),
        "job": "copy",
    }
    assert (status["done"], status["spent"]) == (2, 2)
