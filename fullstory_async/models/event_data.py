"""The documented fields of each event type, as attrs classes; every field may be missing.

The fields have the API's names. A value of a type that its field can't hold is ``None``;
`SessionEvent.data` has it as it was sent, with everything that is not documented.
"""

from __future__ import annotations

from typing import Any, Self

import attrs

from fullstory_async import coerce
from fullstory_async.json_ready import JsonReady

__all__ = [
    "AppData", "ClickData", "ConsentData", "ConsoleMessageData", "CumulativeLayoutShiftData", "CustomData",
    "DeviceData", "ElementSeenData", "EventData", "ExceptionData", "FirstInputDelayData",
    "ForceRestartData", "IdentifyData", "InteractionToNextPaintData", "LoadData", "LocationData",
    "NavigateData", "PagePropertiesData", "PageViewData", "PinchGestureData", "RequestData", "SourceData",
    "Target", "TargetData", "UrlData", "UserAgentData",
]  # fmt: skip


class _Part(JsonReady):
    """Base of the attrs classes that are read from JSON."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any) -> Self:
        """Build an instance from the fields that are present."""
        given = coerce.mapping(value)
        # mypy can't know that every subclass is an attrs class
        names = [field.name for field in attrs.fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: given[name] for name in names if name in given})

    @classmethod
    def read_if_given(cls, value: Any) -> Self | None:
        """Build an instance from an object; return ``None`` for any other value."""
        return cls.read(value) if isinstance(value, dict) else None


def _string() -> Any:
    return attrs.field(default=None, converter=coerce.string)


def _integer() -> Any:
    return attrs.field(default=None, converter=coerce.integer)


def _number() -> Any:
    return attrs.field(default=None, converter=coerce.number)


def _boolean() -> Any:
    return attrs.field(default=None, converter=coerce.boolean)


def _object() -> Any:
    return attrs.field(factory=dict, converter=coerce.mapping, hash=False)


def _strings() -> Any:
    return attrs.field(default=None, converter=coerce.strings)


def _part(kind: type[_Part]) -> Any:
    def read(value: Any) -> Any:
        # an instance comes from attrs.evolve and from callers
        return value if isinstance(value, kind) else kind.read_if_given(value)

    return attrs.field(default=None, converter=read)


@attrs.frozen(kw_only=True)
class Target(_Part):
    """The element that the user acted on."""

    text: str | None = _string()
    masked: bool | None = _boolean()
    raw_selector: str | None = _string()
    element_properties: dict[str, Any] = _object()
    element_definition_id: str | None = _string()
    additional_element_definition_ids: tuple[str, ...] = _strings()


@attrs.frozen(kw_only=True)
class UrlData(_Part):
    """The parts of a URL.

    ``query`` is as the service sends it: name → ``{"values": [string, …]}``.
    """

    full_url: str | None = _string()
    host: str | None = _string()
    path: str | None = _string()
    query: dict[str, Any] = _object()
    hash_path: str | None = _string()
    hash_query: dict[str, Any] = _object()


@attrs.frozen(kw_only=True)
class UserAgentData(_Part):
    """The browser."""

    raw_user_agent: str | None = _string()
    device: str | None = _string()
    operating_system: str | None = _string()
    browser: str | None = _string()
    browser_version: str | None = _string()


@attrs.frozen(kw_only=True)
class LocationData(_Part):
    """The device's location, derived from its IP address."""

    ip_address: str | None = _string()
    country: str | None = _string()
    region: str | None = _string()
    city: str | None = _string()
    lat_long: str | None = _string()


@attrs.frozen(kw_only=True)
class DeviceData(_Part):
    """A phone or tablet. Sizes are in pixels."""

    manufacturer: str | None = _string()
    model: str | None = _string()
    operating_system: str | None = _string()
    screen_width: int | None = _integer()
    screen_height: int | None = _integer()
    viewport_width: int | None = _integer()
    viewport_height: int | None = _integer()


@attrs.frozen(kw_only=True)
class AppData(_Part):
    """A mobile app."""

    name: str | None = _string()
    version: str | None = _string()
    package_name: str | None = _string()


@attrs.frozen(kw_only=True)
class SourceData(_Part):
    """The source of an event: a web page, an app, or a server (with few fields)."""

    user_agent: UserAgentData | None = _part(UserAgentData)
    url: UrlData | None = _part(UrlData)
    initial_referrer: UrlData | None = _part(UrlData)
    location: LocationData | None = _part(LocationData)
    title: str | None = _string()
    page_definition_id: str | None = _string()
    device: DeviceData | None = _part(DeviceData)
    app: AppData | None = _part(AppData)
    entrypoint: str | None = _string()
    origin: str | None = _string()
    integration: str | None = _string()


@attrs.frozen(kw_only=True)
class EventData(_Part):
    """Fields of every event type: the account's definitions that the event matches."""

    event_definition_id: str | None = _string()
    additional_event_definition_ids: tuple[str, ...] = _strings()


@attrs.frozen(kw_only=True)
class TargetData(EventData):
    """An action on an element."""

    target: Target | None = _part(Target)


@attrs.frozen(kw_only=True)
class NavigateData(EventData):
    """A page was opened.

    The reason is ``navigate``, ``reload``, ``back_forward`` or ``prerender``.
    """

    navigate_reason: str | None = _string()


@attrs.frozen(kw_only=True)
class ClickData(TargetData):
    """A click.

    ``fs_error_kind`` is ``console`` or ``exception`` if the click caused an error, else ``unknown``.
    """

    fs_dead_count: int | None = _integer()
    fs_rage_count: int | None = _integer()
    fs_error_kind: str | None = _string()
    is_click_long: bool | None = _boolean()
    is_click_unhandled: bool | None = _boolean()


@attrs.frozen(kw_only=True)
class ElementSeenData(TargetData):
    """A watched element was ``rendered``, became ``visible`` or disappeared (``end``)."""

    element_type: str | None = _string()
    element_start_type: str | None = _string()
    element_render_duration_millis: float | None = _number()
    element_visible_duration_millis: float | None = _number()


@attrs.frozen(kw_only=True)
class LoadData(EventData):
    """A page was loaded. Times are in milliseconds."""

    load_time_millis: float | None = _number()
    dom_content_time_millis: float | None = _number()
    first_paint_time_millis: float | None = _number()
    largest_paint_time_millis: float | None = _number()
    time_to_first_byte_millis: float | None = _number()
    time_to_interactive_millis: float | None = _number()
    total_blocking_time_millis: float | None = _number()


@attrs.frozen(kw_only=True)
class CumulativeLayoutShiftData(EventData):
    """How far the page's layout shifted while it loaded."""

    cumulative_layout_shift: float | None = _number()


@attrs.frozen(kw_only=True)
class FirstInputDelayData(EventData):
    """How long the page took to handle the first input."""

    first_input_delay_millis: float | None = _number()


@attrs.frozen(kw_only=True)
class InteractionToNextPaintData(TargetData):
    """How long the page took to respond to an input.

    ``event_name`` is the browser's name for the input, such as ``pointerdown``.
    """

    event_name: str | None = _string()
    interaction_to_next_paint_millis: float | None = _number()


@attrs.frozen(kw_only=True)
class CustomData(EventData):
    """An event sent by the customer's code; ``event_properties`` are the customer's."""

    event_name: str | None = _string()
    event_properties: dict[str, Any] = _object()


@attrs.frozen(kw_only=True)
class RequestData(EventData):
    """A failed request of the page: FullStory keeps those with a status from 400."""

    request_method: str | None = _string()
    request_status: int | None = _integer()
    request_duration_millis: float | None = _number()
    request_url: UrlData | None = _part(UrlData)


@attrs.frozen(kw_only=True)
class ExceptionData(EventData):
    """An exception in the page's code."""

    message: str | None = _string()
    exception_count: int | None = _integer()
    exception_source_file: str | None = _string()
    is_exception_handled: bool | None = _boolean()


@attrs.frozen(kw_only=True)
class ConsoleMessageData(EventData):
    """A message in the browser's console; FullStory keeps only errors today."""

    message: str | None = _string()
    console_message_level: str | None = _string()


@attrs.frozen(kw_only=True)
class ConsentData(EventData):
    """The user gave or withdrew consent to being recorded."""

    is_consent_given: bool | None = _boolean()
    consent_scope: str | None = _string()
    consent_action_type: str | None = _string()


@attrs.frozen(kw_only=True)
class IdentifyData(EventData):
    """The customer's code identified the user.

    ``user_id`` is the ``uid`` of `SessionsAPI.list`.
    """

    user_id: str | None = _string()
    user_email: str | None = _string()
    user_display_name: str | None = _string()
    user_properties: dict[str, Any] = _object()


@attrs.frozen(kw_only=True)
class PagePropertiesData(EventData):
    """The customer's properties of a page; ``event.data`` has all of them."""

    page_name: str | None = _string()


@attrs.frozen(kw_only=True)
class PageViewData(EventData):
    """One page visit.

    Durations are in milliseconds, times are strings, and ``max_scroll_depth`` is 0 to 1.
    """

    page_name: str | None = _string()
    start_time: str | None = _string()
    end_time: str | None = _string()
    duration_millis: float | None = _number()
    active_duration_millis: float | None = _number()
    inactive_duration_millis: float | None = _number()
    max_scroll_depth: float | None = _number()


@attrs.frozen(kw_only=True)
class PinchGestureData(EventData):
    """A pinch gesture on a touch screen."""

    pinch_gesture_type: str | None = _string()


@attrs.frozen(kw_only=True)
class ForceRestartData(EventData):
    """A mobile app was closed and restarted."""

    elapsed_millis: float | None = _number()
