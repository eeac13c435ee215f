"""Jobs whose answers a test chooses, for exports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.sandbox import Fault, Sandbox

__all__ = ["event", "stored_job"]


def event(time: str, **properties: Any) -> dict[str, Any]:
    return {"event_type": "click", "event_time": time, "event_properties": properties}


def stored_job(folder: Path, answers: Mapping[str, Sequence[Mapping[str, Any]] | None]) -> JobReader:
    """Make a job with the events of each session; one without (None) has failed."""

    async def make() -> None:
        async with Sandbox(users=1, sessions=1, mean_events=1) as sandbox:
            for session, events in answers.items():
                if events is not None:
                    body = json.dumps({"events": events}).encode()
                    sandbox.inject(Fault.status(200, body=body), session_id=session, operation="events")
            config = ClientConfig(
                api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(10_000, 10_000)
            )
            async with (
                FullStoryClient(config=config) as client,
                Job.open(folder, client=client, plan=JobPlan(events=True)) as job,
            ):
                await job.add(list(answers))
                await job.run()

    asyncio.run(make())
    return JobReader(folder)
