"""The sandbox's three operations: from a request's parameters to an answer, or to a refusal. No sockets here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from fullstory_async.sandbox.events import events_of, in_spec_form
from fullstory_async.sandbox.summaries import PROFILES, summarise
from fullstory_async.sandbox.world import World, WorldSession

__all__ = ["Refusal", "Service", "Wire"]

Wire = Literal["live", "spec"]

_DEFAULT_LIMIT = 20
_MONTH = 30 * 24 * 3600


class Refusal(Exception):
    """An error answer: status, snake-case code, message, and seconds to wait."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


class Service:
    """A FullStory account: its world, its wire form and its activation meter."""

    def __init__(self, world: World, wire: Wire, activation_quota: int | None) -> None:
        """Offer a world in one wire form, with at most so many activations."""
        self.world = world
        self.wire = wire
        self.quota = activation_quota
        self.activations = 0
        self.activations_by_session: Counter[str] = Counter()

    def list(self, query: Mapping[str, str]) -> bytes:
        """List a user's last sessions, oldest first. Raises `Refusal`."""
        uid, email = query.get("uid"), query.get("email")
        if not (uid or email):
            raise Refusal(400, "required_field", "at least one of uid and email is required")
        try:
            limit = int(query.get("limit", _DEFAULT_LIMIT))
        except ValueError:
            limit = 0
        if limit < 1:
            raise Refusal(400, "invalid_field", "limit must be a positive integer")
        found = self.world.of_user(uid=uid, email=email)
        items = [self._listed(session) for session in found[-limit:]]
        if not items and self.wire == "live":
            return b"{}"  # the live service leaves empty lists out
        return msgspec.json.encode({"sessions": items})

    def events(self, session_id: str) -> bytes:
        """Return all events of a session, and charge for it. Raises `Refusal`."""
        session = self._session(session_id)
        self._charge(session)
        return msgspec.json.encode({"events": list(self._events(session))})

    def summary(self, session_id: str, query: Mapping[str, str]) -> bytes:
        """Summarise a session, and charge for it. Raises `Refusal`."""
        session = self._session(session_id)
        profile = query.get("config_profile" if self.wire == "live" else "config_profile_id")
        if profile is None and self.wire == "spec":
            raise Refusal(400, "required_field", "config_profile_id is required")
        if profile is not None and profile not in PROFILES:
            raise Refusal(404, "resource_not_found", "no such profile")
        self._charge(session)
        answer = summarise(session, events_of(self.world, session), profile)
        if self.wire == "spec":
            text = answer.get("summary") or msgspec.json.encode(answer["response"]).decode()
            answer = {"sessionId": str(session.id), "summary": text, "configProfileId": profile}
        return msgspec.json.encode(answer)

    def _events(self, session: WorldSession) -> Iterator[dict[str, Any]]:
        events = events_of(self.world, session)
        return events if self.wire == "live" else map(in_spec_form, events)

    def _session(self, session_id: str) -> WorldSession:
        session = self.world.sessions.get(session_id)  # type: ignore[call-overload]  # a plain str will do
        if not isinstance(session, WorldSession):
            raise Refusal(404, "resource_not_found", "session not found")
        return session

    def _charge(self, session: WorldSession) -> None:
        if self.quota is not None and self.activations >= self.quota:
            text = f"the quota of {self.quota} activations is used up"
            raise Refusal(429, "activation_quota_exceeded", text, retry_after=_MONTH)
        self.activations += 1
        self.activations_by_session[session.id] += 1

    def _listed(self, session: WorldSession) -> dict[str, Any]:
        if self.wire == "spec":
            created = session.created.isoformat(timespec="milliseconds")
            return {"sessionId": str(session.id), "url": session.replay_url, "created": created}
        return {
            "userId": session.device_id, "sessionId": session.session_id,
            "createdTime": str(int(session.created.timestamp())), "fsUrl": session.replay_url,
        }  # fmt: skip
