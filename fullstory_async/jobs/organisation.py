"""The organisation of a job: every key of another one is refused.

For another organisation's key all sessions of a job would be unknown. Asking whose key it is is free, so a
run asks before it spends anything, for as long as it waits for an outage. A service that responds without
saying so, such as one that implements only the published OpenAPI description, which has no such path, is
assumed to serve only this organisation.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from fullstory_async.api import ApiContext, call_once
from fullstory_async.codec import decode_key_owner
from fullstory_async.errors import (
    APIStatusError,
    AuthenticationError,
    DecodeError,
    FullStoryError,
    JobError,
    RateLimitedError,
    ServerError,
    TransportError,
    UnexpectedResponseError,
)
from fullstory_async.http import endpoints
from fullstory_async.jobs.report import ProgressReporter
from fullstory_async.jobs.run_state import reconnect_backoff
from fullstory_async.jobs.storage.schema import replace_surrogates
from fullstory_async.jobs.storage.store import JobStore

__all__ = ["WaitReporter", "ask_who_responds", "check_organisation", "fetch_organisation"]

_TIMEOUT = 30.0
_SHORT_TIMEOUT = 5.0


class WaitReporter(Protocol):
    """What shows that something is waited for."""

    @property
    def failure(self) -> BaseException | None:
        """Why it can't show anything any more; then nothing is waited for."""
        ...

    def report_waiting(self, error: FullStoryError) -> None:
        """Show why something is waited for."""
        ...


async def check_organisation(
    store: JobStore, api: ApiContext, folder: Path, progress: ProgressReporter, *, patience: float
) -> None:
    """Compare the key's organisation with the job's, and remember it in the first run.

    Even the first run needs to know it: otherwise its results could be mixed with another organisation's
    later.

    Raises:
        JobError: the key belongs to another organisation.
        FullStoryError: the key is rejected, or there is no response.
    """
    organisation = await fetch_organisation(api, progress, patience=patience)
    if store.organisation is not None and organisation not in (None, store.organisation):
        raise JobError(
            f"the job {folder} is of the organisation {store.organisation}, and the key of {organisation}: "
            "its sessions would all be unknown there"
        )
    if store.organisation is None and organisation is not None:
        await store.save_organisation(organisation)


async def fetch_organisation(api: ApiContext, progress: WaitReporter, *, patience: float) -> str | None:
    """Return the organisation of the client's key, or ``None`` if the service does not say. Free of charge.

    Args:
        api: the client's context.
        progress: reports each wait for the service or the network.
        patience: seconds for which a service or network that is down is asked again.

    Raises:
        FullStoryError: the key is rejected, or there is no response.
    """
    now, backoff = asyncio.get_running_loop().time, reconnect_backoff()
    deadline = now() + patience
    while True:
        try:
            owner = await call_once(api, endpoints.me(), decode_key_owner, _TIMEOUT)
        except DecodeError:
            return None
        except (AuthenticationError, RateLimitedError, UnexpectedResponseError):
            raise
        except (ServerError, TransportError) as error:
            if error.permanent or now() + backoff.pause > deadline:
                raise
            progress.report_waiting(error)
            # a display that broke ends the run: nothing is waited for
            if progress.failure is not None:
                raise
        except APIStatusError as error:
            if error.is_transient:
                raise
            # the service is up and does not know this path, or does not say
            return None
        else:
            return replace_surrogates(owner.org_id or "") or None
        await backoff.sleep()


async def ask_who_responds(api: ApiContext) -> str:
    """Return, in words, what ``GET /me`` gets from the address in use now. Free of charge."""
    try:
        owner = await call_once(api, endpoints.me(), decode_key_owner, _SHORT_TIMEOUT)
    except APIStatusError as error:
        return f"GET /me to the same address now responds {error.status}"
    except FullStoryError as error:
        return f"GET /me to the same address now fails: {type(error).__name__}: {error.message}"
    return f"GET /me to the same address now responds as FullStory (organisation {owner.org_id or 'unknown'})"
