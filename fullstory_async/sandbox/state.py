"""What the sandbox keeps between requests: records, counts, tokens and activations.

`ApiError` is how the limits kept here, and the operations, refuse a request.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from typing import Any, Literal

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.ratelimit.limiter import RateLimit

__all__ = [
    "OPERATIONS",
    "ActivationMeter",
    "ApiError",
    "RecordedRequest",
    "RecordedRequests",
    "Recorder",
    "TokenBucket",
    "Wire",
    "check_operation",
]

Wire = Literal["live", "spec"]
"""The form of responses: the live service's, as FullStory documents it, or that of a published third-party
OpenAPI description, which client generators use."""

OPERATIONS = (
    "whoami", "list", "events", "summary", "context", "profiles", "create profile", "profile",
    "update profile", "delete profile", "unknown",
)  # fmt: skip
"""Name of each operation; ``unknown`` is any other path or method."""

_KEPT_REQUESTS = 100_000
_MONTH = 30 * 24 * 3600
_ROUNDING = 1e-9


class ApiError(Exception):
    """An error response: status, snake-case code, message, seconds to wait, allowed methods."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: int | None = None,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message
        self.retry_after, self.allow = retry_after, allow


@attrs.define(kw_only=True)
class RecordedRequest:
    """One request that reached the sandbox."""

    operation: str
    """``list``, ``events``, ``summary``, ``context``, ``profiles``, ``profile``, ``create profile``,
    ``update profile``, ``delete profile``, ``whoami``, or ``unknown`` for any other path or method."""
    method: str
    """The HTTP method."""
    raw_path: str
    """Path and query as sent, still percent-encoded; without the API key only the start of the path."""
    query: dict[str, str]
    """The decoded parameters of the query."""
    headers: dict[str, str]
    """Header names are in lower case; the API key is not kept, and without it nothing is."""
    session_id: str | None
    """Decoded session id of the path; ``None`` if the request came without the API key."""
    body: bytes
    """Body as sent; empty if the request came without the API key."""
    at: float
    """Arrival time, in seconds of the monotonic clock."""
    status: int | None = None
    """Status of the response; ``None`` until it is sent completely, or if the connection broke."""
    bytes_sent: int = 0
    """Bytes of the response, head included, that were handed to the connection, even if it then broke."""
    activations: int = 0
    """Activations charged for this request."""


class RecordedRequests(list[RecordedRequest]):
    """All requests so far, as a list, oldest first."""

    def of(self, operation: str | None = None, *, session_id: str | None = None) -> list[RecordedRequest]:
        """Return the requests of one operation, about one session, or both.

        Args:
            operation: named as in `RecordedRequest`; ``None`` for all.
            session_id: full id of a session; ``None`` for all.

        Raises:
            ConfigurationError: there is no such operation.
        """
        check_operation(operation)
        return [
            each
            for each in self
            if operation in (None, each.operation) and session_id in (None, each.session_id)
        ]


def check_operation(operation: str | None) -> None:
    """Raise `ConfigurationError` unless there is an operation of this name; ``None`` stands for all."""
    if operation is not None and operation not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise ConfigurationError(f"there is no operation {operation!r}; there are {known}")


class ActivationMeter:
    """Counts activations, in total and by session, up to a quota."""

    def __init__(self, quota: int | None) -> None:
        """Start at 0; a quota of ``None`` is unlimited."""
        self.quota = quota
        self.total = 0
        self.by_session: Counter[str] = Counter()

    def charge(self, session_id: str) -> None:
        """Charge one activation. Raises `ApiError` once the quota is used up."""
        if self.quota is not None and self.total >= self.quota:
            text = f"the quota of {self.quota} activations is used up"
            raise ApiError(429, "activation_quota_exceeded", text, retry_after=_MONTH)
        self.total += 1
        self.by_session[session_id] += 1


class Recorder:
    """Keeps the latest requests, and counts all of them."""

    def __init__(self) -> None:
        self.requests = RecordedRequests()
        self._by_status: Counter[str] = Counter()
        self._by_operation: Counter[str] = Counter()
        self._by_session: Counter[str] = Counter()
        self._open: dict[int, RecordedRequest] = {}
        # a test may read the counts in another thread
        self._lock = threading.Lock()

    def begin(self, record: RecordedRequest) -> None:
        """Add a request on arrival."""
        if len(self.requests) >= _KEPT_REQUESTS:
            # in place, because callers hold this list as `Sandbox.requests`
            del self.requests[: _KEPT_REQUESTS // 2]
        self.requests.append(record)
        self._open[id(record)] = record
        self._by_operation[record.operation] += 1
        if record.session_id is not None:
            self._by_session[record.session_id] += 1

    def end(self, record: RecordedRequest, bytes_sent: int) -> None:
        """Count a request by how it ended."""
        record.bytes_sent = bytes_sent
        with self._lock:
            del self._open[id(record)]
            self._by_status["dropped" if record.status is None else str(record.status)] += 1

    def stats(self, meter: ActivationMeter) -> dict[str, Any]:
        """Return all counts since the start, as ``/_sandbox/stats`` serves them."""
        with self._lock:
            # a client has its response before the server is done with it
            sent = Counter(str(each.status) for each in [*self._open.values()] if each.status is not None)
            by_status = self._by_status + sent
        return {
            "requests": self._by_operation.total(),
            "activations": meter.total,
            "by_status": dict(by_status),
            "by_operation": dict(self._by_operation),
            "by_session": {
                session_id: {"requests": count, "activations": meter.by_session[session_id]}
                for session_id, count in self._by_session.items()
            },
        }


class TokenBucket:
    """A token bucket: ``burst`` tokens, refilled at ``rate`` per second; each request takes one."""

    def __init__(self, limit: RateLimit) -> None:
        """Start with a full bucket."""
        self._limit = limit
        self._tokens = float(limit.burst)
        self._refilled_at = time.monotonic()

    def acquire(self) -> None:
        """Take a token. Raises `ApiError` with whole seconds in ``Retry-After`` if the bucket is empty."""
        now = time.monotonic()
        refill = (now - self._refilled_at) * self._limit.rate
        self._tokens = min(self._limit.burst, self._tokens + refill)
        self._refilled_at = now
        # refills add up rounding errors; without the tolerance a client at the exact rate would meet a 429
        if self._tokens < 1 - _ROUNDING:
            wait = max(1, math.ceil((1 - self._tokens) / self._limit.rate))
            text = "the rate limit of this endpoint is exceeded"
            raise ApiError(429, "too_many_requests", text, retry_after=wait)
        self._tokens -= 1
