"""Request and Response: frozen values, the only objects that enter and leave the transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

__all__ = ["PERSONAL_PARAMETERS", "Query", "Request", "Response", "StreamedResponse"]

Query = tuple[tuple[str, str], ...]
"""Query parameters in order, not encoded yet."""

PERSONAL_PARAMETERS = ("email", "uid", "session_uid")
"""The query parameters that identify a user."""


@attrs.frozen(kw_only=True)
class Request:
    """One API call, before the base URL and the key are added."""

    operation: str
    """The operation's short name, as in logs and errors: ``list``, ``events``, ``summary``, …"""

    method: str = "GET"
    """The HTTP method."""

    path: str
    """The path below the base URL; every segment is percent-encoded already."""

    query: Query = attrs.field(default=(), repr=False)
    """The query parameters. Hidden from repr: they hold e-mail addresses and uids."""

    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The caller's extra headers. The key is not among them: the transport adds it."""

    body: bytes | None = attrs.field(default=None, repr=False)
    """The JSON body. Hidden from repr: it may hold prompts."""

    session_id: str | None = None
    """The session that the call is about, if any."""

    metered: bool = False
    """Whether the call costs one activation."""

    repeatable: bool = True
    """Whether sending it twice has the same effect as sending it once (money aside)."""

    slow: bool = False
    """Whether a language model writes the response, so that the longer read timeout applies."""

    priority: bool = False
    """Whether it gets the next token of the rate limiter, ahead of non-priority requests."""

    not_found_hint: str = ""
    """What a 404 of this request probably means, for the error's message."""

    role: str = ""
    """The least role that a key probably needs, for the message of a 403."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the headers and the user that it asks about.

        A request travels with its error, to logs and to other machines.
        """
        query = tuple((name, "…" if name in PERSONAL_PARAMETERS else value) for name, value in self.query)
        return _restored, ({**attrs.asdict(self, recurse=False), "query": query, "headers": {}},)


def _restored(fields: dict[str, Any]) -> Request:
    return Request(**fields)


@attrs.frozen(kw_only=True)
class Response:
    """A response that was read to its end; it holds no connection."""

    status: int
    """The HTTP status."""

    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The headers; names are in lower case, the last of a repeated header wins."""

    body: bytes = attrs.field(default=b"", repr=False)
    """The whole body, decompressed."""

    elapsed: float = 0.0
    """Seconds from sending to the last byte."""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


@attrs.frozen(kw_only=True)
class StreamedResponse(Response):
    """A successful response whose body is still to be read. It holds a connection until `close`."""

    read: Callable[[], Awaitable[bytes]] = attrs.field(repr=False, eq=False)
    """Return the next piece of the body, decompressed; empty at its end. Raises `TransportError`."""

    close: Callable[[], object] = attrs.field(repr=False, eq=False)
    """Release the connection; the rest of the body is dropped. A second call does nothing, returns False."""
