"""Failures of Postgres in words: what happened, and what to do."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from fullstory_async.cluster import Postgres
from fullstory_async.cluster.postgres_errors import Failure, failure_of
from fullstory_async.errors import ConfigurationError


@pytest.mark.parametrize(
    ("error", "said", "permanent", "of_server"),
    [
        (errors.DiskFull("x"), "its disk is full: make room", False, True),
        (errors.ReadOnlySqlTransaction("x"), "it is read-only, as a replica is: name the primary", False, True),
        (errors.TooManyConnections("x"), "too many connections: raise max_connections", False, True),
        (errors.AdminShutdown("x"), "it is being shut down: wait", False, True),
        (errors.InsufficientPrivilege("x"), "the role lacks a right: grant it", True, False),
        (errors.UndefinedTable("x"), "run 'fullstory-async cluster init'", True, False),
        (errors.LockNotAvailable("x"), "holds a lock for too long", False, False),
        (errors.DeadlockDetected("x"), "try again", False, False),
        (errors.CheckViolation("broken"), "broken (SQLSTATE 23514)", True, False),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "u"'), "check the DSN", True, True),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), "too many connections", False, True),
        (psycopg.OperationalError("FATAL:  the database system is starting up"), "wait until it is up", False, True),
        (psycopg.OperationalError('database "d" does not exist'), "the database does not exist", True, False),
        (psycopg.OperationalError("connection refused"), "(check that it runs, and the DSN)", False, True),
        (psycopg.DataError("text fields cannot contain NUL (0x00) bytes"), "cannot contain NUL", True, False),
        (psycopg.InterfaceError(), "InterfaceError", False, True),
    ],
)  # fmt: skip
def test_each_failure_says_what_to_do(
    error: psycopg.Error, said: str, permanent: bool, of_server: bool
) -> None:
    failure = failure_of(error)
    assert said in failure.text
    assert failure == Failure(failure.text, permanent, of_server)


@pytest.mark.parametrize(
    ("dsn", "location"),
    [
        ("postgresql://me:secret-word@db.example:6432/cluster?sslmode=verify-full", "Postgres at db.example:6432/cluster"),
        ("host=/run/postgresql user=me", "Postgres at /run/postgresql:5432/me"),
        ("postgresql://a,b:7000/d", "Postgres at a:5432,b:7000/d"),
        ("", "Postgres at localhost:5432/"),
    ],
)  # fmt: skip
def test_where_it_is_is_said_without_the_password(
    dsn: str, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    database = Postgres(dsn)
    assert database.location == location
    assert "secret-word" not in repr(vars(database)) + repr(database)


@pytest.mark.parametrize(
    "options",
    [{"schema": "Upper"}, {"schema": 'a"b'}, {"schema": ""}, {"timeout": 0}, {"connections": 0}, {"dsn": 5}],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    given: dict[str, object] = {"dsn": "postgresql://h/d", **options}
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Postgres(**given)  # type: ignore[arg-type]
