"""Stored responses: compressed, in a format that identifies itself.

zstd takes from half (50 events) to a seventh (200 events) of the time of zlib, and less room. It is part of
Python from 3.14 on; older versions need the extra ``zstd``, to write it and to read what was written with it.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable

from fullstory_async.errors import JobError

try:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError:  # the extra is missing, or Python was built without zstd
    zstd = None  # type: ignore[assignment]

__all__ = ["CorruptRecord", "compressor", "decompress", "zstd"]

_ZSTD = b"\x28\xb5\x2f\xfd"
_ZLIB_LEVEL = 3
_ZSTD_LEVEL = 1


class CorruptRecord(Exception):
    """A stored record is damaged."""


def compressor() -> Callable[[list[bytes]], list[bytes]]:
    """Return a function that compresses responses, for use in one thread at a time."""
    if zstd is None:
        return lambda bodies: [zlib.compress(body, level=_ZLIB_LEVEL) for body in bodies]
    parameters = zstd.CompressionParameter
    options: dict[int, int] = {parameters.compression_level: _ZSTD_LEVEL, parameters.checksum_flag: 1}
    # A new compressor for each response would add a third or more to the time.
    reused = zstd.ZstdCompressor(options=options)
    return lambda bodies: [reused.compress(body, reused.FLUSH_FRAME) for body in bodies]


def decompress(stored: bytes) -> bytes:
    """Return a response as it arrived.

    Raises:
        CorruptRecord: it is damaged.
        JobError: it can't be read without the extra ``zstd``.
    """
    if not isinstance(stored, bytes):
        raise CorruptRecord(f"it is {type(stored).__name__}")
    if not stored.startswith(_ZSTD):
        try:
            return zlib.decompress(stored)
        except zlib.error as error:
            raise CorruptRecord(str(error)) from None
    if zstd is None:
        raise JobError("this job's responses are compressed with zstd: pip install 'fullstory-async[zstd]'")
    try:
        return zstd.decompress(stored)
    except (zstd.ZstdError, MemoryError) as error:  # a damaged head may give any size
        raise CorruptRecord(str(error)) from None
