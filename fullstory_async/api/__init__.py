"""The API's operations: one short method each."""

from fullstory_async.api.calls import call_once
from fullstory_async.api.context import ApiContext, ListEndpoints, ResponseStore
from fullstory_async.api.profiles import ProfilesAPI
from fullstory_async.api.sessions import SessionsAPI

__all__ = ["ApiContext", "ListEndpoints", "ProfilesAPI", "ResponseStore", "SessionsAPI", "call_once"]
