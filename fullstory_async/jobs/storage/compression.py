"""Answers as they are kept: compressed, in a form that says which it is.

zstd, where the extra ``zstd`` is installed, takes from a half (50 events) to a seventh (200) of zlib's time, and less room.
What was written with it can only be read with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from fullstory_async.errors import JobError

try:
    import zstandard
except ImportError:  # an extra
    zstandard = None  # type: ignore[assignment]

__all__ = ["CorruptRecord", "packer", "unpacked"]

_ZSTD = b"\x28\xb5\x2f\xfd"
_ZLIB_LEVEL = 3
_ZSTD_LEVEL = 1


class CorruptRecord(Exception):
    """What was kept is damaged."""


def packer() -> Callable[[list[bytes]], list[bytes]]:
    """Return what compresses answers, for one thread; those of a group together, so that Python's lock is taken once for them."""
    if zstandard is None:
        return lambda bodies: [zlib.compress(body, level=_ZLIB_LEVEL) for body in bodies]
    compressor = zstandard.ZstdCompressor(_ZSTD_LEVEL, write_checksum=True)

    def pack(bodies: list[bytes]) -> list[bytes]:
        if not any(bodies):  # which the other function refuses
            return [compressor.compress(body) for body in bodies]
        kept = compressor.multi_compress_to_buffer([*bodies])
        return [kept[n].tobytes() for n in range(len(kept))]

    return pack


def unpacked(kept: bytes) -> bytes:
    """Return an answer as it came.

    Raises:
        PackingError: it is damaged.
        JobError: it can't be read without the extra ``zstd``.
    """
    if not isinstance(kept, bytes):
        raise CorruptRecord(f"it is {type(kept).__name__}")
    if not kept.startswith(_ZSTD):
        try:
            return zlib.decompress(kept)
        except zlib.error as error:
            raise CorruptRecord(str(error)) from None
    if zstandard is None:
        raise JobError("this job's answers need zstandard to be read: pip install 'fullstory-async[zstd]'")
    try:
        return zstandard.ZstdDecompressor().decompress(kept)
    except (zstandard.ZstdError, MemoryError) as error:  # a damaged head may tell of any size
        raise CorruptRecord(str(error)) from None
