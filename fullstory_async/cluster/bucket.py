"""SharedBucket: a `Bucket` that processes share through a server, and its fallback while the server fails.

The server gives slots, and the bucket sleeps until the next one. Before the call leaves, the bucket checks
the slot: it takes another one if there was a pause or the server lost its data, or if it woke so late that
its request would meet those of other processes. A cancelled wait leaves one slot unused. That is one question
for a call that need not wait, and two for one that has to; fewer where several calls wait at a rate that
allows a `Lease`. During a pause there are no slots: the limiter waits and asks again, one question more.

If the server can't be asked, there are two ways. Calls fail with `LimiterUnavailable`; or, with ``fallback``,
the process continues alone at that rate, evenly and without a burst, the first call 1/fallback after the
failure. It asks the server again every `_PROBE_INTERVAL` seconds, and sends nothing until that answers or
fails. When the server is back, the process makes the shared bucket start empty, because what was sent
meanwhile is not counted there.
"""

from __future__ import annotations

import asyncio
import logging

from fullstory_async.cluster.lease import Lease, lease_size
from fullstory_async.cluster.slots import Grant, SlotStore, arguments, interval_of
from fullstory_async.errors import LimiterUnavailable, RateLimitedError
from fullstory_async.ratelimit.bucket import Level

__all__ = ["SharedBucket"]

_PROBE_INTERVAL = 1.0
"""Seconds after which a process in fallback asks the server again."""

_MAX_LATE_LEASES = 2
"""Leases in a row given up because the process woke late; it uses the next, or it might never send."""

_logger = logging.getLogger("fullstory_async.ratelimit")


class SharedBucket:
    """This process's part of a bucket that a server keeps for all."""

    __slots__ = (
        "_fallback", "_fallback_next", "_in_fallback", "_lease", "_level", "_loop", "_pause_until",
        "_probe_at", "_published", "_publisher", "_rate", "_store",
    )  # fmt: skip

    def __init__(self, store: SlotStore, *, rate: float, burst: float, fallback: float | None) -> None:
        """Use a store, and ``fallback`` as the rate while the store can't be asked."""
        self._store = store
        self._rate = rate
        self._level = Level(rate, burst)
        self._lease: Lease | None = None
        self._fallback = fallback
        self._in_fallback = False
        self._fallback_next = self._probe_at = 0.0
        self._pause_until = self._published = 0.0
        self._publisher: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def ask_timeout(self) -> float:
        """Seconds that the server has to answer."""
        return self._store.timeout

    def enter_loop(self) -> None:
        """Leave the slots and connections of the last event loop, which ended with it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._store.detach()
            self._lease = self._publisher = None

    def try_take(self, now: float) -> bool:
        """Use a leased slot that is due; without one the server has to be asked, and that means to wait."""
        lease = self._lease
        if lease is None:
            return False
        lease.drop_missed(now)
        if lease.is_empty or lease.due > now or not lease.is_confirmed:
            return False
        self._use(lease)
        return True

    async def take(self, *, max_wait: float, wanted: int) -> float:
        """Wait for the next shared slot, or in fallback for one of this process.

        Raises:
            RateLimitedError: it would come later than ``max_wait``.
            LimiterUnavailable: the server can't be asked, and there is no fallback.
        """
        until = _now() + max_wait
        if not (self._in_fallback and _now() < self._probe_at):
            try:
                return await self._take_slot(until, wanted)
            except LimiterUnavailable as error:
                self._lease = None
                if self._fallback is None:
                    text = f"{error.message}; nothing is sent until it can, unless a fallback rate is set"
                    raise LimiterUnavailable(text, sent=False) from None
                self._enter_fallback(error, self._fallback)
        return await self._take_fallback(until)

    def estimate_wait(self, ahead: int, *, pause: float) -> float:
        """Return the wait of a call as if no other process took tokens."""
        return self._level.wait(ahead, now=_now(), pause=pause)

    def publish_pause(self, seconds: float) -> None:
        """Announce a pause that begins now to the other processes, through the server."""
        self.enter_loop()  # a limiter may be paused before its first call
        self._pause_until = max(self._pause_until, _now() + seconds)
        if not self._in_fallback and (self._publisher is None or self._publisher.done()):
            self._publisher = asyncio.create_task(self._publish_pauses())

    async def close(self) -> None:
        """Finish publishing, and close the connections of the running event loop."""
        if self._loop is not asyncio.get_running_loop():
            return
        if self._publisher is not None and not self._publisher.done():
            await asyncio.wait([self._publisher])
        await self._store.close()

    async def _publish_pauses(self) -> None:
        # One task for all 429s of a moment: the pause may have grown while it was being published.
        while (until := self._pause_until) > self._published:
            self._published, seconds = until, until - _now()
            try:
                await self._store.ask(arguments(self._rate, self._level.capacity, pause=seconds))
            except LimiterUnavailable as error:
                _logger.warning("other processes do not know of a pause of %.1f s: %s", seconds, error)

    async def _take_slot(self, until: float, wanted: int) -> float:
        """Wait for a slot, and for another one if that is void or was missed."""
        if self._lease is not None and not self._lease.is_empty and self._lease.due > until:
            raise self._rejection(self._lease.due - _now(), until - _now())
        late = 0
        while True:
            lease = self._lease
            if lease is not None:
                lease.drop_missed(_now())
            if lease is None or lease.is_empty:
                if (pause := await self._lease_slots(until, wanted)) > 0:
                    return pause
                continue
            await asyncio.sleep(lease.due - _now())
            if late < _MAX_LATE_LEASES:
                lease.drop_missed(_now())
                if lease.is_empty:
                    late += 1
                    continue
            if lease.is_confirmed or await self._confirm(lease):
                self._use(lease)
                return 0.0

    async def _lease_slots(self, until: float, wanted: int) -> float:
        """Ask the server for slots; return 0.0, or the pause that denied them."""
        left = max(0.0, until - _now())
        values = arguments(
            self._rate,
            self._level.capacity,
            count=lease_size(self._rate, wanted),
            max_wait=left,
            reset=self._in_fallback,
        )
        grant = await self._store.ask(values)
        self._leave_fallback()
        if not grant.count:
            return self._pause_of(grant, left)
        self._lease = Lease(grant, interval_of(self._rate) / 1e6, _now())
        return 0.0

    async def _confirm(self, lease: Lease) -> bool:
        """Return whether the slots of a lease still hold, by what the server keeps now."""
        asked_at = _now()
        if is_valid := await self._store.is_valid(lease.grant):
            lease.confirmed_at = asked_at
        else:
            self._lease = None
        return is_valid

    def _use(self, lease: Lease) -> None:
        lease.use()
        self._level.add(_now())

    def _pause_of(self, grant: Grant, left: float) -> float:
        """Return the pause that denied a slot, unless the queue after it is too long."""
        # The limiter rejects a call whose pause alone is too long: it knows how long the call waits.
        if grant.pause > left or (grant.pause > 0 and grant.wait <= left):
            return grant.pause
        raise self._rejection(grant.wait, left)

    async def _take_fallback(self, until: float) -> float:
        wait, left = max(0.0, self._fallback_next - _now()), until - _now()
        if wait > left:
            raise self._rejection(wait, left)
        await asyncio.sleep(wait)
        now = _now()
        self._fallback_next = now + 1 / (self._fallback or self._rate)
        self._level.add(now)
        return 0.0

    def _enter_fallback(self, error: LimiterUnavailable, rate: float) -> None:
        now = _now()
        self._probe_at = now + _PROBE_INTERVAL
        if not self._in_fallback:
            self._in_fallback, self._fallback_next = True, now + 1 / rate
            _logger.warning("going on alone at %.3g/s: %s", rate, error)

    def _leave_fallback(self) -> None:
        if self._in_fallback:
            self._in_fallback = False
            _logger.info("the rate limiter that is shared through %s responds again", self._store.location)

    def _rejection(self, wait: float, left: float) -> RateLimitedError:
        return RateLimitedError(
            f"the shared rate limit of {self._rate:.3g}/s is taken for another {wait:.0f} s, and only "
            f"{max(0.0, left):.0f} s more would be waited; try again then",
            retry_after=wait,
        )

    def __repr__(self) -> str:
        return repr(self._store)


def _now() -> float:
    return asyncio.get_running_loop().time()
