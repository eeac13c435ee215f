"""Session ids from a file or standard input: plain lines, a table, or JSON.

The whole input is read and checked before the first request, so that a misread file costs no activation. It
may hold millions of ids, so they are kept in a temporary database instead of in memory.

The published OpenAPI description allows nearly any text as an id. Here a line must look like one: a line of
something else (a table without a header, a program, a list of e-mail addresses) would otherwise be sent to
the service as it is.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from fullstory_async.cli.exits import UsageError
from fullstory_async.errors import InvalidSessionId, StorageError
from fullstory_async.session_id import SessionId

__all__ = ["IdInput", "read_ids"]

_PAIR_COLUMNS = (("userid", "sessionid"), ("deviceid", "sessionid"))
_ID_COLUMNS = ("sessionid", "session", "fsurl", "replayurl", "sessionurl", "url", "id")
_DELIMITERS = (",", ";", "\t", "|")
_NOT_AN_ID = re.compile(r"[\s,;|\"'\[\]{}()<>@#]|^[^0-9]*$|[0-9]E\+[0-9]")
"""Text that can't be a session id: it has such a character, has no digit, or was rounded by a spreadsheet."""
_CHUNK = 65_536
_SPACE = re.compile(r"[ \t\r\n]*")


class IdInput:
    """The distinct ids of an input, in order. Can be iterated repeatedly."""

    duplicates: int
    """Lines that repeated an earlier id."""
    invalid: int
    """Distinct texts that are not valid session ids. No request is sent for them."""
    not_pairs: int
    """Distinct valid ids that are not ``USER:SESSION`` pairs, the only form that the service surely
    accepts."""

    def __init__(self) -> None:
        """Create an empty input."""
        self.duplicates = self.invalid = self.not_pairs = self._count = 0
        # an empty name makes a temporary file that SQLite deletes on close
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE given (text BLOB UNIQUE)")

    def add(self, text: str) -> None:
        """Add an id in its canonical form. Raises `StorageError` if the disk is full."""
        session_id = _id_or_text(text)
        # as bytes: SQLite's text can't hold the lone surrogates that JSON allows
        stored = session_id.encode("utf-8", "surrogatepass")
        try:
            is_new = self._database.execute("INSERT OR IGNORE INTO given VALUES (?)", (stored,)).rowcount
        except sqlite3.Error as error:
            raise StorageError(f"can't write the ids to a temporary file: {error}") from None
        self._count += is_new
        self.duplicates += not is_new
        if is_new and isinstance(session_id, SessionId):
            self.not_pairs += not session_id.is_pair
        elif is_new:
            self.invalid += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SessionId | str]:
        for (stored,) in self._database.execute("SELECT text FROM given ORDER BY rowid"):
            yield _id_or_text(stored.decode("utf-8", "surrogatepass"))

    def close(self) -> None:
        """Delete the ids."""
        self._database.close()


def read_ids(source: str, column: str | None = None) -> IdInput:
    """Read the ids of a file, or of standard input for ``-``.

    Args:
        source: the path, or ``-``.
        column: the column that holds the ids; found by its name if it is None.

    Raises:
        UsageError: the input can't be read, has no id column, or has no ids.
        StorageError: the disk is full.
    """
    ids = IdInput()
    try:
        with _open_source(source) as file:
            for text in filter(None, _read_texts(file, column)):
                ids.add(text)
        if not ids:
            raise UsageError("has no session ids")
    except StorageError:
        ids.close()
        raise
    except UsageError as error:
        ids.close()
        name = "standard input" if source == "-" else f"the ids file {source!r}"
        raise UsageError(f"{name} {error}") from None
    return ids


def _id_or_text(text: str) -> SessionId | str:
    try:
        return SessionId(text)
    except InvalidSessionId:
        return text


@contextmanager
def _open_source(source: str) -> Iterator[TextIO]:
    if source == "-" and sys.stdin is None:
        raise UsageError("is closed")
    try:
        raw = sys.stdin.buffer if source == "-" else Path(source).open("rb")  # noqa: SIM115
        file = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n")
        try:
            yield file
        finally:
            # detach, or the wrapper would close standard input
            file.detach()
            if source != "-":
                raw.close()
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8 text") from None


def _read_texts(file: TextIO, column: str | None) -> Iterator[str]:
    """Yield the ids of a file, in any of the forms."""
    # the first line that is neither empty nor a comment decides the form
    number, first = 0, ""
    while not first.strip() or _is_comment(first):
        number, first = number + 1, file.readline(_CHUNK)
        if not first:
            return iter(())
        # an array may be one line of any length, so it is read in pieces
        if first.lstrip().startswith("["):
            rest = iter(lambda: file.read(_CHUNK), "")
            return _from_array(itertools.chain((first.lstrip(),), rest), column)
        first += "" if first.endswith("\n") else file.readline()
    lines = (line.rstrip("\r\n") for line in itertools.chain((first,), file))
    if first.lstrip().startswith("{"):
        return _from_json_lines(enumerate(lines, number), column)
    delimiter = _find_delimiter(first.rstrip("\r\n"), column)
    if delimiter is not None:
        return _from_table(lines, number - 1, delimiter, column)
    if column is not None:
        raise UsageError(f"has no column {column!r}")
    return _from_plain_lines(enumerate(lines, number))


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _from_plain_lines(lines: Iterable[tuple[int, str]]) -> Iterator[str]:
    for number, line in lines:
        text = "" if _is_comment(line) else re.split(r"\s#", line)[0].strip()
        quoted = re.fullmatch('"([^"]*)"', text)
        yield _require_id(quoted[1] if quoted else text, f"line {number}")


def _from_table(lines: Iterable[str], offset: int, delimiter: str, column: str | None) -> Iterator[str]:
    reader = csv.DictReader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = {k: v for k, v in row.items() if k}
            if len(cells) > 1 or not _is_comment(str(next(iter(cells.values())))):
                yield _from_row(cells, column, offset + reader.line_num)
    except csv.Error as error:
        raise UsageError(f"can't be read: line {offset + reader.reader.line_num}: {error}") from None


def _from_json_lines(lines: Iterable[tuple[int, str]], column: str | None) -> Iterator[str]:
    for number, line in lines:
        if not line.strip() or _is_comment(line):
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"can't be read as JSON Lines: line {number}: {error}") from None
        if not isinstance(row, dict):
            raise UsageError(f"can't be understood: line {number} is not a JSON object")
        yield _from_row(row, column, number)


def _from_array(pieces: Iterator[str], column: str | None) -> Iterator[str]:
    for number, row in enumerate(_array_items(pieces), 1):
        yield _from_row(row if isinstance(row, dict) else {"session_id": row}, column, number)


def _array_items(pieces: Iterator[str]) -> Iterator[Any]:
    """Yield the items of a JSON array that is read in pieces, in constant memory."""
    decode, text, at, row = json.JSONDecoder().raw_decode, next(pieces), 1, 1
    mark = ""
    while mark != "]":
        try:
            start = _skip_space(text, at)
            if row == 1 and text[start] == "]":
                at = start + 1
                break
            item, end = decode(text, start)
            end = _skip_space(text, end)
            mark = text[end]
        except RecursionError:
            raise UsageError(f"can't be read as a JSON array: row {row} is nested too deeply") from None
        # either malformed or incomplete: the next piece decides
        except (ValueError, IndexError):
            if not (piece := next(pieces, "")):
                raise UsageError(
                    f"can't be read as a JSON array: row {row} is malformed, or the array is cut off"
                ) from None
            text, at = text[at:] + piece, 0
            continue
        if mark not in ",]":
            raise UsageError(f"can't be read as a JSON array: there is no comma after row {row}")
        yield item
        at, row = end + 1, row + 1
    if text[at:].strip() or any(piece.strip() for piece in pieces):
        raise UsageError("can't be read as a JSON array: text follows its end")


def _skip_space(text: str, at: int) -> int:
    """Return the index after the white space."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _find_delimiter(line: str, column: str | None) -> str | None:
    """Return the delimiter of a header line; None if it is not a header."""
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter))
        # csv refuses very long cells, which no header has
        except csv.Error:
            return None
        if column in names if column is not None else any(_normalised(name) in _ID_COLUMNS for name in names):
            return delimiter
    return None


def _from_row(row: Mapping[str, Any], column: str | None, number: int) -> str:
    """Return the id in one row.

    With a column name, the id is there. Otherwise the order is: a full session id in any id column, a user id
    and a session id in two columns, the first id column.
    """
    where = f"row {number}"
    if column is not None:
        if column not in row:
            raise UsageError(f"has no column {column!r} in {where}")
        return _require_id(_require_text(row[column], where), where)
    by_name = {_normalised(name): value for name, value in row.items()}
    values = [by_name[name] for name in _ID_COLUMNS if name in by_name]
    texts = [text for text in map(_text_or_empty, values) if text]
    # before the two columns: a column called user_id often holds the customer's own id, not FullStory's
    if (full_id := next(filter(_is_pair, texts), None)) is not None:
        return full_id
    for names in _PAIR_COLUMNS:
        user, session = (_text_or_empty(by_name.get(name)) for name in names)
        if user and session and ":" not in session:
            return _require_id(f"{user}:{session}", where)
    if not values:
        raise UsageError(f"has no id column in {where} (session_id, id, url, …); name it with --id-column")
    if not texts:
        return _require_text(next((value for value in values if value not in ("", None)), None), where)
    return _require_id(texts[0], where)


def _text_or_empty(value: Any) -> str:
    """Return a value as the text of an id; empty if it can't be one."""
    usable = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    return str(value).strip() if usable else ""


def _require_text(value: Any, where: str) -> str:
    """Return a value as the text of an id. Raises `UsageError` for other types."""
    text = _text_or_empty(value)
    if not text and value not in ("", None) and not isinstance(value, str):
        raise UsageError(
            f"can't be understood: the id in {where} is neither text nor an integer: {value!r:.60}"
        )
    return text


def _require_id(text: str, where: str) -> str:
    """Return a text that may be an id. Raises `UsageError` for one that can't be."""
    # "." and ".." have no digit, but are counted as invalid ids: they say nothing about the rest of the input
    if not text or not _NOT_AN_ID.search(text) or _is_pair(text) or text in (".", ".."):
        return text
    raise UsageError(
        f"can't be understood: {where} does not look like a session id: {text[:60]!a}; "
        "a table needs a header with a column like session_id, or --id-column"
    )


def _is_pair(text: str) -> bool:
    try:
        return SessionId(text).is_pair
    except InvalidSessionId:
        return False


def _normalised(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
