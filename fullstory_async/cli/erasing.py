"""What ``job purge`` and ``cluster purge`` do with the sessions that they are given, and what they report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from fullstory_async.amounts import counted
from fullstory_async.cli.exits import Exit
from fullstory_async.cli.output import printable, write_stderr
from fullstory_async.error_base import without_secrets
from fullstory_async.errors import InvalidSessionId
from fullstory_async.session_id import SessionId

__all__ = ["erase", "read_item"]

T = TypeVar("T", bound=str)


def read_item(text: str) -> str:
    """Return the session id of a text, or the text itself, which a job may have as an item.

    Raises:
        InvalidSessionId: it is empty or a key, so it can't be meant.
    """
    try:
        return SessionId.parse(text)
    except InvalidSessionId:
        if not text.strip() or without_secrets(text) != text:
            raise
        return text


async def erase(
    sessions: Iterable[T], purge: Callable[[T], Awaitable[bool]], place: str, *, quiet: bool
) -> Exit:
    """Erase sessions one after the other, and report those that ``place`` did not have."""
    erased = missing = 0
    for session in dict.fromkeys(sessions):
        if await purge(session):
            erased += 1
        else:
            missing += 1
            name = without_secrets(printable(session))
            write_stderr(f"{place} has no data of the session {name}, and will not fetch it\n")
    if erased and not quiet:
        kept = "it" if erased == 1 else "them"
        write_stderr(f"{counted(erased, 'session')} erased; earlier exports and backups still have {kept}\n")
    return Exit.NOT_FOUND if missing else Exit.OK
