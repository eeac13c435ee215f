"""From a caller's options to the JSON that is sent, and back from a file that a person wrote.

Only what was set is written. Options that contradict each other are refused here, before anything is sent, with
the name of the field.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.models import (
    CacheOptions,
    ContextOptions,
    EventOptions,
    MediaOptions,
    ProfileConfiguration,
    ResponseSchema,
    SliceOptions,
)
from fullstory_async.models.event_types import warn_of_context_types

__all__ = [
    "context_body",
    "dump_options",
    "parse_options",
    "profile_body",
    "rfc3339",
    "summary_body",
    "validate_options",
]

T = TypeVar("T", bound=attrs.AttrsInstance)

_MODES = ("FIRST", "LAST", "TIMESTAMP", "UNSPECIFIED")
_PARTS = ("user", "org", "location", "device")
_SWITCHES = {
    "org": "exclude_org_context", "user": "exclude_user_context", "location": "exclude_location",
    "device": "exclude_device",
}  # fmt: skip


def rfc3339(when: datetime) -> str:
    """Write a time in UTC, as the service writes its own."""
    try:
        return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise ConfigurationError(f"{when.isoformat()} is no time in UTC") from None


def context_body(
    *,
    slice: SliceOptions | None,  # noqa: A002  (the API's name)
    context: ContextOptions | None,
    events: EventOptions | None,
    cache: CacheOptions | None,
    media: MediaOptions | None,
) -> bytes:
    """Write the body of a context call. Raises `ConfigurationError` for contradictions."""
    groups = {"slice": slice, "context": context, "events": events, "cache": cache, "media": media}
    for (name, group), kind in zip(groups.items(), _GROUPS, strict=True):
        if not isinstance(group, kind | None):
            raise ConfigurationError(f"{name} must be {kind.__name__}, not {group!r:.60}")
    validate_options(slice, context, events, alone=True)
    named = (*_types_in(events), *((media and media.screenshot_event_types) or ()))
    warn_of_context_types(named, stacklevel=5)
    ready = {name: dump_options(group) for name, group in groups.items() if group is not None}
    return _encoded({name: group for name, group in ready.items() if group})


_GROUPS = (SliceOptions, ContextOptions, EventOptions, CacheOptions, MediaOptions)


def summary_body(
    config_profile_id: str | None, end_timestamp: datetime | None, overrides: ProfileConfiguration
) -> bytes:
    """Write the body of a summary with overrides. Raises `ConfigurationError` for contradictions."""
    if not isinstance(overrides, ProfileConfiguration):
        raise ConfigurationError(f"overrides must be a ProfileConfiguration, not {overrides!r:.60}")
    if end_timestamp is not None:
        part = overrides.slice or SliceOptions()
        if part.end_timestamp is not None:
            raise ConfigurationError("end_timestamp is given twice: as an argument and in overrides.slice")
        overrides = attrs.evolve(overrides, slice=attrs.evolve(part, end_timestamp=end_timestamp))
    validate_options(overrides.slice, overrides.context, overrides.events, alone=config_profile_id is None)
    warn_of_context_types(_types_in(overrides.events), stacklevel=6)
    profile = {} if config_profile_id is None else {"config_profile": config_profile_id}
    return _encoded({**profile, **dump_options(overrides)})


def profile_body(name: str | None, configuration: ProfileConfiguration | None) -> bytes:
    """Write the body that makes or changes a profile. Raises `ConfigurationError` for contradictions."""
    named = {} if name is None else {"name": name}
    if configuration is None:
        return _encoded(named)
    if not isinstance(configuration, ProfileConfiguration):
        raise ConfigurationError(f"configuration must be a ProfileConfiguration, not {configuration!r:.60}")
    validate_options(configuration.slice, configuration.context, configuration.events, alone=False)
    warn_of_context_types(_types_in(configuration.events), stacklevel=5)
    return _encoded({**named, **dump_options(configuration)})


def _encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def dump_options(options: attrs.AttrsInstance) -> dict[str, Any]:
    """Return what was set, and of groups only those in which something was."""
    found = {field.name: getattr(options, field.name) for field in attrs.fields(type(options))}
    ready = {name: _value(value) for name, value in found.items() if value is not None}
    return {
        name: value for name, value in ready.items() if value != {} or isinstance(found[name], ResponseSchema)
    }


def _value(value: Any) -> Any:
    if isinstance(value, ResponseSchema):
        return value.to_dict()
    if attrs.has(type(value)):
        return dump_options(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    return list(value) if isinstance(value, tuple) else value


def validate_options(
    part: SliceOptions | None, context: ContextOptions | None, events: EventOptions | None, *, alone: bool
) -> None:
    """Raise `ConfigurationError` for contradictions; ``alone`` says that no profile fills in what is not set."""
    if part is not None:
        _check_slice(part, alone=alone)
    if context is not None:
        _check_context(context)
    if events is not None:
        both = set(events.include_types or ()) & set(events.exclude_types or ())
        if both:
            raise ConfigurationError(f"events.include_types and events.exclude_types both name {min(both)!r}")


def _types_in(events: EventOptions | None) -> tuple[str, ...]:
    return () if events is None else (*(events.include_types or ()), *(events.exclude_types or ()))


def _check_slice(part: SliceOptions, *, alone: bool) -> None:
    if part.mode is not None and part.mode not in _MODES:
        raise ConfigurationError(f"slice.mode must be FIRST, LAST or TIMESTAMP, not {part.mode!r}")
    if part.mode == "TIMESTAMP" and part.start_timestamp is None:
        raise ConfigurationError("slice.mode is TIMESTAMP, so slice.start_timestamp must say where to begin")
    elsewhere = part.mode not in (None, "TIMESTAMP") or (part.mode is None and alone)
    if part.start_timestamp is not None and elsewhere:
        raise ConfigurationError(
            f"slice.start_timestamp has an effect only with slice.mode TIMESTAMP, not {part.mode or 'by default'}"
        )
    if part.start_timestamp and part.end_timestamp and part.start_timestamp >= part.end_timestamp:
        raise ConfigurationError("slice.start_timestamp must be before slice.end_timestamp")


def _check_context(context: ContextOptions) -> None:
    for name in (*(context.include or ()), *(context.exclude or ())):
        if name not in _PARTS:
            raise ConfigurationError(
                f"context.include and context.exclude take {', '.join(_PARTS)}, not {name!r}"
            )
    if both := set(context.include or ()) & set(context.exclude or ()):
        raise ConfigurationError(f"context.include and context.exclude both name {min(both)!r}")
    for name in context.include or ():
        if getattr(context, _SWITCHES[name]):
            raise ConfigurationError(
                f"context.include names {name!r} and context.{_SWITCHES[name]} excludes it"
            )


def parse_options(value: Any, kind: type[T], path: str = "") -> T:
    """Read options that a person wrote down: from JSON, TOML, or a command line.

    Args:
        value: an object, keys as in the API; times as ISO 8601 texts or `datetime`, a response schema as JSON Schema.
        kind: one of the classes of options.
        path: where the value stands, for messages.

    Raises:
        ConfigurationError: a key is not known or a value is of a wrong kind; the message names the field.
    """
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{path or 'the configuration'} must be an object, not {value!r:.60}")
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(kind))}
    given: dict[str, Any] = {}
    for name, item in value.items():
        where = f"{path}.{name}".removeprefix(".")
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(fields)}"
            raise ConfigurationError(f"{where} is not known; {hint}")
        given[name] = _read_value(item, fields[name].type, where)
    try:
        return kind(**given)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}.{error.message}".removeprefix(".")) from None


def _read_value(value: Any, kind: Any, where: str) -> Any:
    if value is None:
        return None
    for each in get_args(kind) or (kind,):
        if each is ResponseSchema:
            return _read_schema(value, where)
        if attrs.has(each):
            return parse_options(value, each, where)
        if each is datetime:
            return _read_time(value, where)
    return value


def _read_schema(value: Any, where: str) -> ResponseSchema:
    try:
        return ResponseSchema.from_json_schema(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error.message}") from None


def _read_time(value: Any, where: str) -> datetime:
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
    except (ValueError, AttributeError):
        raise ConfigurationError(f"{where} must be a time like 2026-05-04T10:00:00Z, not {value!r}") from None
    if when.utcoffset() is None:
        raise ConfigurationError(
            f"{where} has no time zone: write {when.isoformat()}Z for UTC, or an offset as in {when.isoformat()}+02:00"
        )
    return when
