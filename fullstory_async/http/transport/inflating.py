"""Inflater: decompresses a response's body in steps.

aiohttp can do this too, but loses a complete body if other bytes follow its end.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import attrs
from aiohttp.compression_utils import ZLibBackend

__all__ = ["ENCODINGS", "InflateError", "Inflater"]

ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""Values of ``Content-Encoding`` that an inflater decodes."""

_STEP = 1024 * 1024
"""Bytes decompressed at a time, in about 2 ms."""
_MOST_MEMBERS = 1000
"""Gzip members of one body; a server has no reason to send more than one."""
_GZIP_START = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15
"""The formats, as zlib numbers them."""


class InflateError(Exception):
    """A body is not in the format of its ``Content-Encoding``."""


@attrs.define(eq=False)
class Inflater:
    """Decompresses one body: gzip of any number of members, or deflate with or without its header."""

    encoding: str
    """The ``Content-Encoding``, in lower case; any but deflate is taken for gzip."""
    _member: Any = attrs.field(default=None, init=False)
    _members: int = attrs.field(default=0, init=False)
    _pending: bytes = attrs.field(default=b"", init=False)
    """Bytes that were received and are not decompressed yet."""
    _is_full: bool = attrs.field(default=False, init=False)
    """Whether there is more to do before others are received."""

    async def read(self, content: aiohttp.StreamReader) -> bytes:
        """Read and decompress the next bytes of a body; return none at its end.

        What follows the end of the compressed data is ignored.

        Raises:
            InflateError: the body is damaged.
        """
        if self._members == 0 and self.encoding != "deflate":
            self._members, self._member = 1, ZLibBackend.decompressobj(wbits=_GZIP)
        while True:
            if self._is_full:
                await asyncio.sleep(0)  # other tasks have waited for a full step
                data, self._is_full = self._pending, False
            elif content.at_eof():
                return b""
            else:
                data = self._pending + await content.readany()
            self._pending = b""
            if self._member is None and not self._start_member(data):
                continue
            member: Any = self._member
            try:
                piece: bytes = member.decompress(data, _STEP)
            except Exception as error:  # each zlib backend has an error of its own
                raise InflateError from error
            if member.eof:
                self._pending, self._member = member.unused_data, None
                self._is_full = bool(self._pending)
            else:
                # a full step may have left output inside zlib
                self._pending = member.unconsumed_tail
                self._is_full = len(piece) >= _STEP or bool(self._pending)
            if piece:
                return piece

    def _start_member(self, data: bytes) -> bool:
        """Start the next part if there is one; return whether its bytes can be decompressed."""
        if self.encoding != "deflate":
            if not data.startswith(_GZIP_START):
                # half a start may be completed by the next bytes
                self._pending = data if data == _GZIP_START[:1] else b""
                return False
            self._members += 1
            if self._members > _MOST_MEMBERS:
                raise InflateError
            self._member = ZLibBackend.decompressobj(wbits=_GZIP)
            return True
        if self._members or not data:
            return False
        self._members = 1
        # some servers send deflate without its header, whose first byte would end in 8
        self._member = ZLibBackend.decompressobj(wbits=_ZLIB if data[0] & 0xF == 8 else _RAW_DEFLATE)
        return True
