"""JSON bytes ⇄ models: both wire forms of each answer decode into the same class.

One function per operation; each takes a `Response` and raises `DecodeError` for what it can't read.
"""

from fullstory_async.codec.answers import decode_events, decode_sessions, decode_summary

__all__ = ["decode_events", "decode_sessions", "decode_summary"]
