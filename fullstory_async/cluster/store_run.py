"""What the calls of a store share: in a process, in a fan-out, and with the pipeline."""

from __future__ import annotations

import asyncio
import math
from typing import Self

import attrs

from fullstory_async import validators
from fullstory_async.api import ApiContext
from fullstory_async.client import FullStoryClient
from fullstory_async.cluster.answers import Settlements
from fullstory_async.cluster.claims import Claims
from fullstory_async.cluster.owner import OwnerCheck
from fullstory_async.cluster.postgres_ledger import PostgresLedger
from fullstory_async.cluster.stored import Claim
from fullstory_async.errors import (
    ConfigurationError,
    FullStoryError,
    LimiterUnavailable,
    Scope,
    StorageError,
)
from fullstory_async.jobs.byte_budget import MAX_BYTES, ByteBudget, OpenCall
from fullstory_async.jobs.outages import Outages
from fullstory_async.stop_rule import StopRule

__all__ = ["ClaimMeter", "Fetching", "StoreRun", "outages_of"]

_STOPS = frozenset({Scope.KEY, Scope.BUDGET, Scope.STORAGE})
"""Failures that end a fan-out. Of those of the database, only the ones that time won't heal are raised."""


@attrs.define(eq=False)
class StoreRun:
    """What the calls of a store share in one process."""

    name: str
    """The store, for messages."""
    owner: OwnerCheck
    claims: Claims
    settlements: Settlements
    room: ByteBudget = attrs.field(factory=ByteBudget, init=False)
    """The bytes of the responses in flight, and of those that Postgres doesn't have yet."""
    active: dict[str, asyncio.Event] = attrs.field(factory=dict, init=False)
    """Sessions that a call of this process is at work on."""

    async def open_call(self) -> OpenCall:
        """Wait until the response of one more call has room in memory."""
        while not self.room.allows(MAX_BYTES):
            await self.room.changed.wait()
        return self.room.open()


@attrs.frozen(eq=False, kw_only=True)
class Fetching:
    """What the calls of one fan-out share."""

    run: StoreRun
    api: ApiContext
    """The client's."""
    max_pause: float
    """Seconds of the longest pause that a call accepts from a 429."""
    ledger_included: bool
    """Whether the client's own ledger is the store's."""
    rule: StopRule
    """Ends the fan-out."""
    outages: Outages
    """How long it waits for the network and the service."""

    @classmethod
    def of(
        cls, run: StoreRun, client: FullStoryClient, ledger: PostgresLedger, key: str, *, outages: Outages
    ) -> Self:
        """Check what a fan-out was given.

        Args:
            run: what the store's calls share.
            client: makes the calls.
            ledger: the store's.
            key: the fingerprint of the store's key.
            outages: how long the network and the service are waited for.

        Raises:
            ConfigurationError: something is not what it has to be, or the client has another key.
        """
        if not isinstance(client, FullStoryClient):
            raise ConfigurationError(f"client must be a FullStoryClient, not {type(client).__name__}")
        if client.config.key_fingerprint != key:
            raise ConfigurationError("the client has another key than the store")
        included = client.api.pipeline.ledger is ledger
        return cls(
            run=run, api=client.api, max_pause=client.config.max_wait, ledger_included=included,
            rule=StopRule(_STOPS), outages=outages,
        )  # fmt: skip

    def can_wait(self, error: FullStoryError) -> bool:
        """Return whether a call was not sent, and will be made again later."""
        if isinstance(error, StorageError | LimiterUnavailable):  # of Postgres, for as long as it takes
            if error.permanent or error.may_have_cost:
                return False
            self.outages.report_waiting(error)
            return True
        return self.outages.can_wait(error)


def outages_of(patience: float) -> Outages:
    """Return the outages of one fan-out.

    Raises:
        ConfigurationError: ``patience`` is not a number of seconds.
    """
    if not (patience == math.inf or (validators.is_number(patience) and patience >= 0)):
        raise ConfigurationError(f"network_patience must be a number of seconds, not {patience!r}")
    return Outages(patience)


@attrs.define(eq=False)
class ClaimMeter:
    """The `Meter` of one claim."""

    fetching: Fetching
    claim: Claim
    month: str | None = attrs.field(default=None, init=False)
    """The month of its latest reservation."""
    is_unspent: bool = attrs.field(default=False, init=False)
    """Whether the latest reservation was not spent, and serves the next attempt."""
    is_probe: bool = attrs.field(default=False, init=False)
    """Whether its call probes a service that is down."""

    @property
    def name(self) -> str:
        """The store, for messages."""
        return self.fetching.run.name

    async def reserve(self) -> None:
        """Mark the claim as sent, together with an activation that is reserved; see `Claims.mark`.

        What an earlier attempt did not spend serves again, or a long outage would use up the budget.
        """
        breaker = self.fetching.outages.breaker
        self.is_probe = self.is_probe or (breaker.is_open and await breaker.acquire_probe())
        claims = self.fetching.run.claims
        if not (self.is_unspent and self.claim.worker == claims.lease.worker):
            self.month = await claims.mark(self.claim)
        self.is_unspent = False

    def end(self) -> None:
        """Let another call probe the service."""
        if self.is_probe:
            self.is_probe = False
            self.fetching.outages.breaker.release_probe()

    def release(self, _: None) -> None:
        """Keep the reservation for the next attempt; it is given back when the claim is settled."""
        self.is_unspent = True
