"""The sandbox's operations: from a request's parameters to an answer, or to a refusal. No sockets here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from fullstory_async.codec import decode_events
from fullstory_async.codec.request_bodies import dump_options
from fullstory_async.messages import Response
from fullstory_async.models import SessionEvents
from fullstory_async.sandbox.api_error import ApiError
from fullstory_async.sandbox.context import context_of
from fullstory_async.sandbox.events import events_of, in_spec_form
from fullstory_async.sandbox.profiles import (
    Profiles,
    merged,
    read_body,
    read_configuration,
    refuse_contradictions,
    whole_number,
)
from fullstory_async.sandbox.replay import replay_page
from fullstory_async.sandbox.summaries import summarise
from fullstory_async.sandbox.world import ORG_ID, World, WorldSession

__all__ = ["Service", "Wire"]

Wire = Literal["live", "spec"]

_DEFAULT_LIMIT = 20
_MONTH = 30 * 24 * 3600
_KEPT_ANSWERS = 100


class Service:
    """A FullStory account: its world, its profiles, its wire form and its activation meter."""

    def __init__(self, world: World, wire: Wire, activation_quota: int | None) -> None:
        """Offer a world in one wire form, with at most so many activations."""
        self.world = world
        self.wire = wire
        self.quota = activation_quota
        self.base_url = ""
        self.profiles = Profiles(world.seed)
        self.activations = 0
        self.activations_by_session: Counter[str] = Counter()
        self._processed: dict[str, bytes] = {}

    def list(self, query: Mapping[str, str]) -> bytes:
        """List a user's last sessions, oldest first, or the one of a session_uid. Raises `ApiError`."""
        uid, email, session_uid = query.get("uid"), query.get("email"), query.get("session_uid")
        if not (uid or email or session_uid):
            raise ApiError(400, "required_field", "at least one of uid, email and session_uid is required")
        if session_uid and (uid or email):
            raise ApiError(400, "invalid_field", "session_uid excludes uid and email")
        limit = whole_number(query.get("limit", str(_DEFAULT_LIMIT)), "limit")
        found = self.world.of_user(uid=uid, email=email)
        if session_uid:
            found = self.world.of_session_uid(session_uid)
        items = [self._listed(session) for session in found[-limit:]]
        if not items and self.wire == "live":
            return b"{}"  # the live service leaves empty lists out
        return msgspec.json.encode({"sessions": items})

    def events(self, session_id: str, query: Mapping[str, str]) -> bytes:
        """Return all events of a session, and charge for it. Raises `ApiError`."""
        session = self._session(session_id)
        cached = query.get("enable_event_cache", "false")
        if cached not in ("true", "false"):
            raise ApiError(400, "invalid_field", "enable_event_cache must be true or false")
        self._charge(session)
        if cached == "true" and session_id in self._processed:
            return self._processed[session_id]
        body = msgspec.json.encode({"events": list(self._events(session))})
        if len(self._processed) >= _KEPT_ANSWERS:
            del self._processed[next(iter(self._processed))]
        self._processed[session_id] = body
        return body

    def summary(self, session_id: str, query: Mapping[str, str]) -> bytes:
        """Summarise a session by a profile, and charge for it. Raises `ApiError`."""
        profile = query.get("config_profile" if self.wire == "live" else "config_profile_id")
        if profile is None and self.wire == "spec":
            raise ApiError(400, "required_field", "config_profile_id is required")
        override = {"slice": {"end_timestamp": query["end_timestamp"]}} if "end_timestamp" in query else {}
        return self._summarised(session_id, profile, override)

    def summary_with_overrides(self, session_id: str, raw: bytes) -> bytes:
        """Summarise a session by a profile, a body, or both, and charge for it. Raises `ApiError`."""
        body = read_body(raw)
        profile = body.pop("config_profile", None)
        if not isinstance(profile, str | None):
            raise ApiError(400, "invalid_field", "config_profile must be a string")
        return self._summarised(session_id, profile, body)

    def context(self, session_id: str, raw: bytes) -> bytes:
        """Tell a language model's view of a session, and charge for it. Raises `ApiError`."""
        session = self._session(session_id)
        configuration, media = read_configuration(read_body(raw))
        if configuration.llm is not None:
            raise ApiError(400, "invalid_field", "llm is no option of context")
        refuse_contradictions(configuration, alone=True)
        self._charge(session)
        url = self.replay_url(session)
        return msgspec.json.encode(context_of(session, self.typed_events(session), configuration, media, url))

    def me(self) -> bytes:
        """Tell whose key it is."""
        return msgspec.json.encode({"email": "admin@example.com", "orgId": ORG_ID, "role": "ADMIN"})

    def replay(self, session_id: str) -> bytes:
        """Return a page that shows a session to a person. Raises `ApiError`."""
        session = self._session(session_id)
        return replay_page(session, self.typed_events(session))

    def replay_url(self, session: WorldSession) -> str:
        """Return where that page is."""
        return f"{self.base_url}/ui/{ORG_ID}/session/{session.id}"

    def typed_events(self, session: WorldSession) -> SessionEvents:
        """Return a session's events as the client reads them."""
        body = msgspec.json.encode({"events": list(events_of(self.world, session))})
        return decode_events(Response(status=200, body=body), session.id)

    def _summarised(self, session_id: str, profile: str | None, override: dict[str, Any]) -> bytes:
        session = self._session(session_id)
        given, _ = read_configuration(override)
        stored = {} if profile is None else self.profiles.configuration(profile)
        configuration, _ = read_configuration(merged(stored, dump_options(given)))
        refuse_contradictions(configuration, alone=profile is None)
        self._charge(session)
        answer = summarise(session, self.typed_events(session), configuration)
        if self.wire == "spec":
            text = answer.get("summary") or msgspec.json.encode(answer["response"]).decode()
            answer = {"sessionId": str(session.id), "summary": text, "configProfileId": profile or ""}
        return msgspec.json.encode(answer)

    def _events(self, session: WorldSession) -> Iterator[dict[str, Any]]:
        events = events_of(self.world, session)
        return events if self.wire == "live" else map(in_spec_form, events)

    def _session(self, session_id: str) -> WorldSession:
        session = self.world.sessions.get(session_id)  # type: ignore[call-overload]  # a plain str will do
        if not isinstance(session, WorldSession):
            raise ApiError(404, "resource_not_found", "session not found")
        return session

    def _charge(self, session: WorldSession) -> None:
        if self.quota is not None and self.activations >= self.quota:
            text = f"the quota of {self.quota} activations is used up"
            raise ApiError(429, "activation_quota_exceeded", text, retry_after=_MONTH)
        self.activations += 1
        self.activations_by_session[session.id] += 1

    def _listed(self, session: WorldSession) -> dict[str, Any]:
        url = self.replay_url(session)
        if self.wire == "spec":
            created = session.created.isoformat(timespec="milliseconds")
            return {"sessionId": str(session.id), "url": url, "created": created}
        return {
            "userId": session.device_id, "sessionId": session.session_id,
            "createdTime": str(int(session.created.timestamp())), "fsUrl": url,
        }  # fmt: skip
