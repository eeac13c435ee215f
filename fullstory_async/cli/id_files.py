"""Files of ids as text: decompressed and decoded, whatever program wrote them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

from fullstory_async.cli.exits import UsageError
from fullstory_async.files.compression import zstd

__all__ = ["IdText", "form_of", "open_ids"]

_HEAD = 4096
_CHUNK = 32_768
_NOT_UTF_8 = re.compile("[\udc80-\udcff]+")
_ZSTD = b"\x28\xb5\x2f\xfd"
_TABLES: dict[bytes, Literal["workbook", "parquet"]] = {
    b"PK\x03\x04": "workbook", b"\xd0\xcf\x11\xe0": "workbook", b"PAR1": "parquet", b"PARE": "parquet",
}  # fmt: skip
_NAMES = {"workbook": "an Excel workbook", "parquet": "a Parquet file"}
_OTHER_FORMATS = {
    b"%PDF": "a PDF", b"SQLite format 3\x00": "a SQLite database",
    b"ORC": "an ORC file", b"Obj\x01": "an Avro file",
}  # fmt: skip
_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)  # fmt: skip
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class IdText:
    """A file as text. Bytes that are not UTF-8 are read as Windows-1252."""

    not_utf_8: bool
    """Whether a part was not UTF-8."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        """Read from a file that decodes with ``surrogateescape``."""
        self.not_utf_8 = False
        self._file = file

    def read_line(self, limit: int = -1) -> str:
        """Return the next line with its end, or its first characters; empty at the end."""
        return self._repaired(self._file.readline(limit))

    def lines(self) -> Iterator[str]:
        """Yield the lines that are left, with their ends."""
        return iter(self.read_line, "")

    def pieces(self) -> Iterator[str]:
        """Yield the text that is left in pieces."""
        return iter(lambda: self._repaired(self._file.read(_CHUNK)), "")

    def _repaired(self, text: str) -> str:
        if text.isascii() or not _NOT_UTF_8.search(text):
            return text
        self.not_utf_8 = True
        return _NOT_UTF_8.sub(
            lambda found: found[0].encode("utf-8", "surrogateescape").decode("cp1252", "replace"), text
        )


class _Rewound(io.RawIOBase):
    """A binary file whose head was read already. Closing it does not close the file."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        """Put ``head`` in front of the rest of a file."""
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        """Return whether it can be read."""
        return True

    def readinto(self, target: Any) -> int:
        """Read some bytes."""
        view = memoryview(target).cast("B")
        if self._head:
            data, self._head = self._head[: len(view)], self._head[len(view) :]
        else:
            data = self._rest.read(len(view))
        view[: len(data)] = data
        return len(data)


def form_of(path: str) -> Literal["workbook", "parquet", "text"]:
    """Return what a file is by its first bytes; a pipe, or a file that can't be read, counts as text."""
    try:
        if not Path(path).is_file():
            return "text"
        with Path(path).open("rb") as file:
            return _TABLES.get(file.read(4), "text")
    except OSError:
        return "text"


@contextmanager
def open_ids(source: str) -> Iterator[IdText]:
    """Open a file, or standard input for ``-``, as text.

    Raises:
        UsageError: it can't be read, is damaged, or is of a format that has no text.
    """
    if source == "-" and sys.stdin is None:
        raise UsageError("is closed")
    try:
        with ExitStack() as stack:
            raw = sys.stdin.buffer if source == "-" else stack.enter_context(Path(source).open("rb"))
            plain = stack.enter_context(_decompressed(*_with_head(raw)))
            head, whole = _with_head(plain)
            encoding = _encoding(head)
            errors = "surrogateescape" if encoding == "utf-8" else "replace"
            file = io.TextIOWrapper(io.BufferedReader(whole), encoding=encoding, errors=errors)
            yield IdText(file)
    except _DAMAGED:
        raise UsageError("can't be decompressed: it is damaged or cut off") from None
    except OSError as error:
        raise UsageError(f"can't be read: {error.strerror or error}") from None


def _with_head(file: IO[bytes]) -> tuple[bytes, _Rewound]:
    """Return the first bytes of a file, and the file as if they were not read."""
    head = file.read(_HEAD)
    return head, _Rewound(head, file)


@contextmanager
def _decompressed(head: bytes, raw: _Rewound) -> Iterator[IO[bytes]]:
    """Give a file as it was before it was compressed; its content says how."""
    file = io.BufferedReader(raw)
    for magic, other in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise UsageError(f"is {other}; save the ids as CSV or as text")
    if (form := _TABLES.get(head[:4])) is not None:
        raise UsageError(f"is {_NAMES[form]}, which can only be read from a file")
    if head.startswith(b"\x1f\x8b"):
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    elif head.startswith(b"\xfd7zXZ\x00"):
        with lzma.LZMAFile(file) as unpacked:
            yield unpacked
    elif head.startswith(b"BZh"):
        yield bz2.BZ2File(file)
    elif head.startswith(_ZSTD):
        if zstd is None:
            raise UsageError("is compressed with zstd, which needs: pip install 'fullstory-async[zstd]'")
        try:
            yield cast("IO[bytes]", zstd.ZstdFile(file))
        except zstd.ZstdError as error:
            raise EOFError from error
    else:
        yield file


def _encoding(head: bytes) -> str:
    """Return how a text is encoded, by its byte order mark or its zero bytes."""
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    # UTF-16 without a mark: every second byte of ASCII text is zero
    half = len(head) // 2
    if half and head[1::2].count(0) > 0.7 * half:
        return "utf-16-le"
    return "utf-16-be" if half and head[0::2].count(0) > 0.7 * half else "utf-8"
