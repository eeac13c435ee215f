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

__all__ = ["FIRST_LIMIT", "ListCursor", "next_page"]

FIRST_LIMIT = 100
"""What FullStory's own client asks for; whether more is allowed at once is not documented."""

_DIGEST_BYTES = 8
_PREFIX = "fs1."


@attrs.frozen(kw_only=True)
class ListCursor:
    """Where a listing stands between two pages."""

    limit: int
    """How many sessions to ask for."""
    given: int = 0
    """How many sessions the caller has got so far."""
    seen: frozenset[str] = frozenset()
    """Short digests of what must not come again: those sessions, or the server tokens that were followed."""
    server_token: str | None = None
    """The service's own token, if it sent one."""

    def to_token(self) -> str:
        """Return the position as an opaque text."""
        state = json.dumps(
            [self.limit, self.given, sorted(self.seen), self.server_token], separators=(",", ":")
        )
        return _PREFIX + base64.urlsafe_b64encode(state.encode()).decode()

    @classmethod
    def from_token(cls, token: str) -> ListCursor:
        """Read what `to_token` made. Raises `ConfigurationError` for anything else."""
        try:
            if not (isinstance(token, str) and token.startswith(_PREFIX)):
                raise ValueError
            limit, given, seen, server_token = json.loads(
                base64.urlsafe_b64decode(token.removeprefix(_PREFIX))
            )
            if int(limit) < 1 or not isinstance(server_token, str | None):
                raise ValueError
            return cls(
                limit=int(limit), given=int(given), seen=frozenset(map(str, seen)), server_token=server_token
            )
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise ConfigurationError("the page token is not one that this client gave") from None


def next_page(answer: Page[Session], at: ListCursor, *, ceiling: int | None) -> Page[Session]:
    """Make the caller's page of an answer: only what is new and still wanted, and where to go on.

    Args:
        answer: what the service sent when asked for ``at.limit`` sessions.
        at: the position that the request was made from.
        ceiling: the most sessions that the caller wants, or ``None``.
    """
    new = tuple(_unseen(answer, at.seen))
    if ceiling is not None:
        new = new[: max(0, ceiling - at.given)]
    given = at.given + len(new)
    after: ListCursor | None = None
    if ceiling is not None and given >= ceiling:
        pass  # the caller has what was wanted
    elif answer.next_token is not None:
        digest = _digest(answer.next_token)
        after = at  # a token that was followed already leads here again, and the pager sees that
        if digest not in at.seen:
            after = ListCursor(
                limit=at.limit, given=given, seen=at.seen | {digest}, server_token=answer.next_token
            )
    elif at.server_token is None and new and _may_hold_back(answer, at.limit):
        after = ListCursor(limit=at.limit * 2, given=given, seen=at.seen | set(map(_identity, new)))
    return attrs.evolve(answer, items=new, next_token=None if after is None else after.to_token())


def _may_hold_back(answer: Page[Session], limit: int) -> bool:
    """Tell whether the answer is as long as it was allowed to be, so that there may be more."""
    return (len(answer) if answer.received is None else answer.received) >= limit


def _unseen(sessions: Iterable[Session], seen: frozenset[str]) -> Iterable[Session]:
    known = set(seen)
    for session in sessions:
        if (digest := _identity(session)) not in known:
            known.add(digest)
            yield session


def _identity(session: Session) -> str:
    return _digest("\0".join((session.user_id or "", session.session_id, session.url)))


def _digest(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
