"""The demo: the main job with nothing to set, against an embedded sandbox."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fullstory_async.cli.bulk import Job, Report
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.output import Lines, as_row
from fullstory_async.cli.signals import until_interrupted
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig
from fullstory_async.http.pipeline import Stats
from fullstory_async.http.ratelimit import RateLimit
from fullstory_async.models import Session
from fullstory_async.sandbox import Sandbox
from fullstory_async.session_id import SessionId

__all__ = ["demo"]

_LATENCY = 0.08
_MEAN_EVENTS = 60
_READABLE = 150
"""Events that a person looks through with pleasure."""


async def demo(
    *, sessions: int, seed: int, rate: float, concurrency: int, out_dir: Path | None, serve: bool
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
            listed = [
                session
                for user in sandbox.users
                async for session in client.sessions.list(uid=user.uid, limit=None)
            ]
            report = await _fetch(client, listed, folder, concurrency)
            stats = client.stats
        worth_seeing = _leave_replay_page(sandbox, folder)
        _closing_table(report, stats, len(listed), sandbox, folder)
        if serve:
            url = next(session.url for session in listed if session.id == worth_seeing)
            sys.stderr.write(f"A session worth seeing: {url}\nThe sandbox runs until Ctrl-C …\n")
            await until_interrupted()
    return report.exit_code


def _leave_replay_page(sandbox: Sandbox, folder: Path) -> SessionId:
    """Write down the page of the session that has the most to see, and return which one that is."""
    sizes = {name: charged for name, charged in sandbox.event_counts.items() if charged <= _READABLE}
    shown = max(sizes or sandbox.event_counts, key=sandbox.event_counts.__getitem__)
    (folder / "replay.html").write_bytes(sandbox.replay_page(shown))
    return shown


async def _fetch(client: FullStoryClient, listed: list[Session], folder: Path, concurrency: int) -> Report:
    def lines(name: str) -> Lines:
        return Lines(folder / f"{name}.jsonl", force=False)

    with (
        lines("sessions") as found,
        lines("events") as events,
        lines("summaries") as summaries,
        lines("errors") as errors,
    ):
        for session in listed:
            found.write(json.dumps(as_row(session)).encode())
        job = Job(
            client=client, ids=[session.id for session in listed], events=events, summaries=summaries,
            errors=errors, profile="support", concurrency=concurrency,
        )  # fmt: skip
        return await job.run()


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


def _closing_table(report: Report, stats: Stats, listed: int, sandbox: Sandbox, folder: Path) -> None:
    tally, answered_429 = report.tally, sandbox.stats()["by_status"].get("429", 0)
    table = Table(title="What happened", show_header=False, title_justify="left")
    rows = (
        ("Sessions listed", f"{listed}"),
        ("Answers fetched", f"{tally.done - tally.failed} of {tally.total}"),
        ("Failed", f"{tally.failed}"),
        ("Time", f"{report.seconds:.1f} s"),
        ("Rate", f"{tally.done / report.seconds:.1f} answers a second" if report.seconds else "-"),
        ("Requests sent", f"{stats.requests} ({stats.retries} of them again)"),
        ("429s from the sandbox", f"{answered_429}"),
        ("Activations", f"{stats.activations} counted here, {sandbox.activations} charged by the sandbox"),
        ("Files", f"{folder}/ ({', '.join(sorted(path.name for path in folder.iterdir()))})"),
        ("To look at", (folder / "replay.html").resolve().as_uri()),
    )
    for name, value in rows:
        table.add_row(name, value)
    Console().print(table)
