"""A worker that fetches the events of many sessions, and stops cleanly under SIGTERM, as in Kubernetes.

Run it as ``python -m examples.worker ids.txt worker.job`` with the key in ``FULLSTORY_API_KEY``. SIGTERM or
Ctrl-C ends the run: calls that were sent have 5 seconds to finish, and their results are saved. The next
start resumes, and pays for no session again. Keep the folder on a volume that outlives the pod, and
``terminationGracePeriodSeconds`` at 15 or more.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from fullstory_async import ClientConfig, FullStoryClient
from fullstory_async.jobs import Job, JobPlan, JobReport, StopReason

PLAN = JobPlan(events=True, max_activations=10_000)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def work(config: ClientConfig, ids: Iterable[str], folder: Path) -> JobReport:
    """Fetch what is left of a job until it is finished or a signal arrives."""
    loop = asyncio.get_running_loop()
    async with FullStoryClient(config=config) as client, Job.open(folder, client=client, plan=PLAN) as job:
        for number in SIGNALS:
            loop.add_signal_handler(number, job.stop)
        try:
            await job.add(ids)
            return await job.run()
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)


def main(ids: str, folder: str) -> int:
    """Run the worker; return its exit code: 0 unless a person has to look at it."""
    report = asyncio.run(work(ClientConfig.from_env(), Path(ids).read_text().split(), Path(folder)))
    print(json.dumps(report.to_dict()))  # one line for the log
    return 0 if report.reason in (StopReason.FINISHED, StopReason.INTERRUPTED) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
