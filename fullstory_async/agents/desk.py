"""AgentDesk: serves agents stored responses, and fetches missing ones within the terms.

Two agents that ask for the same response share one request, through the store also those of two servers. The
request belongs to neither: an agent that is cancelled leaves it running, because it may have been paid for,
and finds its response in the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fullstory_async.agents.claims import LEASE
from fullstory_async.agents.spending import Decision, Spent, Terms, decide, question, refusal
from fullstory_async.agents.store import AgentStore, StoredResponse, Wanted
from fullstory_async.client import FullStoryClient
from fullstory_async.errors import FullStoryError, Scope
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.session_id import SessionId

__all__ = ["AgentDesk", "Refused"]

_FINISH_SECONDS = 10.0
"""Seconds that the end of a server waits for requests that may have been paid for."""
_POLL_SECONDS = 0.2
"""Seconds between checks whether another server has fetched a response."""
_NAMES = {"events": "the events", "context": "the context", "summary": "an AI summary"}


class Refused(Exception):
    """An activation was not spent; the message says why, and what to do."""


class AgentDesk:
    """What all agents of one server share: a client, the store, the terms, and what was spent."""

    client: FullStoryClient
    """An open client."""
    store: AgentStore
    """The responses that were paid for."""
    terms: Terms
    """The limits of this run."""

    def __init__(
        self, client: FullStoryClient, store: AgentStore, terms: Terms, ledger: ActivationLedger | None
    ) -> None:
        """Serve from a store, and fetch with a client; the ledger is the one that the client counts in."""
        self.client = client
        self.store = store
        self.terms = terms
        self._ledger = ledger
        self._spent = 0
        self._unknown = 0
        self._listed: set[str] = set()
        self._buying: dict[Wanted, asyncio.Task[tuple[StoredResponse, int]]] = {}

    async def spent(self) -> Spent:
        """Return what was spent so far. Raises `StorageError`."""
        if self._ledger is None:
            return Spent(run=self._spent, unknown=self._unknown)
        month = await self._ledger.spent(self.client.config.key_fingerprint)
        # read after the wait, during which another agent may have spent
        cap = self._ledger.monthly_cap
        return Spent(run=self._spent, month=month, monthly_cap=cap, unknown=self._unknown)

    def note_listed(self, session_ids: Iterable[SessionId]) -> None:
        """Remember sessions that the service has listed: they exist."""
        self._listed.update(session_ids)

    async def question(self, wanted: Wanted, *, refresh: bool, can_ask: bool) -> str | None:
        """Return the question to a person before this is paid for; ``None`` for none."""
        if wanted in self._buying or (not refresh and await self.store.has(wanted)):
            return None
        spent = await self.spent()
        if decide(self.terms, spent, can_ask=can_ask) is not Decision.ASK:
            return None
        return question(_NAMES[wanted.operation], wanted.session_id, self.terms, spent)

    async def obtain(
        self, wanted: Wanted, *, refresh: bool, agreed: bool | None, can_ask: bool
    ) -> tuple[StoredResponse, int]:
        """Return the stored response, or fetch it; and the activations that this call has spent.

        Args:
            wanted: what.
            refresh: fetch it although it is stored.
            agreed: whether a person has agreed to spend an activation; ``None`` if no one was asked.
            can_ask: whether the agent's program could ask one.

        Raises:
            Refused: the terms forbid it, or a person declined.
            FullStoryError: the request or the store failed.
        """
        if (buying := self._buying.get(wanted)) is not None:
            return (await asyncio.shield(buying))[0], 0
        stored = None if refresh else await self.store.get(wanted)
        if stored is not None:
            return stored, 0
        spent = await self.spent()
        # another agent may have begun; from here to the start of the task nothing is awaited
        if (buying := self._buying.get(wanted)) is not None:
            return (await asyncio.shield(buying))[0], 0
        is_listed = wanted.session_id in self._listed and not wanted.profile
        decision = decide(self.terms, spent, can_ask=can_ask, is_listed=is_listed)
        if decision is not Decision.PAY and not (decision is Decision.ASK and agreed):
            raise Refused(refusal(decision, self.terms, spent, was_asked=agreed is not None))
        self._spent += 1
        task = asyncio.create_task(self._buy(wanted, refresh=refresh))
        self._buying[wanted] = task
        task.add_done_callback(lambda done: self._bought(wanted, done))
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Wait until what may have been paid for is stored, 10 seconds at most."""
        if self._buying:
            await asyncio.wait(self._buying.values(), timeout=_FINISH_SECONDS)

    async def _buy(self, wanted: Wanted, *, refresh: bool) -> tuple[StoredResponse, int]:
        """Fetch and store a response; its activation is counted already, and released if it was not spent."""
        asked, body = datetime.now(UTC), None
        try:
            async with self._claimed(wanted):
                # another agent may have fetched it since this one looked
                stored = await self.store.get(wanted)
                if stored is not None and not (refresh and _is_before(stored, asked)):
                    self._spent -= 1
                    return stored, 0
                body = await self._fetch(wanted)
                self._unknown = 0
                return await self.store.put(wanted, body), 1
        except FullStoryError as error:
            error.may_have_cost |= body is not None  # it was received, and could not be stored
            self._spent -= not error.may_have_cost
            self._unknown += error.scope is Scope.SESSION and not error.is_transient
            raise

    @asynccontextmanager
    async def _claimed(self, wanted: Wanted) -> AsyncIterator[None]:
        """Hold the claim to a response; wait as long as another server has it."""
        while not await self.store.claim(wanted):  # noqa: ASYNC110  (the other server is another process)
            await asyncio.sleep(_POLL_SECONDS)
        renewing = asyncio.create_task(self._renew(wanted))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            await self.store.release(wanted)

    async def _renew(self, wanted: Wanted) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            await self.store.claim(wanted)

    async def _fetch(self, wanted: Wanted) -> bytes:
        sessions = self.client.sessions
        match wanted.operation:
            case "events":
                return (await sessions.events(wanted.session_id)).raw
            case "context":
                return (await sessions.context(wanted.session_id)).raw
            case _:
                profile = wanted.profile or None
                return (await sessions.summary(wanted.session_id, config_profile_id=profile)).raw

    def _bought(self, wanted: Wanted, task: asyncio.Task[tuple[StoredResponse, int]]) -> None:
        del self._buying[wanted]
        if not task.cancelled():
            task.exception()  # retrieved, although every agent that waited may have been cancelled


def _is_before(found: StoredResponse, asked: datetime) -> bool:
    return found.fetched is None or found.fetched < asked
