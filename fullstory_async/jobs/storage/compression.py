"""Stored responses: compressed, in a format that identifies itself.

zstd, which needs the extra ``zstd``, takes from half (50 events) to a seventh (200 events) of the time of
zlib, and less room. Responses that were written with it can only be read with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from fullstory_async.errors import JobError

try:
    import zstandard
except ImportError:  # an extra
    zstandard = None  # type: ignore[assignment]

__all__ = ["CorruptRecord", "compressor", "decompress"]

_ZSTD = b"\x28\xb5\x2f\xfd"
_ZLIB_LEVEL = 3
_ZSTD_LEVEL = 1


class CorruptRecord(Exception):
    """A stored record is damaged."""


def compressor() -> Callable[[list[bytes]], list[bytes]]:
    """Return a function that compresses responses, for use in one thread at a time."""
    if zstandard is None:
        return lambda bodies: [zlib.compress(body, level=_ZLIB_LEVEL) for body in bodies]
    zstd = zstandard.ZstdCompressor(_ZSTD_LEVEL, write_checksum=True)

    def compress(bodies: list[bytes]) -> list[bytes]:
        if not any(bodies):  # the other function rejects that
            return [zstd.compress(body) for body in bodies]
        # One call for all, so that Python's lock is taken once.
        stored = zstd.multi_compress_to_buffer([*bodies])
        return [stored[n].tobytes() for n in range(len(stored))]

    return compress


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
    if zstandard is None:
        raise JobError("this job's answers are compressed with zstd: pip install 'fullstory-async[zstd]'")
    try:
        return zstandard.ZstdDecompressor().decompress(stored)
    except (zstandard.ZstdError, MemoryError) as error:  # a damaged head may give any size
        raise CorruptRecord(str(error)) from None
