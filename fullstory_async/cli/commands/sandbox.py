"""The commands ``sandbox`` and ``demo``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.signals import until_interrupted
from fullstory_async.ratelimit.limiter import RateLimit
from fullstory_async.session_id import SessionId

__all__ = ["demo", "sandbox"]


def sandbox(
    *,
    port: int = 8765,
    seed: int = 0,
    users: int = 20,
    sessions: int = 200,
    mean_events: int = 200,
    rate: float | None = None,
    burst: float | None = None,
    quota: int | None = None,
    latency: float = 0.0,
    wire: Literal["live", "spec"] = "live",
    fault: Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)] = None,
    list_faults: Annotated[bool, Parameter(negative="")] = False,
) -> Exit:
    """Run a local FullStory until Ctrl-C; prints its URL and its key.

    On a terminal as two lines to paste into another one, whose commands and programs then use it; elsewhere without
    the word export, as NAME=VALUE.

    /_sandbox/stats on it tells what it was asked, /_sandbox/sessions which ids and users it knows, /openapi.json
    what it serves.

    Example: fullstory-async sandbox --fault 'status(503) operation=events share=0.05' --fault 'drop skip=9 times=1'

    Parameters
    ----------
    port
        Where to listen on 127.0.0.1; 0 takes a free port.
    seed
        Determines users, sessions and events.
    users
        How many users there are.
    sessions
        How many sessions they have in all.
    mean_events
        Events in a session on average, up to 20000.
    rate
        Requests a second before 429; no limit unless given.
    burst
        Requests at once before 429. [default: one second's worth]
    quota
        How many activations there are; no limit unless given.
    latency
        Seconds that each answer takes.
    wire
        The form of answers: the live service's, or the published contract's.
    fault
        How to misbehave, any number of times: a fault of --list-faults, its parameters in parentheses with texts in
        quotes, and conditions: operation=events, session_id=ID, skip=N (let N fitting requests through first),
        times=N (how often at most), share=0.05 (with which probability), seed=TEXT (which ones that are). The first
        that fits a request acts.
    list_faults
        Print every fault with its parameters and what it does, and end.
    """
    if list_faults:
        return _list_faults()
    command = _serve(
        port=port, seed=seed, users=users, sessions=sessions, mean_events=mean_events, wire=wire,
        rate=rate, burst=burst, faults=fault or [], activation_quota=quota, latency=latency,
    )  # fmt: skip
    return asyncio.run(command)


def demo(
    *,
    sessions: int = 300,
    seed: int = 0,
    rate: float = 100.0,
    concurrency: int = 32,
    out_dir: Path | None = None,
    serve: Annotated[bool, Parameter(negative="")] = False,
    crash: Annotated[bool, Parameter(negative="")] = False,
) -> Exit:
    """Watch the main job against an embedded sandbox: no key, no settings, no cost.

    Lists users' sessions, fetches events and summaries of all of them under one rate limit that the
    sandbox enforces, and leaves the files behind.

    Parameters
    ----------
    sessions
        How many sessions the sandbox has.
    seed
        Determines the sandbox's data.
    rate
        The rate limit, in requests a second.
    concurrency
        How many calls are under way at most.
    out_dir
        A new folder for the files. [default: fullstory-demo, numbered if that exists]
    serve
        Keep the sandbox running afterwards, until Ctrl-C, so that the replay URLs open in a browser.
    crash
        Kill the job half way with kill -9, and go on with it.
    """
    from fullstory_async.cli.commands.demo import demo as run_demo  # noqa: PLC0415  (as `_serve`)

    command = run_demo(
        sessions=sessions,
        seed=seed,
        rate=rate,
        concurrency=concurrency,
        out_dir=out_dir,
        serve=serve,
        crash=crash,
    )
    return asyncio.run(command)


def _list_faults() -> Exit:
    from fullstory_async.sandbox.faults import catalogue  # noqa: PLC0415  (as `_serve`)

    for entry in catalogue():
        cost = "After the work, which is charged." if entry.charged else "Before any work: not charged."
        print(f"{entry.call}\n    {entry.description} {cost}")  # noqa: T201  (data)
    return Exit.OK


async def _serve(*, rate: float | None, burst: float | None, faults: list[str], **settings: Any) -> Exit:
    """Serve a sandbox until a signal comes."""
    # its web server takes a while to import; help needs none
    from fullstory_async.sandbox import Sandbox  # noqa: PLC0415
    from fullstory_async.sandbox.faults import read_fault  # noqa: PLC0415

    limit = None
    if rate is not None:
        limit = RateLimit(rate) if burst is None else RateLimit(rate, burst)
    elif burst is not None:
        raise UsageError("--burst needs --rate")
    server = Sandbox(rate_limit=limit, **settings)
    for text in faults:
        fault, conditions = read_fault(text)
        if "session_id" in conditions:
            conditions["session_id"] = wanted = SessionId.parse(conditions["session_id"])
            if wanted not in server.session_ids:
                raise UsageError(f"the sandbox has no session {wanted}; /_sandbox/sessions on it lists them")
        server.inject(fault, **conditions)
    async with server:
        # a person pastes these lines into a shell, whose programs shall see them; a script takes them apart
        export = "export " if sys.stdout.isatty() else ""
        print(f"{export}FULLSTORY_BASE_URL={server.url}")  # noqa: T201  (data)
        print(f"{export}FULLSTORY_API_KEY={server.api_key}", flush=True)  # noqa: T201
        user = server.users[0]
        sys.stderr.write(
            f"a sandbox with {len(server.session_ids)} sessions of {len(server.users)} users; "
            f"the first is {user.email}, uid {user.uid}; Ctrl-C ends it\n"
        )
        await until_interrupted()
    return Exit.OK
