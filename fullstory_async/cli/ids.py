"""Session ids from a file or standard input: plain lines, a table with a header, or JSON.

The whole input is read and checked before the first request: a misread file should cost no activation. It may hold
millions of ids, so they wait in a temporary database, and not in memory. The published contract would allow nearly any
text as an id; here a line has to look like one, since a line of something else (a table without a header, a program, a
list of e-mails) would be sent to the service as it is.
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
_STRANGE = re.compile(r"[\s,;|\"'\[\]{}()<>@#]|^[^0-9]*$|[0-9]E\+[0-9]")
"""What no session id looks like: with such a character, without a digit, or rounded by a spreadsheet."""
_CHUNK = 65_536
_SPACE = re.compile(r"[ \t\r\n]*")


class IdInput:
    """What an ids file held: each id once, in the order of first appearance. Iterable, any number of times."""

    duplicates: int
    """How many more lines named an id that had come before."""
    invalid: int
    """How many of the ids are no session ids; they cost no request, and are given as the texts that they are."""
    not_pairs: int
    """How many of the others are no ``USER:SESSION`` pairs, the only ids that the live service is known to take."""

    def __init__(self) -> None:
        """Make one that holds nothing."""
        self.duplicates = self.invalid = self.not_pairs = self._held = 0
        self._database = sqlite3.connect("")  # a file without a name, which goes when it is closed
        self._database.execute("CREATE TABLE given (text BLOB UNIQUE)")

    def take(self, text: str) -> None:
        """Add a text; an id in its canonical form. Raises `StorageError` if there is no room for it."""
        session_id = _id_or_text(text)
        kept = session_id.encode("utf-8", "surrogatepass")
        try:
            is_new = self._database.execute("INSERT OR IGNORE INTO given VALUES (?)", (kept,)).rowcount
        except sqlite3.Error as error:
            raise StorageError(f"the ids can't be kept in a temporary file: {error}") from None
        self._held += is_new
        self.duplicates += not is_new
        if is_new and isinstance(session_id, SessionId):
            self.not_pairs += not session_id.is_pair
        elif is_new:
            self.invalid += 1

    def __len__(self) -> int:
        return self._held

    def __iter__(self) -> Iterator[SessionId | str]:
        for (kept,) in self._database.execute("SELECT text FROM given ORDER BY rowid"):
            yield _id_or_text(kept.decode("utf-8", "surrogatepass"))

    def close(self) -> None:
        """Forget the ids."""
        self._database.close()


def read_ids(source: str, column: str | None = None) -> IdInput:
    """Read the ids of a file, or of standard input for ``-``.

    Raises:
        UsageError: the file can't be read or understood, has no id column, or holds no ids.
        StorageError: there is no room for the ids.
    """
    given = IdInput()
    try:
        with _opened(source) as file:
            for text in filter(None, _texts(file, column)):
                given.take(text)
        if not given:
            raise UsageError("holds no session ids")
    except StorageError:
        given.close()
        raise
    except UsageError as error:
        given.close()
        name = "standard input" if source == "-" else f"the ids file {source!r}"
        raise UsageError(f"{name} {error}") from None
    return given


def _id_or_text(text: str) -> SessionId | str:
    try:
        return SessionId(text)
    except InvalidSessionId:
        return text


@contextmanager
def _opened(source: str) -> Iterator[TextIO]:
    if source == "-" and sys.stdin is None:
        raise UsageError("is closed")
    try:
        raw = sys.stdin.buffer if source == "-" else Path(source).open("rb")  # noqa: SIM115
        file = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n")
        try:
            yield file
        finally:
            file.detach()  # standard input stays open
            if source != "-":
                raw.close()
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8 text") from None


def _texts(file: TextIO, column: str | None) -> Iterator[str]:
    """Tell the forms apart by the first line that is neither empty nor a comment."""
    number, first = 0, ""
    while not first.strip() or _is_comment(first):
        number, first = number + 1, file.readline(_CHUNK)
        if not first:
            return iter(())
        if first.lstrip().startswith("["):  # it may be one line of any length
            rest = iter(lambda: file.read(_CHUNK), "")
            return _from_array(itertools.chain((first.lstrip(),), rest), column)
        first += "" if first.endswith("\n") else file.readline()
    lines = (line.rstrip("\r\n") for line in itertools.chain((first,), file))
    if first.lstrip().startswith("{"):
        return _from_json_lines(enumerate(lines, number), column)
    delimiter = _delimiter(first.rstrip("\r\n"), column)
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
        yield _checked(quoted[1] if quoted else text, f"line {number}")


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
            raise UsageError(f"can't be understood: line {number} is no JSON object")
        yield _from_row(row, column, number)


def _from_array(pieces: Iterator[str], column: str | None) -> Iterator[str]:
    for number, row in enumerate(_items(pieces), 1):
        yield _from_row(row if isinstance(row, dict) else {"session_id": row}, column, number)


def _items(pieces: Iterator[str]) -> Iterator[Any]:
    """Give the items of a JSON array that comes in pieces; no more than an item and a piece are held."""
    decode, text, at, row = json.JSONDecoder().raw_decode, next(pieces), 1, 1
    mark = ""
    while mark != "]":
        try:
            start = _skipped(text, at)
            if row == 1 and text[start] == "]":
                at = start + 1
                break
            item, end = decode(text, start)
            end = _skipped(text, end)
            mark = text[end]
        except RecursionError:
            raise UsageError(f"can't be read as a JSON array: row {row} is nested too deeply") from None
        except (ValueError, IndexError):  # wrong, or not all of it is here
            if not (piece := next(pieces, "")):
                raise UsageError(
                    f"can't be read as a JSON array: row {row} is wrong, or its end is missing"
                ) from None
            text, at = text[at:] + piece, 0
            continue
        if mark not in ",]":
            raise UsageError(f"can't be read as a JSON array: there is no comma after row {row}")
        yield item
        at, row = end + 1, row + 1
    if text[at:].strip() or any(piece.strip() for piece in pieces):
        raise UsageError("can't be read as a JSON array: it goes on behind its end")


def _skipped(text: str, at: int) -> int:
    """Return where the white space ends."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


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
    """Find the id in one row: in the named column, or where a whole one is, in two columns, or in the first that is called like an id.

    A whole one before two columns, since what a program calls a user's id is mostly its own.
    """
    place = f"row {number}"
    if column is not None:
        if column not in row:
            raise UsageError(f"has no column {column!r} in {place}")
        return _checked(_text(row[column], place), place)
    by_name = {_plain(name): value for name, value in row.items()}
    given = [by_name[name] for name in _ID_COLUMNS if name in by_name]
    texts = [text for text in map(_text_or_nothing, given) if text]
    if (whole := next(filter(_is_pair, texts), None)) is not None:
        return whole
    for names in _PAIR_COLUMNS:
        user, session = (_text_or_nothing(by_name.get(name)) for name in names)
        if user and session and ":" not in session:
            return _checked(f"{user}:{session}", place)
    if not given:
        raise UsageError(f"has no id column in {place} (session_id, id, url, …); name it with --id-column")
    if not texts:
        return _text(next((value for value in given if value not in ("", None)), None), place)
    return _checked(texts[0], place)


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
