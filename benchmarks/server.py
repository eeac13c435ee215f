"""A server that is not the bottleneck: prepared responses from a bare asyncio protocol.

It runs in its own process. The path selects the response:

* ``/live/…/v2/sessions/200%3A7/events``: 200 events in the live form (``/spec``: the published form);
* ``/live/…/v2/sessions/mix%3A7/events``: the eighth body of the mix;
* ``/live/delay=0.08/…``: the response after a delay, in seconds;
* ``/live/limit=100,100,run1/…``: the token bucket ``run1`` with that rate and burst is enforced;
* ``/stats/run1``: the statistics of that bucket.

``python -m benchmarks.server`` prints its port.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from benchmarks.bodies import FORMS, MIX, body_of, mixed_bodies

__all__ = ["SIZES", "pin", "running", "with_ids"]

SIZES = (10, 200, 2_000, 20_000)
_PATH = re.compile(
    rb"GET /(?:(live|spec)/(?:delay=([0-9.]+)/|limit=([0-9.]+),([0-9.]+),(\w+)/)?|stats/(\w+))"
)
_SESSION = re.compile(rb"/sessions/(\w+)%3A([0-9]+)/")


@attrs.define
class Bucket:
    """A strict token bucket that records the requests."""

    rate: float
    burst: float
    level: float = 0.0
    at: float = 0.0
    refused: int = 0
    admitted: list[float] = attrs.field(factory=list)

    def admits(self, now: float) -> bool:
        """Take a token; return whether there was one."""
        self.level, self.at = max(0.0, self.level - (now - self.at) * self.rate), now
        if self.level + 1 > self.burst:
            self.refused += 1
            return False
        self.level += 1
        self.admitted.append(now)
        return True

    def stats(self) -> bytes:
        """Return a response with the counts, the share of the limit used and the busiest second."""
        times = self.admitted
        seconds = times[-1] - times[0]
        busiest, first = 0, 0
        for last, when in enumerate(times):
            while times[first] < when - 1.0:
                first += 1
            busiest = max(busiest, last - first + 1)
        found = {
            "admitted": len(times), "refused": self.refused, "seconds": seconds,
            "used": len(times) / (self.burst + self.rate * seconds),
            "busiest_second": busiest / (self.burst + self.rate),
        }  # fmt: skip
        return answer(json.dumps(found).encode())


_IDS = re.compile(rb'(\{"events":\[\{"device_id":")\d+(","session_id":")\d+')


def with_ids(device: bytes, session: bytes, body: bytes) -> bytes:
    """Return a body of which the first event has the ids of the request, as FullStory's have."""
    return _IDS.sub(rb"\g<1>%b\g<2>%b" % (device, session), body, count=1)


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    """Return a complete HTTP response."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


NOT_FOUND = answer(b"{}", "404 Not Found")
TOO_MANY = answer(b"{}", "429 Too Many Requests", "Retry-After: 1\r\n")


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self, answers: dict[tuple[bytes, bytes], bytes], buckets: dict[bytes, Bucket]) -> None:
        self.answers, self.buckets = answers, buckets
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        *requests, self.waiting = self.waiting.split(b"\r\n\r\n")
        for request in requests:
            self.serve(request)

    def serve(self, request: bytes) -> None:
        form, delay, rate, burst, name, asked = _PATH.match(request).groups()
        if asked is not None:
            self.transport.write(self.buckets[asked].stats())
            return
        session = _SESSION.search(request)
        if session is None:
            self.transport.write(NOT_FOUND)
            return
        size, number = session.groups()
        body = self.answers[form, size if size != b"mix" else b"mix%d" % (int(number) % MIX)]
        ready = answer(with_ids(size, number, body))
        if name is not None:
            bucket = self.buckets.setdefault(name, Bucket(float(rate), float(burst)))
            if not bucket.admits(asyncio.get_running_loop().time()):
                ready = TOO_MANY
        if delay is not None:
            asyncio.get_running_loop().call_later(float(delay), self.transport.write, ready)
        else:
            self.transport.write(ready)


async def serve(sizes: list[int]) -> None:
    answers = {(form.encode(), b"%d" % size): body_of(size, form) for form in FORMS for size in sizes}
    answers |= {(b"live", b"mix%d" % n): body for n, body in enumerate(mixed_bodies())}
    buckets: dict[bytes, Bucket] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(answers, buckets), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def pin(core: int) -> None:
    """Pin this process to one core, if the system has several and allows it."""
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


@contextmanager
def running(sizes: tuple[int, ...] = SIZES) -> Iterator[str]:
    """Run a server in its own process; yield its URL."""
    command = [sys.executable, "-m", "benchmarks.server", *map(str, sizes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


if __name__ == "__main__":
    pin(0)
    asyncio.run(serve([int(size) for size in sys.argv[1:]]))
