"""Descriptors: how many connections this process may have open.

Each takes a file descriptor, and a process may have 256 (macOS) or 1024 (Linux) of them unless a limit says
otherwise. Without a limit here, connections beyond that fail, and so do the files of everything else.
"""

from __future__ import annotations

import os

try:
    import resource
except ImportError:  # Windows, where sockets are not counted
    resource = None  # type: ignore[assignment]

__all__ = ["connection_limit"]

_RESERVED = 32
"""Descriptors left for the rest of the program: its files, databases and pipes."""
_RESERVED_BESIDE_OPEN = 16
"""The same, where more than that are open already."""
_ENOUGH = 4000
"""Connections that no client uses at once."""


def connection_limit() -> int | None:
    """Return the number of connections that a client may have open at once; ``None`` for no limit."""
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > _ENOUGH + _RESERVED:
        return None
    return max(1, soft - max(_RESERVED, _open_descriptors() + _RESERVED_BESIDE_OPEN))


def _open_descriptors() -> int:
    try:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208
    except OSError:
        return 0
