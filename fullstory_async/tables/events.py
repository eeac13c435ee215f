"""The events of sessions, column by column, from the answers' bytes.

An answer's JSON is not built as Python objects: the JSON columns are slices of the answer, and of a slice
only the fields that other columns need are decoded. The source repeats within a session, so each distinct one
is read once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, count, islice, repeat
from operator import eq, sub
from typing import Any, NamedTuple

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
from fullstory_async.tables.json_text import dump_json, filled, json_texts, may_be_huge
from fullstory_async.tables.properties import (
    Group,
    columns_of_groups,
    groups_of_parsed,
    read_properties,
    users_of,
)
from fullstory_async.tables.rows import ColumnRows, Repeated, picked
from fullstory_async.tables.times import canonical_times, order_by_time

__all__ = ["Answer", "EventColumns", "columns_of_answers", "columns_of_parsed"]

_NO_AGENT, _NO_URL, _NO_PLACE, _NO_DEVICE, _NO_APP = UserAgent(), Url(), Location(), Device(), App()
_SOURCE_COLUMNS = (
    "source_properties", "page_url", "page_path", "page_title", "browser", "operating_system", "device_type",
    "country", "city", "app_version",
)  # fmt: skip
_CONTEXT_COLUMNS = ("source_type", "view_id", *_SOURCE_COLUMNS)
_V1_NAMES = {
    "session_id": "full_session_id", "device_id": "event_device_id", "properties": "event_properties",
}  # fmt: skip


class Answer(NamedTuple):
    """The answer to one call, as it is stored."""

    full_session_id: str
    body: bytes
    fetched_at: str | None


@attrs.frozen
class EventColumns:
    """The events of some sessions, one after the other and each in order, column by column."""

    ids: Sequence[SessionIds]
    fetched_at: Sequence[str | None]
    """When the events of each session were fetched."""
    bounds: Sequence[int]
    """The events with which each session begins, and the number of all."""
    places: Sequence[int]
    """The place of each event's session among all."""
    values: Mapping[str, Sequence[Any]]
    """Column → one value for each event."""
    runs: Sequence[int]
    """The events with which another session, view or source begins."""

    def rows(self, table: Table) -> ColumnRows:
        """Return the events as rows of a table of any schema."""
        is_v1 = any(column.name == "properties" for column in table)
        names = [_V1_NAMES.get(column.name, column.name) if is_v1 else column.name for column in table]
        return ColumnRows(list(map(self._column, names)))

    @property
    def count(self) -> int:
        """How many events there are."""
        return len(self.places)

    def events_of(self, session: int) -> slice:
        """Return where the events of a session are, by its place."""
        return slice(self.bounds[session], self.bounds[session + 1])

    def take(self, indexes: Sequence[int]) -> EventColumns:
        """Return some of the events of one session; they keep their numbers."""
        every = {**self.values, "seq": self._column("seq")}
        values = {name: picked(column, indexes) for name, column in every.items()}
        taken = len(indexes)
        return EventColumns(self.ids, self.fetched_at, (0, taken), bytes(taken), values, range(taken))

    def _column(self, name: str) -> Sequence[Any]:
        if name in self.values:
            return self.values[name]
        if name == "seq":
            return list(chain.from_iterable(map(range, map(sub, self.bounds[1:], self.bounds))))
        if name == "event_id":
            return self._event_ids()
        if name in ("fetched_at", "processed_time", "updated_time"):
            return Repeated(self.fetched_at, self.places)
        return Repeated([getattr(each, name) for each in self.ids], self.places)

    def _event_ids(self) -> list[str]:
        """Return a hash of what identifies each event, equal in every export.

        Events that are the same in everything are distinguished by the number of their occurrence.
        """
        names = (
            "full_session_id", "event_time_raw", "event_type", "view_id", "event_properties",
            "source_properties",
        )  # fmt: skip
        seen: Counter[bytes] = Counter()
        found = []
        for values in zip(*map(self._column, names), strict=True):
            content = msgspec.json.encode(values)
            key = hashlib.blake2b(content, digest_size=16).digest()
            seen[key] += 1
            found.append(hashlib.blake2b(key + b"%d" % seen[key], digest_size=16).hexdigest())
        return found


class _Context(NamedTuple):
    """What many events in a row have in common."""

    source: Source
    values: tuple[str | None, ...]
    """In the order of ``_CONTEXT_COLUMNS``."""


class _Contexts(NamedTuple):
    known: Sequence[_Context]
    places: Sequence[int]
    """The place among the known ones of each event's context."""
    runs: Sequence[int]
    """The events with which another context begins."""


def columns_of_answers(answers: Sequence[Answer]) -> EventColumns | None:
    """Return the events of some answers; ``None`` if msgspec rejects one, see `columns_of_parsed`.

    Raises:
        DecodeError: an event is nested too deeply.
    """
    events: list[SlicedEvent[str]] = []
    times: list[str | None] = []
    bounds = [0]
    for answer in answers:
        own = sliced_events(answer.body)
        if own is None:
            return None
        own_times = canonical_times([event.event_time for event in own])
        order = order_by_time(own_times)
        if order is not None:
            own, own_times = [own[n] for n in order], [own_times[n] for n in order]
        events += own
        times += own_times
        bounds.append(len(events))
    kinds = [event.event_type for event in events]
    try:
        texts, groups = read_properties(kinds, [event.event_properties for event in events])
        contexts = _contexts(events, bounds)
    except UnicodeDecodeError:
        # msgspec does not check the strings that it skips
        return None
    return _columns(
        answers, bounds, groups, contexts,
        {
            "event_type": kinds, "event_time": times,
            "event_time_raw": as_texts([event.event_time for event in events]), "event_properties": texts,
            "event_device_id": [event.device_id for event in events],
        },
    )  # fmt: skip


def columns_of_parsed(answer: Answer, events: Sequence[ParsedEvent]) -> EventColumns:
    """Return the columns of the events of an answer, in order, which msgspec rejects."""
    kinds = [event.type for event in events]
    contexts = [
        _context(read_fields(Source, event.source), dump_json(event.source), event.source_type, event.view_id)
        for event in events
    ]
    columns = _columns(
        [answer], (0, len(events)),
        groups_of_parsed(kinds, [event.data for event in events]),
        _Contexts(contexts, range(len(events)), range(len(events))),
        {
            "event_type": kinds, "event_time": canonical_times([event.time for event in events]),
            "event_time_raw": as_texts([event.time for event in events]),
            "event_properties": [dump_json(event.data) for event in events],
            "event_device_id": [event.device_id for event in events],
        },
    )  # fmt: skip
    return attrs.evolve(columns, values={name: _clean(values) for name, values in columns.values.items()})


def _clean(column: Sequence[Any]) -> Sequence[Any]:
    """Replace the lone surrogates in a column."""
    if isinstance(column, Repeated):
        return attrs.evolve(column, values=_clean(column.values))
    return [replace_surrogates(value) if isinstance(value, str) else value for value in column]


def _contexts(events: Sequence[SlicedEvent[str]], bounds: Sequence[int]) -> _Contexts:
    """Return each event's context; equal ones are one. A session begins with another run."""
    columns = (
        [event.source_type for event in events], [event.view_id for event in events],
        [event.source_properties for event in events],
    )  # fmt: skip
    starts = sorted({*_starts(*columns), *bounds} - {len(events)})
    # only the first of each run is hashed
    keys = [(columns[0][n], columns[1][n], bytes(columns[2][n])) for n in starts]
    sources = _sources({part for _, _, part in keys})
    numbers = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    places: list[int] = []
    for key, start, end in zip(keys, starts, [*starts[1:], len(events)], strict=False):
        places += [numbers[key]] * (end - start)
    return _Contexts(
        [_context(*sources[part], source_type, view_id) for source_type, view_id, part in numbers], places,
        starts,
    )  # fmt: skip


def _starts(*columns: Sequence[Any]) -> set[int]:
    """Return the places at which one of some columns differs from the place before."""
    found = set[int]()
    for column in columns:
        # not by `ne`, which takes four times as long for slices
        is_same = bytes(map(eq, islice(column, 1, None), column))
        place = is_same.find(0) + 1
        while place:
            found.add(place)
            place = is_same.find(0, place) + 1
    return found


def _sources(parts: Collection[bytes]) -> dict[bytes, tuple[Source, str]]:
    """Return the fields and the text of each source.

    Raises:
        UnicodeDecodeError: one is not UTF-8.
    """
    texts = json_texts(filled(list(map(msgspec.Raw, parts))), b",".join(parts))
    huge = {part: parse(part) for part in parts if may_be_huge((part,))} if may_be_huge(parts) else {}
    return {
        part: (read_fields(Source, huge[part]), dump_json(huge[part]))
        if part in huge
        else (source_of(part), text)
        for part, text in zip(parts, texts, strict=True)
    }


def _context(source: Source, text: str, source_type: str | None, view_id: str | None) -> _Context:
    agent, url, place = source.user_agent or _NO_AGENT, source.url or _NO_URL, source.location or _NO_PLACE
    device, app = source.device or _NO_DEVICE, source.app or _NO_APP
    values = (
        source_type, view_id, text, url.full_url, url.path, source.title, agent.browser,
        agent.operating_system or device.operating_system, agent.device, place.country,
        place.city, app.version,
    )  # fmt: skip
    return _Context(source, values)


def _columns(
    answers: Sequence[Answer],
    bounds: Sequence[int],
    groups: Mapping[str, Group],
    contexts: _Contexts,
    values: dict[str, Sequence[Any]],
) -> EventColumns:
    """Add the columns that are computed from the fields of each event and its context."""
    known, places, runs = contexts
    sizes = map(sub, bounds[1:], bounds)
    sessions = list(chain.from_iterable(map(repeat, count(), sizes)))
    values |= columns_of_groups(groups, Repeated([each.source for each in known], places))
    values |= users_of(groups.get("identify"), bounds, sessions)
    columns: Iterable[Sequence[Any]] = zip(*(each.values for each in known), strict=True)
    if not known:
        columns = [()] * len(_CONTEXT_COLUMNS)
    values |= {name: Repeated(column, places) for name, column in zip(_CONTEXT_COLUMNS, columns, strict=True)}
    ids = [SessionIds.of(answer.full_session_id) for answer in answers]
    return EventColumns(ids, [answer.fetched_at for answer in answers], bounds, sessions, values, runs)
