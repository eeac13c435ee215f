"""What the sandbox remembers of each request."""

from __future__ import annotations

import attrs

__all__ = ["RecordedRequest"]


@attrs.define(kw_only=True)
class RecordedRequest:
    """One request that reached the sandbox."""

    operation: str
    """``list``, ``events``, ``summary``, ``context``, ``profiles``, ``profile``, ``create profile``, ``update profile``,
    ``delete profile``, ``whoami``, or ``unknown`` for any other path or method."""
    method: str
    raw_path: str
    """Path and query as they were sent, still percent-encoded."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case; the key is not kept."""
    session_id: str | None
    """The session id in the path, decoded."""
    body: bytes
    """The body, as it was sent."""
    at: float
    """Seconds of the monotonic clock at arrival."""
    status: int | None = None
    """The answer's status; ``None`` until a whole answer is sent, and for good where a connection broke before that."""
    bytes_sent: int = 0
    """Bytes of the answer, head included, that were handed to the connection; what it loses when it breaks, too."""
    activations: int = 0
    """Activations that this request was charged."""
