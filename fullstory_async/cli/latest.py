"""Choose a session: by its id, or the latest one of a user."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.option_parsing import read_session_id
from fullstory_async.cli.output import local_time, write_stderr
from fullstory_async.errors import NotFoundError
from fullstory_async.models import Session
from fullstory_async.session_id import SessionId

__all__ = ["chosen_session", "newest_first"]

_NEVER = datetime.min.replace(tzinfo=UTC)


def chosen_session(
    session_id: str | None, email: str | None, connection: Connection, *, latest: bool
) -> SessionId:
    """Return the id that was given, or that of a user's latest session, which is looked up for free.

    Raises:
        UsageError: neither or both were given.
        NotFoundError: the user has no sessions.
    """
    if session_id is not None:
        if email is not None or latest:
            raise UsageError("name a session, or a user with --email and --latest, not both")
        return read_session_id(session_id)
    if email is None or not latest:
        raise UsageError("name a session, or a user with --email and --latest")
    # more than one, as the service documents no order
    found = newest_first(connection.collect(lambda client: client.sessions.list(email=email)))
    if not found:
        raise NotFoundError("this user has no sessions")
    write_stderr(f"latest session: {found[0].id}, {local_time(found[0].created)}\n")
    return found[0].id


def newest_first(sessions: Iterable[Session]) -> list[Session]:
    """Return sessions by time, those without one at the end."""
    return sorted(sessions, key=lambda session: session.created or _NEVER, reverse=True)
