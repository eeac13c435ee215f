"""What the cluster's commands say before they connect to anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

COMMANDS = ("init", "add", "work", "status", "export", "purge")
_NEEDED = {
    "add": ("--ids", "ids.txt"),
    "export": ("out.jsonl",),
    "purge": ("--session", "1:2"),
    "work": ("--sandbox",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_dsn_nothing_is_done(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.delenv("FULLSTORY_CLUSTER_DSN", raising=False)
    Path("ids.txt").write_text("1:2\n")
    code, out, err = run("cluster", command, *_NEEDED.get(command, ()))
    assert (code, out, err) == (
        2,
        "",
        "fullstory-async: no Postgres: set FULLSTORY_CLUSTER_DSN, or give --dsn\n",
    )


def test_help_needs_neither_psycopg_nor_procrastinate() -> None:
    pages = (["cluster", "--help"], ["cluster", "work", "--help"], ["demo", "--help"])
    script = (
        "import sys\nfrom fullstory_async.cli import main\n"
        f"for page in {pages}:\n    try:\n        main(page)\n    except SystemExit:\n        pass\n"
        "    print(sorted({'psycopg', 'procrastinate', 'aiohttp.web'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for page in pages:
        assert f"Usage: fullstory-async {' '.join(page[:-1])} " in done.stdout
    assert done.stderr == "[]\n" * len(pages)


def test_the_demo_of_a_cluster_has_no_crash_of_a_job(run: Run) -> None:
    for option in ("--crash", "--serve"):
        code, _, err = run("demo", "--cluster", option)
        assert code == 2
        assert "exclude each other" in err
