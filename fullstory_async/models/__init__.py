"""What a caller receives: one frozen attrs class per noun of the API."""

from fullstory_async.models.event import SessionEvent, SessionEvents
from fullstory_async.models.session import Session, SessionRef, session_id_of
from fullstory_async.models.summary import SessionSummary

__all__ = ["Session", "SessionEvent", "SessionEvents", "SessionRef", "SessionSummary", "session_id_of"]
