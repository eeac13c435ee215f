"""What a caller may ask of context and summaries: one attrs class per group of the API's options.

Every field's ``None`` means *not set*, and what is not set is not sent. That matters for summaries, where what is sent
is merged into a profile: a value replaces the profile's, an array is appended to the profile's, and an empty
value (``False``, ``0``, ``""``, ``[]``) changes nothing, so no override can switch off what a profile switches on.
The fields' names are the API's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from fullstory_async import validators
from fullstory_async.models.response_schema import ResponseSchema

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
    """Make any iterable of texts a tuple, but leave a single text, and an object, for the validator to refuse."""
    many = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return tuple(value) if many else value  # type: ignore[arg-type,return-value]


def _upper(value: str | None) -> str | None:
    return value.upper() if isinstance(value, str) else value


def _flag() -> Any:
    return attrs.field(default=None, validator=validators.instance_of(bool, optional=True))


def _text() -> Any:
    return attrs.field(default=None, validator=validators.instance_of(str, optional=True))


def _count() -> Any:
    return attrs.field(default=None, validator=validators.whole_number(at_least=0, optional=True))


def _time() -> Any:
    return attrs.field(default=None, validator=validators.time_with_zone)


@attrs.frozen(kw_only=True)
class SliceOptions:
    """Which part of the session is looked at."""

    mode: str | None = attrs.field(
        default=None, converter=_upper, validator=validators.instance_of(str, optional=True)
    )
    """``FIRST`` (the service's default), ``LAST`` or ``TIMESTAMP``: where the limits are counted from."""

    event_limit: int | None = _count()
    """How many events at most; 0 is no limit."""

    duration_limit_ms: int | None = _count()
    """How long a part at most, in milliseconds; 0 is no limit."""

    start_timestamp: datetime | None = _time()
    """Where the part begins; for the mode ``TIMESTAMP``."""

    end_timestamp: datetime | None = _time()
    """Only events before this time."""


@attrs.frozen(kw_only=True)
class ContextOptions:
    """What is told besides the events: ``user``, ``org``, ``location``, ``device``."""

    include: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.words
    )
    """Only these parts. It wins over the booleans below."""

    exclude: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.words
    )
    """All but these parts. It wins over the booleans below."""

    exclude_org_context: bool | None = _flag()
    """Leave the organisation out."""

    exclude_user_context: bool | None = _flag()
    """Leave the user out."""

    exclude_location: bool | None = _flag()
    """Leave the place out."""

    exclude_device: bool | None = _flag()
    """Leave browser, system and screen out."""

    exclude_descriptions: bool | None = _flag()
    """Leave descriptions of events out; an older option."""


@attrs.frozen(kw_only=True)
class EventOptions:
    """Which events are told, and how much of each.

    Types of events are named as in context: ``navigate``, ``click``, ``dead-click``, ``error-click``, ``rage-click``,
    ``input-change``, ``network-error``, ``console-error``, ``mouse-thrash``, ``highlight``, ``copy``, ``paste``,
    ``element-seen``, with dashes, unlike the types of `SessionEvent`. Names of defined events are taken as well.
    """

    include_types: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.words
    )
    """Only events of these types."""

    exclude_types: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.words
    )
    """No events of these types."""

    exclude_defined_events: bool | None = _flag()
    """Leave out the names of events that the account has defined."""

    exclude_api_events: bool | None = _flag()
    """Leave out events that the customer's code sent."""

    exclude_event_timestamps: bool | None = _flag()
    """Leave out when each event happened."""

    exclude_selectors: bool | None = _flag()
    """Leave out CSS selectors."""

    include_selector_tags: bool | None = _flag()
    """Keep the tag names in selectors."""

    include_tab_index: bool | None = _flag()
    """Number the browser's tabs."""

    include_descriptions: bool | None = _flag()
    """Describe each event in words."""

    trim_to_last_n_selectors: int | None = _count()
    """Keep only so many of a selector's last parts."""


@attrs.frozen(kw_only=True)
class CacheOptions:
    """Whether earlier work may be used again."""

    enable_event_cache: bool | None = _flag()
    """Answer from an earlier run over the session where no data came since: faster, but later changes to
    the account's definitions of elements, events and pages may be missing."""


@attrs.frozen(kw_only=True)
class MediaOptions:
    """Screenshots; experimental, and only for accounts where FullStory has switched it on."""

    include_screenshots: bool | None = _flag()
    """Add the URL of a screenshot to events."""

    screenshot_event_types: tuple[str, ...] | None = attrs.field(
        default=None, converter=_as_tuple, validator=validators.words
    )
    """For which types of events; the service's default is ``navigate`` and ``click``."""

    crop_screenshot_to_selector: bool | None = _flag()
    """Show only the element."""

    full_page_screenshots: bool | None = _flag()
    """Show the whole page instead of what was visible."""


@attrs.frozen(kw_only=True)
class LLMOptions:
    """What the language model is told. It reads ``pre_prompt``, the session's context, then ``post_prompt``."""

    pre_prompt: str | None = _text()
    """What comes before the session."""

    post_prompt: str | None = _text()
    """What comes after the session."""

    temperature: float | None = attrs.field(
        default=None, validator=validators.number(at_least=0, optional=True)
    )
    """How freely the model writes; 0 is the least."""

    response_schema: ResponseSchema | None = attrs.field(
        default=None, validator=validators.instance_of(ResponseSchema, optional=True)
    )
    """The structure of the answer; without one the summary is text."""


@attrs.frozen(kw_only=True)
class ProfileConfiguration:
    """Everything that a summary profile holds, and everything that a single summary may override."""

    llm: LLMOptions | None = attrs.field(
        default=None, validator=validators.instance_of(LLMOptions, optional=True)
    )
    """What the language model is told."""

    slice: SliceOptions | None = attrs.field(
        default=None, validator=validators.instance_of(SliceOptions, optional=True)
    )
    """Which part of the session it reads."""

    context: ContextOptions | None = attrs.field(
        default=None, validator=validators.instance_of(ContextOptions, optional=True)
    )
    """What it is told besides the events."""

    events: EventOptions | None = attrs.field(
        default=None, validator=validators.instance_of(EventOptions, optional=True)
    )
    """Which events it reads."""

    cache: CacheOptions | None = attrs.field(
        default=None, validator=validators.instance_of(CacheOptions, optional=True)
    )
    """Whether earlier work may be used again."""


@attrs.frozen(kw_only=True)
class Profile:
    """A summary profile of the account."""

    id: str = ""
    """The id that ``config_profile_id`` takes; the service assigns it."""

    name: str | None = None
    """What people call it; not unique."""

    configuration: ProfileConfiguration = attrs.field(factory=ProfileConfiguration)
    """What it says; ready to be changed with `attrs.evolve` and sent again."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """This profile's JSON as it came, unknown keys included."""
