"""OwnerCheck: a budget and its answers belong to one organisation; a key of another one is refused.

Whose a key is, is asked once, free of charge, and remembered in the database by the key's fingerprint.
"""

from __future__ import annotations

import asyncio

from fullstory_async.api import ApiContext
from fullstory_async.cluster.budget_rows import BudgetRow, check_owner, known_owner
from fullstory_async.cluster.postgres import Postgres
from fullstory_async.errors import FullStoryError
from fullstory_async.jobs.organisation import fetch_organisation

__all__ = ["OwnerCheck"]

_PATIENCE = 30.0
"""Seconds for which a service that is down is asked whose key it is."""


class _Silent:
    """Shows nothing while something is waited for."""

    failure = None

    def report_waiting(self, error: FullStoryError) -> None:
        """Do nothing."""


class OwnerCheck:
    """Whether a key may use a budget, asked before anything is fetched with it."""

    budget: BudgetRow
    """The budget, with its organisation as soon as that is known."""

    def __init__(self, database: Postgres, budget: BudgetRow, key: str) -> None:
        """Prepare; ``key`` is a fingerprint."""
        self.budget = budget
        self._database, self._key = database, key
        self._is_done = False
        self._lock = asyncio.Lock()

    async def look_up(self) -> None:
        """Check a key that was asked for before.

        Raises:
            ConfigurationError: the budget is of another organisation.
            StorageError: the database can't be used.
        """
        if (owner := await known_owner(self._database, self._key)) is not None:
            self.budget = await check_owner(self._database, self.budget, self._key, owner)
            self._is_done = True

    async def check(self, api: ApiContext) -> None:
        """Check the key of a client, which is asked for if that is necessary.

        A service that doesn't say whose key it is is assumed to serve one organisation only.

        Raises:
            ConfigurationError: the budget is of another organisation.
            FullStoryError: the key is rejected, or there is no response.
        """
        async with self._lock:
            if self._is_done:
                return
            if (owner := await fetch_organisation(api, _Silent(), patience=_PATIENCE)) is not None:
                self.budget = await check_owner(self._database, self.budget, self._key, owner)
            self._is_done = True

    @property
    def is_done(self) -> bool:
        """Whether the key was found to be the budget's organisation's."""
        return self._is_done
