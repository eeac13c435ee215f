"""Stored responses: compressed, in a format that identifies itself.

zstd takes from half (50 events) to a seventh (200 events) of the time of zlib, and less room. It is part of Python from 3.14 on;
older ones need the extra ``zstd``, to write it and to read what was written with it.
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

__all__ = ["PackingError", "packer", "unpacked", "zstd"]

_ZSTD = b"\x28\xb5\x2f\xfd"
_ZLIB_LEVEL = 3
_ZSTD_LEVEL = 1


class PackingError(Exception):
    """What was kept is damaged."""


def packer() -> Callable[[list[bytes]], list[bytes]]:
    """Return a function that compresses responses, for use in one thread at a time."""
    if zstd is None:
        return lambda bodies: [zlib.compress(body, level=_ZLIB_LEVEL) for body in bodies]
    parameters = zstd.CompressionParameter
    options: dict[int, int] = {parameters.compression_level: _ZSTD_LEVEL, parameters.checksum_flag: 1}
    # A new compressor for each response would add a third or more to the time.
    compressor = zstd.ZstdCompressor(options=options)
    return lambda bodies: [compressor.compress(body, compressor.FLUSH_FRAME) for body in bodies]


def unpacked(kept: bytes) -> bytes:
    """Return an answer as it came.

    Raises:
        PackingError: it is damaged.
        JobError: it can't be read without the extra ``zstd``.
    """
    if not isinstance(kept, bytes):
        raise PackingError(f"it is {type(kept).__name__}")
    if not kept.startswith(_ZSTD):
        try:
            return zlib.decompress(kept)
        except zlib.error as error:
            raise PackingError(str(error)) from None
    if zstd is None:
        raise JobError("this job's answers are compressed with zstd: pip install 'fullstory-async[zstd]'")
    try:
        return zstd.decompress(kept)
    except (zstd.ZstdError, MemoryError) as error:  # a damaged head may give any size
        raise PackingError(str(error)) from None
