"""ApiContext: what the operations of one client share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable

import attrs

from fullstory_async.api.single_flight import SharedCalls
from fullstory_async.config import ListApi
from fullstory_async.files.private_database import FINISH_SECONDS
from fullstory_async.files.summary_cache import SummaryCache
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.messages import Response

__all__ = ["ApiContext", "ListEndpoints"]

_logger = logging.getLogger("fullstory_async.api")


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
    """The pipeline of one client, its summary cache and the summaries that are being generated."""

    pipeline: Pipeline
    name: str = ""
    """Base URL and key fingerprint: separates the entries of different keys in a shared cache."""
    cache: SummaryCache | None = None
    """Where summaries are cached, if anywhere."""
    shared: SharedCalls[Response] = attrs.field(factory=SharedCalls)
    """Summaries that are being generated now."""
    pending_writes: dict[Hashable, asyncio.Task[None]] = attrs.field(factory=dict)
    """Summaries that are being written to the cache, whether or not somebody waits for it."""

    lists: ListEndpoints = attrs.field(factory=ListEndpoints)
    """Where sessions are listed."""

    async def finish(self) -> None:
        """Wait until every summary that was paid for is in the cache, 30 seconds at most."""
        if self.cache is None or not self.pending_writes:
            return
        _, unfinished = await asyncio.wait(self.pending_writes.values(), timeout=FINISH_SECONDS)
        if unfinished:
            _logger.warning(
                "paid summaries that may not be cached: %d; %s is busy",
                len(unfinished),
                self.cache.name,
            )
