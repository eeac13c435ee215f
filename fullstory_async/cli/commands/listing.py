"""The command ``sessions``: lists the sessions of users."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from fullstory_async.amounts import counted
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.latest import newest_first
from fullstory_async.cli.output import Output, as_row, local_time, print_rows, print_table, write_stderr
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ListApi
from fullstory_async.models import Session

__all__ = ["sessions"]

_DEFAULT_LIMIT = 20
_AT_ONCE = 16
"""Users that are listed at a time; the rate limit holds for all of them."""


class _User(NamedTuple):
    """How a user, or a session, was named."""

    email: str | None
    uid: str | None = None
    session_uid: str | None = None


class _Listed(NamedTuple):
    """The sessions of a user, in the order of the service."""

    user: _User
    sessions: Sequence[Session]


def sessions(
    *,
    email: str | None = None,
    uid: str | None = None,
    session_uid: str | None = None,
    emails: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    limit: int | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    list_api: ListApi | None = None,
    output: Output | None = None,
    connection: Connection = Connection(),  # noqa: B008  (frozen)
) -> Exit:
    """List a user's sessions with their replay URLs. Free.

    The column full_session_id is the id that all other commands take, and exports join by; device_id and
    session_id are its halves. `fetch` finds it by itself:

    fullstory-async sessions --uid u-1 --all | fullstory-async fetch --ids - --events --job u-1.job

    Example: fullstory-async sessions --email ada@example.com --sandbox --output table

    Parameters
    ----------
    email
        E-mail address of the user. With --uid, the sessions of both users are listed.
    uid
        Your own id of the user.
    session_uid
        Your own id of one session. Can't be combined with --email or --uid.
    emails
        File with one e-mail address per line; - reads standard input. The column email says whose session it
        is.
    limit
        Maximum number of sessions, of each user. [default: 20]
    all_
        List every session.
    list_api
        Endpoint that lists the sessions: v1 is GET /sessions/v2, v2 the newer GET /v2/sessions, which
        --session-uid uses always. If it isn't served, the other one is tried. [default: v1]
    output
        JSON Lines for programs, or a table for people: newest first, in local time. [default: table on a
        terminal, otherwise jsonl]
    """
    if all_ and limit is not None:
        raise UsageError("--all and --limit exclude each other")
    if emails is not None and (email or uid or session_uid):
        raise UsageError("--emails excludes --email, --uid and --session-uid")
    if not (email or uid or session_uid or emails):
        raise UsageError("give --email, --uid, --session-uid or --emails")
    if limit is not None and limit < 1:
        raise UsageError("--limit must be 1 or more")
    most = None if all_ else _DEFAULT_LIMIT if limit is None else limit
    users = [_User(email, uid, session_uid)] if emails is None else [_User(each) for each in _read(emails)]
    if output is None:
        output = "table" if sys.stdout.isatty() else "jsonl"
    # one more than is shown says whether there are more
    asked = most if most is None or output == "jsonl" else most + 1
    listed = connection.call(lambda client: _list(client, users, asked), list_api=list_api)
    _print(output, listed, most, with_email=emails is not None)
    return Exit.OK


def _read(emails: Path) -> list[str]:
    """Return the addresses of a file, each once."""
    try:
        text = sys.stdin.read() if str(emails) == "-" else emails.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"--emails {emails} can't be read: {reason}") from None
    found = list(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))
    for address in found:
        # a table or a wrong file, which would list nothing for each of its lines
        if "@" not in address or any(c in address for c in ",;\t "):
            raise UsageError(f"--emails takes one e-mail address per line, and {emails} has {address[:80]!r}")
    if not found:
        raise UsageError(f"--emails {emails} has no addresses")
    return found


async def _list(client: FullStoryClient, users: Sequence[_User], most: int | None) -> list[_Listed]:
    """List the sessions of users, some users at a time, in the given order."""

    async def of(user: _User) -> _Listed:
        pager = client.sessions.list(email=user.email, uid=user.uid, session_uid=user.session_uid, limit=most)
        return _Listed(user, [session async for session in pager])

    listed: list[_Listed] = []
    for start in range(0, len(users), _AT_ONCE):
        listed += await asyncio.gather(*map(of, users[start : start + _AT_ONCE]))
    return listed


def _print(output: Output, listed: Sequence[_Listed], most: int | None, *, with_email: bool) -> None:
    """Print sessions, and say on standard error what is missing."""
    if output == "jsonl":
        print_rows(_row(each, session, with_email) for each in listed for session in each.sessions)
    else:
        shown = [(each, session) for each in listed for session in newest_first(each.sessions)[:most]]
        rows = [
            {**_row(each, session, with_email), "created": local_time(session.created)}
            for each, session in shown
        ]
        if rows:
            print_table(StreamConsole(), _columns(rows, with_email), rows)
        cut = sum(most is not None and len(each.sessions) > most for each in listed)
        if cut:
            whose = f" of {counted(cut, 'user')}" if with_email else ""
            write_stderr(f"there are more sessions{whose}: list them with --limit N or --all\n")
    without = sum(not each.sessions for each in listed)
    if without:
        whose = f" of {without:,} of {counted(len(listed), 'user')}" if with_email else ""
        write_stderr(f"no sessions{whose}\n")


def _row(listed: _Listed, session: Session, with_email: bool) -> dict[str, Any]:
    return {"email": listed.user.email, **as_row(session)} if with_email else as_row(session)


def _columns(rows: Sequence[Mapping[str, Any]], with_email: bool) -> tuple[str, ...]:
    """Return the columns of a table: with the URL where it fits, otherwise the id links to it."""
    columns = (*(("email",) if with_email else ()), "created", "full_session_id", "url")
    width = sum(max(len(str(row.get(name) or "")) for row in rows) + 1 for name in columns)
    return columns if width <= StreamConsole().width or not sys.stdout.isatty() else columns[:-1]
