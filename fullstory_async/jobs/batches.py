"""The ids that are added to a job, in batches of one transaction each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import attrs

from fullstory_async.errors import InvalidSessionId
from fullstory_async.ids.source import End, IdSource
from fullstory_async.jobs.storage.schema import replace_surrogates
from fullstory_async.models import SessionRef, session_id_of, text_of

__all__ = ["Batch", "iterate"]


@attrs.define
class Batch:
    """Ids to add to the database in one transaction."""

    usable: list[str] = attrs.field(factory=list)
    unusable: list[tuple[str, InvalidSessionId]] = attrs.field(factory=list)

    def append(self, ref: SessionRef) -> bool:
        """Add an id; return whether it is usable."""
        try:
            self.usable.append(str(session_id_of(ref)))
        except InvalidSessionId as error:
            self.unusable.append((replace_surrogates(text_of(ref)), error))
            return False
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
