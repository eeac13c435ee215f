"""Encode options as request bodies, and parse options that a person wrote in JSON or TOML.

Only options that were set are encoded. Contradictory options are rejected here, before anything is sent,
with the field's name.
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
from fullstory_async.models.event_types import warn_about_context_types

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
_EXCLUDE_FIELDS = {
    "org": "exclude_org_context", "user": "exclude_user_context", "location": "exclude_location",
    "device": "exclude_device",
}  # fmt: skip


def rfc3339(when: datetime) -> str:
    """Return a time in the service's own format: RFC 3339, in UTC."""
    try:
        return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise ConfigurationError(f"{when.isoformat()} is out of range in UTC") from None


def context_body(
    *,
    slice: SliceOptions | None,  # noqa: A002  (the API's name)
    context: ContextOptions | None,
    events: EventOptions | None,
    cache: CacheOptions | None,
    media: MediaOptions | None,
) -> bytes:
    """Encode the body of a context call.

    Raises:
        ConfigurationError: the options contradict each other, or a group has the wrong class.
    """
    groups = {"slice": slice, "context": context, "events": events, "cache": cache, "media": media}
    for (name, group), kind in zip(groups.items(), _GROUPS, strict=True):
        if not isinstance(group, kind | None):
            raise ConfigurationError(f"{name} must be {kind.__name__}, not {group!r:.60}")
    validate_options(slice, context, events, alone=True)
    types = (*_types_in(events), *((media and media.screenshot_event_types) or ()))
    # the levels are counted from here to the program's own call
    warn_about_context_types(types, stacklevel=5)
    bodies = {name: dump_options(group) for name, group in groups.items() if group is not None}
    return _encode({name: body for name, body in bodies.items() if body})


_GROUPS = (SliceOptions, ContextOptions, EventOptions, CacheOptions, MediaOptions)


def summary_body(
    config_profile_id: str | None, end_timestamp: datetime | None, overrides: ProfileConfiguration
) -> bytes:
    """Encode the body of a summary with overrides.

    Raises:
        ConfigurationError: the overrides contradict each other or the arguments.
    """
    if not isinstance(overrides, ProfileConfiguration):
        raise ConfigurationError(f"overrides must be a ProfileConfiguration, not {overrides!r:.60}")
    if end_timestamp is not None:
        part = overrides.slice or SliceOptions()
        if part.end_timestamp is not None:
            raise ConfigurationError("end_timestamp is given twice: as an argument and in overrides.slice")
        overrides = attrs.evolve(overrides, slice=attrs.evolve(part, end_timestamp=end_timestamp))
    validate_options(overrides.slice, overrides.context, overrides.events, alone=config_profile_id is None)
    warn_about_context_types(_types_in(overrides.events), stacklevel=6)
    profile = {} if config_profile_id is None else {"config_profile": config_profile_id}
    return _encode({**profile, **dump_options(overrides)})


def profile_body(name: str | None, configuration: ProfileConfiguration | None) -> bytes:
    """Encode the body that creates or changes a profile.

    Raises:
        ConfigurationError: the configuration contradicts itself.
    """
    named = {} if name is None else {"name": name}
    if configuration is None:
        return _encode(named)
    if not isinstance(configuration, ProfileConfiguration):
        raise ConfigurationError(f"configuration must be a ProfileConfiguration, not {configuration!r:.60}")
    validate_options(configuration.slice, configuration.context, configuration.events, alone=False)
    warn_about_context_types(_types_in(configuration.events), stacklevel=5)
    return _encode({**named, **dump_options(configuration)})


def _encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def dump_options(options: attrs.AttrsInstance) -> dict[str, Any]:
    """Return the options that were set as JSON values, without empty groups."""
    values = {field.name: getattr(options, field.name) for field in attrs.fields(type(options))}
    dumped = {name: _dump_value(value) for name, value in values.items() if value is not None}
    # an empty response schema was set by the caller, unlike an empty group
    return {
        name: value
        for name, value in dumped.items()
        if value != {} or isinstance(values[name], ResponseSchema)
    }


def _dump_value(value: Any) -> Any:
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
    """Raise `ConfigurationError` for contradictory options.

    Args:
        part: the slice.
        context: which context is included.
        events: which events are included.
        alone: whether there is no profile that supplies the unset options.
    """
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
        raise ConfigurationError(
            "slice.mode is TIMESTAMP, so slice.start_timestamp must say where the slice starts"
        )
    # without a mode, a profile may supply TIMESTAMP; without a profile, the service's default applies
    ignored = part.mode not in (None, "TIMESTAMP") or (part.mode is None and alone)
    if part.start_timestamp is not None and ignored:
        raise ConfigurationError(
            "slice.start_timestamp has an effect only with slice.mode TIMESTAMP, "
            f"not {part.mode or 'by default'}"
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
        if getattr(context, _EXCLUDE_FIELDS[name]):
            raise ConfigurationError(
                f"context.include names {name!r} and context.{_EXCLUDE_FIELDS[name]} excludes it"
            )


def parse_options(value: Any, kind: type[T], path: str = "") -> T:
    """Parse options that a person wrote in JSON, in TOML or on a command line.

    Args:
        value: an object with the API's keys; times as ISO 8601 strings or `datetime`, a response schema as
            JSON Schema.
        kind: the class of the options.
        path: where the value stands, for messages.

    Raises:
        ConfigurationError: a key is unknown, or a value has the wrong type; the message names the field.
    """
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{path or 'the configuration'} must be an object, not {value!r:.60}")
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(kind))}
    given: dict[str, Any] = {}
    for name, item in value.items():
        where = f"{path}.{name}".removeprefix(".")
        if name not in fields:
            close = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the known names are {', '.join(fields)}"
            raise ConfigurationError(f"{where} is not known; {hint}")
        given[name] = _parse_value(item, fields[name].type, where)
    # the class names its own field; people need the whole path
    try:
        return kind(**given)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}.{error.message}".removeprefix(".")) from None


def _parse_value(value: Any, kind: Any, where: str) -> Any:
    if value is None:
        return None
    for each in get_args(kind) or (kind,):
        if each is ResponseSchema:
            return _parse_schema(value, where)
        if attrs.has(each):
            return parse_options(value, each, where)
        if each is datetime:
            # NaT of pandas, in the settings of a row
            return None if value != value else _parse_time(value, where)  # noqa: PLR0124
    return value


def _parse_schema(value: Any, where: str) -> ResponseSchema:
    try:
        return ResponseSchema.from_json_schema(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error.message}") from None


def _parse_time(value: Any, where: str) -> datetime:
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
    except (ValueError, AttributeError):
        raise ConfigurationError(f"{where} must be a time like 2026-05-04T10:00:00Z, not {value!r}") from None
    if when.utcoffset() is None:
        raise ConfigurationError(
            f"{where} has no time zone: write {when.isoformat()}Z for UTC, "
            f"or an offset as in {when.isoformat()}+02:00"
        )
    return when
