"""Calls for summaries: their arguments, checked once and made a request."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from fullstory_async import validators
from fullstory_async.api.calls import ApiCall, Prepare
from fullstory_async.api.context import ApiContext
from fullstory_async.api.single_flight import SharedCall
from fullstory_async.codec import decode_summary, rfc3339, summary_body
from fullstory_async.errors import ConfigurationError
from fullstory_async.http import endpoints
from fullstory_async.http.options import CallOptions
from fullstory_async.models import ProfileConfiguration, SessionRef, SessionSummary, session_id_of

__all__ = ["summary_call"]


def summary_call(
    api: ApiContext,
    config_profile_id: str | None,
    end_timestamp: datetime | None,
    overrides: ProfileConfiguration | None,
    options: CallOptions,
    *,
    patient: bool = False,
) -> Prepare[SessionSummary]:
    """Prepare calls for summaries. Raises `ConfigurationError` for options that can't be sent."""
    if config_profile_id is not None and not (isinstance(config_profile_id, str) and config_profile_id):
        raise ConfigurationError(f"config_profile_id must be a profile's id, not {config_profile_id!r}")
    config_profile_id = validators.exact_text(config_profile_id)
    end_timestamp = validators.time_or_none(end_timestamp)
    validators.timezone_aware(end_timestamp, "end_timestamp")
    if overrides is None:
        until = None if end_timestamp is None else rfc3339(end_timestamp)
        endpoint = partial(
            endpoints.session_summary, config_profile_id=config_profile_id, end_timestamp=until
        )
    else:
        body = summary_body(config_profile_id, end_timestamp, overrides)
        endpoint = partial(endpoints.session_summary, body=body)

    def prepare(ref: SessionRef) -> ApiCall[SessionSummary]:
        session_id = session_id_of(ref)
        request = options.apply(endpoint(session_id))
        call = SharedCall[SessionSummary](request, options.timeout, patient=patient)
        decode = partial(decode_summary, session_id=session_id, config_profile_id=config_profile_id)
        return ApiCall(api, session_id, call, decode)

    return prepare
