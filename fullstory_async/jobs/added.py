"""What `Job.add` collects and returns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import attrs

from fullstory_async.errors import InvalidSessionId
from fullstory_async.ids.alike import AlikeIds
from fullstory_async.ids.inputs import SessionInput, text_of_value
from fullstory_async.ids.source import End, IdSource
from fullstory_async.jobs.storage.inputs import NewItem, distinct_names, pack
from fullstory_async.jobs.storage.schema import replace_surrogates
from fullstory_async.json_ready import JsonReady
from fullstory_async.models import SessionRef, session_id_of, text_of
from fullstory_async.session_id import SessionId

__all__ = ["Added", "Batch", "iterate"]


@attrs.frozen(kw_only=True)
class Added(JsonReady):
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
    keeps_unusable: bool = True
    """Whether texts that aren't ids become items, with their errors."""
    items: list[NewItem] = attrs.field(factory=list)
    names: dict[str, None] = attrs.field(factory=dict)
    """Names of the inputs' columns."""

    def append(self, given: SessionRef | SessionInput) -> bool:
        """Add an id, or a text that isn't one; return whether it is an id."""
        ref = given.session_id if isinstance(given, SessionInput) else given
        try:
            session_id = session_id_of(ref)
        except InvalidSessionId as error:
            if not self.keeps_unusable:
                return False
            text = replace_surrogates(text_of(ref))
            self.items.append(NewItem(text, self._packed(given, text), error))
            return False
        self.items.append(NewItem(str(session_id), self._packed(given, session_id)))
        # a SessionId was compared by its owner
        if session_id is not ref:
            self.alike.add(session_id)
        return True

    def __len__(self) -> int:
        return len(self.items)

    def _packed(self, given: SessionRef | SessionInput, stored: str) -> bytes | None:
        """Return what is kept of an input; ``None`` for an id that was given as it is stored."""
        if isinstance(given, SessionInput):
            self.names |= dict.fromkeys(distinct_names(given.columns))
            return None if given.text == stored and not given.columns else pack(given.text, given.columns)
        is_other = type(given) is not SessionId and isinstance(given, str) and given != stored
        return pack(text_of_value(given), {}) if is_other else None


async def iterate(source: IdSource) -> AsyncIterator[SessionRef | SessionInput]:
    """Yield the ids of a source; a long list doesn't block the event loop."""
    last = time.monotonic()
    while (ref := await source.next()) is not End.END:
        yield ref
        if time.monotonic() - last > 0.005:
            await asyncio.sleep(0)
            last = time.monotonic()
