"""Where an export goes and in which format, as it was asked for. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.found import DatabaseKind, Found, Occupant
from fullstory_async.tables.columns import Schema
from fullstory_async.validators import shown

__all__ = ["Destination", "check_json", "database_of"]

_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst", ".parquet")
"""Formats with one file for each table."""
_DATABASES: dict[str, DatabaseKind] = {".duckdb": "duckdb", ".sqlite": "sqlite", ".db": "sqlite"}
"""Formats with all tables in one file."""


def _check_rows(_: object, __: object, rows: Any) -> None:
    if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 1):
        raise ConfigurationError(f"rows_per_file (--rows-per-file) must be 1 or more, not {rows!r}")


def _check_partition(_: object, __: object, partition: Any) -> None:
    if partition not in (None, "date"):
        raise ConfigurationError(f"partition_by (--partition-by) takes 'date', not {partition!r}")


def check_json(form: object) -> None:
    """Raise `ConfigurationError` if there is no such form of JSON columns."""
    if form not in ("text", "struct"):
        raise ConfigurationError(f"json (--json) takes 'text' or 'struct', not {shown(form)}")


@attrs.frozen
class Destination:
    """Where an export goes, in which format, and what it may do to what is there."""

    path: Path
    suffix: str
    """The format, in lower case."""
    is_folder: bool = False
    """Whether each table gets a folder of files."""
    schema: Schema = "v2"
    overwrite: bool = False
    append: bool = False
    partition_by: str | None = attrs.field(default=None, validator=_check_partition)
    rows_per_file: int | None = attrs.field(default=None, validator=_check_rows)
    bom: bool = False
    """Whether CSV begins with a byte order mark."""
    json: str = attrs.field(default="text", validator=lambda _, __, form: check_json(form))

    def __attrs_post_init__(self) -> None:
        """Check the options against each other."""
        if not self.is_folder and (self.partition_by is not None or self.rows_per_file is not None):
            raise ConfigurationError(
                "partition_by and rows_per_file (--partition-by, --rows-per-file) are for folders: out_dir "
                "(--out-dir)"
            )
        if self.bom and not self.suffix.startswith(".csv"):
            raise ConfigurationError("bom (--bom) is for CSV")
        if self.json == "struct" and (self.suffix not in (".parquet", ".duckdb") or self.append):
            raise ConfigurationError(
                "structures (json='struct', --json struct) are for new Parquet and DuckDB files"
            )
        if self.json == "struct" and self.schema == "v1":
            raise ConfigurationError(
                "structures (json='struct', --json struct) are not for schema='v1' (--schema v1): it has the "
                "tables of earlier versions"
            )
        if self.append and self.overwrite:
            raise ConfigurationError("append (--append) and overwrite (--overwrite) exclude each other")

    @classmethod
    def of(cls, found: Found, file_format: str | None, *, is_folder: bool, **options: Any) -> Destination:
        """Read what was asked for.

        Args:
            found: what stands at the target.
            file_format: such as ``csv.gz``; ``None`` if the name of a file says it.
            is_folder: whether the target was named as a folder. So is a name without a suffix.
            options: the other fields.

        Raises:
            ConfigurationError: the format is unknown, or the options contradict each other.
        """
        path, given = found.path, _format_suffix(file_format)
        if is_folder:
            return cls(path, given or ".parquet", is_folder=True, **options)
        known = _suffix_of(path)
        if known is not None:
            if given not in (None, known):
                raise ConfigurationError(f"{path} is named as {known}, and file_format (--format) is {given}")
            return cls(path, known, **options)
        if found.occupant is Occupant.STREAM:
            if given is None:
                raise ConfigurationError(
                    f"{path} is {found.occupant.value}, which needs file_format (--format)"
                )
            return cls(path, given, **options)
        if path.suffix or path.name.startswith("."):
            raise ConfigurationError(
                f"the format of {path.name} is not known: it must end in "
                f"{', '.join(sorted((*_SUFFIXES, *_DATABASES)))}, or be a folder (--out-dir)"
            )
        return cls(path, given or ".parquet", is_folder=True, **options)

    @property
    def database(self) -> DatabaseKind | None:
        """The kind of database that is written; None for other formats."""
        return _DATABASES.get(self.suffix)

    @property
    def is_text(self) -> bool:
        """Whether files of the format are written from the beginning to the end."""
        return self.suffix.startswith((".jsonl", ".csv"))

    def path_of(self, table: str) -> Path:
        """Return the file of a table that is not the main one."""
        stem, suffix = self.path.name[: -len(self.suffix)], self.path.name[-len(self.suffix) :]
        return self.path.with_name(f"{stem}.{table}{suffix}")


def database_of(path: Path) -> DatabaseKind | None:
    """Return the kind of database that a file of this name is; None for other names."""
    return _DATABASES.get(_suffix_of(path) or "")


def _format_suffix(file_format: str | None) -> str | None:
    if file_format is None:
        return None
    suffix = f".{str(file_format).lower().removeprefix('.')}"
    if suffix not in _SUFFIXES:
        names = ", ".join(each.removeprefix(".") for each in _SUFFIXES)
        raise ConfigurationError(f"file_format (--format) must be one of {names}, not {file_format!r}")
    return suffix


def _suffix_of(path: Path) -> str | None:
    """Return the suffix of a known format, in lower case; None if the name has none, or nothing else."""
    name = path.name.lower()
    known = sorted((*_SUFFIXES, *_DATABASES), key=len, reverse=True)
    return next((each for each in known if name.endswith(each) and name != each), None)
