"""JSON with ids: an array, JSON Lines, a stream of documents, or a page of FullStory's API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fullstory_async.cli.exits import UsageError
from fullstory_async.ids.cells import Kind, read_cell

__all__ = ["json_rows", "json_values"]

_SPACE = re.compile(r"(?:[ \t\r\n\ufeff\x1e]|#[^\n]*\n)*")
"""White space, byte order marks in between, the separator of JSON text sequences, and comments."""
_LISTS = ("sessions", "results", "data", "items", "records", "rows", "hits")
_NEAR_END = 16
"""Characters before the end of the text within which an error may be that the text is incomplete."""
_SCALARS = (str, int, float, bool, type(None))


def json_rows(pieces: Iterator[str], line: int) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a JSON text with their lines.

    An object with a list of objects, such as a page of sessions, stands for the objects.

    Args:
        pieces: the text.
        line: the number of its first line.

    Raises:
        UsageError: the text is not JSON.
    """
    for number, value in json_values(pieces, line):
        for row in _rows_of(value):
            yield number, row


def _rows_of(value: Any) -> Iterator[Any]:
    if not isinstance(value, Mapping):
        if isinstance(value, list):
            for each in value:
                yield from _rows_of(each)
        else:
            yield value
        return
    if not value:
        return
    # an object that maps ids to something
    if all(read_cell(name).kind is Kind.PAIR for name in value):
        yield from value
        return
    lists = {name: each for name, each in value.items() if isinstance(each, list)}
    chosen = next((name for name in _LISTS if name in lists), None)
    if chosen is None and len(lists) == 1 and not _scalars(value):
        chosen = next(iter(lists))
    if chosen is not None and all(isinstance(each, (Mapping, str)) for each in lists[chosen]):
        for each in lists[chosen]:
            yield from _rows_of(each)
    elif (nested := _only_object(value)) is not None:
        yield from _rows_of(nested)
    else:
        yield value


def _scalars(value: Mapping[str, Any]) -> list[str]:
    return [name for name, each in value.items() if isinstance(each, _SCALARS)]


def _only_object(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the object around which this one is only an envelope with a list inside."""
    only = next(iter(value.values())) if len(value) == 1 else None
    has_list = isinstance(only, Mapping) and any(isinstance(each, list) for each in only.values())
    return only if has_list else None


def json_values(pieces: Iterator[str], line: int = 1) -> Iterator[tuple[int, Any]]:
    """Yield the documents of a JSON text, and instead of an array its items, with their lines.

    Takes linear time, and memory for one document or item.

    Raises:
        UsageError: the text is not JSON.
    """
    reader = _Reader(pieces, line)
    while mark := reader.peek():
        if mark != "[":
            yield reader.line, reader.value("as JSON")
            continue
        reader.skip("[")
        if reader.peek() == "]":
            reader.skip("]")
            continue
        while True:
            yield reader.line, reader.value("as a JSON array")
            mark = reader.peek()
            if mark not in (",", "]"):
                problem = "there is no comma after an item" if mark else "it is cut off"
                raise UsageError(f"can't be read as a JSON array: line {reader.line}: {problem}")
            reader.skip(mark)
            if mark == "]":
                break
        if reader.peek() not in ("", "[", "{"):
            raise UsageError(f"can't be read as a JSON array: line {reader.line}: text follows its end")


class _Reader:
    """Reads values from a text that comes in pieces."""

    line: int
    """The line of the next character."""

    def __init__(self, pieces: Iterator[str], line: int) -> None:
        """Start before the first piece, which begins in this line."""
        self.line = line
        self._pieces = pieces
        self._text, self._at = "", 0
        self._decode = json.JSONDecoder(parse_int=_int_or_text).raw_decode

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            end = found.end() if found else self._at
            # the comment at the end of a piece may be incomplete
            if end < len(self._text) and self._text[end] != "#":
                self._move(end)
                return self._text[end]
            if not self._read_more(1):
                # what is left is white space, or a comment without a line end
                self._move(len(self._text))
                return ""

    def skip(self, text: str) -> None:
        """Move behind a character that was peeked at."""
        self._move(self._at + len(text))

    def value(self, form: str) -> Any:
        """Return the next value. Raises `UsageError`, which names the form of the text."""
        self.peek()
        wanted = 1
        while True:
            try:
                value, end = self._decode(self._text, self._at)
                # a number may continue in the next piece
                if end < len(self._text) or not self._read_more(wanted):
                    self._move(end)
                    return value
            except RecursionError:
                raise UsageError(f"can't be read {form}: line {self.line} is nested too deeply") from None
            except json.JSONDecodeError as error:
                near_end = error.pos >= len(self._text) - _NEAR_END
                is_incomplete = near_end or error.msg.startswith("Unterminated string")
                # twice as much each time: reading a large value takes linear time
                if not (is_incomplete and self._read_more(wanted)):
                    raise UsageError(
                        f"can't be read {form}: line {self.line} is malformed, or the text is cut off: "
                        f"{error.msg}"
                    ) from None
            wanted = max(1, len(self._text) - self._at)

    def _move(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _read_more(self, characters: int) -> bool:
        """Read at least this many characters more, if there are; return whether there was any."""
        read, size = [self._text[self._at :]], 0
        for piece in self._pieces:
            read.append(piece)
            size += len(piece)
            if size >= characters:
                break
        if size:
            self._text, self._at = "".join(read), 0
        return size > 0


def _int_or_text(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # more digits than Python converts
        return digits
