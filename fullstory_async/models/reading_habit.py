"""ReadingHabit: whether this program reads the nested objects of most events.

To decode them with the response takes half the time of decoding each when it is read, and is wasted if nobody
reads them. So what was read of the latest responses decides for the next ones.
"""

from __future__ import annotations

import attrs

__all__ = ["HABIT", "ReadingHabit"]

_MOST = 0.8
"""Share of the nested objects that has to be read; at less than two thirds, decoding them all is a loss."""
_WINDOW = 4_000
"""Nested objects after which earlier ones count half."""
_FIRST_SERIES = 8
_LONGEST_SERIES = 32


@attrs.define
class ReadingHabit:
    """What was read of the latest responses whose nested objects stayed raw."""

    offered: int = 0
    """Nested objects that were left raw."""
    read: int = 0
    """How many of them were decoded later."""
    _left: int = 0
    """Responses to decode whole before one is left raw again, to see whether the habit has changed."""
    _series: int = _FIRST_SERIES
    """The length of the next series of responses that are decoded whole."""

    def predicts_reading(self) -> bool:
        """Return whether the next response is to be decoded whole; called once for each."""
        if self._left:
            self._left -= 1
            return True
        if self.offered and self.read >= _MOST * self.offered:
            self.offered = self.read = 0
            self._left, self._series = self._series - 1, min(2 * self._series, _LONGEST_SERIES)
            return True
        if self.offered > _WINDOW:
            self.offered, self.read, self._series = self.offered // 2, self.read // 2, _FIRST_SERIES
        return False

    def failed(self) -> None:
        """Record that a response could not be decoded whole; the next ones probably can't either."""
        self._left, self._series = 0, _FIRST_SERIES


HABIT = ReadingHabit()
"""The habit of this process: its clients serve one program."""
