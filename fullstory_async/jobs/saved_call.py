"""SavedCall: what a fan-out reads of a call whose result is saved, in a job's folder or in a store."""

from __future__ import annotations

from fullstory_async.http.call import Call

__all__ = ["SavedCall"]


class SavedCall:
    """The part of a `Work` that doesn't depend on where the result is saved."""

    gave_up: bool
    """Whether the call ended only because it was stopped."""

    def __init__(self) -> None:
        """Begin with nothing sent and nothing to save."""
        self.gave_up = False
        self._call: Call | None = None
        self._stopping = self._is_settling = False

    @property
    def attempts(self) -> int:
        """Number of times that the call was sent so far."""
        return 0 if self._call is None else self._call.attempts

    @property
    def droppable(self) -> bool:
        """Whether cancelling the call now would lose nothing that may have been paid for."""
        return not self._is_settling and (self._call is None or self._call.droppable)

    def stop(self) -> None:
        """Start no further attempt."""
        self._stopping = True
        if self._call is not None:
            self._call.stopping = True
