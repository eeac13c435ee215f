"""JSON bytes ⇄ models: both wire forms of responses, and request bodies from options.

One function per operation. Decoders take a `Response` and raise `DecodeError` for what can't be read;
encoders raise `ConfigurationError` for contradictory options.
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
