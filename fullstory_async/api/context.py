"""ApiContext: what the operations of one client share."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import attrs

from fullstory_async.api.single_flight import SharedCalls
from fullstory_async.files.summary_cache import SummaryCache
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.messages import Response

__all__ = ["ApiContext"]


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

    async def finish(self) -> None:
        """Wait until every summary that was paid for is in the cache."""
        if self.pending_writes:
            await asyncio.wait(self.pending_writes.values())
