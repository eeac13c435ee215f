"""The columns of a session's events that come from their properties, one type of event at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple, cast

import msgspec

from fullstory_async.tables.fields import (
    Custom,
    Fields,
    Identify,
    Source,
    Targeted,
    fields_by_type,
    joined_by_type,
    parse,
    parsed_fields_of,
)
from fullstory_async.tables.json_text import dump_json, filled, json_texts, may_be_huge
from fullstory_async.tables.rows import Repeated
from fullstory_async.tables.rules import (
    FRUSTRATING,
    MAY_BE_ERROR,
    NAMES_PAGE,
    Quoted,
    describe_all,
    frustrations_of,
    in_one_line,
    is_error,
)

__all__ = ["Group", "columns_of_groups", "groups_of_parsed", "read_properties", "users_of"]


class Group(NamedTuple):
    """The events of one type."""

    places: Sequence[int]
    """Their numbers in the session."""
    fields: Sequence[Fields]
    """Those of an event, all of one class."""


def groups_of_parsed(kinds: Sequence[str], values: Sequence[Any]) -> dict[str, Group]:
    """Return events by type, from their parsed properties."""
    return {
        kind: Group(places, [parsed_fields_of(kind, values[n]) for n in places])
        for kind, places in _places(kinds).items()
    }


def read_properties(
    kinds: Sequence[str], parts: Sequence[msgspec.Raw]
) -> tuple[Sequence[str], dict[str, Group]]:
    """Return each event's properties as valid JSON on one line, and the events by type.

    Args:
        kinds: the type of each event.
        parts: the properties of each event.

    Raises:
        DecodeError: an event is nested too deeply.
        UnicodeDecodeError: the properties of an event are not UTF-8.
    """
    parts, places = filled(parts), _places(kinds)
    by_type = {kind: list(map(parts.__getitem__, own)) for kind, own in places.items()}
    joined = joined_by_type(by_type)
    texts: Sequence[str] = json_texts(parts, joined)
    fields = fields_by_type(by_type, joined)
    groups = {kind: Group(own, fields[kind]) for kind, own in places.items()}
    if may_be_huge((joined,)):
        changed = {n: parse(part) for n, part in enumerate(parts) if may_be_huge((part,))}
        texts = [dump_json(changed[n]) if n in changed else text for n, text in enumerate(texts)]
        groups = {kind: _changed(kind, group, changed) for kind, group in groups.items()}
    return texts, groups


def _changed(kind: str, group: Group, values: Mapping[int, Any]) -> Group:
    """Return a group with the fields of some events read from parsed properties."""
    pairs = zip(group.places, group.fields, strict=True)
    fields = [parsed_fields_of(kind, values[n]) if n in values else each for n, each in pairs]
    return Group(group.places, fields)


def _places(kinds: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {kind: [] for kind in dict.fromkeys(kinds)}
    for n, places in enumerate(map(found.__getitem__, kinds)):
        places.append(n)
    return found


def columns_of_groups(groups: Mapping[str, Group], sources: Sequence[Source]) -> dict[str, Sequence[Any]]:
    """Return the columns that are computed from the fields of the events, by name.

    Args:
        groups: the events by type.
        sources: the source of each event.
    """
    count = len(sources)
    descriptions, errors = [""] * count, [False] * count
    signs: list[tuple[str, ...]] = [()] * count
    texts: list[str | None] = [None] * count
    selectors, names = texts.copy(), texts.copy()
    quoted = Quoted()
    # few calls for each type: a session has twenty of them
    for kind, group in groups.items():
        places, fields = group
        needed = map(sources.__getitem__, places) if kind in NAMES_PAGE else repeat(None)
        for n, text in zip(places, describe_all(kind, fields, needed, quoted), strict=True):
            descriptions[n] = text
        if isinstance(fields[0], Targeted):
            _put_elements(group, texts, selectors)
        elif isinstance(fields[0], Custom):
            for n, custom in zip(places, cast("Sequence[Custom]", fields), strict=True):
                names[n] = custom.event_name
        if kind in MAY_BE_ERROR:
            for n, each in zip(places, fields, strict=True):
                errors[n] = is_error(kind, each)
        elif kind in FRUSTRATING:
            for n, each in zip(places, fields, strict=True):
                signs[n] = frustrations_of(kind, each)
    return {
        "description": in_one_line(descriptions), "is_error": errors, "frustrations": signs,
        "element_text": texts, "element_selector": selectors, "custom_name": names,
    }  # fmt: skip


def _put_elements(group: Group, texts: list[str | None], selectors: list[str | None]) -> None:
    """Put the text and the selector of each action's element into columns."""
    for n, action in zip(group.places, cast("Sequence[Targeted]", group.fields), strict=True):
        if (target := action.target) is not None:
            texts[n], selectors[n] = None if target.masked else target.text, target.raw_selector


def users_of(
    group: Group | None, bounds: Sequence[int], sessions: Sequence[int]
) -> dict[str, Sequence[str | None]]:
    """Return the user's id and e-mail address at each event: those of the session's last identification.

    Before its first one, they are those of the first.

    Args:
        group: the identifications.
        bounds: the events with which each session begins, and the number of all.
        sessions: the place of each event's session.
    """
    found = [
        (n, each.user_id, each.user_email)
        for n, each in zip(*cast("tuple[Sequence[int], Sequence[Identify]]", group or ((), ())), strict=True)
        if each.user_id or each.user_email
    ]
    by_session: dict[int, list[tuple[int, str | None, str | None]]] = {}
    for each in found:
        by_session.setdefault(sessions[each[0]], []).append(each)
    users: list[tuple[str | None, str | None]] = []
    places: list[int] = []
    for session, end in enumerate(bounds[1:]):
        identified = by_session.get(session, [(end, None, None)])
        known: tuple[str | None, str | None] = (None, None)
        for (_, uid, email), until in zip(identified, [*(n for n, *_ in identified[1:]), end], strict=True):
            # a later identification of the same user may leave the address out
            known = uid, email or (known[1] if known[0] == uid else None)
            places += [len(users)] * (until - len(places))
            users.append(known)
    uids, emails = zip(*users, strict=True) if users else ((), ())
    # one object for all columns that repeat by sessions
    shared = places if len(users) > len(bounds) - 1 else sessions
    return {"user_uid": Repeated(uids, shared), "user_email": Repeated(emails, shared)}
