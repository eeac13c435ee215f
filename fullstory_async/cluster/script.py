"""The script: one bucket for all, kept in one value, moved by the clock of the server that keeps it.

The algorithm is GCRA. Where a token bucket counts tokens, it keeps one time, the *theoretical arrival time* at which the
bucket would be full again: each request moves it on by ``1/rate``, and a request may leave when it is no more than
``(burst − 1)/rate`` ahead. The request need not be there yet: it is given the time at which it may leave, its *slot*, and waits by
itself. So waiting asks nothing of the server, and slots are given in the order in which they were asked for.

The value is three integers, in microseconds of the server's clock: *begin*, *arrival*, *seen*. Nothing leaves before *begin*, and at that time
the bucket is empty: a pause moves it to the pause's end. A value that is not there, lost or never written, is made with a *begin* of ``1/rate`` and a
guard from now. That an empty bucket follows is what makes every loss harmless: what was lost may have let its whole burst go, and the request
after that would be due ``1/rate`` later. For the same reason the value may expire at any time; it does a day after it was last needed.

Slots that were given before a pause or a loss are void. Who has waited for one asks whether *begin* is still the same before leaving on
it; who has waited for less than the guard does not, which is what the guard is for.

*seen* is the time of the last change. A clock that stands before it was set back, or is that of another server: then the bucket begins anew too, and
what was left of a pause counts from now on.

Valkey runs it as it is, and so does any Redis since version 5.
"""

from __future__ import annotations

import math

import attrs

__all__ = ["GUARD", "SCRIPT", "Slot", "arguments", "slot_of"]

GUARD = 0.05
"""Seconds for which a slot is good without asking again."""

_FOR_EVER = 1e9
"""Seconds, about thirty years: what stands for infinity where the script takes an integer."""

SCRIPT = """
local interval, tolerance, guard = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local longest, longest_pause = tonumber(ARGV[4]), tonumber(ARGV[5])
local pause, anew = tonumber(ARGV[6]), ARGV[7] == '1'
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local soonest = now + guard + interval

local begin, arrival, seen = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+) (%d+)$')
begin, arrival, seen = tonumber(begin), tonumber(arrival), tonumber(seen)
if not begin then
  begin, arrival = soonest, soonest + tolerance
elseif now < seen or (anew and begin <= now) then
  begin = math.max(soonest, now + begin - math.max(now, seen))
  arrival = begin + tolerance
end
if pause > 0 and now + pause > begin then
  begin = math.max(soonest, now + pause)
  arrival = begin + tolerance
end

local slot, granted = math.max(now, begin, arrival - tolerance), 0
if slot - now <= longest and begin - now <= longest_pause then
  granted, arrival = 1, math.max(arrival, slot) + interval
end
local kept = string.format('%.0f %.0f %.0f', begin, arrival, now)
local life = math.ceil((math.max(begin, arrival) - now) / 1000) + 86400000
redis.call('SET', KEYS[1], kept, 'PX', string.format('%.0f', life))
return {granted, slot - now, begin - now, string.format('%.0f', begin)}
"""


@attrs.frozen
class Slot:
    """What the script answers."""

    granted: bool
    """Whether the slot was given; it is not where it lies too far ahead."""
    wait: float
    """Seconds from then to the slot."""
    pause: float
    """Seconds from then to the end of the pause, if there is one; part of ``wait``."""
    begin: str
    """The bucket's beginning: the slot is void when it is another one."""

    def is_void(self, value: bytes | str | None) -> bool:
        """Tell whether the slot is void, by the value that is kept now."""
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
        return text.partition(" ")[0] != self.begin


def arguments(
    rate: float, burst: float, *, longest: float, max_pause: float, pause: float = 0.0, anew: bool = False
) -> list[int]:
    """Return the script's arguments.

    Args:
        rate: requests a second.
        burst: requests that may leave at once.
        longest: the wait in seconds up to which a slot is taken; below 0, none is.
        longest_pause: the same for the pause alone.
        pause: seconds from now for which nothing may leave.
        anew: begin with an empty bucket.
    """
    interval = math.ceil(1e6 / rate)
    return [
        interval,
        math.floor((burst - 1) * interval),
        round(GUARD * 1e6),
        round(min(longest, _FOR_EVER) * 1e6),
        round(min(max_pause, _FOR_EVER) * 1e6),
        round(min(pause, _FOR_EVER) * 1e6),
        int(anew),
    ]


def slot_of(answer: tuple[int, int, int, bytes | str]) -> Slot:
    """Read the script's answer."""
    granted, wait, pause, begin = answer
    text = begin.decode("ascii") if isinstance(begin, bytes) else begin
    return Slot(bool(granted), max(0, wait) / 1e6, max(0, pause) / 1e6, text)
