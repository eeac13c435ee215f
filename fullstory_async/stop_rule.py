"""StopRule: after which failure all further calls of a fan-out or a job would be refused as well."""

from __future__ import annotations

from collections import Counter

from fullstory_async.errors import (
    APIStatusError,
    ConnectError,
    FullStoryError,
    PermissionDeniedError,
    Scope,
    UnexpectedRedirect,
    UnexpectedResponseError,
)

__all__ = ["StopRule"]


class StopRule:
    """Decides when all further calls would be refused as one was.

    That is so for a rejected key, an empty budget and a connection that can't be made, and for what comes
    several times in a row: a single 403 may be about one session, but three without a success between them
    are about the key. Other failures between them, such as a 404, say nothing about the key's role. Three
    redirects, five responses that can't be FullStory's, or five with a status that FullStory does not send
    and without its code, mean that another service responds at this address.
    """

    __slots__ = ("_first_unexpected", "_in_a_row", "_last", "_scopes", "ended_by")

    ended_by: FullStoryError | None
    """The failure that ended the work, if any."""

    def __init__(self, scopes: frozenset[Scope] = frozenset({Scope.KEY, Scope.BUDGET})) -> None:
        """End the work at the first failure of one of these scopes."""
        self.ended_by = None
        self._scopes = scopes
        self._in_a_row: Counter[type[FullStoryError]] = Counter()
        self._last: FullStoryError | None = None
        self._first_unexpected = 0.0

    def end(self, error: FullStoryError) -> None:
        """End the work because of this failure, unless it has ended before."""
        self.ended_by = self.ended_by or error

    def after(
        self, error: FullStoryError | None, *, started: float = 0.0, now: float = 0.0
    ) -> FullStoryError | None:
        """Count a success or a failure of a call; return the failure that ends the work, if any."""
        if error is None and not self._in_a_row:
            return self.ended_by  # the usual case
        is_service = error is None or (isinstance(error, APIStatusError) and error.code is not None)
        # calls that were in flight before say nothing about who responds now
        if is_service and started >= self._first_unexpected:
            for kind in _ELSEWHERE:
                del self._in_a_row[kind]
        kinds = [] if error is None else _kinds_of(error)
        if error is None:
            del self._in_a_row[PermissionDeniedError]
        elif not _ELSEWHERE.isdisjoint(kinds) and not any(self._in_a_row[kind] for kind in _ELSEWHERE):
            self._first_unexpected = now
        if error is not None and not self._is_counted(error):
            self._last = error
            self._in_a_row.update(kinds)
            is_one_too_many = any(self._in_a_row[kind] >= _MOST_IN_A_ROW[kind] for kind in kinds)
            # nothing can be sent, whatever the session: an untrusted certificate, a proxy that refuses
            is_unreachable = isinstance(error, ConnectError) and error.permanent
            if is_one_too_many or is_unreachable or (not kinds and error.scope in self._scopes):
                self.end(error)
        return self.ended_by

    def _is_counted(self, error: FullStoryError) -> bool:
        """Return whether a failure was counted for another call that shared the request."""
        last = self._last
        return error is last or (
            last is not None and error.response is not None and error.response is last.response
        )


_MOST_IN_A_ROW: dict[type[FullStoryError], int] = {
    PermissionDeniedError: 3, UnexpectedRedirect: 3, UnexpectedResponseError: 5, APIStatusError: 5
}  # fmt: skip
"""The failures that end the work when they come this often without a success between them."""
_ELSEWHERE = frozenset({UnexpectedRedirect, UnexpectedResponseError, APIStatusError})
"""Those of them that come from another service."""


def _kinds_of(error: FullStoryError) -> list[type[FullStoryError]]:
    """Return which failures an error counts as; one with the service's code is about its session."""
    if isinstance(error, APIStatusError) and error.is_unknown_status:
        return [APIStatusError]
    return [kind for kind in _MOST_IN_A_ROW if kind is not APIStatusError and isinstance(error, kind)]
