"""A sandbox in a process of its own that fails in one of twenty calls, in every way; it says where it is and serves until its input ends."""

from __future__ import annotations

import asyncio
import sys

from fullstory_async.sandbox import Sandbox, faults

SHARE = 0.05
FAULTS = [
    faults.status(500),
    faults.status(502, after_work=True),
    faults.status(503, headers={"Retry-After": "0"}),
    faults.status(429, headers={"Retry-After": "0"}),
    faults.status(200, body=b'{"events": [', after_work=True),
    faults.status(200, body=b"<html>oops</html>", headers={"Content-Type": "text/html"}, after_work=True),
    faults.delay(0.3),
    faults.drop(after_work=False),
    faults.drop(),
    faults.truncate(),
]


async def serve(sessions: int) -> None:
    async with Sandbox(users=20, sessions=sessions, mean_events=5, latency=0.01) as sandbox:
        for operation in ("events", "summary"):
            for fault in FAULTS:
                sandbox.inject(fault, operation=operation, times=None, share=SHARE / len(FAULTS))
        print(sandbox.url, sandbox.api_key, flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
