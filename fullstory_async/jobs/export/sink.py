"""What every format of an export is to the loop that feeds it."""

from __future__ import annotations

from collections.abc import Callable

from fullstory_async.jobs.export.tables import Row

__all__ = ["RowWriter"]

RowWriter = Callable[[Row], None]
"""Takes one row of the table that it was made for."""
