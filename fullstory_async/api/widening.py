"""Listing sessions page by page, although the service has no pages.

``GET /sessions/v2`` documents one answer and a ``limit``. So without a server-side token the next page is
fetched by asking for twice as many and keeping those that were not seen before, until fewer come back
than were asked for, or nothing new. That lists every session with at most four times their number in rows, and
listing is not metered. What was seen travels in the page token, so a later run can go on from it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.models import Session
from fullstory_async.pagination import Page

__all__ = ["FIRST_LIMIT", "Position", "next_page"]

FIRST_LIMIT = 100
"""What FullStory's own client asks for; whether more is allowed at once is not documented."""

_DIGEST_BYTES = 8
_OURS = "widen."
_SERVERS = "server."


@attrs.frozen(kw_only=True)
class Position:
    """Where a listing stands between two pages."""

    limit: int
    """How many sessions to ask for."""
    seen: frozenset[str] = frozenset()
    """Short digests of the sessions that earlier pages held."""
    server_token: str | None = None
    """The service's own token, if it sent one."""

    def to_token(self) -> str:
        """Return the position as an opaque text."""
        if self.server_token is not None:
            return f"{_SERVERS}{self.limit}.{self.server_token}"
        state = json.dumps([self.limit, sorted(self.seen)], separators=(",", ":"))
        return _OURS + base64.urlsafe_b64encode(state.encode()).decode()

    @classmethod
    def from_token(cls, token: str) -> Position:
        """Read what `to_token` made. Raises `ConfigurationError` for anything else."""
        try:
            if token.startswith(_SERVERS):
                limit, server_token = token.removeprefix(_SERVERS).split(".", 1)
                return cls(limit=int(limit), server_token=server_token)
            if not token.startswith(_OURS):
                raise ValueError
            limit, seen = json.loads(base64.urlsafe_b64decode(token.removeprefix(_OURS)))
            return cls(limit=int(limit), seen=frozenset(map(str, seen)))
        except (ValueError, TypeError):
            raise ConfigurationError("the page token is not one that this client gave") from None


def next_page(answer: Page[Session], at: Position, *, ceiling: int | None) -> Page[Session]:
    """Make the caller's page of an answer: only what is new, and where to go on.

    Args:
        answer: what the service sent when asked for ``at.limit`` sessions.
        at: the position that the request was made from.
        ceiling: the most sessions that the caller wants, or ``None``.
    """
    if answer.next_token is not None:
        after = Position(limit=at.limit, server_token=answer.next_token)
        return attrs.evolve(answer, next_token=after.to_token())
    if at.server_token is not None:
        return answer
    new = tuple(_unseen(answer, at.seen))
    at_the_end = len(answer) < at.limit or not new or at.limit == ceiling
    if at_the_end:
        return attrs.evolve(answer, items=new)
    wider = at.limit * 2 if ceiling is None else min(at.limit * 2, ceiling)
    after = Position(limit=wider, seen=at.seen | {_digest(session) for session in new})
    return attrs.evolve(answer, items=new, next_token=after.to_token())


def _unseen(sessions: Iterable[Session], seen: frozenset[str]) -> Iterable[Session]:
    known = set(seen)
    for session in sessions:
        if (digest := _digest(session)) not in known:
            known.add(digest)
            yield session


def _digest(session: Session) -> str:
    identity = "\0".join((session.user_id or "", session.session_id, session.url))
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
