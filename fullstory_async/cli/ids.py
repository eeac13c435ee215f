"""Session ids from a file or standard input: plain lines, CSV with a header, or JSON Lines.

The whole input is read and checked before the first request: a spelling mistake should cost no activation.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.cli.exits import UsageError
from fullstory_async.errors import InvalidSessionId
from fullstory_async.session_id import SessionId

__all__ = ["IdInput", "read_ids"]

_PAIR_COLUMNS = (("userid", "sessionid"), ("deviceid", "sessionid"))
_ID_COLUMNS = ("sessionid", "id", "session", "fsurl", "url", "replayurl", "sessionurl")


@attrs.frozen
class IdInput:
    """What an ids file held."""

    ids: tuple[str, ...]
    """Each id once, in canonical form where it has one, in the order of first appearance."""
    duplicates: int
    """How many more lines named an id that had come before."""
    invalid: int
    """How many of ``ids`` are no session ids; they cost no request."""


def read_ids(source: str, column: str | None = None) -> IdInput:
    """Read the ids of a file, or of standard input for ``-``.

    Raises:
        UsageError: the file can't be read, has no id column, or holds no ids.
    """
    lines = _text(source).splitlines()
    try:
        texts = [text for text in _texts(lines, column, source) if text]
    except (json.JSONDecodeError, csv.Error) as error:
        raise UsageError(f"{_name(source)} can't be read: {error}") from None
    seen: dict[str, bool] = {}
    for text in texts:
        try:
            seen.setdefault(SessionId(text), True)
        except InvalidSessionId:
            seen.setdefault(text, False)
    if not seen:
        raise UsageError(f"{_name(source)} holds no session ids")
    return IdInput(tuple(seen), len(texts) - len(seen), sum(not valid for valid in seen.values()))


def _text(source: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"the ids file {source!r} can't be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{_name(source)} is not UTF-8 text") from None


def _texts(lines: list[str], column: str | None, source: str) -> Iterator[str]:
    content = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if content and content[0].lstrip().startswith("{"):
        for line in content:
            row = json.loads(line)
            yield _from_row(row if isinstance(row, dict) else {}, column, source)
    elif content and _is_header(content[0], column):
        for row in csv.DictReader(content):
            yield _from_row({key: value for key, value in row.items() if key}, column, source)
    elif column is not None:
        raise UsageError(f"{_name(source)} has no column {column!r}")
    else:
        yield from (line.strip() for line in content)


def _is_header(line: str, column: str | None) -> bool:
    names = next(csv.reader([line]))
    if column is not None:
        return column in names
    return any(_plain(name) in _ID_COLUMNS for name in names)


def _from_row(row: Mapping[str, Any], column: str | None, source: str) -> str:
    """Find the id in one row: the named column, a pair of columns, or the first that is called like an id."""
    if column is not None:
        if column not in row:
            raise UsageError(f"{_name(source)} has a row without the column {column!r}")
        return str(row[column] or "")
    by_name = {_plain(name): str(value) for name, value in row.items() if value not in (None, "")}
    for user, session in _PAIR_COLUMNS:
        if user in by_name and session in by_name and ":" not in by_name[session]:
            return f"{by_name[user]}:{by_name[session]}"
    found = _first(by_name, _ID_COLUMNS)
    if found is None:
        raise UsageError(
            f"{_name(source)} has a row without an id column (one of session_id, id, url, …); name it with --id-column"
        )
    return found


def _first(by_name: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "").replace(" ", "").replace("-", "")


def _name(source: str) -> str:
    return "standard input" if source == "-" else f"the ids file {source!r}"
