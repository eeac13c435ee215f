"""A sandbox in a process of its own that fails in one of twenty calls, in every way; it says where it is and serves until its input ends."""

from __future__ import annotations

import asyncio
import sys

from fullstory_async.sandbox import Fault, Sandbox

SHARE = 0.05
FAULTS = [
    Fault.status(500),
    Fault.status(502, charged=True),
    Fault.retry_after(0, code=503),
    Fault.retry_after(0),
    Fault.status(200, body=b'{"events": [', charged=True),
    Fault.html_error_page(200, charged=True),
    Fault.stall(0.3),
    Fault.drop(charged=False),
    Fault.reset(),
    Fault.stale_connection(),
    Fault.truncate_body(),
    Fault.truncate_body(framing="close"),
    Fault.bad_gzip(),
    Fault.invalid_utf8(),
    Fault.deep_json(),
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
