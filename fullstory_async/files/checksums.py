"""Checksums of rows: SQLite has none, so a changed byte in a row would be read as if it had been written.

The format is the same for every kind of row: a hash of its values in the order of its columns, each with its
type and its length. A row of an older format has no checksum, and counts as intact.
"""

from __future__ import annotations

import hashlib
import struct

__all__ = ["checksum", "is_intact"]

_DIGEST_BYTES = 16


def checksum(*values: object) -> bytes:
    """Return the checksum of a row with these values: texts, integers, floats and bytes."""
    found = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for value in values:
        data = _encoded(value)
        found.update(f"{type(value).__name__}:{len(data)}:".encode())
        found.update(data)
    return found.digest()


def is_intact(stored: object, *values: object) -> bool:
    """Return whether a row's values are those that its checksum was made of; True without a checksum."""
    return stored is None or stored == checksum(*values)


def _encoded(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return struct.pack(">d", value)
    return str(value).encode("utf-8", "surrogatepass")
