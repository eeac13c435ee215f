"""What `Job.add` collects and returns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import attrs

from fullstory_async.errors import InvalidSessionId
from fullstory_async.ids.alike import AlikeIds
from fullstory_async.ids.source import End, IdSource
from fullstory_async.jobs.storage.schema import replace_surrogates
from fullstory_async.models import SessionRef, session_id_of, text_of

__all__ = ["Added", "Batch", "iterate"]


@attrs.frozen(kw_only=True)
class Added:
    """The result of `Job.add`."""

    new: int
    """Number of ids that were not in the job."""
    duplicates: int
    """Number of ids that the job had already, or that were given twice; each is one item."""
    unusable: int
    """Number of texts that are not session ids; each is a permanent failure of the job."""
    without_id: int = 0
    """Number of rows without an id; they are skipped."""
    alike: tuple[tuple[str, str], ...] = ()
    """Ids that differ only in leading zeros or in case. Both of a pair are fetched and paid for.

    Only ids that were given as texts or rows are compared, with all ids of the job."""


@attrs.define
class Batch:
    """Ids to add to the database in one transaction."""

    alike: AlikeIds
    """Collects the ids that may be alike, over all batches."""
    usable: list[str] = attrs.field(factory=list)
    unusable: list[tuple[str, InvalidSessionId]] = attrs.field(factory=list)

    def append(self, ref: SessionRef) -> bool:
        """Add an id; return whether it is usable."""
        try:
            session_id = session_id_of(ref)
        except InvalidSessionId as error:
            self.unusable.append((replace_surrogates(text_of(ref)), error))
            return False
        self.usable.append(str(session_id))
        # a SessionId was compared by its owner
        if session_id is not ref:
            self.alike.add(session_id)
        return True

    def __len__(self) -> int:
        return len(self.usable) + len(self.unusable)


async def iterate(source: IdSource) -> AsyncIterator[SessionRef]:
    """Yield the ids of a source; a long list doesn't block the event loop."""
    last = time.monotonic()
    while (ref := await source.next()) is not End.END:
        yield ref
        if time.monotonic() - last > 0.005:
            await asyncio.sleep(0)
            last = time.monotonic()
