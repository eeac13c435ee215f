"""The models: results and options as frozen attrs classes, one module per noun of the API."""

from fullstory_async.models.configuration import (
    CacheOptions,
    ContextOptions,
    EventOptions,
    LLMOptions,
    MediaOptions,
    Profile,
    ProfileConfiguration,
    SliceOptions,
)
from fullstory_async.models.context import (
    ContextEvent,
    ContextPage,
    DeviceContext,
    LocationContext,
    OrgContext,
    ScreenSize,
    SessionContext,
    UserContext,
)
from fullstory_async.models.event import SessionEvent
from fullstory_async.models.event_types import UnknownEventTypeWarning
from fullstory_async.models.events import SessionEvents, SessionPage
from fullstory_async.models.response_schema import ResponseSchema
from fullstory_async.models.session import KeyOwner, RefOrRow, Session, SessionRef, session_id_of, text_of
from fullstory_async.models.summary import SessionSummary

__all__ = [
    "CacheOptions",
    "ContextEvent",
    "ContextOptions",
    "ContextPage",
    "DeviceContext",
    "EventOptions",
    "KeyOwner",
    "LLMOptions",
    "LocationContext",
    "MediaOptions",
    "OrgContext",
    "Profile",
    "ProfileConfiguration",
    "RefOrRow",
    "ResponseSchema",
    "ScreenSize",
    "Session",
    "SessionContext",
    "SessionEvent",
    "SessionEvents",
    "SessionPage",
    "SessionRef",
    "SessionSummary",
    "SliceOptions",
    "UnknownEventTypeWarning",
    "UserContext",
    "session_id_of",
    "text_of",
]
