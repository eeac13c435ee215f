"""The events of one session, column by column, from the answer's bytes.

An answer's JSON is not built as Python objects: the JSON columns are slices of the answer, and of a slice
only the fields that other columns need are decoded. The source repeats within a session, so each distinct one
is read once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, repeat
from typing import Any, NamedTuple

import attrs
import msgspec

from fullstory_async.tables.answer import ParsedEvent, SlicedEvent, as_texts, sliced_events
from fullstory_async.tables.columns import Row, Table
from fullstory_async.tables.fields import (
    App,
    Custom,
    Device,
    Fields,
    Identify,
    Location,
    Source,
    Target,
    Targeted,
    Url,
    UserAgent,
    fields_of,
    parse,
    parsed_fields_of,
    read_fields,
    source_of,
)
from fullstory_async.tables.ids import SessionIds
from fullstory_async.tables.json_text import dump_json, may_be_huge, replace_surrogates
from fullstory_async.tables.rules import FRUSTRATING, MAY_BE_ERROR, describe, frustrations_of, is_error
from fullstory_async.tables.times import canonical_times, order_by_time

__all__ = ["EventColumns", "columns_of_answer", "columns_of_parsed"]

_NO_AGENT, _NO_URL, _NO_PLACE, _NO_DEVICE, _NO_APP = UserAgent(), Url(), Location(), Device(), App()
_NO_TARGET = Target()
_SOURCE_COLUMNS = (
    "source_properties", "page_url", "page_path", "page_title", "browser", "operating_system", "device_type",
    "country", "city", "app_version",
)  # fmt: skip
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

    def rows(self, table: Table) -> list[Row]:
        """Return the events as rows of a table of any schema."""
        is_v1 = any(column.name == "properties" for column in table)
        names = [_V1_NAMES.get(column.name, column.name) if is_v1 else column.name for column in table]
        return list(zip(*map(self._column, names), strict=False))

    def lists(self, table: Table) -> list[list[Any]]:
        """Return the values of each column of a table of the current schema."""
        return [list(self._column(column.name)) for column in table]

    def take(self, indexes: Sequence[int]) -> EventColumns:
        """Return some of the events; they keep their numbers."""
        every = {**self.values, "seq": range(self.count)}
        values = {name: [column[n] for n in indexes] for name, column in every.items()}
        return EventColumns(self.ids, len(indexes), values, self.fetched_at)

    def _column(self, name: str) -> Iterable[Any]:
        if name in self.values:
            return self.values[name]
        if name == "seq":
            return range(self.count)
        if name == "event_id":
            return self._event_ids()
        if name in ("fetched_at", "processed_time", "updated_time"):
            return repeat(self.fetched_at, self.count)
        return repeat(getattr(self.ids, name), self.count)

    def _event_ids(self) -> list[str]:
        """Return a hash of what identifies each event, equal in every export.

        Events that are the same in everything are told apart by the number of their occurrence.
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
    texts, fields = _properties(kinds, [event.event_properties for event in events], is_one_line=is_one_line)
    return _columns(
        SessionIds.of(full_session_id), fields, _sources(events, is_one_line=is_one_line), fetched_at,
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
        [parsed_fields_of(event.type, event.data) for event in events],
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


def _properties(
    kinds: Sequence[str], parts: Sequence[msgspec.Raw], *, is_one_line: bool
) -> tuple[list[str], list[Fields]]:
    """Return each event's properties as JSON, and the fields that columns need."""
    texts = [_text(part) if is_one_line else _on_one_line(part) for part in parts]
    fields = list(map(fields_of, kinds, parts))
    if may_be_huge(parts):
        for n, part in enumerate(parts):
            if may_be_huge((part,)):
                value = parse(part)
                texts[n], fields[n] = dump_json(value), parsed_fields_of(kinds[n], value)
    return texts, fields


def _text(part: Any) -> str:
    text = str(part, "utf-8")
    # an empty object may be omitted
    return "{}" if text == "null" else text


def _on_one_line(part: msgspec.Raw) -> str:
    return _text(msgspec.json.format(part, indent=-1))


def _sources(events: Sequence[SlicedEvent], *, is_one_line: bool) -> list[_SourceColumns]:
    """Return each event's source; equal ones are one object."""
    known: dict[bytes, _SourceColumns] = {}
    found: list[_SourceColumns] = []
    # runs of equal ones: comparing is cheaper than hashing
    for part, run in groupby(event.source_properties for event in events):
        key = bytes(part)
        if key not in known:
            known[key] = _read_source(part, is_one_line=is_one_line)
        found += [known[key]] * len(tuple(run))
    return found


def _read_source(part: msgspec.Raw, *, is_one_line: bool) -> _SourceColumns:
    if may_be_huge((part,)):
        return _parsed_source(parse(part))
    return _source_columns(source_of(part), _text(part) if is_one_line else _on_one_line(part))


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
    fields: Sequence[Fields],
    sources: Sequence[_SourceColumns],
    fetched_at: str | None,
    values: dict[str, Sequence[Any]],
) -> EventColumns:
    """Add the columns that are computed from the fields of each event and its source."""
    kinds = values["event_type"]
    targets = [each.target or _NO_TARGET if isinstance(each, Targeted) else _NO_TARGET for each in fields]
    values |= {
        "description": [
            describe(kind, each, source.source)
            for kind, each, source in zip(kinds, fields, sources, strict=True)
        ],
        "is_error": [
            kind in MAY_BE_ERROR and is_error(kind, each) for kind, each in zip(kinds, fields, strict=True)
        ],
        "frustrations": [
            frustrations_of(kind, each) if kind in FRUSTRATING else ()
            for kind, each in zip(kinds, fields, strict=True)
        ],
        "element_text": [None if target.masked else target.text for target in targets],
        "element_selector": [target.raw_selector for target in targets],
        "custom_name": [each.event_name if isinstance(each, Custom) else None for each in fields],
    }
    columns = zip(*(source.values for source in sources), strict=True) if sources else repeat(())
    values |= dict(zip(_SOURCE_COLUMNS, columns, strict=False))
    values["user_uid"], values["user_email"] = _users(kinds, fields)
    return EventColumns(ids, len(kinds), values, fetched_at)


def _users(
    kinds: Sequence[str], fields: Sequence[Fields]
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """Return the user's id and e-mail address at each event: those of the last identification.

    Before the first one, they are those of the first.
    """
    found = [
        (n, each.user_id, each.user_email)
        for n, each in enumerate(fields)
        if isinstance(each, Identify) and (each.user_id or each.user_email)
    ]
    uids: list[str | None] = []
    emails: list[str | None] = []
    ends = [*(n for n, *_ in found[1:]), len(kinds)]
    for (_, uid, email), end in zip(found, ends, strict=False):
        # a later identification of the same user may leave the address out
        known = emails[-1] if emails and uids[-1] == uid else None
        uids += [uid] * (end - len(uids))
        emails += [email or known] * (end - len(emails))
    return uids or [None] * len(kinds), emails or [None] * len(kinds)
