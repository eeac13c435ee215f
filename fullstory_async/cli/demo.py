"""The demo: the main job with nothing to set, against an embedded sandbox; killed half way, if that is asked for."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from pathlib import Path

import attrs
from rich.table import Table

from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.fetching import run_job
from fullstory_async.cli.output import as_row, console_that_lets_pipes_break
from fullstory_async.cli.signals import until_interrupted
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig
from fullstory_async.http.ratelimit import RateLimit
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.models import Session
from fullstory_async.sandbox import Sandbox
from fullstory_async.session_id import SessionId

__all__ = ["demo"]

_LATENCY = 0.08
_MEAN_EVENTS = 60
_READABLE = 150
"""Events that a person looks through with pleasure."""
_PROFILE = "support"


@attrs.frozen
class _Crash:
    """What a killed process left behind."""

    answers: int
    requests: int


async def demo(
    *,
    sessions: int,
    seed: int,
    rate: float,
    concurrency: int,
    out_dir: Path | None,
    serve: bool,
    crash: bool,
) -> Exit:
    """List, fetch and summarise every session of a sandbox; leave the files behind."""
    if sessions < 1 or concurrency < 1:
        raise UsageError("--sessions and --concurrency must be 1 or more")
    limit = RateLimit(rate)
    folder = _new_folder(out_dir)
    sandbox = Sandbox(
        seed=seed, sessions=sessions, mean_events=_MEAN_EVENTS, rate_limit=limit, latency=_LATENCY
    )
    async with sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=limit)
        sys.stderr.write(
            f"A sandbox FullStory with {sessions} sessions of {len(sandbox.users)} users listens on {sandbox.url}\n"
            f"and answers 429 above {rate:g} requests a second. Listing sessions, then events and summaries …\n"
        )
        async with FullStoryClient(config=config) as client:
            listed = await _listed(client, sandbox, folder)
            crashed = await _crash(sandbox, folder, listed, rate, concurrency) if crash else None
            started = time.monotonic()
            plan = JobPlan(events=True, summary=_PROFILE)
            async with Job.open(folder / "demo.job", client=client, plan=plan) as job:
                await job.add(listed)
                code = await run_job(job, concurrency=concurrency)
                await job.export(folder / "events.jsonl")
        _closing_table(sandbox, folder, len(listed), time.monotonic() - started, crashed)
        worth_seeing = _leave_replay_page(sandbox, folder)
        if serve:
            url = next(session.url for session in listed if session.id == worth_seeing)
            sys.stderr.write(f"A session worth seeing: {url}\nThe sandbox runs until Ctrl-C …\n")
            await until_interrupted()
    return code


async def _listed(client: FullStoryClient, sandbox: Sandbox, folder: Path) -> list[Session]:
    found = [
        session for user in sandbox.users async for session in client.sessions.list(uid=user.uid, limit=None)
    ]
    lines = (json.dumps(as_row(session)) + "\n" for session in found)
    (folder / "sessions.jsonl").write_text("".join(lines), encoding="utf-8")
    return found


async def _crash(
    sandbox: Sandbox, folder: Path, listed: list[Session], rate: float, concurrency: int
) -> _Crash:
    """Run the job in a process of its own, and kill that half way with a signal that nobody can catch."""
    environment = {**os.environ, "FULLSTORY_BASE_URL": sandbox.url, "FULLSTORY_API_KEY": sandbox.api_key}
    command = (
        sys.executable, "-m", "fullstory_async", "fetch", "--ids", str(folder / "sessions.jsonl"), "--events",
        "--summary", _PROFILE, "--job", str(folder / "demo.job"), "--yes", "--rate", str(rate), "--burst", str(max(1.0, rate)),
        "--concurrency", str(concurrency),
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        while sandbox.activations < len(listed) and process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the sandbox has no event for this
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    left = JobReader(folder / "demo.job").status()
    sys.stderr.write(
        f"kill -9 after {sandbox.activations} charged calls: {left.done} answers are on the disk, "
        f"{left.set_aside} calls were on their way. Going on …\n"
    )
    return _Crash(left.done, sandbox.activations)


def _leave_replay_page(sandbox: Sandbox, folder: Path) -> SessionId:
    """Write down the page of the session that has the most to see, and return which one that is."""
    sizes = {name: count for name, count in sandbox.event_counts.items() if count <= _READABLE}
    shown = max(sizes or sandbox.event_counts, key=sandbox.event_counts.__getitem__)
    (folder / "replay.html").write_bytes(sandbox.replay_page(shown))
    console_that_lets_pipes_break().print(
        f"To look at: {(folder / 'replay.html').resolve().as_uri()}", soft_wrap=True
    )
    console_that_lets_pipes_break().print(
        "With --serve the sandbox stays, and every session's replay URL opens.", soft_wrap=True
    )
    return shown


def _new_folder(wanted: Path | None) -> Path:
    """Make a folder that was not there before: nothing is ever overwritten."""
    candidates = [wanted] if wanted is not None else (_numbered(n) for n in itertools.count(1))
    for folder in candidates:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"the folder {folder} can't be made: {error.strerror}") from None
        return folder
    raise UsageError(f"{wanted} exists; choose another folder")


def _numbered(number: int) -> Path:
    return Path("fullstory-demo" if number == 1 else f"fullstory-demo-{number}")


def _closing_table(
    sandbox: Sandbox, folder: Path, listed: int, seconds: float, crashed: _Crash | None
) -> None:
    status, asked = JobReader(folder / "demo.job").status(), sandbox.stats()
    table = Table(title="What happened", show_header=False, title_justify="left")
    rows = [
        ("Sessions listed", f"{listed}"),
        ("Answers fetched", f"{status.done} of {status.calls}"),
        ("Failed", f"{status.failed}"),
        ("Time", f"{seconds:.1f} s"),
        ("Requests", f"{asked['requests']}, of which {asked['by_status'].get('429', 0)} were answered 429"),
        ("Activations", f"{status.spent} counted by the job, {sandbox.activations} charged by the sandbox"),
    ]
    if crashed is not None:
        again = sandbox.activations - status.done
        rows.append(
            ("The crash", f"{crashed.answers} answers survived it; {again} calls had to be paid for again")
        )
    rows.append(("Files", f"{folder}/ ({', '.join(sorted(path.name for path in folder.iterdir()))})"))
    for name, value in rows:
        table.add_row(name, value)
    console_that_lets_pipes_break().print(table)
