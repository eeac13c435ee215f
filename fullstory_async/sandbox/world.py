"""The sandbox's people and sessions, all of them determined by a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import attrs

from fullstory_async.session_id import SessionId

__all__ = ["MOST_EVENTS", "ORG_ID", "User", "World", "WorldSession"]

ORG_ID = "SANDBOX"
"""The account, as replay URLs name it."""

_NAMES = (
    "ada", "grace", "alan", "edsger", "barbara", "donald", "margaret", "ken", "dennis", "radia",
    "linus", "guido", "katherine", "tim", "anita", "john", "frances", "claude", "hedy", "vint",
    "jean", "niklaus", "adele", "leslie", "sophie", "tony", "mary", "bjarne", "evelyn", "james",
)  # fmt: skip
_FIRST_DAY = datetime(2026, 5, 4, 8, tzinfo=UTC)
_SPAN = timedelta(days=30)
_SIGMA = 1.2
"""Spread of the log-normal number of events: half the sessions have fewer than half the mean."""
MOST_EVENTS = 20_000
"""The largest mean, and the largest session."""
_MOBILE_SHARE = 0.2


@attrs.frozen
class User:
    """A person that an account's sessions belong to."""

    uid: str
    email: str
    name: str
    device_ids: tuple[str, ...]


@attrs.frozen
class WorldSession:
    """One session, without its events: they follow from it."""

    id: SessionId
    user: User
    created: datetime
    event_count: int
    mobile: bool

    @property
    def device_id(self) -> str:
        """The pair's first part."""
        return self.id.split(":")[0]

    @property
    def session_id(self) -> str:
        """The pair's second part."""
        return self.id.split(":")[1]

    @property
    def session_uid(self) -> str:
        """The id that the customer's own code gave it."""
        return f"visit-{self.session_id[-8:]}"


class World:
    """Everything that an account of the sandbox holds."""

    users: tuple[User, ...]
    sessions: Mapping[SessionId, WorldSession]

    def __init__(self, seed: int, users: int, sessions: int, mean_events: int) -> None:
        """Make ``users`` people with ``sessions`` sessions in all, of ``mean_events`` events on average."""
        self.seed = seed
        rng = random.Random(f"{seed}/world")
        self.users = tuple(_user(rng, number) for number in range(1, users + 1))
        made = [self._session(rng, number, mean_events) for number in range(sessions)]
        made.sort(key=lambda session: session.created)
        self.sessions = {session.id: session for session in made}
        self._by_user: dict[str, list[WorldSession]] = {user.uid: [] for user in self.users}
        for session in made:
            self._by_user[session.user.uid].append(session)

    def of_user(self, *, uid: str | None, email: str | None) -> list[WorldSession]:
        """Return the sessions of the people with this uid or this e-mail, oldest first."""
        return [
            session
            for user in self.users
            if user.uid == uid or user.email == email
            for session in self._by_user[user.uid]
        ]

    def of_session_uid(self, session_uid: str) -> list[WorldSession]:
        """Return the session that the customer's code called so, if there is one."""
        return [session for session in self.sessions.values() if session.session_uid == session_uid]

    def rng(self, session: WorldSession, purpose: str) -> random.Random:
        """Return a generator that always gives the same for the same session and purpose."""
        return random.Random(f"{self.seed}/{session.id}/{purpose}")

    def _session(self, rng: random.Random, number: int, mean_events: int) -> WorldSession:
        # everybody gets one session first; after that some people come back more often than others
        index = number if number < len(self.users) else int(len(self.users) * rng.random() ** 2)
        user = self.users[index]
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
    """Return an id as large as FullStory's: beyond what a float can hold exactly."""
    return str(rng.randrange(2**60, 2**63))
