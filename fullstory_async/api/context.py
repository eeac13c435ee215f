"""ApiContext: what the operations of one client share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from typing import Protocol, runtime_checkable

import attrs

from fullstory_async.api.single_flight import SharedCalls
from fullstory_async.config import ListApi
from fullstory_async.files.private_database import FINISH_SECONDS
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.messages import Request

__all__ = ["ApiContext", "ListEndpoints", "ResponseStore"]

_logger = logging.getLogger("fullstory_async.api")


@runtime_checkable
class ResponseStore(Protocol):
    """A cache of responses: a `ResponseCache`, or a job's folder."""

    @property
    def name(self) -> str:
        """What it is, with its path, for messages."""
        ...

    def keeps(self, request: Request) -> bool:
        """Return whether it may have the response to such a request."""
        ...

    async def get(self, account: str, request: Request, /) -> bytes | None:
        """Return the body of the response to a request, if it has it.

        Raises:
            FullStoryError: it can't be read. Nothing was spent then.
        """
        ...

    async def put(self, account: str, request: Request, body: bytes, /) -> None:
        """Store a response, unless it is read only.

        Raises:
            ConfigurationError, StorageError: it can't be written.
        """
        ...


@attrs.define
class ListEndpoints:
    """The service's two list endpoints: where to ask, and which one turned out not to be served."""

    default: ListApi = "v1"
    """The endpoint to list a user's sessions; a ``session_uid`` always goes to v2."""
    unserved: ListApi | None = None
    """The endpoint that isn't served, once the other one has answered in its place."""

    def choose(self, *, by_session_uid: bool) -> ListApi:
        """Return the endpoint to ask first."""
        wanted: ListApi = "v2" if by_session_uid else self.default
        return self.other(wanted) if wanted == self.unserved else wanted

    @staticmethod
    def other(endpoint: ListApi) -> ListApi:
        """Return the endpoint to ask where this one isn't served."""
        return "v1" if endpoint == "v2" else "v2"


@attrs.frozen
class ApiContext:
    """The pipeline of one client, its cache and its calls in flight."""

    pipeline: Pipeline
    name: str = ""
    """Base URL and key fingerprint: separates the entries of different keys in a shared cache."""
    cache: ResponseStore | None = None
    """Where responses are cached, if anywhere."""
    shared: SharedCalls = attrs.field(factory=dict)
    """Calls in flight that an equal call can join."""
    pending_writes: dict[Hashable, asyncio.Task[None]] = attrs.field(factory=dict)
    """Responses that are being written to the cache, whether or not a caller waits for it."""

    lists: ListEndpoints = attrs.field(factory=ListEndpoints)
    """Where sessions are listed."""

    async def finish(self) -> None:
        """Wait until every response that was paid for is in the cache, 30 seconds at most."""
        if self.cache is None or not self.pending_writes:
            return
        _, unfinished = await asyncio.wait(self.pending_writes.values(), timeout=FINISH_SECONDS)
        if unfinished:
            _logger.warning(
                "paid responses that may not be cached: %d; %s is busy",
                len(unfinished),
                self.cache.name,
            )
