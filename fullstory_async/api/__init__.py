"""The API's operations: one short method each."""

from fullstory_async.api.sessions import SessionsAPI

__all__ = ["SessionsAPI"]
