"""Durable bulk jobs: kill the process at any time, run it again, lose no response and pay for none twice.

::

    plan = JobPlan(events=True, summary="support", max_activations=5_000)
    async with Job.open("friday.job", client=client, plan=plan) as job:
        await job.add(ids)
        print(job.estimate())
        report = await job.run()

A job is a folder. `JobReader` reads it without a client, even while another process runs it.
"""

from fullstory_async.jobs.added import Added
from fullstory_async.jobs.job import Job
from fullstory_async.jobs.plan import JobEstimate, JobPlan
from fullstory_async.jobs.reader import JobReader
from fullstory_async.jobs.report import JobProgress, JobReport, StopReason
from fullstory_async.jobs.storage.records import JobFailure, JobResult, JobStatus
from fullstory_async.jobs.storage.state import Counts

__all__ = [
    "Added",
    "Counts",
    "Job",
    "JobEstimate",
    "JobFailure",
    "JobPlan",
    "JobProgress",
    "JobReader",
    "JobReport",
    "JobResult",
    "JobStatus",
    "StopReason",
]
