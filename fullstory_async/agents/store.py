"""AgentStore: the responses that were paid for, so that each is paid for once.

It is the `ResponseCache` that the client and the command line use too, so that each of them finds what the
others have paid for. Here a response has no time to live. A job's folder can be searched as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime

import attrs

from fullstory_async.agents.claims import Claims
from fullstory_async.api import ResponseStore
from fullstory_async.codec import context_body
from fullstory_async.files.response_cache import ResponseCache
from fullstory_async.http import endpoints
from fullstory_async.messages import Request
from fullstory_async.session_id import SessionId

__all__ = ["FOREVER", "AgentStore", "StoredResponse", "Wanted"]

FOREVER = 100 * 366 * 86_400.0
"""Seconds for which a response is kept."""


_CONTEXT = context_body(slice=None, context=None, events=None, cache=None, media=None)


@attrs.frozen
class Wanted:
    """What an agent asked for; equal ones have the same response."""

    session_id: SessionId
    operation: str
    """``events``, ``context`` or ``summary``."""
    profile: str = ""
    """The profile of a summary; empty for the default one."""

    @property
    def request(self) -> Request:
        """The request that the client sends for it."""
        match self.operation:
            case "events":
                return endpoints.session_events(self.session_id)
            case "context":
                return endpoints.session_context(self.session_id, body=_CONTEXT)
            case _:
                profile = self.profile or None
                return endpoints.session_summary(self.session_id, config_profile_id=profile)


@attrs.frozen
class StoredResponse:
    """A response, and when it was fetched."""

    body: bytes = attrs.field(repr=False)
    fetched: datetime | None
    """``None`` for one of a job."""


class AgentStore:
    """The stored responses of one account, and the claims to those that are being fetched."""

    def __init__(self, cache: ResponseCache, account: str, jobs: Sequence[ResponseStore] = ()) -> None:
        """Use a cache, and the folders of jobs, which are only read."""
        self._claims = Claims(cache.path.with_name(f"{cache.path.name}.claims"))
        self._cache = cache
        self._account = account
        self._jobs = jobs

    async def check(self) -> None:
        """Raise `ConfigurationError` or `StorageError` if the files can't be used."""
        await self._claims.release("")
        await self._cache.stored_at(self._account, endpoints.me())

    async def claim(self, wanted: Wanted) -> bool:
        """Claim the right to fetch a response, or renew the claim; return whether no other server has it.

        Raises:
            ConfigurationError, StorageError: the file of claims can't be written.
        """
        return await self._claims.claim(self._key(wanted))

    async def release(self, wanted: Wanted) -> None:
        """Give a claim back. Raises `ConfigurationError`, `StorageError`."""
        await self._claims.release(self._key(wanted))

    async def get(self, wanted: Wanted) -> StoredResponse | None:
        """Return a stored response. Raises `FullStoryError` if a file can't be read."""
        request = wanted.request
        if (body := await self._cache.get(self._account, request)) is not None:
            return StoredResponse(body, await self._cache.stored_at(self._account, request))
        for job in self._jobs:
            if job.keeps(request) and (body := await job.get(self._account, request)) is not None:
                return StoredResponse(body, None)
        return None

    async def has(self, wanted: Wanted) -> bool:
        """Return whether a response is stored. Raises `FullStoryError` if a file can't be read."""
        request = wanted.request
        if await self._cache.stored_at(self._account, request) is not None:
            return True
        stored = [await job.get(self._account, request) for job in self._jobs if job.keeps(request)]
        return any(body is not None for body in stored)

    async def put(self, wanted: Wanted, body: bytes) -> StoredResponse:
        """Store a response in place of an earlier one. Raises `ConfigurationError`, `StorageError`."""
        await self._cache.put(self._account, wanted.request, body)
        return StoredResponse(body, await self._cache.stored_at(self._account, wanted.request))

    def _key(self, wanted: Wanted) -> str:
        """Return a hash that identifies a response without revealing its session."""
        parts = (self._account, wanted.session_id, wanted.operation, wanted.profile)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
