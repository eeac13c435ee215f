"""Typed views of events: ``event.click`` is a `ClickData` if the event is a click, else ``None``.

The names are the events API's types, where a rage click is a click with a count. Context and segment
exports use other names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, overload

from fullstory_async.models.event_data import (
    ClickData,
    ConsentData,
    ConsoleMessageData,
    CumulativeLayoutShiftData,
    CustomData,
    ElementSeenData,
    EventData,
    ExceptionData,
    FirstInputDelayData,
    ForceRestartData,
    IdentifyData,
    InteractionToNextPaintData,
    LoadData,
    NavigateData,
    PagePropertiesData,
    PageViewData,
    PinchGestureData,
    RequestData,
    TargetData,
)

__all__ = ["EVENT_TYPES", "EventViews"]

D = TypeVar("D", bound=EventData)


class _HasData(Protocol):
    @property
    def type(self) -> str: ...
    @property
    def data(self) -> dict[str, Any]: ...


class _View(Generic[D]):
    """A descriptor: an event's data as a class, if the event's type is its name."""

    def __init__(self, kind: type[D]) -> None:
        self.kind = kind
        self.__doc__ = kind.__doc__

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, event: None, _: type) -> Self: ...
    @overload
    def __get__(self, event: _HasData, _: type) -> D | None: ...
    def __get__(self, event: _HasData | None, _: type) -> Self | D | None:
        if event is None:
            return self
        return self.kind.read(event.data) if event.type == self._name else None


class EventViews:
    """The typed views of `SessionEvent`: each is ``None`` for events of another type."""

    __slots__ = ()

    type: str

    if TYPE_CHECKING:

        @property
        def data(self) -> dict[str, Any]:
            """The event's own properties."""
            raise NotImplementedError

    background = _View(EventData)
    change = _View(TargetData)
    click = _View(ClickData)
    consent = _View(ConsentData)
    console_message = _View(ConsoleMessageData)
    copy = _View(TargetData)
    crash = _View(EventData)
    cumulative_layout_shift = _View(CumulativeLayoutShiftData)
    custom = _View(CustomData)
    element_seen = _View(ElementSeenData)
    exception = _View(ExceptionData)
    first_input_delay = _View(FirstInputDelayData)
    force_restart = _View(ForceRestartData)
    form_abandon = _View(TargetData)
    highlight = _View(TargetData)
    identify = _View(IdentifyData)
    interaction_to_next_paint = _View(InteractionToNextPaintData)
    keyboard_close = _View(EventData)
    keyboard_open = _View(EventData)
    load = _View(LoadData)
    low_memory = _View(EventData)
    mouse_thrash = _View(EventData)
    navigate = _View(NavigateData)
    page_properties = _View(PagePropertiesData)
    page_view = _View(PageViewData)
    paste = _View(TargetData)
    pinch_gesture = _View(PinchGestureData)
    request = _View(RequestData)


EVENT_TYPES = tuple(name for name, value in vars(EventViews).items() if isinstance(value, _View))
"""Every documented type; the service may send others."""
