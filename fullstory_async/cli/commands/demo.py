"""The command ``demo``: a complete job against an embedded sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Parameter

from fullstory_async.activations import Activations
from fullstory_async.amounts import counted
from fullstory_async.cli.commands.fetch import run_job
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.demo_cluster import ClusterDemo, require_libraries, run_cluster_demo
from fullstory_async.cli.demo_report import Totals, print_commands, print_session, print_totals
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.output import as_row
from fullstory_async.cli.signals import exit_of_server, first_signal, on_interrupt
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.models import Session
from fullstory_async.ratelimit.limiter import RateLimit

if TYPE_CHECKING:
    from fullstory_async.sandbox import Sandbox

__all__ = ["demo"]

_Flag = Parameter(negative="")
_LATENCY = 0.08
_MEAN_EVENTS = 60
_PROFILE = "support"
_FOLDER = Path("fullstory-demo")
_JOB, _PAGE, _SESSIONS = "demo.job", "replay.html", "sessions.jsonl"
_EXPORT = "events.jsonl"
_MARK = ".fullstory-demo"
"""A file by which a demo recognises the folder of an earlier one."""
_FILES = (
    _PAGE, _SESSIONS, _EXPORT, "events.failures.jsonl", "events.pages.jsonl", "events.sessions.jsonl",
    "events.summaries.jsonl", "demo.job.rescue",
)  # fmt: skip
"""What a demo writes, besides its job; the next one removes it."""


@attrs.frozen(kw_only=True)
class _Settings:
    """The options of the demo."""

    sessions: int
    seed: int
    limit: RateLimit
    concurrency: int
    folder: Path
    serve: bool
    crash: bool

    @property
    def job_folder(self) -> Path:
        return self.folder / _JOB


@attrs.frozen
class _Crash:
    """The state of the job after its process was killed."""

    results: int
    activations: int


def demo(
    *,
    sessions: int | None = None,
    seed: int = 0,
    rate: float = 100.0,
    concurrency: int | None = None,
    out_dir: Path | None = None,
    serve: Annotated[bool, _Flag] = False,
    crash: Annotated[bool, _Flag] = False,
    cluster: Annotated[bool, _Flag] = False,
) -> Exit:
    """Watch a complete job against an embedded sandbox: no key, no settings, no cost.

    Lists the sessions of all users, fetches events and summaries of each under a rate limit that the sandbox
    enforces, and writes the results to files.

    Example: fullstory-async demo --crash

    Parameters
    ----------
    sessions
        Number of sessions in the sandbox. [default: 300, or 2500 with --cluster]
    seed
        Seed of the generated data.
    rate
        Rate limit, in requests per second.
    concurrency
        Maximum number of calls in flight. [default: 32, or 8 of each worker with --cluster]
    out_dir
        Folder for the files, which replace those of an earlier demo. [default: fullstory-demo]
    serve
        Keep the sandbox running until Ctrl-C, so that the replay URLs open in a browser.
    crash
        Kill the job half way with kill -9, and resume it.
    cluster
        Start a Postgres and four workers instead, kill two of them, and check that nothing was lost. Needs
        fullstory-async[demo].
    """
    sessions = (2500 if cluster else 300) if sessions is None else sessions
    concurrency = (8 if cluster else 32) if concurrency is None else concurrency
    if sessions < 1 or concurrency < 1:
        raise UsageError("--sessions and --concurrency must be 1 or more")
    if cluster and (serve or crash):
        raise UsageError("--cluster and --serve or --crash exclude each other")
    if cluster:
        require_libraries()
    limit, folder = RateLimit(rate), _fresh_folder(_FOLDER if out_dir is None else out_dir)
    if cluster:
        return asyncio.run(
            run_cluster_demo(
                ClusterDemo(sessions=sessions, seed=seed, limit=limit, concurrency=concurrency, folder=folder)
            )
        )
    settings = _Settings(
        sessions=sessions, seed=seed, limit=limit, concurrency=concurrency, folder=folder, serve=serve,
        crash=crash,
    )  # fmt: skip
    return asyncio.run(_run(settings))


async def _run(settings: _Settings) -> Exit:
    """List, fetch and summarise every session of a sandbox, and write the files."""
    # the web server is slow to import, and `--help` does not need it
    from fullstory_async.sandbox import Sandbox  # noqa: PLC0415

    sandbox = Sandbox(
        seed=settings.seed, sessions=settings.sessions, mean_events=_MEAN_EVENTS, rate_limit=settings.limit,
        latency=_LATENCY,
    )  # fmt: skip
    async with sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=settings.limit)
        sys.stderr.write(
            f"A sandbox with {counted(settings.sessions, 'session')} of {len(sandbox.users)} users "
            f"listens on {sandbox.url}\n"
            f"and responds with 429 above {settings.limit.rate:g} requests per second. "
            "Listing sessions, then fetching events and summaries …\n"
        )
        async with FullStoryClient(config=config) as client:
            listed = await _list_sessions(client, sandbox, settings.folder)
            crashed = await _crash_job(sandbox, settings, len(listed)) if settings.crash else None
            if isinstance(crashed, Exit):
                return crashed
            started = time.monotonic()
            plan = JobPlan(events=True, summary=_PROFILE)
            async with Job.open(settings.job_folder, client=client, plan=plan) as job:
                await job.add(listed)
                code, _ = await run_job(job, concurrency=settings.concurrency)
                await job.export(settings.folder / _EXPORT)
        shown = _report(settings, _totals(sandbox, len(listed), time.monotonic() - started, crashed))
        if settings.serve:
            url = next((session.url for session in listed if session.id == shown), sandbox.url)
            with first_signal() as stopped:
                sys.stderr.write(f"A session to look at: {url}\nThe sandbox runs until Ctrl-C …\n")
                code = exit_of_server(await stopped) or code
    return code


def _totals(sandbox: Sandbox, sessions: int, seconds: float, crashed: _Crash | None) -> Totals:
    stats = sandbox.stats()
    return Totals(
        users=len(sandbox.users), sessions=sessions, seconds=seconds, requests=stats["requests"],
        rejected=stats["by_status"].get("429", 0), charged=sandbox.activations,
        survived=None if crashed is None else crashed.results,
    )  # fmt: skip


def _report(settings: _Settings, totals: Totals) -> str | None:
    """Print what happened and a part of the results, write the page of one session, and return its id."""
    console = StreamConsole(stderr=True)
    print_totals(console, totals, settings.job_folder)
    shown = print_session(console, settings.job_folder, settings.folder / _PAGE)
    print_commands(console, settings.folder, settings.job_folder)
    if not settings.serve:
        console.print("With --serve the sandbox keeps running, and every replay URL opens.", soft_wrap=True)
    return shown


async def _list_sessions(client: FullStoryClient, sandbox: Sandbox, folder: Path) -> list[Session]:
    found = [
        session for user in sandbox.users async for session in client.sessions.list(uid=user.uid, limit=None)
    ]
    lines = (json.dumps(as_row(session)) + "\n" for session in found)
    (folder / _SESSIONS).write_text("".join(lines), encoding="utf-8")
    return found


async def _crash_job(sandbox: Sandbox, settings: _Settings, sessions: int) -> _Crash | Exit:
    """Run the job in a child process, and kill that half way with SIGKILL.

    A signal ends the demo, and the child with it; then the exit code is returned.
    """
    environment = {**os.environ, "FULLSTORY_BASE_URL": sandbox.url, "FULLSTORY_API_KEY": sandbox.api_key}
    rate = settings.limit.rate
    command = (
        sys.executable, "-m", "fullstory_async", "fetch", "--ids", str(settings.folder / _SESSIONS),
        "--events", "--summary", _PROFILE, "--job", str(settings.job_folder), "--yes", "--rate", str(rate),
        "--burst", str(max(1.0, rate)), "--concurrency", str(settings.concurrency),
    )  # fmt: skip
    received: list[int] = []
    with on_interrupt(received.append):
        process = await asyncio.create_subprocess_exec(*command, env=environment)
        try:
            # half of the job: it makes two calls per session
            while sandbox.activations < sessions and process.returncode is None:
                if received:
                    break
                await asyncio.sleep(0.01)  # the sandbox has no event for this
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    if received:
        return Exit(128 + received[0])
    left = JobReader(settings.job_folder).status()
    sys.stderr.write(
        f"kill -9 after {counted(sandbox.activations, 'charged call')}: {left.done} results are on disk, "
        f"{Activations(left.spent, left.at_risk)}. Resuming …\n"
    )
    return _Crash(left.done, sandbox.activations)


def _fresh_folder(folder: Path) -> Path:
    """Create the folder, or remove from it what an earlier demo left; other files in it stay."""
    job = folder / _JOB
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not (job.is_dir() or (folder / _MARK).is_file()):
            raise UsageError(f"{folder} exists, and no demo made it; choose another --out-dir") from None
        if job.is_dir():
            if (holder := JobReader(job).status().holder) is not None:
                raise UsageError(f"a demo is using {folder} ({holder}); choose another --out-dir") from None
            shutil.rmtree(job)
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} can't be created: {error.strerror}") from None
    (folder / _MARK).touch()
    return folder
