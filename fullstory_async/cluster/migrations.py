"""Migrations: the numbered SQL files in ``migrations/``, each of which is applied once, in order, for ever.

A file is never changed after a release; a change is a further file. In it ``{schema}`` stands for the schema.
All that are missing are applied in one transaction under an advisory lock, so that processes which start at
the same time don't collide. Tables with a file that is not known here were made by a later version: they are
refused, because nothing is known about what they mean.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import attrs
from psycopg import AsyncConnection

from fullstory_async.errors import ConfigurationError

__all__ = ["Migration", "apply", "is_current", "known", "statement"]

_LOCK = 0x46535F4D49475241
"""The advisory lock, the same for every schema: ``FS_MIGRA``."""

_TABLE = """
CREATE TABLE IF NOT EXISTS {schema}.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

_FIND_SCHEMA = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"

_FIND = """
SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'migrations'
"""


@attrs.frozen
class Migration:
    """One file."""

    number: int
    name: str
    file: Traversable = attrs.field(repr=False)


def known() -> list[Migration]:
    """Return the migrations of this version, in order."""
    folder = files(__package__ or "").joinpath("migrations")
    found = [each for each in folder.iterdir() if each.name.endswith(".sql")]
    return sorted(
        (Migration(int(each.name[:4]), each.name[5:-4], each) for each in found),
        key=lambda migration: migration.number,
    )


def statement(text: str, schema: str) -> bytes:
    """Return a statement with a schema's name in place of ``{schema}``."""
    return text.replace("{schema}", f'"{schema}"').encode()


async def is_current(connection: AsyncConnection[tuple[Any, ...]], schema: str, location: str) -> bool:
    """Return whether nothing has to be applied.

    Raises:
        ConfigurationError: the tables were made by a later version of this package.
    """
    return not _missing(known(), await _applied(connection, schema), schema, location)


async def apply(connection: AsyncConnection[tuple[Any, ...]], schema: str, location: str) -> None:
    """Apply what is missing, as the first statements of a transaction.

    Raises:
        ConfigurationError: the tables were made by a later version of this package.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    applied = await _applied(connection, schema)
    if not applied:
        # not IF NOT EXISTS, which needs the right to create schemas even if there is nothing to create
        if await (await connection.execute(_FIND_SCHEMA, (schema,))).fetchone() is None:
            await connection.execute(statement("CREATE SCHEMA {schema}", schema))
        await connection.execute(statement(_TABLE, schema))
    for migration in _missing(known(), applied, schema, location):
        await connection.execute(statement(migration.file.read_text(encoding="utf-8"), schema))
        await connection.execute(
            statement("INSERT INTO {schema}.migrations (number, name) VALUES (%s, %s)", schema),
            (migration.number, migration.name),
        )


def _missing(migrations: list[Migration], applied: set[int], schema: str, location: str) -> list[Migration]:
    """Return what is still to be applied.

    Raises:
        ConfigurationError: more was applied than is known.
    """
    if later := applied - {migration.number for migration in migrations}:
        raise ConfigurationError(
            f"the tables in the schema {schema} of {location} were made by a later version of "
            f"fullstory-async (migration {max(later)}): upgrade fullstory-async on this machine"
        )
    return [migration for migration in migrations if migration.number not in applied]


async def _applied(connection: AsyncConnection[tuple[Any, ...]], schema: str) -> set[int]:
    # not to_regclass, whose cache may not know what another process created a moment ago
    cursor = await connection.execute(_FIND, (schema,))
    if await cursor.fetchone() is None:
        return set()
    cursor = await connection.execute(statement("SELECT number FROM {schema}.migrations", schema))
    return {row[0] for row in await cursor.fetchall()}
