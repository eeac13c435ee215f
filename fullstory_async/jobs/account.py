"""Whose job it is.

A job is one organisation's: for another one's key all its sessions would be unknown. Asking whose a key is is free, so it is
asked before anything is bought, for as long as an outage is waited for. A service that answers and does not say it, such as one of
the published contract alone, which knows no such path, is believed to serve nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fullstory_async.api import Account, call_once
from fullstory_async.codec import decode_key_owner
from fullstory_async.errors import (
    APIStatusError,
    AuthenticationError,
    ConflictError,
    DecodeError,
    FullStoryError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from fullstory_async.http import endpoints
from fullstory_async.http.options import CallOptions
from fullstory_async.jobs.database import storable

__all__ = ["organisation_of"]

_SECONDS = 30.0
_PASSING = frozenset({408, 425})
_SHORTEST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0


async def organisation_of(
    account: Account, *, patience: float, waits: Callable[[FullStoryError], None]
) -> str | None:
    """Return the organisation of the client's key, or ``None`` where the service does not say. Free of charge.

    Args:
        patience: seconds for which a service or network that is down is asked again.
        waits: told of the failure before each wait.

    Raises:
        FullStoryError: the key is rejected, or there is no answer.
    """
    now, pause = asyncio.get_running_loop().time, _SHORTEST_PAUSE
    until = now() + patience
    while True:
        try:
            owner = await call_once(account, endpoints.me(), decode_key_owner, CallOptions(_SECONDS))
        except DecodeError:
            return None
        except (AuthenticationError, RateLimitedError):
            raise
        except (ServerError, TransportError) as error:
            if now() + pause > until or (isinstance(error, TransportError) and error.permanent):
                raise
            waits(error)
        except APIStatusError as error:
            if isinstance(error, ConflictError) or error.status in _PASSING:
                raise
            return None  # it answers, and this is none of its questions
        else:
            return storable(owner.org_id or "") or None
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
