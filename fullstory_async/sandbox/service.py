"""The sandbox's operations: from a request's parameters to a response body, or to an `ApiError`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fullstory_async.sandbox.context import context_of, typed_event
from fullstory_async.sandbox.events import events_of, in_spec_form
from fullstory_async.sandbox.options import (
    CONTEXT_REQUEST,
    OVERRIDES,
    check_contradictions,
    format_time,
    positive_integer,
    read_body,
    read_options,
)
from fullstory_async.sandbox.profiles import Profiles, merge_options
from fullstory_async.sandbox.replay import replay_page, replay_path
from fullstory_async.sandbox.state import ActivationMeter, ApiError, Wire
from fullstory_async.sandbox.summaries import summarise
from fullstory_async.sandbox.world import ORG_ID, World, WorldSession

__all__ = ["Service"]

_DEFAULT_LIMIT = 20
_MAX_CACHED = 100


class Service:
    """A FullStory account: its world, profiles, wire form and activation meter."""

    def __init__(
        self, world: World, wire: Wire, activation_quota: int | None, public_url: str | None = None
    ) -> None:
        """Serve a world in one wire form, with at most this many activations, and replays at a public URL."""
        self.world = world
        self.wire: Wire = wire
        self.base_url = ""
        self.public_url = public_url
        self.strict = wire == "spec"
        self.meter = ActivationMeter(activation_quota)
        self.profiles = Profiles(world.seed, strict=self.strict)
        self._event_cache: dict[str, bytes] = {}
        self._canned: dict[tuple[str, str], bytes] = {}

    def respond(self, operation: str, session_id: str, body: bytes) -> None:
        """Let an operation on a session respond with this body from now on. Raises `ApiError`."""
        self._session(session_id)
        self._canned[operation, session_id] = body

    def canned(self, operation: str, session_id: str | None) -> bytes | None:
        """Return the body that was set for an operation on a session, if any."""
        return None if session_id is None else self._canned.get((operation, session_id))

    def list(self, query: Mapping[str, str]) -> bytes:
        """List the latest sessions at ``/sessions/v2``, oldest first. Raises `ApiError`."""
        return msgspec.json.encode({"sessions": [self._listed(each) for each in self._selected(query)]})

    def list_newest(self, query: Mapping[str, str]) -> bytes:
        """List the latest sessions at ``/v2/sessions``, oldest first. Raises `ApiError`."""
        results = [
            {
                "id": str(session.id),
                "app_url": self.replay_url(session),
                "created_time": format_time(session.created),
            }
            for session in self._selected(query)
        ]
        return msgspec.json.encode({"results": results})

    def _selected(self, query: Mapping[str, str]) -> Sequence[WorldSession]:
        """Return a user's latest sessions, or the one with a session_uid. Raises `ApiError`."""
        uid, email, session_uid = query.get("uid"), query.get("email"), query.get("session_uid")
        if not (uid or email or session_uid):
            raise ApiError(400, "required_field", "at least one of uid, email and session_uid is required")
        if session_uid and (uid or email):
            raise ApiError(400, "invalid_field", "session_uid excludes uid and email")
        limit = positive_integer(query.get("limit", str(_DEFAULT_LIMIT)), "limit")
        found = self.world.of_user(uid=uid, email=email)
        if session_uid:
            found = self.world.of_session_uid(session_uid)
        return found[-limit:]

    def events(self, session_id: str, query: Mapping[str, str]) -> bytes:
        """Return all events of a session, and charge for them. Raises `ApiError`."""
        session = self._session(session_id)
        cached = query.get("enable_event_cache", "false")
        if cached not in ("true", "false"):
            raise ApiError(400, "invalid_field", "enable_event_cache must be true or false")
        # cached responses cost the same
        self.meter.charge(session.id)
        if cached == "true" and session_id in self._event_cache:
            return self._event_cache[session_id]
        events = events_of(self.world, session)
        body = msgspec.json.encode(
            {"events": list(events if self.wire == "live" else map(in_spec_form, events))}
        )
        if len(self._event_cache) >= _MAX_CACHED:
            del self._event_cache[next(iter(self._event_cache))]
        self._event_cache[session_id] = body
        return body

    def summary(self, session_id: str, query: Mapping[str, str]) -> bytes:
        """Summarise a session by a profile, and charge for it. Raises `ApiError`."""
        # clients send the id under both names; each wire form reads only its own
        profile = query.get("config_profile" if self.wire == "live" else "config_profile_id")
        if profile is None and self.wire == "spec":
            raise ApiError(400, "required_field", "config_profile_id is required")
        override = {"slice": {"end_timestamp": query["end_timestamp"]}} if "end_timestamp" in query else {}
        return self._summarise(session_id, profile, override)

    def summary_with_overrides(self, session_id: str, raw: bytes) -> bytes:
        """Summarise a session by a profile, a body, or both, and charge for it. Raises `ApiError`."""
        body = read_body(raw)
        return self._summarise(session_id, body.get("config_profile"), body)

    def context(self, session_id: str, raw: bytes) -> bytes:
        """Describe a session for a language model, and charge for it. Raises `ApiError`."""
        session = self._session(session_id)
        options = read_options(read_body(raw), CONTEXT_REQUEST, strict=self.strict)
        check_contradictions(options, alone=True)
        self.meter.charge(session.id)
        events = list(events_of(self.world, session))
        return msgspec.json.encode(context_of(session, events, options, self.replay_url(session)))

    def me(self) -> bytes:
        """Return the owner of the API key."""
        return msgspec.json.encode({"email": "admin@example.com", "orgId": ORG_ID, "role": "ADMIN"})

    def replay(self, session_id: str) -> bytes:
        """Return a session's timeline as a web page. Raises `ApiError`."""
        session = self._session(session_id)
        events = list(events_of(self.world, session))
        return replay_page(session, list(map(typed_event, events)), summarise(session, events, {}))

    def replay_url(self, session: WorldSession) -> str:
        """Return the URL of that page, as responses name it."""
        return (self.public_url or self.base_url) + replay_path(session)

    def _summarise(self, session_id: str, profile: str | None, body: dict[str, Any]) -> bytes:
        session = self._session(session_id)
        override = read_options(body, OVERRIDES, strict=self.strict)
        override.pop("config_profile", None)
        stored = {} if profile is None else self.profiles.configuration(profile)
        options = merge_options(stored, override)
        # only now: a profile and its overrides can contradict each other, though each is valid
        check_contradictions(options, alone=profile is None)
        self.meter.charge(session.id)
        response = summarise(session, list(events_of(self.world, session)), options)
        if self.wire == "spec":
            # the published description has no structured responses: they are JSON in its text
            text = response.get("summary") or msgspec.json.encode(response["response"]).decode()
            response = {"sessionId": str(session.id), "summary": text, "configProfileId": profile or ""}
        return msgspec.json.encode(response)

    def _session(self, session_id: str) -> WorldSession:
        # ids from the path are compared as they are: the service knows no other spelling of an id
        session = self.world.sessions.get(session_id)  # type: ignore[call-overload]  # any str will do
        if not isinstance(session, WorldSession):
            raise ApiError(404, "resource_not_found", "session not found")
        return session

    def _listed(self, session: WorldSession) -> dict[str, Any]:
        url = self.replay_url(session)
        if self.wire == "spec":
            created = session.created.isoformat(timespec="milliseconds")
            return {"sessionId": str(session.id), "url": url, "created": created}
        return {
            "userId": session.device_id, "sessionId": session.session_id,
            "createdTime": str(int(session.created.timestamp())), "fsUrl": url,
        }  # fmt: skip
