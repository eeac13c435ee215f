"""The Sessions API: list sessions, fetch events, generate context and summaries; for one id and for many."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from datetime import datetime

from fullstory_async import validators
from fullstory_async.api.calls import ApiContext, call_once
from fullstory_async.api.list_cursor import FIRST_LIMIT, ListCursor, next_page
from fullstory_async.api.session_calls import context_call, events_call, events_endpoint, summary_call
from fullstory_async.api.streaming import streamed_events
from fullstory_async.codec import (
    context_body,
    decode_sessions,
)
from fullstory_async.errors import ConfigurationError
from fullstory_async.fanout import FanOut
from fullstory_async.http import endpoints
from fullstory_async.http.options import CallOptions, ExtraQuery
from fullstory_async.messages import Request
from fullstory_async.models import (
    CacheOptions,
    ContextOptions,
    EventOptions,
    MediaOptions,
    ProfileConfiguration,
    Session,
    SessionContext,
    SessionEvent,
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

    Every method takes three options more: ``timeout`` replaces the configured ``overall_timeout`` of each
    call (seconds), ``extra_query`` adds query parameters, and ``extra_headers`` adds headers.

    Those for one session, and `list`, take ``priority`` as well: with it a call that somebody waits for passes all that wait for the same
    rate limiter without it, and waits for one refill (1/rate seconds) behind a bulk job, and for the end of a pause. Several with
    priority take turns, and leave a tenth of the rate to the others.

    Every call raises a `FullStoryError` where it fails: `TransportError` without a usable answer,
    `APIStatusError` for an error status, `DecodeError` for an unreadable answer, `ConfigurationError` or
    `InvalidSessionId` for arguments that can't be sent.
    """

    __slots__ = ("_account",)

    def __init__(self, account: ApiContext) -> None:
        """Offer the operations of an account."""
        self._account = account

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

        Args:
            email: the user's e-mail address.
            uid: your own id of the user. With both given, the service looks up each and joins the lists.
            session_uid: your own id of one session, as your code gave it to FullStory; goes with neither of the others.
            limit: how many sessions at most; ``None`` for every session there is.

        Returns:
            A `Pager`: ``await`` it for the first page, or iterate over it. Nothing is sent before that.

        Raises:
            ConfigurationError: neither email, uid nor session_uid, or a limit below 1; nothing was sent.
        """
        for name, value in (("email", email), ("uid", uid), ("session_uid", session_uid)):
            if not isinstance(value, str | None):
                raise ConfigurationError(f"{name} must be text, not {value!r}")
        if not (email or uid or session_uid):
            raise ConfigurationError("listing sessions needs an email, a uid or a session_uid")
        if session_uid and (email or uid):
            raise ConfigurationError("session_uid names one session, so it goes with neither email nor uid")
        if limit is not None:
            validators.positive_integer(limit, "limit", or_else="None for all")
        options = CallOptions.of(timeout, extra_query, extra_headers, priority=priority)
        first = ListCursor(limit=FIRST_LIMIT if limit is None else limit)

        def request_at(position: ListCursor) -> Request:
            return endpoints.list_sessions(
                uid=uid or None, email=email or None, session_uid=session_uid or None, limit=position.limit,
                token=position.server_token,
            )  # fmt: skip

        async def fetch(token: str | None) -> Page[Session]:
            position = first if token is None else ListCursor.from_token(token)
            answer = await call_once(
                self._account, options.apply(request_at(position)), decode_sessions, options.timeout
            )
            return next_page(answer, position, ceiling=limit)

        options.apply(request_at(first))  # so that what can't be sent is refused here, not at the first await
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
            enable_event_cache: let the service answer from an earlier run over the session where no data came since: faster,
                but later changes to the account's definitions of elements, events and pages may be missing.
        """
        options = CallOptions.of(timeout, extra_query, extra_headers, priority=priority)
        return await events_call(self._account, enable_event_cache, options)(session_id).run()

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
    ) -> AsyncGenerator[SessionEvent, None]:
        """Fetch all events of a session one after the other, while the answer arrives. Costs one activation.

        For sessions of many thousands of events: the first ones are there at once, the event loop is never held for long, and the memory
        stays what a few of them need. They come in the order of the answer, which is that of time today but is not promised.

        What fails before the first byte of the answer is tried again as for `events`. After that the call is paid for,
        and what fails is raised at the point that it has come to. ``timeout`` is for the answer to begin; from then on each piece of it
        has the configured ``read_timeout``, and the reader may take any time.

        Args:
            session_id: which session.
            enable_event_cache: as for `events`.

        Returns:
            An asynchronous generator; nothing is sent before the first event is asked for. Whoever leaves it early closes it, so that
            the connection is let go: ``async with contextlib.aclosing(client.sessions.stream_events(…)) as events:``.
        """
        options = CallOptions.of(timeout, extra_query, extra_headers, priority=priority)
        request = events_endpoint(enable_event_cache)(session_id_of(session_id))
        return streamed_events(self._account, options.apply(request), options.timeout)

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
        """Generate what a language model should know of a session, for a model of your own. Costs one activation.

        Args:
            session_id: which session.
            slice: which part of it; from its beginning unless told otherwise.
            context: what is told besides the events.
            events: which events, and how much of each.
            cache: whether earlier work may be used again.
            media: screenshots; experimental, and only where FullStory has switched it on.
        """
        body = context_body(slice=slice, context=context, events=events, cache=cache, media=media)
        options = CallOptions.of(timeout, extra_query, extra_headers, priority=priority)
        return await context_call(self._account, body, options)(session_id).run()

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

        Calls with the same arguments that are made on this client while one is under way share its request and its
        cost, and with ``FullStoryClient(summary_cache=…)`` a summary that is kept costs nothing. One with ``priority`` that joins a
        request without it waits at that one's pace.

        Args:
            session_id: which session.
            config_profile_id: the summary profile. The live service has a default one; the published
                contract requires it.
            end_timestamp: use only events before this time; with a time zone.
            overrides: what differs from the profile this time, or without a profile the whole configuration. Only
                fields that were set are sent. A value replaces the profile's, an array is *appended* to the
                profile's, and an empty value (``False``, ``0``, ``""``, ``()``) changes nothing: no override can switch off what
                the profile switches on.
        """
        options = CallOptions.of(timeout, extra_query, extra_headers, priority=priority)
        call = summary_call(self._account, config_profile_id, end_timestamp, overrides, options)
        return await call(session_id).run()

    @hide_arguments
    def events_many(
        self,
        ids: Iterable[SessionRef] | AsyncIterable[SessionRef],
        *,
        enable_event_cache: bool | None = None,
        concurrency: int = 32,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> FanOut[SessionEvents]:
        """Fetch the events of many sessions. Costs one activation for each.

        Args:
            ids: session ids, listed sessions or texts; any iterable or async iterable, consumed lazily. An id that
                comes twice is fetched twice.
            enable_event_cache: as for `events`.
            concurrency: how many calls are under way at most; the rate limit applies to all together.

        Returns:
            A `FanOut`: ``async with`` starts it, ``async for`` gives one `Outcome` for each id.
        """
        options = CallOptions.of(timeout, extra_query, extra_headers)
        call = events_call(self._account, enable_event_cache, options, patient=True)
        return FanOut(ids, call, concurrency=concurrency)

    @hide_arguments
    def contexts_many(
        self,
        ids: Iterable[SessionRef] | AsyncIterable[SessionRef],
        *,
        slice: SliceOptions | None = None,  # noqa: A002
        context: ContextOptions | None = None,
        events: EventOptions | None = None,
        cache: CacheOptions | None = None,
        media: MediaOptions | None = None,
        concurrency: int = 32,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> FanOut[SessionContext]:
        """Generate context of many sessions. Costs one activation for each; as `context` and `events_many`."""
        body = context_body(slice=slice, context=context, events=events, cache=cache, media=media)
        options = CallOptions.of(timeout, extra_query, extra_headers)
        return FanOut(ids, context_call(self._account, body, options, patient=True), concurrency=concurrency)

    @hide_arguments
    def summaries_many(
        self,
        ids: Iterable[SessionRef] | AsyncIterable[SessionRef],
        *,
        config_profile_id: str | None = None,
        end_timestamp: datetime | None = None,
        overrides: ProfileConfiguration | None = None,
        concurrency: int = 32,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> FanOut[SessionSummary]:
        """Generate summaries of many sessions. Costs one activation for each; as `summary` and `events_many`."""
        options = CallOptions.of(timeout, extra_query, extra_headers)
        call = summary_call(self._account, config_profile_id, end_timestamp, overrides, options, patient=True)
        return FanOut(ids, call, concurrency=concurrency)
