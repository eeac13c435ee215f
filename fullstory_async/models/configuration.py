"""Options of context and summaries: one attrs class per group of the API's options.

In every field, ``None`` means *not set*, and unset options are not sent. That matters for summaries, whose
options are merged into a profile: a value replaces the profile's, an array is appended to the profile's,
and an empty value (``False``, ``0``, ``""``, ``[]``) changes nothing, so an override can't switch off what
a profile switches on. The fields have the API's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from fullstory_async import validators
from fullstory_async.json_ready import JsonReady
from fullstory_async.models.response_schema import ResponseSchema
from fullstory_async.response_info import HasResponseInfo

__all__ = [
    "CacheOptions",
    "ContextOptions",
    "EventOptions",
    "LLMOptions",
    "MediaOptions",
    "Profile",
    "ProfileConfiguration",
    "SliceOptions",
]


def _as_tuple(value: Iterable[str] | None) -> tuple[str, ...] | None:
    """Convert an iterable of strings to a tuple; leave other values to the validator."""
    # a string is an iterable of strings too, and ("c", "l", "i", "c", "k") is never meant
    is_list = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return tuple(value) if is_list else value  # type: ignore[arg-type,return-value]


def _upper(value: str | None) -> str | None:
    return value.upper() if isinstance(value, str) else value


def _boolean() -> Any:
    return attrs.field(default=None, validator=validators.instance_of(bool, optional=True))


def _string() -> Any:
    return attrs.field(default=None, validator=validators.instance_of(str, optional=True))


def _count() -> Any:
    return attrs.field(
        default=None,
        converter=validators.exact_integer,
        validator=validators.integer(at_least=0, optional=True),
    )


def _time() -> Any:
    return attrs.field(default=None, converter=validators.time_or_none, validator=validators.time_with_zone)


@attrs.frozen(kw_only=True)
class SliceOptions(JsonReady):
    """Which part of the session is read."""

    mode: str | None = attrs.field(
        default=None, converter=_upper, validator=validators.instance_of(str, optional=True)
    )
    """``FIRST`` (the service's default), ``LAST`` or ``TIMESTAMP``: from where the limits count."""

    event_limit: int | None = _count()
    """Maximum number of events; 0 means no limit."""

    duration_limit_ms: int | None = _count()
    """Maximum length of the part in milliseconds; 0 means no limit."""

    start_timestamp: datetime | None = _time()
    """Start of the part, for mode ``TIMESTAMP``."""

    end_timestamp: datetime | None = _time()
    """Only events before this time."""


@attrs.frozen(kw_only=True)
class ContextOptions(JsonReady):
    """Which of ``user``, ``org``, ``location`` and ``device`` come with the events."""

    include: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.strings
    )
    """Only these parts. Takes precedence over the booleans below."""

    exclude: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.strings
    )
    """All parts except these. Takes precedence over the booleans below."""

    exclude_org_context: bool | None = _boolean()
    """Exclude the organisation."""

    exclude_user_context: bool | None = _boolean()
    """Exclude the user."""

    exclude_location: bool | None = _boolean()
    """Exclude the location."""

    exclude_device: bool | None = _boolean()
    """Exclude browser, operating system and screen."""

    exclude_descriptions: bool | None = _boolean()
    """Exclude descriptions of events; an older option."""


@attrs.frozen(kw_only=True)
class EventOptions(JsonReady):
    """Which events are included, and in how much detail.

    Event types have context's names: ``navigate``, ``click``, ``dead-click``, ``error-click``,
    ``rage-click``, ``input-change``, ``network-error``, ``console-error``, ``mouse-thrash``, ``highlight``,
    ``copy``, ``paste``, ``element-seen``, with dashes, unlike the types of `SessionEvent`. Names of defined
    events are accepted too.
    """

    include_types: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.strings
    )
    """Only events of these types."""

    exclude_types: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.strings
    )
    """All events except those of these types."""

    exclude_defined_events: bool | None = _boolean()
    """Exclude the names of events that the account has defined."""

    exclude_api_events: bool | None = _boolean()
    """Exclude events that the customer's code sent."""

    exclude_event_timestamps: bool | None = _boolean()
    """Exclude the time of each event."""

    exclude_selectors: bool | None = _boolean()
    """Exclude CSS selectors."""

    include_selector_tags: bool | None = _boolean()
    """Keep the tag names in selectors."""

    include_tab_index: bool | None = _boolean()
    """Number the browser's tabs."""

    include_descriptions: bool | None = _boolean()
    """Add a description in words to each event."""

    trim_to_last_n_selectors: int | None = _count()
    """Number of parts to keep at the end of each selector."""


@attrs.frozen(kw_only=True)
class CacheOptions(JsonReady):
    """Whether the service may reuse earlier work."""

    enable_event_cache: bool | None = _boolean()
    """Reuse an earlier run over the session if no data arrived since.

    That is faster, but later changes to the account's definitions of elements, events and pages may be
    missing.
    """


@attrs.frozen(kw_only=True)
class MediaOptions(JsonReady):
    """Screenshots: experimental, and only for accounts that FullStory enabled."""

    include_screenshots: bool | None = _boolean()
    """Add the URL of a screenshot to events."""

    screenshot_event_types: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.strings
    )
    """Event types that get a screenshot; the service's default is ``navigate`` and ``click``."""

    crop_screenshot_to_selector: bool | None = _boolean()
    """Crop the screenshot to the element."""

    full_page_screenshots: bool | None = _boolean()
    """Capture the whole page instead of the visible part."""


@attrs.frozen(kw_only=True)
class LLMOptions(JsonReady):
    """The model's input: ``pre_prompt``, the session's context, ``post_prompt``."""

    pre_prompt: str | None = _string()
    """The prompt before the session's context."""

    post_prompt: str | None = _string()
    """The prompt after the session's context."""

    temperature: float | None = attrs.field(
        default=None, validator=validators.number(at_least=0, optional=True)
    )
    """The model's sampling temperature, from 0."""

    response_schema: ResponseSchema | None = attrs.field(
        default=None, validator=validators.instance_of(ResponseSchema, optional=True)
    )
    """The structure of the response; without it, the summary is text."""


@attrs.frozen(kw_only=True)
class ProfileConfiguration(JsonReady):
    """The options of a summary profile, and those that a single summary may override."""

    llm: LLMOptions | None = attrs.field(
        default=None, validator=validators.instance_of(LLMOptions, optional=True)
    )
    """The language model's prompts and settings."""

    slice: SliceOptions | None = attrs.field(
        default=None, validator=validators.instance_of(SliceOptions, optional=True)
    )
    """Which part of the session the model reads."""

    context: ContextOptions | None = attrs.field(
        default=None, validator=validators.instance_of(ContextOptions, optional=True)
    )
    """Which context the model gets with the events."""

    events: EventOptions | None = attrs.field(
        default=None, validator=validators.instance_of(EventOptions, optional=True)
    )
    """Which events the model reads."""

    cache: CacheOptions | None = attrs.field(
        default=None, validator=validators.instance_of(CacheOptions, optional=True)
    )
    """Whether the service may reuse earlier work."""


@attrs.frozen(kw_only=True)
class Profile(HasResponseInfo, JsonReady):
    """A summary profile of the account."""

    id: str = ""
    """The id to pass as ``config_profile_id``; the service assigns it."""

    name: str | None = None
    """The display name; not unique."""

    configuration: ProfileConfiguration = attrs.field(factory=ProfileConfiguration)
    """The profile's options; change them with `attrs.evolve` and send them back."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """This profile's JSON, unchanged, with unknown keys."""
