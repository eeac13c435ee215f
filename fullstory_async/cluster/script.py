"""The script: one bucket for all processes, kept in one value, by the clock of the server that keeps it.

The algorithm is GCRA. A token bucket counts tokens; GCRA keeps one time, the *theoretical arrival time*, at
which the bucket would be full again. Each request moves it on by ``1/rate``, and a request may leave if it is
no more than ``(burst − 1)/rate`` ahead. A request may also ask early: it is given the time at which it may
leave, its *slot*, and waits by itself. So waiting costs the server nothing, and slots are given in the order
in which requests ask.

The value is three integers, in microseconds of the server's clock: *begin*, *arrival*, *seen*. Nothing leaves
before *begin*, and at that time the bucket is empty: a pause moves *begin* to its end, and no slot is given
during a pause. A value that is missing, lost or never written, starts with a *begin* of ``1/rate`` and a
guard from now. The empty bucket makes every loss harmless: the lost value may have let its whole burst go,
and the request after that would be due ``1/rate`` later. For the same reason the value may expire at any
time; it does a day after it was last needed.

Slots given before a pause or a loss are void. A process that waited for a slot checks whether *begin* is
still the same before it sends; one that waited for less than the guard does not, which is the purpose of the
guard.

*seen* is the time of the last change. A clock that reads less was set back, or belongs to another server:
then the bucket starts again too, and the rest of a pause counts from now on.

Valkey runs the script as it is, and so does any Redis since version 5.
"""

from __future__ import annotations

import math

import attrs

__all__ = ["GUARD", "SCRIPT", "Slot", "arguments", "parse_slot"]

GUARD = 0.05
"""Seconds for which a slot is valid without checking it again."""

_FOR_EVER = 1e9
"""Seconds, about thirty years: stands for infinity, since the script takes integers."""

SCRIPT = """
local interval, tolerance, guard = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local max_wait, pause, reset = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local soonest = now + guard + interval

local begin, arrival, seen = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+) (%d+)$')
begin, arrival, seen = tonumber(begin), tonumber(arrival), tonumber(seen)
if not begin then
  begin, arrival = soonest, soonest + tolerance
elseif now < seen or (reset and begin <= now) then
  begin = math.max(soonest, now + begin - math.max(now, seen))
  arrival = begin + tolerance
end
if pause > 0 and now + pause > begin then
  begin = math.max(soonest, now + pause)
  arrival = begin + tolerance
end

local slot, granted = math.max(now, begin, arrival - tolerance), 0
if slot - now <= max_wait and begin <= now then
  granted, arrival = 1, math.max(arrival, slot) + interval
end
local kept = string.format('%.0f %.0f %.0f', begin, arrival, now)
local life = math.ceil((math.max(begin, arrival) - now) / 1000) + 86400000
redis.call('SET', KEYS[1], kept, 'PX', string.format('%.0f', life))
return {granted, slot - now, begin - now, string.format('%.0f', begin)}
"""


@attrs.frozen
class Slot:
    """The script's result."""

    granted: bool
    """Whether the slot was given: not during a pause, nor if it is too far ahead."""
    wait: float
    """Seconds until the slot, from the time of the script."""
    pause: float
    """Seconds until the pause ends, 0.0 without one; part of ``wait``."""
    begin: str
    """The bucket's beginning, as text; the slot is void once it has changed."""

    def is_void(self, value: bytes | str | None) -> bool:
        """Return whether the slot is void, by the value that is stored now."""
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
        return text.partition(" ")[0] != self.begin


def arguments(
    rate: float, burst: float, *, max_wait: float, pause: float = 0.0, reset: bool = False
) -> list[int]:
    """Return the script's arguments.

    Args:
        rate: requests a second.
        burst: requests that may leave at once.
        max_wait: the wait in seconds up to which a slot is taken; below 0, none is.
        pause: seconds from now for which nothing may leave.
        reset: start with an empty bucket.
    """
    interval = math.ceil(1e6 / rate)
    return [
        interval,
        math.floor((burst - 1) * interval),
        round(GUARD * 1e6),
        round(min(max_wait, _FOR_EVER) * 1e6),
        round(min(pause, _FOR_EVER) * 1e6),
        int(reset),
    ]


def parse_slot(result: tuple[int, int, int, bytes | str]) -> Slot:
    """Read the script's result."""
    granted, wait, pause, begin = result
    text = begin.decode("ascii") if isinstance(begin, bytes) else begin
    return Slot(bool(granted), max(0, wait) / 1e6, max(0, pause) / 1e6, text)
