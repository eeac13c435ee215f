"""Wrong values of options that name files and folders: the message says what is wrong, and what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fullstory_async.jobs import Job, JobPlan
from fullstory_async.sandbox import Sandbox
from tests.cli.conftest import Run

ID = Sandbox().session_ids[0]
FETCH = ("fetch", "--ids", "ids", "--events", "--job", "new", "--sandbox", "--yes")


@pytest.fixture
def _folder(tmp_path: Path) -> None:
    """Make a folder, a job, a file of one id, and damaged tables."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "ids").write_text(ID)
    for name in ("bad.xlsx", "bad.parquet"):
        (tmp_path / name).write_text("damaged\n")

    async def make_job() -> None:
        async with Job.open(tmp_path / "j", plan=JobPlan(events=True)) as job:
            await job.add([ID])

    asyncio.run(make_job())


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("events", ID, "--cache", "folder", "--sandbox"), "folder can't be used: it is a folder; name a file"),
        (("events", ID, "--cache", "none/a.db", "--sandbox"), "none doesn't exist"),
        (("events", "none.jsonl", "--sandbox"), "there is no file none.jsonl"),
        (
            ("mcp", "--transport", "http", "--token-file", "none", "--sandbox"),
            "can't read the bearer token file 'none' (--token-file): No such file",
        ),
        (("mcp", "--ask-from", "x", "--sandbox"), "nor \"never\". See 'fullstory-async mcp --help'."),
        ((*FETCH, "--ids", "bad.xlsx"), "'bad.xlsx' is not an Excel workbook, although its name says so: save it"),
        ((*FETCH, "--ids", "bad.parquet"), "'bad.parquet' is not a Parquet file, although its name says so"),
        ((*FETCH, "--rescue-file", "folder"), "must be a file in a folder that exists, not "),
        ((*FETCH, "--rescue-file", "none/r"), "must be a file in a folder that exists, not "),
        (("job", "export", "j", "a.csv", "--redact", ""), "--redact needs the names of fields, as in user_email"),
        (("job", "export", "j", "a.csv", "--redact", "ip_address,=hash"), "not 'ip_address,=hash'"),
    ],
)  # fmt: skip
def test_a_wrong_place_is_refused_in_words_that_help(
    run: Run, tmp_path: Path, command: tuple[str, ...], message: str
) -> None:
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert message in err, err
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("_folder")
def test_one_of_something_is_not_a_plural(run: Run) -> None:
    assert run("job", "accept-loss", "j") == (0, "", "the job j is complete; 0 activations spent\n")
    assert run(*FETCH, "--quiet")[0] == 0
    assert run("job", "accept-loss", "new")[2] == "the job new is complete; 1 activation spent\n"
