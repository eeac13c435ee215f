"""The events of one session, column by column, from the answer's bytes.

An answer's JSON is not built as Python objects: the JSON columns are slices of the answer, and of a slice
only the fields that other columns need are decoded. The source repeats within a session, so each distinct one
is read once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby, repeat
from typing import Any, NamedTuple, cast

import attrs
import msgspec

from fullstory_async.json_ready import replace_surrogates
from fullstory_async.tables.answer import ParsedEvent, SlicedEvent, as_texts, sliced_events
from fullstory_async.tables.columns import Table
from fullstory_async.tables.fields import (
    App,
    Device,
    Location,
    Source,
    Url,
    UserAgent,
    parse,
    read_fields,
    source_of,
)
from fullstory_async.tables.ids import SessionIds
from fullstory_async.tables.json_text import dump_json, may_be_huge
from fullstory_async.tables.properties import Group, columns_of_groups, groups_of_parsed, read_properties
from fullstory_async.tables.rows import ColumnRows
from fullstory_async.tables.times import canonical_times, order_by_time

__all__ = ["EventColumns", "columns_of_answer", "columns_of_parsed"]

_NO_AGENT, _NO_URL, _NO_PLACE, _NO_DEVICE, _NO_APP = UserAgent(), Url(), Location(), Device(), App()
_SOURCE_COLUMNS = (
    "source_properties", "page_url", "page_path", "page_title", "browser", "operating_system", "device_type",
    "country", "city", "app_version",
)  # fmt: skip
_EMPTY = {"null": "{}"}
"""An empty object may be omitted."""
_V1_NAMES = {
    "session_id": "full_session_id", "device_id": "event_device_id", "properties": "event_properties",
}  # fmt: skip


@attrs.frozen
class EventColumns:
    """The events of one session in order, column by column."""

    ids: SessionIds
    count: int
    values: Mapping[str, Sequence[Any]]
    """Column → one value for each event."""
    fetched_at: str | None

    def rows(self, table: Table) -> ColumnRows:
        """Return the events as rows of a table of any schema."""
        is_v1 = any(column.name == "properties" for column in table)
        names = [_V1_NAMES.get(column.name, column.name) if is_v1 else column.name for column in table]
        return ColumnRows([self._column(name) for name in names])

    def take(self, indexes: Sequence[int]) -> EventColumns:
        """Return some of the events; they keep their numbers."""
        every = {**self.values, "seq": range(self.count)}
        values = {name: [column[n] for n in indexes] for name, column in every.items()}
        return EventColumns(self.ids, len(indexes), values, self.fetched_at)

    def _column(self, name: str) -> Sequence[Any]:
        if name in self.values:
            return self.values[name]
        if name == "seq":
            return range(self.count)
        if name == "event_id":
            return self._event_ids()
        if name in ("fetched_at", "processed_time", "updated_time"):
            return [self.fetched_at] * self.count
        return [getattr(self.ids, name)] * self.count

    def _event_ids(self) -> list[str]:
        """Return a hash of what identifies each event, equal in every export.

        Events that are the same in everything are distinguished by the number of their occurrence.
        """
        names = ("event_time_raw", "event_type", "view_id", "event_properties", "source_properties")
        seen: Counter[bytes] = Counter()
        found = []
        for values in zip(*(self.values[name] for name in names), strict=True):
            content = msgspec.json.encode((self.ids.full_session_id, *values))
            key = hashlib.blake2b(content, digest_size=16).digest()
            seen[key] += 1
            found.append(hashlib.blake2b(key + b"%d" % seen[key], digest_size=16).hexdigest())
        return found


class _SourceColumns(NamedTuple):
    source: Source
    values: tuple[str | None, ...]
    """In the order of ``_SOURCE_COLUMNS``."""


def columns_of_answer(full_session_id: str, body: bytes, fetched_at: str | None) -> EventColumns | None:
    """Return the events of an answer; ``None`` if msgspec rejects it, see `columns_of_parsed`.

    Raises:
        ValueError: an event is nested too deeply.
    """
    events = sliced_events(body)
    if events is None:
        return None
    raw_times = [event.event_time for event in events]
    times = canonical_times(raw_times)
    order = order_by_time(times)
    if order is not None:
        events, times = [events[n] for n in order], [times[n] for n in order]
        raw_times = [event.event_time for event in events]
    kinds = [event.event_type for event in events]
    is_one_line = b"\n" not in body and b"\r" not in body
    parts = [event.event_properties for event in events]
    texts, groups = read_properties(kinds, parts, _texts(parts, is_one_line=is_one_line))
    return _columns(
        SessionIds.of(full_session_id), groups, _sources(events, is_one_line=is_one_line), fetched_at,
        {
            "event_type": kinds, "event_time": times, "event_time_raw": as_texts(raw_times),
            "event_properties": texts, "view_id": as_texts([event.view_id for event in events]),
            "source_type": as_texts([event.source_type for event in events]),
            "event_device_id": as_texts([event.device_id for event in events]),
        },
    )  # fmt: skip


def columns_of_parsed(
    full_session_id: str, events: Sequence[ParsedEvent], fetched_at: str | None
) -> EventColumns:
    """Return the columns of events in order, of an answer that msgspec rejects."""
    kinds = [event.type for event in events]
    columns = _columns(
        SessionIds.of(full_session_id),
        groups_of_parsed(kinds, [event.data for event in events]),
        [_parsed_source(event.source) for event in events], fetched_at,
        {
            "event_type": kinds, "event_time": canonical_times([event.time for event in events]),
            "event_time_raw": as_texts([event.time for event in events]),
            "event_properties": [dump_json(event.data) for event in events],
            "view_id": [event.view_id for event in events],
            "source_type": [event.source_type for event in events],
            "event_device_id": [event.device_id for event in events],
        },
    )  # fmt: skip
    clean = {name: list(map(_without_surrogates, values)) for name, values in columns.values.items()}
    return attrs.evolve(columns, values=clean)


def _without_surrogates(value: Any) -> Any:
    return replace_surrogates(value) if isinstance(value, str) else value


def _texts(parts: Sequence[msgspec.Raw], *, is_one_line: bool) -> list[str]:
    """Return slices of an answer as texts on one line."""
    if not is_one_line:
        return [_on_one_line(part) for part in parts]
    texts = list(map(str, cast("Sequence[bytes]", parts), repeat("utf-8")))
    return list(map(_EMPTY.get, texts, texts)) if "null" in texts else texts


def _on_one_line(part: msgspec.Raw) -> str:
    text = str(msgspec.json.format(part, indent=-1), "utf-8")
    return _EMPTY.get(text, text)


def _sources(events: Sequence[SlicedEvent], *, is_one_line: bool) -> list[_SourceColumns]:
    """Return each event's source; equal ones are one object."""
    known: dict[bytes, _SourceColumns] = {}
    found: list[_SourceColumns] = []
    # runs of equal ones: comparing is cheaper than hashing
    for part, run in groupby([event.source_properties for event in events]):
        key = bytes(part)
        if key not in known:
            known[key] = _read_source(part, is_one_line=is_one_line)
        found += [known[key]] * len(tuple(run))
    return found


def _read_source(part: msgspec.Raw, *, is_one_line: bool) -> _SourceColumns:
    if may_be_huge((part,)):
        return _parsed_source(parse(part))
    return _source_columns(source_of(part), _texts([part], is_one_line=is_one_line)[0])


def _parsed_source(value: Any) -> _SourceColumns:
    return _source_columns(read_fields(Source, value), dump_json(value))


def _source_columns(source: Source, text: str) -> _SourceColumns:
    agent, url, place = source.user_agent or _NO_AGENT, source.url or _NO_URL, source.location or _NO_PLACE
    device, app = source.device or _NO_DEVICE, source.app or _NO_APP
    values = (
        text, url.full_url, url.path, source.title, agent.browser,
        agent.operating_system or device.operating_system, agent.device, place.country,
        place.city, app.version,
    )  # fmt: skip
    return _SourceColumns(source, values)


def _columns(
    ids: SessionIds,
    groups: Mapping[str, Group],
    sources: Sequence[_SourceColumns],
    fetched_at: str | None,
    values: dict[str, Sequence[Any]],
) -> EventColumns:
    """Add the columns that are computed from the fields of each event and its source."""
    values |= columns_of_groups(groups, [each.source for each in sources])
    columns = zip(*(each.values for each in sources), strict=True) if sources else repeat(())
    values |= dict(zip(_SOURCE_COLUMNS, columns, strict=False))
    return EventColumns(ids, len(sources), values, fetched_at)
