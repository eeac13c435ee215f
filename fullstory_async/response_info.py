"""ResponseInfo: how a result came, kept beside its value.

It is not a field of the result: two results with the same content stay equal, and neither repr, pickle nor
`attrs.asdict` contain it. So a copy of a result has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import attrs

__all__ = [
    "REQUEST_ID_HEADERS", "HasResponseInfo", "ResponseInfo", "ResultSource", "find_request_id",
    "set_response_info",
]  # fmt: skip

ResultSource = Literal["service", "shared", "cache"]

REQUEST_ID_HEADERS = (
    "x-request-id", "request-id", "x-correlation-id", "x-cloud-trace-context", "x-amzn-requestid",
    "x-amzn-trace-id", "cf-ray",
)  # fmt: skip
"""Headers in which services and the gateways before them number a request; the first one present counts.

FullStory documents none.
"""


@attrs.frozen
class ResponseInfo:
    """How a result came."""

    request_id: str | None = None
    """The service's number of the request, for questions to its support; ``None`` if it sent none."""
    attempts: int = 0
    """Number of times that the request was sent; 0 if a cache had the result."""
    elapsed: float = 0.0
    """Seconds from the call's start to the result, waits included; of a stream to its first byte."""
    activations: int = 0
    """Activations that this call cost, those of failed attempts included that may have been charged."""
    source: ResultSource = "service"
    """``service``, ``shared`` for the request of an equal call, which has the cost, or ``cache``."""


class HasResponseInfo:
    """A result that knows how it came."""

    __slots__ = ("_response_info",)

    _response_info: ResponseInfo

    @property
    def response_info(self) -> ResponseInfo | None:
        """How it came and what it cost; ``None`` for what a program made, selected or copied."""
        return getattr(self, "_response_info", None)

    @property
    def activations(self) -> int:
        """Activations that the call cost: 0 from a cache or an equal call's request, otherwise 1 or more.

        More than 1 only where a `RetryPolicy` retries requests that were sent. 0 for what isn't metered, and
        for what a program made, selected or copied.
        """
        info = self.response_info
        return 0 if info is None else info.activations


set_response_info: Callable[[HasResponseInfo, ResponseInfo], None]
"""Note how a result came, although results are frozen. Not a function, which would be one more on the way."""
set_response_info = vars(HasResponseInfo)["_response_info"].__set__


def find_request_id(headers: Mapping[str, str]) -> str | None:
    """Return the service's number of a request from its response's headers, whose names are lower-case."""
    return next(filter(None, map(headers.get, REQUEST_ID_HEADERS)), None)
