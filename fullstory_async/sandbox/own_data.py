"""Own data: sessions that a test brings itself, instead of those that a seed determines.

A test names what it is about, such as one click, and the sandbox fills in what the service would send too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self, get_args

import attrs
import msgspec

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError
from fullstory_async.models import SessionContext, SessionEvent, SessionEvents, SessionSummary
from fullstory_async.sandbox.state import Wire
from fullstory_async.sandbox.world import User, World, WorldSession
from fullstory_async.session_id import SessionId

__all__ = ["Canned", "SandboxSession", "SandboxUser", "add_to_world", "canned_body"]

Json = dict[str, Any]

Canned = Literal["events", "summary", "context"]
"""The operations on a session, whose responses a test can set."""

_FIRST = datetime(2026, 5, 4, 10, tzinfo=UTC)
_BETWEEN_SESSIONS, _BETWEEN_EVENTS = timedelta(hours=1), timedelta(seconds=1)
_FIELDS = ("event_properties", "source_properties")


def _check_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (value is None or (isinstance(value, str) and value)):
        raise ConfigurationError(
            f"{attribute.name} must be a text that is not empty, not {validators.shown(value)}"
        )


@attrs.frozen(kw_only=True)
class SandboxUser:
    """A user of your own. Sessions of equal users belong to one user.

    Raises:
        ConfigurationError: neither ``email`` nor ``uid``, or one that isn't a text.
    """

    email: str | None = attrs.field(default=None, validator=_check_text)
    """E-mail address, for ``sessions.list(email=…)``."""
    uid: str | None = attrs.field(default=None, validator=_check_text)
    """Id in your own system, for ``sessions.list(uid=…)``."""
    name: str | None = attrs.field(default=None, validator=_check_text)
    """Display name; by default made from the e-mail address or the uid."""

    def __attrs_post_init__(self) -> None:
        if self.email is None and self.uid is None:
            raise ConfigurationError("a SandboxUser needs an email, a uid, or both")


def _events(values: Iterable[SessionEvent | Mapping[str, Any]]) -> tuple[Json, ...]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ConfigurationError(
            f"events must be a list of dicts or SessionEvents, not {type(values).__name__}"
        )
    return tuple(_event(value, number) for number, value in enumerate(values, 1))


def _event(value: object, number: int) -> Json:
    """Return an event in the live form, as far as it was given."""
    event: Json
    if isinstance(value, SessionEvent):
        event = {
            "event_type": value.type, "event_time": value.timestamp, "device_id": value.device_id,
            "session_id": value.session_id, "view_id": value.view_id, "source_type": value.source_type,
            "event_properties": value.data, "source_properties": value.source_properties,
        }  # fmt: skip
    elif isinstance(value, Mapping):
        event = dict(value)
        if "event_type" not in event and "type" in event:
            # the published description's form
            names = {"type": "event_type", "timestamp": "event_time", "data": "event_properties"}
            event = {names.get(name, name): each for name, each in event.items()}
    else:
        raise ConfigurationError(
            f"event {number} must be a dict or a SessionEvent, not {type(value).__name__}"
        )
    if not (isinstance(event.get("event_type"), str) and event["event_type"]):
        raise ConfigurationError(f"event {number} needs an event_type, such as 'click'")
    for name in _FIELDS:
        if not isinstance(event.get(name), Mapping | None):
            raise ConfigurationError(f"event {number}: {name} must be a dict")
    if event.get("event_time") is not None:
        event["event_time"] = _time_text(event["event_time"], number)
    return event


def _time_text(value: object, number: int) -> str:
    """Return a time as the service writes it. Raises `ConfigurationError`."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        when = None
    if not (isinstance(when, datetime) and when.tzinfo is not None):
        raise ConfigurationError(
            f"event {number}: event_time must be a time with its offset, such as "
            f"'2026-05-04T10:00:00Z', not {validators.shown(value)}"
        )
    return value if isinstance(value, str) else _iso(when)


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _session_id(value: str | None) -> SessionId | None:
    session_id = None if value is None else SessionId.parse(value)
    if session_id is not None and session_id.count(":") != 1:
        raise ConfigurationError(f"a session's id must be a pair such as '123:456', not {session_id}")
    return session_id


def _check_summary(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str | Mapping | None):
        raise ConfigurationError(f"summary must be a text or a dict, not {type(value).__name__}")


@attrs.frozen(kw_only=True)
class SandboxSession:
    """A session of your own, for ``Sandbox(sessions=[…])`` and `Sandbox.add_session`.

    ::

        SandboxSession(
            user=SandboxUser(email="grace@example.com"),
            events=[{"event_type": "click", "event_properties": {"fs_rage_count": 4}}],
            summary="She clicked again and again.",
        )

    Raises:
        ConfigurationError: an event or another value that the service would not send.
        InvalidSessionId: an ``id`` that isn't a session id.
    """

    user: SandboxUser = attrs.field(
        default=SandboxUser(email="ada@example.com", uid="u-1"), validator=validators.instance_of(SandboxUser)
    )
    """Whose session it is."""
    events: tuple[Json, ...] = attrs.field(default=(), converter=_events)
    """Its events, oldest first: dicts in either wire form, or `SessionEvent` objects. Only ``event_type`` is
    required; ids are filled in, and times: one second after another."""
    summary: str | Mapping[str, Any] | None = attrs.field(default=None, validator=_check_summary)
    """What summaries of it say: a text, or the fields of a structured response; by default made from the
    events."""
    id: SessionId | None = attrs.field(default=None, converter=_session_id)
    """Its full id; by default the sandbox makes one, which `Sandbox.session_ids` has."""
    created: datetime | None = attrs.field(default=None, validator=validators.time_with_zone)
    """When it began; by default at its first event's time, or an hour after the session before it."""

    @classmethod
    def from_response(
        cls,
        body: bytes | str,
        *,
        session_id: str | None = None,
        user: SandboxUser | None = None,
        summary: str | Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a session of a recorded response of the events call, such as ``events.raw``.

        Args:
            body: the response's body, in either wire form.
            session_id: its full id; by default the one that the events name.
            user: whose session it is; by default the user that an ``identify`` event names.
            summary: what summaries of it say.

        Raises:
            ConfigurationError: the body isn't a response of the events call.
        """
        try:
            document = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"the recorded response is not JSON: {error}") from None
        listed = document.get("events") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ConfigurationError('the recorded response has no list "events": is it of another call?')
        events = _events(listed)
        pairs = (f"{each['device_id']}:{each['session_id']}" for each in events if _has_ids(each))
        made = cls(events=events, summary=summary, id=session_id or next(pairs, None))
        user = user or _identified(events)
        return made if user is None else attrs.evolve(made, user=user)


def _has_ids(event: Json) -> bool:
    return bool(event.get("device_id") and event.get("session_id"))


def _identified(events: Iterable[Json]) -> SandboxUser | None:
    for event in events:
        named = event.get("event_properties") or {}
        email, uid = named.get("user_email"), named.get("user_id")
        if event["event_type"] == "identify" and (email or uid):
            return SandboxUser(email=email or None, uid=uid or None, name=named.get("user_display_name"))
    return None


def add_to_world(world: World, sessions: Iterable[SandboxSession]) -> list[SessionId]:
    """Add sessions to a world, and return their ids. Raises `ConfigurationError` for an id that is there."""
    users = _Users(world.users)
    latest = max((each.created for each in world.sessions.values()), default=_FIRST - _BETWEEN_SESSIONS)
    added: dict[SessionId, WorldSession] = {}
    for session in sessions:
        if not isinstance(session, SandboxSession):
            raise ConfigurationError(f"a session must be a SandboxSession, not {type(session).__name__}")
        device, number = world.new_ids()
        user = users.find_or_make(session.user, device if session.id is None else session.id.split(":")[0])
        name = session.id or SessionId(f"{user.device_ids[0]}:{number}")
        if name in world.sessions or name in added:
            raise ConfigurationError(f"the sandbox has a session {name} already")
        times = (each["event_time"] for each in session.events if each.get("event_time") is not None)
        first = next(map(datetime.fromisoformat, times), None)
        created = session.created or first or latest + _BETWEEN_SESSIONS
        latest = max(latest, created)
        added[name] = WorldSession(
            id=name, user=user, created=created, event_count=len(session.events),
            mobile=any(each.get("source_type") == "mobile_app" for each in session.events),
            events=tuple(_completed(name, created, session.events)), summary=session.summary,
        )  # fmt: skip
    world.add(added.values())
    return list(added)


class _Users:
    """A world's users by e-mail address, by uid, and by both; the first one of each counts."""

    def __init__(self, users: Iterable[User]) -> None:
        self._found: dict[tuple[str | None, str | None], User] = {}
        for user in users:
            self._take(user)

    def find_or_make(self, wanted: SandboxUser, device: str) -> User:
        """Return the user who has the given address and uid; a new one on this device if there is none."""
        if (user := self._found.get((wanted.email, wanted.uid))) is None:
            email, uid = wanted.email or "", wanted.uid or ""
            user = User(uid=uid, email=email, name=_name_of(wanted), device_ids=(device,))
            self._take(user)
        return user

    def _take(self, user: User) -> None:
        for key in ((user.email, user.uid), (user.email, None), (None, user.uid)):
            self._found.setdefault(key, user)


def _name_of(user: SandboxUser) -> str:
    return user.name or (user.email or user.uid or "").partition("@")[0].title()


def _completed(session_id: SessionId, created: datetime, events: Iterable[Json]) -> Iterable[Json]:
    """Fill in what was left out of events; a field that is ``None`` was left out too."""
    device_id, _, short_id = session_id.partition(":")
    clock = created
    for event in events:
        when = event.get("event_time") or _iso(clock)
        clock = datetime.fromisoformat(when) + _BETWEEN_EVENTS
        given = {name: value for name, value in event.items() if value is not None}
        ids = {"device_id": device_id, "session_id": short_id}
        if given.get("source_type") == "server":
            # an event from a server may belong to a device alone
            del ids["session_id"]
        rest = {"source_type": "web", "event_properties": {}, "source_properties": {}}
        yield {**ids, **rest, **given, "event_time": when}


def canned_body(operation: Canned, session_id: str, body: object, wire: Wire) -> bytes:
    """Return the body of a canned response. Raises `ConfigurationError` for one that can't be sent."""
    if operation not in get_args(Canned):
        known = ", ".join(get_args(Canned))
        raise ConfigurationError(f"only {known} have canned responses, not {operation!r}")
    if isinstance(body, SessionEvents | SessionSummary | SessionContext):
        body = body.raw
    if isinstance(body, bytes):
        if not body:
            raise ConfigurationError("the result holds no response body: it was not received from a service")
        return body
    if isinstance(body, str):
        if operation != "summary":
            raise ConfigurationError(f"the body of {operation} must be bytes or an object, not a text")
        extra = {} if wire == "live" else {"sessionId": session_id, "configProfileId": ""}
        body = {"summary": body, **extra}
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the body can't be encoded as JSON: {error}") from None
