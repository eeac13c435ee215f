"""SummaryCache: the former name of `ResponseCache`, for summaries only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from fullstory_async.deprecation import warn_renamed
from fullstory_async.files.response_cache import ResponseCache
from fullstory_async.messages import Request

__all__ = ["SummaryCache"]


class SummaryCache(ResponseCache):
    """A `ResponseCache` for summaries only. Deprecated."""

    def __init__(
        self, path: str | os.PathLike[str], *, ttl: float = 86_400.0, clock: Callable[[], float] = time.time
    ) -> None:
        """Name a file; see `ResponseCache`."""
        warn_renamed("SummaryCache", "ResponseCache, which caches contexts too")
        super().__init__(path, ttl=ttl, clock=clock)

    def keeps(self, request: Request) -> bool:
        """Return whether a request is for a summary."""
        return request.operation == "summary" and super().keeps(request)
