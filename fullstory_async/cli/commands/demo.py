"""The command ``demo``: a complete job against an embedded sandbox."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Parameter
from rich.table import Table

from fullstory_async.activations import Activations
from fullstory_async.cli.commands.fetch import run_job
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.demo_cluster import ClusterDemo, require_libraries, run_cluster_demo
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.output import as_row, printable
from fullstory_async.cli.signals import exit_of_server, first_signal, on_interrupt
from fullstory_async.cli.timeline import print_timeline
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.models import Session, SessionEvents
from fullstory_async.ratelimit.limiter import RateLimit
from fullstory_async.session_id import SessionId

if TYPE_CHECKING:
    from fullstory_async.sandbox import Sandbox

__all__ = ["demo"]

_Flag = Parameter(negative="")
_LATENCY = 0.08
_MEAN_EVENTS = 60
_MAX_REPLAY_EVENTS = 150
"""Events that fit on a page that people like to read."""
_TIMELINE_EVENTS = 5
"""Lines of the timeline that is printed."""
_PROFILE = "support"


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
        return self.folder / "demo.job"


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
        New folder for the files. [default: fullstory-demo, numbered if that exists]
    serve
        Keep the sandbox running until Ctrl-C, so that the replay URLs open in a browser.
    crash
        Kill the job half way with kill -9, and resume it.
    cluster
        Start a Postgres and four workers instead, kill two of them, and check that nothing was lost. Needs
        fullstory-async[demo,worker].
    """
    sessions = (2500 if cluster else 300) if sessions is None else sessions
    concurrency = (8 if cluster else 32) if concurrency is None else concurrency
    if sessions < 1 or concurrency < 1:
        raise UsageError("--sessions and --concurrency must be 1 or more")
    if cluster and (serve or crash):
        raise UsageError("--cluster and --serve or --crash exclude each other")
    if cluster:
        require_libraries()
    limit, folder = RateLimit(rate), _new_folder(out_dir)
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
            f"A sandbox with {settings.sessions} sessions of {len(sandbox.users)} users listens on "
            f"{sandbox.url}\nand responds with 429 above {settings.limit.rate:g} requests per second. "
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
                await job.export(settings.folder / "events.jsonl")
        _print_totals(sandbox, settings, len(listed), time.monotonic() - started, crashed)
        shown = _show_session(sandbox, settings)
        if settings.serve:
            url = next(session.url for session in listed if session.id == shown)
            with first_signal() as stopped:
                sys.stderr.write(f"A session to look at: {url}\nThe sandbox runs until Ctrl-C …\n")
                code = exit_of_server(await stopped) or code
    return code


async def _list_sessions(client: FullStoryClient, sandbox: Sandbox, folder: Path) -> list[Session]:
    found = [
        session for user in sandbox.users async for session in client.sessions.list(uid=user.uid, limit=None)
    ]
    lines = (json.dumps(as_row(session)) + "\n" for session in found)
    (folder / "sessions.jsonl").write_text("".join(lines), encoding="utf-8")
    return found


async def _crash_job(sandbox: Sandbox, settings: _Settings, sessions: int) -> _Crash | Exit:
    """Run the job in a child process, and kill that half way with SIGKILL.

    A signal ends the demo, and the child with it; then the exit code is returned.
    """
    environment = {**os.environ, "FULLSTORY_BASE_URL": sandbox.url, "FULLSTORY_API_KEY": sandbox.api_key}
    rate = settings.limit.rate
    command = (
        sys.executable, "-m", "fullstory_async", "fetch", "--ids", str(settings.folder / "sessions.jsonl"),
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
        f"kill -9 after {sandbox.activations} charged calls: {left.done} results are on disk, "
        f"{Activations(left.spent, left.at_risk)}. Resuming …\n"
    )
    return _Crash(left.done, sandbox.activations)


def _show_session(sandbox: Sandbox, settings: _Settings) -> SessionId:
    """Print a part of one session's results, write its page, and return its id."""
    sizes = {name: count for name, count in sandbox.event_counts.items() if count <= _MAX_REPLAY_EVENTS}
    shown = max(sizes or sandbox.event_counts, key=sandbox.event_counts.__getitem__)
    console = StreamConsole(stderr=True)
    result = next(each for each in JobReader(settings.job_folder).results() if each.session_id == shown)
    if (events := result.events) is not None:
        console.print()
        print_timeline(console, events, _around_first_problem(events))
        if result.summary is not None:
            console.print(f"\nIts summary: {printable(result.summary.text)}", markup=False)
        path = settings.folder / "replay.html"
        path.write_text(events.to_html(summary=result.summary), encoding="utf-8")
        console.print(f"\nTo look at: {path.resolve().as_uri()}", soft_wrap=True, markup=False)
    console.print("With --serve the sandbox keeps running, and every replay URL opens.", soft_wrap=True)
    return shown


def _around_first_problem(events: SessionEvents) -> SessionEvents:
    """Return the few events before the first error or sign of frustration, and this one."""
    problems = (n for n, event in enumerate(events) if event.is_error or event.frustrations)
    end = max(next(problems, 0) + 1, _TIMELINE_EVENTS)
    return SessionEvents(events.session_id, list(events)[end - _TIMELINE_EVENTS : end], parent=events)


def _new_folder(wanted: Path | None) -> Path:
    """Create a folder that did not exist, so that no file is overwritten."""
    candidates = [wanted] if wanted is not None else (_numbered(n) for n in itertools.count(1))
    for folder in candidates:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"the folder {folder} can't be created: {error.strerror}") from None
        return folder
    raise UsageError(f"{wanted} exists; choose another folder")


def _numbered(number: int) -> Path:
    return Path("fullstory-demo" if number == 1 else f"fullstory-demo-{number}")


def _print_totals(
    sandbox: Sandbox, settings: _Settings, listed: int, seconds: float, crashed: _Crash | None
) -> None:
    status, stats = JobReader(settings.job_folder).status(), sandbox.stats()
    files = ", ".join(sorted(path.name for path in settings.folder.iterdir()))
    rows = [
        ("Sessions listed", f"{listed}"),
        ("Results", f"{status.done} of {status.calls}"),
        ("Failed", f"{status.failed}"),
        ("Time", f"{seconds:.1f} s"),
        ("Requests", f"{stats['requests']}, {stats['by_status'].get('429', 0)} of them rejected with 429"),
        ("Activations", str(Activations(status.spent, status.at_risk))),
        ("Charged", f"{sandbox.activations} by the sandbox"),
    ]
    if crashed is not None:
        repeated = sandbox.activations - status.done
        rows.append(("Crash", f"{crashed.results} results survived it; {repeated} calls were paid for twice"))
    rows.append(("Files", f"{settings.folder}/ ({files})"))
    table = Table(title="What happened", show_header=False, title_justify="left")
    for name, value in rows:
        table.add_row(name, value)
    StreamConsole(stderr=True).print(table)
