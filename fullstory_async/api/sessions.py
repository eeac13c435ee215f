"""SessionsAPI: list sessions, fetch events, generate context and summaries, for one id and for many."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import datetime

from fullstory_async import validators
from fullstory_async.api.calls import context_call, events_call
from fullstory_async.api.context import ApiContext
from fullstory_async.api.list_cursor import FIRST_LIMIT, ListCursor
from fullstory_async.api.listing import SessionQuery, fetch_sessions
from fullstory_async.api.streaming import EventStream, streamed_events
from fullstory_async.api.summaries import summary_call
from fullstory_async.brake import Brake
from fullstory_async.codec import context_body
from fullstory_async.errors import ConfigurationError
from fullstory_async.fanout import FanOut
from fullstory_async.http.endpoints import events_query, session_events
from fullstory_async.http.options import CallOptions, ExtraQuery
from fullstory_async.models import (
    CacheOptions,
    ContextOptions,
    EventOptions,
    MediaOptions,
    ProfileConfiguration,
    RefOrRow,
    Session,
    SessionContext,
    SessionEvents,
    SessionRef,
    SessionSummary,
    SliceOptions,
    session_id_of,
)
from fullstory_async.pagination import Page, Pager
from fullstory_async.privacy import hide_arguments

__all__ = ["SessionsAPI"]


class SessionsAPI:
    """The operations on sessions, as ``client.sessions``.

    Every method takes three more options: ``timeout`` replaces the configured ``overall_timeout`` of each
    call (in seconds), ``extra_query`` adds query parameters, and ``extra_headers`` adds headers.

    Methods for one session, and `list`, also take ``priority``. A priority call takes the next token, ahead
    of every other call on the same limiter: behind a bulk job it waits for one refill (1/rate seconds) plus
    any pause. Several priority calls take turns, and leave a tenth of the rate to the others.

    Every call raises a `FullStoryError` if it fails: `TransportError` without a usable response,
    `APIStatusError` for an error status, `DecodeError` for a response that can't be read,
    `ConfigurationError` or `InvalidSessionId` for arguments that can't be sent.

    Equal calls of `events`, `context` or `summary` on this client that run at the same time share one request
    and its cost; the result's ``activations`` say what a call cost. With ``FullStoryClient(cache=…)`` a
    cached result is free. A ``priority`` call that joins a request without priority waits at its pace.
    """

    __slots__ = ("_api",)

    def __init__(self, api: ApiContext) -> None:
        """Offer the operations of one client."""
        self._api = api

    @hide_arguments
    def list(
        self,
        *,
        email: str | None = None,
        uid: str | None = None,
        session_uid: str | None = None,
        limit: int | None = 20,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Pager[Session]:
        """List a user's sessions with their replay URLs. Not metered.

        A ``session_uid`` is looked up at ``/v2/sessions``, all else at ``/sessions/v2``, or where
        ``ClientConfig(list_api=…)`` says. If that path isn't served, the other one is tried.

        Args:
            email: the user's e-mail address.
            uid: your own id of the user. With both, the service looks up each and joins the lists.
            session_uid: your own id of one session, as your code passed it to FullStory; excludes the other
                two.
            limit: the most sessions to return; ``None`` for all.

        Returns:
            A `Pager`: ``await`` it for the first page, or iterate over it. Until then nothing is sent.

        Raises:
            ConfigurationError: no email, uid or session_uid, or a limit below 1; nothing was sent.
        """
        for name, value in (("email", email), ("uid", uid), ("session_uid", session_uid)):
            if not isinstance(value, str | None):
                raise ConfigurationError(f"{name} must be text, not {value!r}")
        email, uid, session_uid = map(validators.exact_text, (email, uid, session_uid))
        if not (email or uid or session_uid):
            raise ConfigurationError("listing sessions needs an email, a uid or a session_uid")
        if session_uid and (email or uid):
            raise ConfigurationError("session_uid names one session, so it excludes email and uid")
        if limit is not None:
            validators.positive_integer(limit, "limit", or_else="None for all")
            limit = int(limit)
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        first = ListCursor(limit=FIRST_LIMIT if limit is None else limit)
        query = SessionQuery(uid=uid or None, email=email or None, session_uid=session_uid or None)

        async def fetch(token: str | None) -> Page[Session]:
            cursor = first if token is None else ListCursor.from_token(token)
            page = await fetch_sessions(
                self._api, query, options, limit=cursor.limit, token=cursor.server_token
            )
            return cursor.advance(page, ceiling=limit)

        # so that arguments that can't be sent are refused here, not at the first await
        options.apply(query.request("v1", limit=first.limit, token=None))
        return Pager(fetch, limit=limit)

    @hide_arguments
    async def events(
        self,
        session_id: SessionRef,
        *,
        enable_event_cache: bool | None = None,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> SessionEvents:
        """Fetch all events of a session. Costs one activation.

        Args:
            session_id: which session.
            enable_event_cache: let the service reuse its earlier work on the session if no data came since.
                Faster, but later changes to the organisation's definitions of elements, events and pages may
                be missing.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        query = events_query(enable_event_cache=enable_event_cache)
        return await events_call(self._api, query, options)(session_id).run()

    @hide_arguments
    def stream_events(
        self,
        session_id: SessionRef,
        *,
        enable_event_cache: bool | None = None,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> EventStream:
        """Stream all events of a session while the response arrives. Costs one activation.

        For sessions of many thousands of events: the first ones come at once, the event loop is never held
        for long, and memory stays at what a few events need. They come in the order of the response, which is
        by time today, but FullStory does not promise it.

        Failures before the first byte of the response are retried as for `events`. After that the call is
        paid for, and a failure is raised at the event where it happens. ``timeout`` covers the time until the
        response starts. From then on each piece of it has the configured ``read_timeout``; the consumer may
        take any time.

        Args:
            session_id: which session.
            enable_event_cache: as for `events`.

        Returns:
            An asynchronous generator; nothing is sent before the first event is requested. Close it if you
            leave it early, so that the connection is released: ``async with
            contextlib.aclosing(client.sessions.stream_events(…)) as events:``.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        query = events_query(enable_event_cache=enable_event_cache)
        request = options.apply(session_events(session_id_of(session_id), query))
        return streamed_events(self._api, request, options.timeout)

    @hide_arguments
    async def context(
        self,
        session_id: SessionRef,
        *,
        slice: SliceOptions | None = None,  # noqa: A002  (the API's name)
        context: ContextOptions | None = None,
        events: EventOptions | None = None,
        cache: CacheOptions | None = None,
        media: MediaOptions | None = None,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> SessionContext:
        """Generate a compact description of a session for your own LLM prompt. Costs one activation.

        Args:
            session_id: which session.
            slice: which part of the session; by default its beginning.
            context: what to describe besides the events.
            events: which events, and how much of each.
            cache: whether the service may reuse earlier work.
            media: screenshots; experimental, and only if FullStory has enabled them for you.
        """
        body = context_body(slice=slice, context=context, events=events, cache=cache, media=media)
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        return await context_call(self._api, body, options)(session_id).run()

    @hide_arguments
    async def summary(
        self,
        session_id: SessionRef,
        *,
        config_profile_id: str | None = None,
        end_timestamp: datetime | None = None,
        overrides: ProfileConfiguration | None = None,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> SessionSummary:
        """Generate a summary of a session. Costs one activation; takes seconds to minutes.

        Args:
            session_id: which session.
            config_profile_id: the summary profile. The live service has a default profile; the published
                OpenAPI description requires one.
            end_timestamp: use only events before this time, which must have a time zone.
            overrides: settings that differ from the profile for this call, or all settings if there is no
                profile. Only fields that were set are sent. A value replaces the profile's, an array is
                *appended* to the profile's, and an empty value (``False``, ``0``, ``""``, ``()``) changes
                nothing: an override can't switch off what the profile switches on.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        call = summary_call(self._api, config_profile_id, end_timestamp, overrides, options)
        return await call(session_id).run()

    @hide_arguments
    def events_many(
        self,
        ids: Iterable[RefOrRow] | AsyncIterable[RefOrRow],
        *,
        enable_event_cache: bool | None = None,
        concurrency: int = 32,
        max_failures: int | None = None,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> FanOut[SessionEvents]:
        """Fetch the events of many sessions. Costs one activation each.

        Args:
            ids: session ids, listed sessions, texts or rows (mappings); any iterable or async iterable,
                consumed lazily. A duplicate id is fetched twice, unless both calls run at the same time.
            enable_event_cache: as for `events`.
            concurrency: the most calls that run at a time; the rate limit applies to all of them together.
            max_failures: the most calls that are started before the first success. If all of these fail for
                their session, as with a 404, the iteration ends with `NoSessionFoundError`, because the ids
                are probably wrong. ``None`` for no limit.

        Returns:
            A `FanOut`: ``async with`` starts it, ``async for`` yields one `Outcome` per id.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers)
        query = events_query(enable_event_cache=enable_event_cache)
        call = events_call(self._api, query, options, patient=True)
        return FanOut(ids, call, concurrency=concurrency, brake=Brake(max_failures))

    @hide_arguments
    def contexts_many(
        self,
        ids: Iterable[RefOrRow] | AsyncIterable[RefOrRow],
        *,
        slice: SliceOptions | None = None,  # noqa: A002
        context: ContextOptions | None = None,
        events: EventOptions | None = None,
        cache: CacheOptions | None = None,
        media: MediaOptions | None = None,
        concurrency: int = 32,
        max_failures: int | None = None,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> FanOut[SessionContext]:
        """Generate context for many sessions. Costs one activation each.

        ``ids``, ``concurrency`` and ``max_failures`` are those of `events_many`; ``slice``, ``context``,
        ``events``, ``cache`` and ``media`` are those of `context`.
        """
        body = context_body(slice=slice, context=context, events=events, cache=cache, media=media)
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers)
        call = context_call(self._api, body, options, patient=True)
        return FanOut(ids, call, concurrency=concurrency, brake=Brake(max_failures))

    @hide_arguments
    def summaries_many(
        self,
        ids: Iterable[RefOrRow] | AsyncIterable[RefOrRow],
        *,
        config_profile_id: str | None = None,
        end_timestamp: datetime | None = None,
        overrides: ProfileConfiguration | None = None,
        concurrency: int = 32,
        max_failures: int | None = None,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> FanOut[SessionSummary]:
        """Generate summaries of many sessions. Costs one activation each.

        ``ids``, ``concurrency`` and ``max_failures`` are those of `events_many`; ``config_profile_id``,
        ``end_timestamp`` and ``overrides`` are those of `summary`.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers)
        call = summary_call(self._api, config_profile_id, end_timestamp, overrides, options, patient=True)
        return FanOut(ids, call, concurrency=concurrency, brake=Brake(max_failures))
