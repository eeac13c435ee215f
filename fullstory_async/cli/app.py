"""The commands, and how each ends."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter
from rich.console import Console

from fullstory_async._version import __version__
from fullstory_async.cli import commands
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.demo import demo as run_demo
from fullstory_async.cli.exits import Exit, UsageError, exit_for
from fullstory_async.cli.output import WriteError
from fullstory_async.errors import DecodeError, FullStoryError
from fullstory_async.sandbox import Wire

__all__ = ["run"]

_HELP = """List FullStory sessions, fetch their events and generate AI summaries.

Data goes to standard output or to --out, messages and progress to standard error. Try it without a key:
`fullstory-async demo`, or any command with `--sandbox`.

FullStory means this API for real-time activation, not for data export. Each events and each summary call
costs one activation (1 000 a month on common plans); listing sessions is free.
"""
_EPILOGUE = """Exit codes: 0 ok · 1 unexpected · 2 usage · 3 some ids failed · 4 authentication · 5 not found ·
6 rate limit or deadline · 7 activation budget · 130 interrupted · 141 nobody reads the output · 143 terminated
"""

Output = Literal["jsonl", "table"]
_Flag = Parameter(negative="")
_MayBeDash = Parameter(allow_leading_hyphen=True)

app = App(
    name="fullstory-async",
    help=_HELP,
    help_epilogue=_EPILOGUE,
    help_format="markdown",
    version=__version__,
    error_console=Console(stderr=True),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; an error is said in one line on standard error."""
    try:
        result = app(list(arguments), exit_on_error=False)
    except cyclopts.CycloptsError:
        return Exit.USAGE  # cyclopts has said what is wrong
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        result = Exit.PIPE_CLOSED
    except DecodeError as error:
        sys.stderr.write(f"fullstory-async: {error}\nThe answer as it came follows on standard output.\n")
        sys.stdout.buffer.write(b"" if error.response is None else error.response.body)
        return exit_for(error)
    except (UsageError, WriteError, FullStoryError, OSError) as error:
        sys.stderr.write(f"fullstory-async: {error}\n")
        return exit_for(error)
    if result == Exit.PIPE_CLOSED:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit would complain again
    return int(result) if isinstance(result, int) else Exit.OK


def _await(command: Coroutine[Any, Any, Exit], *, verbose: bool) -> Exit:
    if not verbose:
        return asyncio.run(command)
    logger, handler = logging.getLogger("fullstory_async"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        return asyncio.run(command)
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@app.command
def sessions(
    *,
    email: str | None = None,
    uid: str | None = None,
    limit: int | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008  (frozen)
) -> Exit:
    """List a user's sessions with their replay URLs. Free of charge.

    Example: fullstory-async sessions --email ada@example.com --sandbox --output table

    Parameters
    ----------
    email
        The user's e-mail address.
    uid
        Your own id of the user.
    limit
        How many sessions at most. [default: 20]
    all_
        Every session there is.
    output
        JSON Lines for programs, or a table for people.
    """
    if all_ and limit is not None:
        raise UsageError("--all and --limit exclude each other")
    wanted = None if all_ else 20 if limit is None else limit
    command = commands.sessions(connection, email, uid, wanted, as_table=output == "table")
    return _await(command, verbose=connection.verbose)


@app.command
def events(
    session_id: str,
    /,
    *,
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Fetch all events of a session, one a line. Costs one activation.

    Parameters
    ----------
    session_id
        A USER:SESSION pair, a client id, or a replay URL.
    output
        JSON Lines for programs, or a table for people.
    """
    return _await(
        commands.events(connection, session_id, as_table=output == "table"), verbose=connection.verbose
    )


@app.command
def summary(
    session_id: str,
    /,
    *,
    profile: str | None = None,
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Generate an AI summary of a session. Costs one activation.

    Parameters
    ----------
    session_id
        A USER:SESSION pair, a client id, or a replay URL.
    profile
        The summary profile's id; FullStory has a default one. The sandbox knows support, sales and triage.
    output
        JSON Lines for programs, or a table for people.
    """
    command = commands.summary(connection, session_id, profile, as_table=output == "table")
    return _await(command, verbose=connection.verbose)


@app.command
def fetch(
    *,
    ids: Annotated[str, _MayBeDash],
    events: Annotated[bool, _Flag] = False,
    summary: str | None = None,
    concurrency: int = 32,
    out: Annotated[Path | None, _MayBeDash] = None,
    errors: Path | None = None,
    force: Annotated[bool, _Flag] = False,
    id_column: str | None = None,
    max_activations: int | None = None,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Fetch events, summaries or both for many sessions at once. Costs one activation for each call.

    Every answer becomes one line: {"session_id": …, "operation": …, "answer": the service's JSON}.
    Ids may be plain lines (blank lines and # comments are skipped), a table with a header (CSV), or JSON Lines.
    An id that comes twice is fetched once. The first Ctrl-C waits for calls on their way, the second drops them.

    Example: fullstory-async fetch --ids ids.txt --events --summary support --out answers.jsonl

    Parameters
    ----------
    ids
        A file of session ids, or - for standard input.
    events
        Fetch each session's events.
    summary
        Generate each session's summary with this profile.
    concurrency
        How many calls are under way at most.
    out
        The file for the answers; standard output unless given, or for -. An existing file is refused.
    errors
        The file for failures and for calls that were not made, as JSON Lines that --ids reads again.
        [default: OUT.errors.jsonl, or standard error]
    force
        Overwrite existing files.
    id_column
        The column of a CSV or JSON Lines file that holds the ids, if it can't be told from its name.
    max_activations
        Make no more calls than this; exits with 7 if ids are left over.
    """
    order = commands.Order(
        ids=ids, events=events, profile=summary, concurrency=concurrency, out=out, errors=errors, force=force,
        id_column=id_column, max_activations=max_activations,
    )  # fmt: skip
    given = order.read()  # outside the event loop, where Ctrl-C ends a wait for standard input
    return _await(commands.fetch(connection, order, given), verbose=connection.verbose)


@app.command
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
    wire: Wire = "live",
) -> Exit:
    """Run a local FullStory until Ctrl-C; prints its URL and its key.

    /_sandbox/stats on it tells what it was asked, /_sandbox/sessions which ids and users it knows.

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
    """
    command = commands.sandbox(
        port=port, seed=seed, users=users, sessions=sessions, mean_events=mean_events, wire=wire,
        rate=rate, burst=burst, activation_quota=quota, latency=latency,
    )  # fmt: skip
    return asyncio.run(command)


@app.command
def demo(
    *,
    sessions: int = 300,
    seed: int = 0,
    rate: float = 100.0,
    concurrency: int = 32,
    out_dir: Path | None = None,
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
    """
    command = run_demo(sessions=sessions, seed=seed, rate=rate, concurrency=concurrency, out_dir=out_dir)
    return asyncio.run(command)
