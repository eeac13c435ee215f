"""ListCursor: lists sessions page by page, although the service has no pages.

``GET /sessions/v2`` documents one response and a ``limit``. So without a token from the server, the next page
asks for twice as many sessions and keeps those not seen before, until fewer come back than were asked for, or
none is new. That lists every session with at most four times their number in rows, and listing is not
metered. The digests of the sessions seen travel in the page token, so a later run can resume from it.
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
from fullstory_async.response_info import set_response_info

__all__ = ["FIRST_LIMIT", "ListCursor"]

FIRST_LIMIT = 100
"""Page size of FullStory's own client; the largest allowed one is not documented."""

_DIGEST_BYTES = 8
_PREFIX = "fs1."


@attrs.frozen(kw_only=True)
class ListCursor:
    """The position of a listing between two pages."""

    limit: int
    """How many sessions to ask for."""
    returned: int = 0
    """How many sessions were returned to the caller so far."""
    seen: frozenset[str] = frozenset()
    """Digests of the sessions returned, or of the server tokens followed; none may come again."""
    server_token: str | None = None
    """The service's own page token, if it sent one."""

    def to_token(self) -> str:
        """Return the cursor as an opaque text."""
        state = json.dumps(
            [self.limit, self.returned, sorted(self.seen), self.server_token], separators=(",", ":")
        )
        return _PREFIX + base64.urlsafe_b64encode(state.encode()).decode()

    @classmethod
    def from_token(cls, token: str) -> ListCursor:
        """Return the cursor of a token. Raises `ConfigurationError` for any other text."""
        try:
            if not (isinstance(token, str) and token.startswith(_PREFIX)):
                raise ValueError
            limit, returned, seen, server_token = json.loads(
                base64.urlsafe_b64decode(token.removeprefix(_PREFIX))
            )
            if int(limit) < 1 or not isinstance(server_token, str | None):
                raise ValueError
            return cls(
                limit=int(limit),
                returned=int(returned),
                seen=frozenset(map(str, seen)),
                server_token=server_token,
            )
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise ConfigurationError("the page token is not one that this client gave") from None

    def advance(self, page: Page[Session], *, ceiling: int | None) -> Page[Session]:
        """Return the caller's page: new sessions only, and the token of the next page.

        Args:
            page: what the service sent when asked for ``self.limit`` sessions.
            ceiling: the most sessions that the caller wants, or ``None``.
        """
        new = tuple(_unseen(page, self.seen))
        if ceiling is not None:
            new = new[: max(0, ceiling - self.returned)]
        returned = self.returned + len(new)
        after: ListCursor | None = None
        if ceiling is not None and returned >= ceiling:
            pass  # the caller has all it wanted
        elif page.next_token is not None:
            digest = _digest(page.next_token)
            # a token that was followed already leads to the same cursor again, which the pager reports as a
            # circle
            after = self
            if digest not in self.seen:
                after = ListCursor(
                    limit=self.limit,
                    returned=returned,
                    seen=self.seen | {digest},
                    server_token=page.next_token,
                )
        elif self.server_token is None and new and _may_hold_back(page, self.limit):
            after = ListCursor(
                limit=self.limit * 2, returned=returned, seen=self.seen | set(map(_identity, new))
            )
        shown = attrs.evolve(page, items=new, next_token=None if after is None else after.to_token())
        if page.response_info is not None:
            set_response_info(shown, page.response_info)
        return shown


def _may_hold_back(page: Page[Session], limit: int) -> bool:
    """Return whether the page is as long as its limit allowed, so that there may be more."""
    return (len(page) if page.received is None else page.received) >= limit


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
