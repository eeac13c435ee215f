"""Session ids from a file or standard input: plain lines, a table with a header, or JSON.

The whole input is read and checked before the first request: a misread file should cost no activation. The
published contract would allow nearly any text as an id; here a line has to look like one, since a line of something else
(a table without a header, a program, a list of e-mails) would be sent to the service as it is.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.cli.exits import UsageError
from fullstory_async.errors import InvalidSessionId
from fullstory_async.session_id import SessionId

__all__ = ["IdInput", "read_ids"]

_PAIR_COLUMNS = (("userid", "sessionid"), ("deviceid", "sessionid"))
_ID_COLUMNS = ("sessionid", "session", "fsurl", "replayurl", "sessionurl", "url", "id")
_DELIMITERS = (",", ";", "\t", "|")
_STRANGE = re.compile(r"[\s,;|\"'\[\]{}()<>@#]|^[^0-9]*$|[0-9]E\+[0-9]")
"""What no session id looks like: with such a character, without a digit, or rounded by a spreadsheet."""


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
        UsageError: the file can't be read or understood, has no id column, or holds no ids.
    """
    seen: dict[str, bool] = {}
    count = 0
    try:
        for text in filter(None, _texts(_read(source), column)):
            count += 1
            try:
                seen.setdefault(SessionId(text), True)
            except InvalidSessionId:
                seen.setdefault(text, False)
    except UsageError as error:
        raise UsageError(f"{_name(source)} {error}") from None
    if not seen:
        raise UsageError(f"{_name(source)} holds no session ids")
    return IdInput(tuple(seen), count - len(seen), sum(not valid for valid in seen.values()))


def _name(source: str) -> str:
    return "standard input" if source == "-" else f"the ids file {source!r}"


def _read(source: str) -> str:
    if source == "-" and sys.stdin is None:
        raise UsageError("is closed")
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8 text") from None


def _texts(text: str, column: str | None) -> Iterator[str]:
    """Tell the forms apart by the first line that is neither empty nor a comment."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    first = next(
        (n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None
    )
    if first is None:
        return iter(())
    head = lines[first].lstrip()
    if head.startswith("["):
        return _from_array("\n".join(lines[first:]), column)
    if head.startswith("{"):
        return _from_json_lines(lines, column)
    delimiter = _delimiter(lines[first], column)
    if delimiter is not None:
        return _from_table(lines[first:], first, delimiter, column)
    if column is not None:
        raise UsageError(f"has no column {column!r}")
    return _from_plain_lines(lines)


def _from_plain_lines(lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        text = "" if line.lstrip().startswith("#") else re.split(r"\s#", line)[0].strip()
        quoted = re.fullmatch('"([^"]*)"', text)
        yield _checked(quoted[1] if quoted else text, f"line {number}")


def _from_table(lines: list[str], offset: int, delimiter: str, column: str | None) -> Iterator[str]:
    reader = csv.DictReader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = {k: v for k, v in row.items() if k}
            if len(cells) > 1 or not str(next(iter(cells.values()))).lstrip().startswith("#"):
                yield _from_row(cells, column, offset + reader.line_num)
    except csv.Error as error:
        raise UsageError(f"can't be read: line {offset + reader.reader.line_num}: {error}") from None


def _from_json_lines(lines: list[str], column: str | None) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"can't be read as JSON Lines: line {number}: {error}") from None
        if not isinstance(row, dict):
            raise UsageError(f"can't be understood: line {number} is no JSON object")
        yield _from_row(row, column, number)


def _from_array(text: str, column: str | None) -> Iterator[str]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"can't be read as a JSON array: {error}") from None
    for number, row in enumerate(rows, 1):
        yield _from_row(row if isinstance(row, dict) else {"session_id": row}, column, number)


def _delimiter(line: str, column: str | None) -> str | None:
    """Return what separates the columns of a header line; ``None`` if it is no header."""
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter))
        except csv.Error:  # a cell longer than any header
            return None
        if column in names if column is not None else any(_plain(name) in _ID_COLUMNS for name in names):
            return delimiter
    return None


def _from_row(row: Mapping[str, Any], column: str | None, number: int) -> str:
    """Find the id in one row: the named column, a pair of columns, or the first that is called like an id."""
    place = f"row {number}"
    if column is not None:
        if column not in row:
            raise UsageError(f"has no column {column!r} in {place}")
        return _checked(_text(row[column], place), place)
    by_name = {_plain(name): value for name, value in row.items()}
    for names in _PAIR_COLUMNS:
        user, session = (_text_or_nothing(by_name.get(name)) for name in names)
        if user and session and ":" not in session:
            return _checked(f"{user}:{session}", place)
    given = [by_name[name] for name in _ID_COLUMNS if name in by_name]
    if not given:
        raise UsageError(f"has no id column in {place} (session_id, id, url, …); name it with --id-column")
    texts = [text for text in map(_text_or_nothing, given) if text]
    if not texts:
        return _text(next((value for value in given if value not in ("", None)), None), place)
    return next(filter(_is_pair, texts), None) or _checked(texts[0], place)


def _text_or_nothing(value: Any) -> str:
    """Return an id's text; nothing for a value that can be none."""
    usable = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    return str(value).strip() if usable else ""


def _text(value: Any, place: str) -> str:
    text = _text_or_nothing(value)
    if not text and value not in ("", None) and not isinstance(value, str):
        raise UsageError(
            f"can't be understood: the id in {place} is neither text nor an integer: {value!r:.60}"
        )
    return text


def _checked(text: str, place: str) -> str:
    """Return a text that may be an id; refuse the whole input for one that is surely something else."""
    if not text or not _STRANGE.search(text) or _is_pair(text) or text in (".", ".."):
        return text
    raise UsageError(
        f"can't be understood: {place} looks like no session id: {text[:60]!a}; "
        "a table needs a header with a column like session_id, or --id-column"
    )


def _is_pair(text: str) -> bool:
    try:
        return SessionId(text).is_pair
    except InvalidSessionId:
        return False


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
