"""JSON bytes ⇄ models: both wire forms of each answer decode into the same class, and options become bodies.

One function per operation; those that decode take a `Response` and raise `DecodeError` for what they can't read, those that
encode raise `ConfigurationError` for what makes no sense.
"""

from fullstory_async.codec.incremental import IncrementalEventDecoder
from fullstory_async.codec.request_bodies import context_body, profile_body, rfc3339, summary_body
from fullstory_async.codec.responses import (
    decode_context,
    decode_events,
    decode_key_owner,
    decode_profile,
    decode_profiles,
    decode_sessions,
    decode_summary,
    events_with_times,
)

__all__ = [
    "IncrementalEventDecoder",
    "context_body",
    "decode_context",
    "decode_events",
    "decode_key_owner",
    "decode_profile",
    "decode_profiles",
    "decode_sessions",
    "decode_summary",
    "events_with_times",
    "profile_body",
    "rfc3339",
    "summary_body",
]
