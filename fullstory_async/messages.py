"""Request and Response: frozen values, the only things that enter and leave the transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

__all__ = ["PERSONAL_PARAMETERS", "Request", "Response", "StreamedResponse"]

PERSONAL_PARAMETERS = ("email", "uid", "session_uid")
"""The query parameters that tell who somebody is."""


@attrs.frozen(kw_only=True)
class Request:
    """One API call, before the base URL and the key are added."""

    operation: str
    """The operation's short name, as logs and errors print it: ``list``, ``events``, ``summary``, …"""

    method: str = "GET"
    """The HTTP method."""

    path: str
    """The path below the base URL; every segment is already percent-encoded."""

    query: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    """Query parameters in order, not yet encoded. Hidden from repr: they hold e-mails and uids."""

    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The caller's extra headers. The key is not among them: the transport adds it."""

    body: bytes | None = attrs.field(default=None, repr=False)
    """The JSON that is sent along. Hidden from repr: prompts are nobody else's business."""

    session_id: str | None = None
    """The session that the call is about, if it is about one."""

    metered: bool = False
    """Whether the call costs one activation."""

    repeatable: bool = True
    """Whether sending it twice leaves the account as sending it once does (money aside)."""

    slow: bool = False
    """Whether the answer is written by a language model, so that the longer read timeout applies."""

    priority: bool = False
    """Whether it passes those without, in the wait for the rate limiter."""

    not_found_hint: str = ""
    """What a 404 for this request probably means, for the error's message."""

    role: str = ""
    """The least role that a key probably needs for it, for the message of a 403."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the headers, and without whom it asks about: a request travels with its error, to logs and other machines."""
        query = tuple((name, "…" if name in PERSONAL_PARAMETERS else value) for name, value in self.query)
        return _restored, ({**attrs.asdict(self, recurse=False), "query": query, "headers": {}},)


def _restored(fields: dict[str, Any]) -> Request:
    return Request(**fields)


@attrs.frozen(kw_only=True)
class Response:
    """One answer, read to its end; no connection is held by it."""

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
    """A successful answer whose body is still to be read. It holds a connection until `close`."""

    read: Callable[[], Awaitable[bytes]] = attrs.field(repr=False, eq=False)
    """Return the next piece of the body, decompressed; nothing at its end. Raises `TransportError`."""

    close: Callable[[], object] = attrs.field(repr=False, eq=False)
    """Let the connection go; a body that was not read to its end is given up. A second time does nothing, and returns False."""
