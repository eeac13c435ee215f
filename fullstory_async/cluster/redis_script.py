"""The script: one bucket for all processes, kept in one value, by the clock of the Redis that keeps it.

How it decides is described in `fullstory_async.cluster.slots`. A value may expire at any time, since a bucket
that is missing starts empty; it does a day after it was last needed.

Valkey runs the script as it is, and so does any Redis since version 5.
"""

from __future__ import annotations

from fullstory_async.cluster.slots import Grant

__all__ = ["SCRIPT", "parse", "parse_begin"]

SCRIPT = """
local interval, tolerance, guard = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local max_wait, pause, reset = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local wanted = tonumber(ARGV[7])
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

local offset, granted = math.max(now, begin, arrival - tolerance) - now, 0
if offset <= max_wait and begin <= now then
  granted, arrival = wanted, math.max(arrival, now)
  offset, arrival = arrival - tolerance - now, arrival + wanted * interval
end
local kept = string.format('%.0f %.0f %.0f', begin, arrival, now)
local life = math.ceil((math.max(begin, arrival) - now) / 1000) + 86400000
redis.call('SET', KEYS[1], kept, 'PX', string.format('%.0f', life))
return {granted, offset, begin - now, string.format('%.0f', begin)}
"""


def parse(result: tuple[int, int, int, bytes | str]) -> Grant:
    """Read the script's result."""
    return Grant.parse(*result)


def parse_begin(value: bytes | str | None) -> str:
    """Return the beginning of the bucket that is stored; empty if none is."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
    return text.partition(" ")[0]
