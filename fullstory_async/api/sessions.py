"""The Sessions API: list sessions, fetch events, generate summaries; for one id and for many."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from fullstory_async.api.widening import FIRST_LIMIT, Position, next_page
from fullstory_async.codec import decode_events, decode_sessions, decode_summary
from fullstory_async.errors import ConfigurationError
from fullstory_async.fanout import FanOut, Fetch
from fullstory_async.http import endpoints
from fullstory_async.http.messages import Request, Response
from fullstory_async.http.options import CallOptions, ExtraQuery
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.models import Session, SessionEvents, SessionRef, SessionSummary, session_id_of
from fullstory_async.pagination import Page, Pager
from fullstory_async.session_id import SessionId

__all__ = ["SessionsAPI"]

T = TypeVar("T")


class SessionsAPI:
    """The operations on sessions, as ``client.sessions``.

    Every method takes three options more: ``timeout`` replaces the configured ``overall_timeout`` of each
    call (seconds), ``extra_query`` adds query parameters, and ``extra_headers`` adds headers.

    Every call raises a `FullStoryError` where it fails: `TransportError` without a usable answer,
    `APIStatusError` for an error status, `DecodeError` for an unreadable answer, `ConfigurationError` or
    `InvalidSessionId` for arguments that can't be sent.
    """

    __slots__ = ("_pipeline",)

    def __init__(self, pipeline: Pipeline) -> None:
        """Offer the operations over a pipeline."""
        self._pipeline = pipeline

    def list(
        self,
        *,
        email: str | None = None,
        uid: str | None = None,
        limit: int | None = 20,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Pager[Session]:
        """List a user's sessions with their replay URLs. Not metered.

        Args:
            email: the user's e-mail address.
            uid: your own id of the user. With both given, the service looks up each and joins the lists.
            limit: how many sessions at most; ``None`` for every session there is.

        Returns:
            A `Pager`: ``await`` it for the first page, or iterate over it. Nothing is sent before that.

        Raises:
            ConfigurationError: neither email nor uid, or a limit below 1; nothing was sent.
        """
        for name, value in (("email", email), ("uid", uid)):
            if not isinstance(value, str | None):
                raise ConfigurationError(f"{name} must be text, not {value!r}")
        if not (email or uid):
            raise ConfigurationError("listing sessions needs an email or a uid")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ConfigurationError(
                f"limit must be a whole number, 1 or more, or None for all, not {limit!r}"
            )
        options = CallOptions(timeout, extra_query, extra_headers)
        first = Position(limit=FIRST_LIMIT if limit is None else limit)

        def request_at(position: Position) -> Request:
            return options.apply(
                endpoints.list_sessions(
                    uid=uid or None, email=email or None, limit=position.limit, token=position.server_token
                )
            )

        async def fetch(token: str | None) -> Page[Session]:
            position = first if token is None else Position.from_token(token)
            answer, _ = await self._pipeline.fetch(
                request_at(position), decode_sessions, timeout=options.timeout
            )
            return next_page(answer, position, ceiling=limit)

        request_at(first)  # so that what can't be sent is refused here, not at the first await
        return Pager(fetch, limit=limit)

    async def events(
        self,
        session_id: SessionRef,
        *,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> SessionEvents:
        """Fetch all events of a session. Costs one activation."""
        call = self._events_call(CallOptions(timeout, extra_query, extra_headers), patient=False)
        return (await call(session_id_of(session_id), lambda _: None))[0]

    async def summary(
        self,
        session_id: SessionRef,
        *,
        config_profile_id: str | None = None,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> SessionSummary:
        """Generate a summary of a session. Costs one activation; takes seconds to minutes.

        Args:
            session_id: which session.
            config_profile_id: the summary profile. The live service has a default one; the published
                contract requires it.
        """
        options = CallOptions(timeout, extra_query, extra_headers)
        call = self._summary_call(config_profile_id, options, patient=False)
        return (await call(session_id_of(session_id), lambda _: None))[0]

    def events_many(
        self,
        ids: Iterable[SessionRef] | AsyncIterable[SessionRef],
        *,
        concurrency: int = 32,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> FanOut[SessionEvents]:
        """Fetch the events of many sessions. Costs one activation for each.

        Args:
            ids: session ids, listed sessions or texts; any iterable or async iterable, consumed lazily. An id that
                comes twice is fetched twice.
            concurrency: how many calls are under way at most; the rate limit applies to all together.

        Returns:
            A `FanOut`: ``async with`` starts it, ``async for`` gives one `Outcome` for each id.
        """
        call = self._events_call(CallOptions(timeout, extra_query, extra_headers), patient=True)
        return FanOut(ids, call, concurrency=concurrency)

    def summaries_many(
        self,
        ids: Iterable[SessionRef] | AsyncIterable[SessionRef],
        *,
        config_profile_id: str | None = None,
        concurrency: int = 32,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> FanOut[SessionSummary]:
        """Generate summaries of many sessions. Costs one activation for each; as `events_many` otherwise."""
        options = CallOptions(timeout, extra_query, extra_headers)
        call = self._summary_call(config_profile_id, options, patient=True)
        return FanOut(ids, call, concurrency=concurrency)

    def _events_call(self, options: CallOptions, *, patient: bool) -> Fetch[SessionEvents]:
        return self._call(endpoints.session_events, decode_events, options, patient=patient)

    def _summary_call(
        self, config_profile_id: str | None, options: CallOptions, *, patient: bool
    ) -> Fetch[SessionSummary]:
        if config_profile_id is not None and not (isinstance(config_profile_id, str) and config_profile_id):
            raise ConfigurationError(f"config_profile_id must be a profile's id, not {config_profile_id!r}")
        return self._call(
            partial(endpoints.session_summary, config_profile_id=config_profile_id),
            partial(decode_summary, config_profile_id=config_profile_id),
            options,
            patient=patient,
        )

    def _call(
        self,
        endpoint: Callable[[SessionId], Request],
        decode: Callable[[Response, SessionId], T],
        options: CallOptions,
        *,
        patient: bool,
    ) -> Fetch[T]:
        """Return the function that makes one operation's call for one id."""

        async def call(session_id: SessionId, at_stake: Callable[[bool], None]) -> tuple[T, int]:
            return await self._pipeline.fetch(
                options.apply(endpoint(session_id)),
                lambda response: decode(response, session_id),
                timeout=options.timeout,
                patient=patient,
                at_stake=at_stake,
            )

        return call
