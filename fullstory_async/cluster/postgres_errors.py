"""What a failure of Postgres means, in words that say what to do. Pure."""

from __future__ import annotations

import re

import attrs
import psycopg

__all__ = ["Failure", "failure_of"]


@attrs.frozen
class Failure:
    """A failure of Postgres."""

    text: str
    """What happened, and what to do."""
    permanent: bool = False
    """Whether time alone won't heal it."""
    of_server: bool = True
    """Whether other connections are affected too, and not only one statement."""


_INIT = "run 'fullstory-async cluster init' with the DSN of its owner"
_ROOM = "make room on its disk, or raise the quota"
_BY_STATE = {
    "25006": Failure(
        "it is read-only, as a replica is: name the primary, or target_session_attrs=read-write"
    ),
    "28000": Failure("it refuses the user: check the DSN and pg_hba.conf", permanent=True),
    "28P01": Failure("it refuses the user or the password: check the DSN", permanent=True),
    "3D000": Failure("the database does not exist: check the DSN, or create it", permanent=True),
    "3F000": Failure(f"the schema does not exist: {_INIT}", permanent=True),
    "40001": Failure("other transactions were in the way: try again"),
    "40P01": Failure("other transactions were in the way: try again"),
    "42501": Failure(
        "the role lacks a right: grant it (see docs/cluster.md), and to create or upgrade the tables, "
        f"{_INIT}",
        permanent=True,
    ),
    "42883": Failure(f"a function does not exist: {_INIT}", permanent=True),
    "42P01": Failure(f"a table does not exist: {_INIT}", permanent=True),
    "53100": Failure(f"its disk is full: {_ROOM}"),
    "53200": Failure("it is out of memory"),
    "53300": Failure("it has too many connections: raise max_connections, or put pgbouncer before it"),
    "53400": Failure("a limit of its settings was reached"),
    "55P03": Failure("another transaction holds a lock for too long"),
    "57014": Failure("the statement took too long"),
    "57P01": Failure("it is being shut down: wait until it is back"),
    "57P02": Failure("it crashed: wait until it is back"),
    "57P03": Failure("it is starting or shutting down: wait until it is up"),
}
"""SQLSTATE → what it means."""

_OF_SERVER = frozenset({"08", "25", "28", "53", "57", "58", "XX"})
"""Classes of SQLSTATEs after which the other connections are probably not usable either."""

_BY_TEXT = (
    (r"password authentication failed|no password supplied|no pg_hba.conf entry", "28P01"),
    (r'role "[^"]*" (does not exist|is not permitted to log in)', "28000"),
    (r'database "[^"]*" does not exist', "3D000"),
    (r"too many (clients|connections)|connection slots are reserved|no more connections allowed", "53300"),
    (r"the database system is|session is read-only|session is not read-only|hot standby mode", "57P03"),
    (r"No space left on device", "53100"),
)
"""What is known of errors without a SQLSTATE: those of a connection that could not be made."""


def failure_of(error: psycopg.Error) -> Failure:
    """Return what an error of psycopg means."""
    primary = error.diag.message_primary
    text = primary or " ".join(str(error).split()).removeprefix("connection failed: ")
    state = error.sqlstate or next((state for known, state in _BY_TEXT if re.search(known, text)), None)
    if state is not None and state in _BY_STATE:
        known = _BY_STATE[state]
        return attrs.evolve(known, text=f"{known.text} ({text})", of_server=state[:2] in _OF_SERVER)
    if state is not None:
        of_server, permanent = state[:2] in _OF_SERVER, state[:2] in {"22", "23", "42"}
        return Failure(f"{text} (SQLSTATE {state})", permanent=permanent, of_server=of_server)
    if isinstance(error, psycopg.DataError | psycopg.ProgrammingError):  # refused before it was sent
        return Failure(text, permanent=True, of_server=False)
    return Failure(f"{text or type(error).__name__} (check that it runs, and the DSN)")
