"""What FullStory documents of each type of event, as attrs classes; every field may be missing.

The fields' names are the API's. A value of a kind that its field can't hold is ``None``; `SessionEvent.data` has it as
it came, together with all that is not documented.
"""

from __future__ import annotations

from typing import Any, Self

import attrs

from fullstory_async.models import coerce

__all__ = [
    "AppData", "ClickData", "ConsentData", "ConsoleMessageData", "CumulativeLayoutShiftData", "CustomData",
    "DeviceData", "ElementSeenData", "EventData", "ExceptionData", "FirstInputDelayData",
    "ForceRestartData", "IdentifyData", "InteractionToNextPaintData", "LoadData", "LocationData", "NavigateData",
    "PagePropertiesData", "PageViewData", "PinchGestureData", "RequestData", "SourceData", "Target", "TargetData",
    "UrlData", "UserAgentData",
]  # fmt: skip


class _Part:
    """An attrs class that reads itself from JSON."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any) -> Self:
        """Make an instance of the fields that are there."""
        given = coerce.mapping(value)
        names = [field.name for field in attrs.fields(cls)]  # type: ignore[arg-type]  # every subclass is attrs
        return cls(**{name: given[name] for name in names if name in given})

    @classmethod
    def read_if_given(cls, value: Any) -> Self | None:
        """Make an instance, or ``None`` where there is no object to read."""
        return cls.read(value) if isinstance(value, dict) else None


def _text() -> Any:
    return attrs.field(default=None, converter=coerce.text)


def _whole() -> Any:
    return attrs.field(default=None, converter=coerce.whole)


def _number() -> Any:
    return attrs.field(default=None, converter=coerce.number)


def _flag() -> Any:
    return attrs.field(default=None, converter=coerce.flag)


def _object() -> Any:
    return attrs.field(factory=dict, converter=coerce.mapping, hash=False)


def _texts() -> Any:
    return attrs.field(default=None, converter=coerce.texts)


def _part(kind: type[_Part]) -> Any:
    def read(value: Any) -> Any:
        return value if isinstance(value, kind) else kind.read_if_given(value)

    return attrs.field(default=None, converter=read)


@attrs.frozen(kw_only=True)
class Target(_Part):
    """The element that something was done to."""

    text: str | None = _text()
    masked: bool | None = _flag()
    raw_selector: str | None = _text()
    element_properties: dict[str, Any] = _object()
    element_definition_id: str | None = _text()
    additional_element_definition_ids: tuple[str, ...] = _texts()


@attrs.frozen(kw_only=True)
class UrlData(_Part):
    """A URL in parts. ``query`` is as the service sends it: name → ``{"values": [text, …]}``."""

    full_url: str | None = _text()
    host: str | None = _text()
    path: str | None = _text()
    query: dict[str, Any] = _object()
    hash_path: str | None = _text()
    hash_query: dict[str, Any] = _object()


@attrs.frozen(kw_only=True)
class UserAgentData(_Part):
    """The browser."""

    raw_user_agent: str | None = _text()
    device: str | None = _text()
    operating_system: str | None = _text()
    browser: str | None = _text()
    browser_version: str | None = _text()


@attrs.frozen(kw_only=True)
class LocationData(_Part):
    """Where the device was, by its address."""

    ip_address: str | None = _text()
    country: str | None = _text()
    region: str | None = _text()
    city: str | None = _text()
    lat_long: str | None = _text()


@attrs.frozen(kw_only=True)
class DeviceData(_Part):
    """A phone or tablet. Sizes are in pixels."""

    manufacturer: str | None = _text()
    model: str | None = _text()
    operating_system: str | None = _text()
    screen_width: int | None = _whole()
    screen_height: int | None = _whole()
    viewport_width: int | None = _whole()
    viewport_height: int | None = _whole()


@attrs.frozen(kw_only=True)
class AppData(_Part):
    """A mobile app."""

    name: str | None = _text()
    version: str | None = _text()
    package_name: str | None = _text()


@attrs.frozen(kw_only=True)
class SourceData(_Part):
    """Where an event came from: a browser's page, an app, or a server (which tells little)."""

    user_agent: UserAgentData | None = _part(UserAgentData)
    url: UrlData | None = _part(UrlData)
    initial_referrer: UrlData | None = _part(UrlData)
    location: LocationData | None = _part(LocationData)
    title: str | None = _text()
    page_definition_id: str | None = _text()
    device: DeviceData | None = _part(DeviceData)
    app: AppData | None = _part(AppData)
    entrypoint: str | None = _text()
    origin: str | None = _text()
    integration: str | None = _text()


@attrs.frozen(kw_only=True)
class EventData(_Part):
    """What every type of event may hold: the definitions of the account that it matches."""

    event_definition_id: str | None = _text()
    additional_event_definition_ids: tuple[str, ...] = _texts()


@attrs.frozen(kw_only=True)
class TargetData(EventData):
    """Something that was done to an element."""

    target: Target | None = _part(Target)


@attrs.frozen(kw_only=True)
class NavigateData(EventData):
    """A page was opened: by ``navigate``, ``reload``, ``back_forward`` or ``prerender``."""

    navigate_reason: str | None = _text()


@attrs.frozen(kw_only=True)
class ClickData(TargetData):
    """A click. ``fs_error_kind`` is ``console`` or ``exception`` where it led to an error, else ``unknown``."""

    fs_dead_count: int | None = _whole()
    fs_rage_count: int | None = _whole()
    fs_error_kind: str | None = _text()
    is_click_long: bool | None = _flag()
    is_click_unhandled: bool | None = _flag()


@attrs.frozen(kw_only=True)
class ElementSeenData(TargetData):
    """An element that the account watches was ``rendered``, became ``visible`` or ceased to be (``end``)."""

    element_type: str | None = _text()
    element_start_type: str | None = _text()
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
    """How much of the page moved while it loaded."""

    cumulative_layout_shift: float | None = _number()


@attrs.frozen(kw_only=True)
class FirstInputDelayData(EventData):
    """How long the page took to hear the first input."""

    first_input_delay_millis: float | None = _number()


@attrs.frozen(kw_only=True)
class InteractionToNextPaintData(TargetData):
    """How long the page took to answer an input. ``event_name`` is the browser's (``pointerdown``)."""

    event_name: str | None = _text()
    interaction_to_next_paint_millis: float | None = _number()


@attrs.frozen(kw_only=True)
class CustomData(EventData):
    """An event that the customer's own code sent; ``event_properties`` are the customer's."""

    event_name: str | None = _text()
    event_properties: dict[str, Any] = _object()


@attrs.frozen(kw_only=True)
class RequestData(EventData):
    """A request of the page that failed: FullStory keeps those with a status of 400 and above."""

    request_method: str | None = _text()
    request_status: int | None = _whole()
    request_duration_millis: float | None = _number()
    request_url: UrlData | None = _part(UrlData)


@attrs.frozen(kw_only=True)
class ExceptionData(EventData):
    """An exception in the page's code."""

    message: str | None = _text()
    exception_count: int | None = _whole()
    exception_source_file: str | None = _text()
    is_exception_handled: bool | None = _flag()


@attrs.frozen(kw_only=True)
class ConsoleMessageData(EventData):
    """A message on the browser's console; today FullStory keeps errors only."""

    message: str | None = _text()
    console_message_level: str | None = _text()


@attrs.frozen(kw_only=True)
class ConsentData(EventData):
    """The user agreed to being recorded, or no longer does."""

    is_consent_given: bool | None = _flag()
    consent_scope: str | None = _text()
    consent_action_type: str | None = _text()


@attrs.frozen(kw_only=True)
class IdentifyData(EventData):
    """The customer's code said who the user is. ``user_id`` is the ``uid`` of `SessionsAPI.list`."""

    user_id: str | None = _text()
    user_email: str | None = _text()
    user_display_name: str | None = _text()
    user_properties: dict[str, Any] = _object()


@attrs.frozen(kw_only=True)
class PagePropertiesData(EventData):
    """What the customer's code said of a page; more of it is in ``event.data``."""

    page_name: str | None = _text()


@attrs.frozen(kw_only=True)
class PageViewData(EventData):
    """One stay on a page. Times are in milliseconds or as texts, ``max_scroll_depth`` is 0 to 1."""

    page_name: str | None = _text()
    start_time: str | None = _text()
    end_time: str | None = _text()
    duration_millis: float | None = _number()
    active_duration_millis: float | None = _number()
    inactive_duration_millis: float | None = _number()
    max_scroll_depth: float | None = _number()


@attrs.frozen(kw_only=True)
class PinchGestureData(EventData):
    """Two fingers on a mobile screen."""

    pinch_gesture_type: str | None = _text()


@attrs.frozen(kw_only=True)
class ForceRestartData(EventData):
    """A mobile app was closed and started again."""

    elapsed_millis: float | None = _number()
