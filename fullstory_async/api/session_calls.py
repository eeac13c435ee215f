"""What the operations on sessions have in common, be it for one session or for many: from arguments to a call for each id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from fullstory_async import validators
from fullstory_async.api.calls import ApiCall, ApiContext, SummaryCall
from fullstory_async.codec import decode_context, decode_events, decode_summary, rfc3339, summary_body
from fullstory_async.errors import ConfigurationError
from fullstory_async.http import endpoints
from fullstory_async.http.call import Call
from fullstory_async.http.options import CallOptions
from fullstory_async.messages import Request
from fullstory_async.models import (
    ProfileConfiguration,
    SessionContext,
    SessionEvents,
    SessionRef,
    SessionSummary,
    session_id_of,
)
from fullstory_async.session_id import SessionId

__all__ = ["Make", "context_call", "events_call", "events_endpoint", "summary_call"]

T = TypeVar("T")
Make = Callable[[SessionRef], ApiCall[T]]
"""Prepares the call for a session. Raises `InvalidSessionId`."""


def events_call(
    account: ApiContext, enable_event_cache: bool | None, options: CallOptions, *, patient: bool = False
) -> Make[SessionEvents]:
    """Prepare calls for events."""
    endpoint = events_endpoint(enable_event_cache)

    def make(ref: SessionRef) -> ApiCall[SessionEvents]:
        session_id = session_id_of(ref)
        call = Call(options.apply(endpoint(session_id)), options.timeout, patient=patient)
        return ApiCall(account, session_id, call, partial(decode_events, session_id=session_id))

    return make


def events_endpoint(enable_event_cache: bool | None) -> Callable[[SessionId], Request]:
    """Check the option, and return what makes the request for an id."""
    if not isinstance(enable_event_cache, bool | None):
        raise ConfigurationError(f"enable_event_cache must be a boolean, not {enable_event_cache!r}")
    return partial(endpoints.session_events, enable_event_cache=enable_event_cache)


def context_call(
    account: ApiContext, body: bytes, options: CallOptions, *, patient: bool = False
) -> Make[SessionContext]:
    """Prepare calls for context."""

    def make(ref: SessionRef) -> ApiCall[SessionContext]:
        session_id = session_id_of(ref)
        call = Call(
            options.apply(endpoints.session_context(session_id, body=body)), options.timeout, patient=patient
        )
        return ApiCall(account, session_id, call, partial(decode_context, session_id=session_id))

    return make


def summary_call(
    account: ApiContext,
    config_profile_id: str | None,
    end_timestamp: datetime | None,
    overrides: ProfileConfiguration | None,
    options: CallOptions,
    *,
    patient: bool = False,
) -> Make[SessionSummary]:
    """Prepare calls for summaries."""
    if config_profile_id is not None and not (isinstance(config_profile_id, str) and config_profile_id):
        raise ConfigurationError(f"config_profile_id must be a profile's id, not {config_profile_id!r}")
    validators.timezone_aware(end_timestamp, "end_timestamp")
    if overrides is None:
        until = None if end_timestamp is None else rfc3339(end_timestamp)
        endpoint = partial(
            endpoints.session_summary, config_profile_id=config_profile_id, end_timestamp=until
        )
    else:
        body = summary_body(config_profile_id, end_timestamp, overrides)
        endpoint = partial(endpoints.session_summary, body=body)

    def make(ref: SessionRef) -> SummaryCall:
        session_id = session_id_of(ref)
        call = Call(options.apply(endpoint(session_id)), options.timeout, patient=patient)
        decode = partial(decode_summary, session_id=session_id, config_profile_id=config_profile_id)
        return SummaryCall(account, session_id, call, decode)

    return make
