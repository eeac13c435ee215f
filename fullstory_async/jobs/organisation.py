"""Whose job it is.

A job is one organisation's: for another one's key all its sessions would be unknown. Asking whose a key is is free, so it is
asked before anything is bought, for as long as an outage is waited for. A service that answers and does not say it, such as one of
the published contract alone, which knows no such path, is believed to serve nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from fullstory_async.api import ApiContext, call_once
from fullstory_async.codec import decode_key_owner
from fullstory_async.errors import (
    APIStatusError,
    AuthenticationError,
    ConflictError,
    DecodeError,
    FullStoryError,
    JobError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from fullstory_async.http import endpoints
from fullstory_async.jobs.report import StopReason
from fullstory_async.jobs.storage.schema import replace_surrogates
from fullstory_async.jobs.storage.store import JobStore

__all__ = ["other_account"]

_SECONDS = 30.0
_PASSING = frozenset({408, 425})
_SHORTEST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0


async def other_account(
    store: JobStore,
    account: ApiContext,
    folder: Path,
    *,
    patience: float,
    waits: Callable[[FullStoryError], None],
) -> tuple[StopReason, str] | None:
    """Remember the organisation of the first run. Return why no call may be made, or ``None`` if all is well.

    Raises:
        JobError: the key is of another organisation.
    """
    try:
        organisation = await _organisation_of(account, patience=patience, waits=waits)
    except AuthenticationError as error:
        return StopReason.KEY_REJECTED, str(error)
    except (APIStatusError, TransportError) as error:
        # even in the first run: what is bought without knowing it could be mixed with another's by the next
        limited = isinstance(error, RateLimitedError)
        text = f"whose key it is could not be asked: {error}"
        return (StopReason.RATE_LIMITED if limited else StopReason.NETWORK_DOWN), text
    if store.organisation is not None and organisation not in (None, store.organisation):
        raise JobError(
            f"the job {folder} is of the organisation {store.organisation}, and the key of {organisation}: "
            "its sessions would all be unknown there"
        )
    if store.organisation is None and organisation is not None:
        await store.save_organisation(organisation)
    return None


async def _organisation_of(
    account: ApiContext, *, patience: float, waits: Callable[[FullStoryError], None]
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
            owner = await call_once(account, endpoints.me(), decode_key_owner, _SECONDS)
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
            return replace_surrogates(owner.org_id or "") or None
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
