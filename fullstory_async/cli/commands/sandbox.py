"""The command ``sandbox``: a local FullStory for tests and trials."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fullstory_async.amounts import counted
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.signals import exit_of_server, first_signal
from fullstory_async.cli.streams import write_optional
from fullstory_async.ratelimit.limiter import RateLimit
from fullstory_async.session_id import SessionId

if TYPE_CHECKING:
    from fullstory_async.sandbox import Sandbox

__all__ = ["sandbox"]

_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)


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
    public_url: str | None = None,
    fault: Annotated[list[str] | None, _Many] = None,
    list_faults: Annotated[bool, _Flag] = False,
) -> Exit:
    """Run a local FullStory until Ctrl-C; prints its URL and its key.

    On a terminal, it prints two lines to paste into another terminal, whose commands and programs then use
    the sandbox. Into a file or a pipe, it prints NAME=VALUE without the word export.

    The sandbox has pages of its own: /_sandbox/stats counts the requests, /_sandbox/sessions lists the ids
    and users, /openapi.json describes the API.

    Example: fullstory-async sandbox --fault 'status(503) operation=events share=0.05' --fault 'drop skip=9
    times=1'

    Parameters
    ----------
    port
        Port on 127.0.0.1; 0 takes a free port.
    seed
        Seed of the generated users, sessions and events.
    users
        Number of users.
    sessions
        Number of sessions, of all users together.
    mean_events
        Average number of events per session, up to 20000.
    rate
        Requests per second before 429. [default: no limit]
    burst
        Requests at once before 429. [default: one second's worth]
    quota
        Number of activations. [default: no limit]
    latency
        Seconds before each response.
    wire
        Form of responses: as FullStory's documentation describes the live service, or as a published
        third-party OpenAPI description does, which also refuses unknown fields in bodies.
    public_url
        Base of the replay URLs in responses, such as https://sandbox.test. Its host may also open the
        sandbox's pages, which only this machine's names may otherwise. [default: the sandbox's own URL]
    fault
        Fault to inject, written as in --list-faults, with texts in quotes. Conditions follow:
        operation=events, session_id=ID, skip=N (let N matching requests pass first), times=N (act at most N
        times), share=0.05 (probability), seed=TEXT (which requests that probability selects). The first fault
        that matches a request acts. Can be repeated.
    list_faults
        Print every fault with its parameters and its effect, and exit.
    """
    if list_faults:
        return _list_faults()
    if rate is None and burst is not None:
        raise UsageError("--burst needs --rate")
    limits = [value for value in (rate, burst) if value is not None]
    return asyncio.run(
        _serve(
            fault or [], port=port, seed=seed, users=users, sessions=sessions, mean_events=mean_events,
            rate_limit=RateLimit(*limits) if limits else None, activation_quota=quota, latency=latency,
            wire=wire, public_url=public_url,
        )
    )  # fmt: skip


def _list_faults() -> Exit:
    from fullstory_async.sandbox.faults import catalogue  # noqa: PLC0415  (as in `_serve`)

    for entry in catalogue():
        cost = "After the work, which is charged." if entry.charged else "Before any work: not charged."
        print(f"{entry.call}\n    {entry.description} {cost}")  # noqa: T201  (data)
    return Exit.OK


async def _serve(faults: list[str], **settings: Any) -> Exit:
    """Serve a sandbox of these settings until a signal arrives."""
    # the web server is slow to import, and `--help` does not need it
    from fullstory_async.sandbox import Sandbox  # noqa: PLC0415
    from fullstory_async.sandbox.faults import read_fault  # noqa: PLC0415

    server = Sandbox(**settings)
    for text in faults:
        fault, conditions = read_fault(text)
        if "session_id" in conditions:
            conditions["session_id"] = wanted = SessionId.parse(conditions["session_id"])
            # a fault that never acts is a mistake, which a test would take for a success
            if wanted not in server.session_ids:
                raise UsageError(
                    f"the sandbox has no session {wanted}; /_sandbox/sessions lists its sessions"
                )
        server.inject(fault, **conditions)
    async with server:
        # a program that has read the URL may stop the server at once
        with first_signal() as stopped:
            _print_address(server)
            return exit_of_server(await stopped)


def _print_address(server: Sandbox) -> None:
    """Print how to reach a sandbox, for a shell, a script, or a person."""
    # people paste the lines into a shell, whose programs must inherit the variables; scripts parse them
    export = "export " if sys.stdout.isatty() else ""
    lost = write_optional(
        f"{export}FULLSTORY_BASE_URL={server.url}\n{export}FULLSTORY_API_KEY={server.api_key}\n"
    )
    if lost is not None:
        sys.stderr.write(f"standard output: {lost}; serving {server.url} all the same\n")
    user, sessions = server.users[0], counted(len(server.session_ids), "session")
    sys.stderr.write(
        f"sandbox with {sessions} of {counted(len(server.users), 'user')}; "
        f"the first user is {user.email}, uid {user.uid}; press Ctrl-C to stop\n"
    )
