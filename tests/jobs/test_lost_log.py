"""A job whose log was lost or damaged after a kill, or whose files were copied in part: noticed, readable, not run."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fullstory_async import JobError, JobIncompleteError, JobStorageError, SessionId
from fullstory_async.cli import main
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.storage import commit_record
from fullstory_async.jobs.storage.inputs import NewItem
from fullstory_async.jobs.storage.schema import backfill_wal
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.jobs.storage.tasks import JobTask
from tests.jobs.test_job import opened

EVENTS = JobPlan(events=True, max_activations=60)
MAIN, LOG, INDEX, RECORD = (f"job.sqlite3{suffix}" for suffix in ("", "-wal", "-shm", "-commits"))
IN_LOG = 12
"""Responses that are only in the log."""


def store_in(folder: Path, plan: JobPlan = EVENTS) -> JobStore:
    folder.mkdir()
    return JobStore(folder, plan)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in (MAIN, LOG, RECORD)}


async def make(folder: Path, killed: Path, *, spent: int = IN_LOG) -> None:
    """Make a job of 20 sessions, and a copy as a kill leaves it: with responses in its log alone."""
    store = store_in(folder)
    await store.add([NewItem(f"1:{n}") for n in range(20)])
    for seq in range(1, spent + 1):
        task = JobTask(seq, f"1:{seq}", "events")
        assert await store.reserve(task, 1)
        await store.save_response(task, b'{"events": []}', attempts=1, spent=1)
    assert await store.reserve(JobTask(20, "1:19", "events"), 1)  # still in flight
    shutil.copytree(folder, killed)
    store.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("log")
    asyncio.run(make(parent / "running", parent / "killed"))
    return parent / "killed"


@pytest.fixture
def job(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "j"))


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def keep(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()

    return change


def cut(name: str, share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return change


def flip(name: str, share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[int(len(content) * share)] ^= 1
        (folder / name).write_bytes(content)

    return change


LOSSES = {
    "deleted": delete(LOG), "emptied": cut(LOG, 0), "halved": cut(LOG, 0.5), "head only": cut(LOG, 0.001),
    "end cut": cut(LOG, 0.97), "flipped at the head": flip(LOG, 0.0), "flipped in the middle": flip(LOG, 0.5),
    "only the file": keep(MAIN), "without the log": keep(MAIN, RECORD), "without the record": delete(RECORD),
    "file and log": keep(MAIN, LOG), "record cut": cut(RECORD, 0.01),
}  # fmt: skip


async def opened_for_writing(folder: Path, *, accept_loss: bool = False) -> tuple[int, int]:
    """Return the number of responses and the activations that a job says it has, when it is opened to run."""
    async with Job.open(folder, accept_loss=accept_loss) as job:
        return job.counts.answered, job.counts.spent


async def test_a_complete_copy_of_a_killed_job_goes_on(job: Path) -> None:
    assert JobReader(job).missing is None
    status = JobReader(job).status()
    assert (status.done, status.spent, status.reserved, status.missing) == (IN_LOG, IN_LOG + 1, 0, None)
    assert await opened_for_writing(job) == (IN_LOG, IN_LOG + 1)
    assert await opened_for_writing(job) == (IN_LOG, IN_LOG + 1)


@pytest.mark.row(95)
async def test_a_lost_or_damaged_log_is_noticed_and_spent_never_goes_back(made: Path, tmp_path: Path) -> None:
    for name, damage in LOSSES.items():
        job = Path(shutil.copytree(made, tmp_path / name))
        damage(job)
        before = files_of(job)

        reader = JobReader(job)
        read = [record for record in reader.records() if record.bodies]
        status = reader.status()
        assert reader.missing is not None, name
        assert len(read) == status.done <= IN_LOG
        assert reader.damaged >= max(1, IN_LOG - len(read)) or "how many" in reader.missing
        assert (status.spent >= IN_LOG + 1, status.reserved) == (True, 0), name
        for _ in range(2):
            with pytest.raises(JobIncompleteError, match=r"lacks .*job accept-loss .*count as spent"):
                await opened_for_writing(job)
        left = {file: content for file, content in files_of(job).items() if file in before}
        assert before == left, name  # a log that arrives later, from a slow copy, still fits

        answered, spent = await opened_for_writing(job, accept_loss=True)
        assert (answered, spent) == (len(read), status.spent), name
        assert await opened_for_writing(job) == (answered, spent)
        assert JobReader(job).missing is None
        assert len([record for record in JobReader(job).records() if record.bodies]) == answered


@pytest.mark.row(95)
async def test_a_log_that_comes_back_makes_the_job_complete(job: Path) -> None:
    log = (job / LOG).read_bytes()
    (job / LOG).unlink()
    with pytest.raises(JobIncompleteError):
        await opened_for_writing(job)
    (job / LOG).write_bytes(log)
    assert await opened_for_writing(job) == (IN_LOG, IN_LOG + 1)


@pytest.mark.row(95)
async def test_the_index_of_the_log_may_be_lost(made: Path, tmp_path: Path) -> None:
    for name, damage in {
        "gone": delete(INDEX),
        "cut": cut(INDEX, 0.5),
        "flipped": flip(INDEX, 0.002),
    }.items():
        job = Path(shutil.copytree(made, tmp_path / name))
        damage(job)
        assert JobReader(job).status().done == IN_LOG
        assert await opened_for_writing(job) == (IN_LOG, IN_LOG + 1)


@pytest.mark.row(95)
async def test_a_log_without_its_file_is_kept(job: Path) -> None:
    log = (job / LOG).read_bytes()
    for empty in (False, True):
        (job / MAIN).unlink()
        if empty:
            (job / MAIN).touch()
        with pytest.raises(JobIncompleteError, match=r"has lost its job\.sqlite3"):
            async with Job.open(job, plan=EVENTS, accept_loss=True):
                pass
        assert (job / LOG).read_bytes() == log
        (job / MAIN).touch()


async def test_a_closed_job_is_its_file_alone(tmp_path: Path) -> None:
    await make(tmp_path / "j", tmp_path / "killed")
    assert not (tmp_path / "j" / LOG).exists()
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "j" / MAIN, tmp_path / "alone")
    assert JobReader(tmp_path / "alone").missing is None
    assert await opened_for_writing(tmp_path / "alone") == (IN_LOG, IN_LOG + 1)


@pytest.mark.row(95)
async def test_an_older_file_in_the_place_of_a_newer_one_is_noticed(tmp_path: Path) -> None:
    await make(tmp_path / "j", tmp_path / "killed")
    shutil.copy(tmp_path / "j" / MAIN, tmp_path / "older")
    async with Job.open(tmp_path / "j") as job:
        await job.add(["7:7"])
    shutil.copy(tmp_path / "older", tmp_path / "j" / MAIN)
    assert JobReader(tmp_path / "j").missing is not None
    with pytest.raises(JobIncompleteError, match="its last . commits, with 0 responses"):
        await opened_for_writing(tmp_path / "j")


@pytest.mark.row(95)
async def test_a_newer_file_over_an_older_copy_is_noticed(job: Path, tmp_path: Path) -> None:
    """The older record knows nothing of the commits in the log that was not copied."""
    backup = Path(shutil.copytree(job, tmp_path / "backup"))
    async with Job.open(job) as closed:
        store = closed._store
        assert store is not None
        for seq in range(IN_LOG + 1, IN_LOG + 5):
            task = JobTask(seq, f"1:{seq}", "events")
            assert await store.reserve(task, 1)
            await store.save_response(task, b"{}", attempts=1, spent=1)
        shutil.copy(job / MAIN, backup / MAIN)
        spent = closed.counts.spent
    for older in ((LOG, RECORD), (RECORD,)):
        copy = Path(shutil.copytree(backup, tmp_path / str(len(older))))
        keep(MAIN, *older)(copy)
        with pytest.raises(JobError):
            await opened_for_writing(copy)
        (copy / LOG).unlink(missing_ok=True)
        with pytest.raises(JobIncompleteError, match="nothing says how many"):
            await opened_for_writing(copy)
        assert JobReader(copy).missing is not None
        assert (await opened_for_writing(copy, accept_loss=True))[1] >= spent


@pytest.mark.row(95)
async def test_a_newer_file_without_its_log_beside_an_older_record_of_its_run_is_noticed(
    tmp_path: Path,
) -> None:
    folder, copy = tmp_path / "j", tmp_path / "copy"
    store = store_in(folder, JobPlan(events=True, max_activations=300))
    await store.add([NewItem(f"1:{n}") for n in range(20)])
    copy.mkdir()
    shutil.copy(folder / RECORD, copy)
    for seq in range(1, 11):
        if seq == 6:  # as SQLite does it after large commits
            await store.writer.run(backfill_wal, outside_transaction=True)
        assert await store.reserve(JobTask(seq, f"1:{seq}", "events"), 1)
        await store.save_response(JobTask(seq, f"1:{seq}", "events"), b"{}", attempts=1, spent=1)
    shutil.copy(folder / MAIN, copy)
    store.close()
    assert JobReader(copy).missing == "lacks commits, nothing says how many"
    with pytest.raises(JobIncompleteError, match="nothing says how many"):
        await opened_for_writing(copy)
    answered, spent = await opened_for_writing(copy, accept_loss=True)
    assert (answered, spent >= 10) == (5, True)


@pytest.mark.row(95)
async def test_a_backup_that_is_put_back_while_the_job_runs_is_noticed_and_spent_stays(
    tmp_path: Path,
) -> None:
    folder, backup = tmp_path / "j", tmp_path / "backup"
    store = store_in(folder)
    await store.add([NewItem(f"1:{n}") for n in range(20)])
    shutil.copytree(folder, backup)
    for seq in range(1, 8):
        assert await store.reserve(JobTask(seq, f"1:{seq - 1}", "events"), 1)
        await store.save_response(JobTask(seq, f"1:{seq - 1}", "events"), b"{}", attempts=1, spent=1)
    assert await store.reserve(JobTask(8, "1:7", "events"), 1)
    for name in (MAIN, LOG, INDEX, RECORD):
        (folder / name).write_bytes((backup / name).read_bytes())
    with pytest.raises(JobStorageError, match="replaced by older copies"):
        await store.save_response(JobTask(8, "1:7", "events"), b"{}", attempts=1, spent=1)
    store.close()
    with pytest.raises(JobIncompleteError):
        await opened_for_writing(folder)
    answered, spent = await opened_for_writing(folder, accept_loss=True)
    assert (answered, spent >= 8) == (0, True)
    reopened = JobStore(folder, None)
    await reopened.spend_reserved()
    assert reopened.counts.answered == 1  # the response that was rescued
    reopened.close()


@pytest.mark.row(95)
async def test_a_file_and_a_log_of_different_times_are_noticed(tmp_path: Path) -> None:
    """As a copy made while the job runs has them, if the log begins anew between the two."""
    folder, copy = tmp_path / "j", tmp_path / "copy"
    store = store_in(folder)
    await store.add([NewItem(f"1:{n}") for n in range(20)])
    shutil.copytree(folder, copy)
    for seq in range(1, 9):
        if seq == 8:
            await store.writer.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)"), outside_transaction=True)  # fmt: skip
        await store.save_response(JobTask(seq, f"1:{seq}", "events"), b"{}", attempts=1, spent=1)
    for name in (LOG, RECORD):
        shutil.copy(folder / name, copy / name)
    store.close()
    with pytest.raises(JobError, match=r"lacks|damaged|malformed"):
        await opened_for_writing(copy)
    reader = JobReader(copy)
    list(reader.records())
    assert reader.damaged > 0


@pytest.mark.row(95)
async def test_an_older_log_beside_a_newer_file_is_noticed(job: Path, tmp_path: Path) -> None:
    older = {name: (job / name).read_bytes() for name in (LOG, RECORD)}
    await opened_for_writing(job)
    (job / RECORD).write_bytes(older[RECORD])
    assert JobReader(job).missing is None
    (job / LOG).write_bytes(older[LOG])  # it would hide the newer pages of the file
    reader = JobReader(job)
    assert (reader.missing, reader.status().spent) == ("lacks its last 2 commits, with 0 responses", 60)
    with pytest.raises(JobIncompleteError):
        await opened_for_writing(job)
    (job / LOG).unlink()
    assert await opened_for_writing(job) == (IN_LOG, IN_LOG + 1)


async def test_a_log_that_another_program_has_written_into_the_file_is_not_missed(job: Path) -> None:
    with closing(sqlite3.connect(job / MAIN)) as database:
        assert database.execute("SELECT COUNT(*) FROM answers").fetchone() == (IN_LOG,)
    assert not (job / LOG).exists()
    assert await opened_for_writing(job) == (IN_LOG, IN_LOG + 1)


@pytest.mark.row(95)
async def test_spent_is_bounded_by_the_file_alone_however_much_was_spent(tmp_path: Path) -> None:
    """Also by the cap: nothing beyond it was ever reserved."""
    for cap, most in ((None, 205 + 100), (230, 230)):
        folder, copy = tmp_path / f"j{cap}", tmp_path / f"copy{cap}"
        store = store_in(folder, JobPlan(events=True, max_activations=cap))
        await store.add([NewItem(f"1:{n}") for n in range(300)])
        await asyncio.gather(*(store.reserve(JobTask(n, f"1:{n}", "events"), 1) for n in range(1, 206)))
        copy.mkdir()
        shutil.copy(folder / MAIN, copy)
        store.close()
        answered, spent = await opened_for_writing(copy, accept_loss=True)
        assert (answered, 205 <= spent <= most) == (0, True)


async def test_after_a_restart_of_the_machine_the_record_is_not_trusted_with_the_last_second(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job / LOG).unlink()
    assert JobReader(job).status().spent == IN_LOG + 1
    for module in ("commit_record", "completeness"):
        monkeypatch.setattr(f"fullstory_async.jobs.storage.{module}.current_boot", lambda: b"another")
    assert JobReader(job).status().spent == EVENTS.max_activations  # the ceiling, as the cap limits it


async def test_a_record_that_can_not_be_written_loses_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_in(tmp_path / "j")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(commit_record.CommitRecord, "_put", fail)
    await store.add([NewItem("1:1")])
    await store.add([NewItem("1:2")])
    store.close()
    assert caplog.text.count("a lost log may go unnoticed: [Errno 5] Input/output error") == 1
    assert JobReader(tmp_path / "j").status().sessions == 2


@pytest.mark.row(95)
def test_the_command_line_refuses_reads_and_accepts(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / LOG).unlink()

    def run(*words: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    code, _, said = run("fetch", "--job", str(job), "--resume")
    assert (code, "job accept-loss" in said) == (1, True)
    code, out, _ = run("job", "status", str(job))
    assert (code, '"missing": "lacks its last' in out, f'"spent": {IN_LOG + 1}' in out) == (0, True, True)
    code, _, said = run("job", "results", str(job))
    assert (code, "lacks its last" in said) == (3, True)
    code, _, said = run("job", "accept-loss", str(job))
    assert (code, f"{IN_LOG + 1} activations count as spent" in said) == (0, True)
    code, _, said = run("job", "accept-loss", str(job))
    assert (code, "is complete" in said) == (0, True)


async def test_what_was_lost_is_fetched_again_within_the_budget(job: Path) -> None:
    (job / LOG).unlink()
    async with opened() as (sandbox, client):
        async with Job.open(job, accept_loss=True) as accepted:
            await accepted.add([SessionId(each) for each in sandbox.session_ids])
            before = accepted.counts.spent
        async with Job.open(job, client=client) as running:
            report = await running.run(retry_failed=True)
        assert before + sandbox.activations <= report.spent <= 60
        assert report.new_responses == sandbox.activations > 0
