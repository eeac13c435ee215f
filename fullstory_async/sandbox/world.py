"""The sandbox's users and sessions: those that a seed determines, and those that were added."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from fullstory_async.session_id import SessionId

__all__ = ["MOST_EVENTS", "ORG_ID", "User", "World", "WorldSession"]

ORG_ID = "SANDBOX"
"""Organisation id of the account, as in replay URLs."""

_NAMES = (
    "ada", "grace", "alan", "edsger", "barbara", "donald", "margaret", "ken", "dennis", "radia",
    "linus", "guido", "katherine", "tim", "anita", "john", "frances", "claude", "hedy", "vint",
    "jean", "niklaus", "adele", "leslie", "sophie", "tony", "mary", "bjarne", "evelyn", "james",
)  # fmt: skip
_FIRST_DAY = datetime(2026, 5, 4, 8, tzinfo=UTC)
_SPAN = timedelta(days=30)
_SIGMA = 1.2
"""Spread of the log-normal number of events; with it, half the sessions have fewer than half the mean."""
MOST_EVENTS = 20_000
"""Maximum number of events of a session, and maximum mean."""
_MOBILE_SHARE = 0.2


@attrs.frozen
class User:
    """A user with sessions in the account."""

    uid: str
    """Your own id for the user, such as ``u-1``."""
    email: str
    """The e-mail address."""
    name: str
    """The display name."""
    device_ids: tuple[str, ...]
    """The devices that the user's sessions are from."""


@attrs.frozen
class WorldSession:
    """One session; its events are generated from it, unless it has some of its own."""

    id: SessionId
    user: User
    created: datetime
    event_count: int
    mobile: bool
    events: tuple[dict[str, Any], ...] | None = None
    """Its own events, in live form; ``None`` if they are generated."""
    summary: str | Mapping[str, Any] | None = None
    """Its own summary: a text, or the fields of a structured one; ``None`` if it is made from the events."""

    @property
    def device_id(self) -> str:
        """First half of the full session id."""
        return self.id.split(":")[0]

    @property
    def session_id(self) -> str:
        """Second half of the full session id."""
        return self.id.split(":")[1]

    @property
    def session_uid(self) -> str:
        """Id that the customer's own code gave the session."""
        return f"visit-{self.session_id[-8:]}"


class World:
    """All users and sessions of the account."""

    users: tuple[User, ...]
    sessions: Mapping[SessionId, WorldSession]

    def __init__(self, seed: int, users: int, sessions: int, mean_events: int) -> None:
        """Generate users, a total number of sessions, and their mean number of events."""
        self.seed = seed
        rng = random.Random(f"{seed}/world")
        self.users = tuple(_user(rng, number) for number in range(1, users + 1))
        generated = [self._session(rng, number, mean_events) for number in range(sessions)]
        self._take(generated)
        self._added = 0

    def add(self, sessions: Iterable[WorldSession]) -> None:
        """Add sessions, and their users unless there already."""
        added = list(sessions)
        self.users = tuple(dict.fromkeys((*self.users, *(session.user for session in added))))
        self._take((*self.sessions.values(), *added))

    def _take(self, sessions: Iterable[WorldSession]) -> None:
        # new containers, because another thread may be reading the old ones
        ordered = sorted(sessions, key=lambda session: session.created)
        by_user: dict[User, list[WorldSession]] = {user: [] for user in self.users}
        for session in ordered:
            by_user[session.user].append(session)
        self.sessions, self._by_user = {session.id: session for session in ordered}, by_user

    def new_ids(self) -> tuple[str, str]:
        """Return a device id and a session id that only the seed and the number of calls determine."""
        self._added += 1
        rng = random.Random(f"{self.seed}/added/{self._added}")
        return _int64(rng), _int64(rng)

    def of_user(self, *, uid: str | None, email: str | None) -> list[WorldSession]:
        """Return the sessions of all users with this uid or e-mail, oldest first."""
        return [
            session
            for user, sessions in self._by_user.items()
            if (uid and user.uid == uid) or (email and user.email == email)
            for session in sessions
        ]

    def of_session_uid(self, session_uid: str) -> list[WorldSession]:
        """Return the session with this session_uid, if it exists."""
        return [session for session in self.sessions.values() if session.session_uid == session_uid]

    def rng(self, session: WorldSession, purpose: str) -> random.Random:
        """Return a random generator that a session and a purpose determine."""
        return random.Random(f"{self.seed}/{session.id}/{purpose}")

    def _session(self, rng: random.Random, number: int, mean_events: int) -> WorldSession:
        # every user gets one session first; the others are spread unevenly, as in real accounts
        index = number if number < len(self.users) else int(len(self.users) * rng.random() ** 2)
        user = self.users[index]
        # of a log-normal distribution, so that its mean is the one asked for
        mu = math.log(mean_events) - _SIGMA**2 / 2
        count = round(rng.lognormvariate(mu, _SIGMA))
        return WorldSession(
            id=SessionId(f"{rng.choice(user.device_ids)}:{_int64(rng)}"),
            user=user,
            created=_FIRST_DAY + _SPAN * rng.random(),
            event_count=min(max(1, count), MOST_EVENTS),
            mobile=rng.random() < _MOBILE_SHARE,
        )


def _user(rng: random.Random, number: int) -> User:
    name = _NAMES[(number - 1) % len(_NAMES)]
    mailbox = name if number <= len(_NAMES) else f"{name}.{number}"
    devices = tuple(_int64(rng) for _ in range(rng.choice((1, 1, 2, 3))))
    return User(f"u-{number}", f"{mailbox}@example.com", name.title(), devices)


def _int64(rng: random.Random) -> str:
    """Return an id as large as FullStory's, which a float can't represent exactly."""
    return str(rng.randrange(2**60, 2**63))
