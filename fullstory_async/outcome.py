"""Outcome: the result of one id of a fan-out, a `Success` or a `Failure`.

Type checkers narrow it by ``outcome.error is None``, by ``isinstance`` and by ``match``.
"""

from __future__ import annotations

from typing import Generic, NoReturn, TypeVar

import attrs

from fullstory_async.errors import FullStoryError
from fullstory_async.response_info import HasResponseInfo, ResponseInfo

__all__ = ["Failure", "Outcome", "Success"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Success(Generic[T]):
    """The result of an id whose call succeeded."""

    session_id: str
    """The id, a `SessionId`."""

    value: T
    """What the call returned."""

    error: None = attrs.field(default=None, init=False, repr=False)
    """``None``, unlike that of a `Failure`."""

    attempts: int = 0
    """Number of times that the request was sent."""

    elapsed: float = 0.0
    """Seconds from taking the id to the outcome, waits included."""

    @property
    def response_info(self) -> ResponseInfo | None:
        """How the call went and what it cost; the value's own."""
        return self.value.response_info if isinstance(self.value, HasResponseInfo) else None

    def unwrap(self) -> T:
        """Return the value."""
        return self.value


@attrs.frozen(kw_only=True)
class Failure:
    """The result of an id whose call failed."""

    session_id: str
    """The id, a `SessionId`; or the text as given, if it is not a session id."""

    value: None = attrs.field(default=None, init=False, repr=False)
    """``None``, unlike that of a `Success`."""

    error: FullStoryError
    """Why the call failed."""

    attempts: int = 0
    """Number of times that the request was sent."""

    elapsed: float = 0.0
    """Seconds from taking the id to the outcome, waits included."""

    @property
    def response_info(self) -> ResponseInfo:
        """How the call went and what it may have cost."""
        charged = int(self.error.may_have_cost)
        return ResponseInfo(self.error.request_id, self.attempts, self.elapsed, charged)

    def unwrap(self) -> NoReturn:
        """Raise the error."""
        raise self.error.with_traceback(None)


Outcome = Success[T] | Failure
"""The result of one id: ``Outcome[SessionEvents]`` is ``Success[SessionEvents] | Failure``."""
