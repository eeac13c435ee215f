"""Labels: answers that are JSON and are said to be something else, as gateways do. They are read, and warned of once."""

from __future__ import annotations

import logging

__all__ = ["Labels"]

_SHOWN = 60

_logger = logging.getLogger("fullstory_async.http")


class Labels:
    """What one client has seen of content types."""

    __slots__ = ("_warned",)

    def __init__(self) -> None:
        self._warned = False

    def look_at(self, content_type: str, operation: str) -> None:
        """Warn of a successful answer that is not said to be JSON, once; none that says nothing."""
        if not content_type or self._warned or "json" in content_type.lower():
            return
        self._warned = True
        _logger.warning(
            "an answer (%s) is labelled %r instead of JSON, and read as JSON all the same; said once per client",
            operation, content_type[:_SHOWN],
        )  # fmt: skip
