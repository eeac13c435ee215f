"""A FastAPI service: a session's events while they arrive, bulk jobs that survive a restart, and metrics.

Run it as ``uvicorn --timeout-graceful-shutdown 20 examples.fastapi_service:app`` with the key in
``FULLSTORY_API_KEY``::

    GET  /sessions/USER:SESSION/events   the events, one JSON object per line
    GET  /sessions/USER:SESSION/summary  the summary
    PUT  /jobs/friday                    start or resume a job, with a JSON list of ids
    GET  /jobs/friday                    its state
    GET  /metrics                        what the client has done, in Prometheus's text format

Under SIGTERM, uvicorn finishes the responses that it has begun; then each job stops: calls that were sent
have 5 seconds to finish, and their results are saved. To resume one, send its PUT again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, TypedDict

import fastapi
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    FullStoryClient,
    FullStoryError,
    JobLockedError,
    NotFoundError,
    ResponseCache,
    Scope,
    SessionEvent,
    SessionId,
    SessionSummary,
)
from fullstory_async.jobs import Job, JobPlan, JobReader, JobStatus

PLAN = JobPlan(events=True, max_activations=1000)
STATUSES: dict[type[FullStoryError], int] = {NotFoundError: 404, JobLockedError: 409}
STATUSES_OF_SCOPES = {
    Scope.BUDGET: 402,  # asking again is of no use until the budget is larger
    Scope.RATE: 503,
    Scope.SERVICE: 503,
    Scope.NETWORK: 503,
    Scope.STORAGE: 503,
}
"""Responses to errors; others, such as a rejected key, are not the caller's fault: 502."""

logger = logging.getLogger(__name__)


class Jobs:
    """The bulk jobs that run in this process, each in a folder of its own."""

    def __init__(self, client: FullStoryClient, folder: Path) -> None:
        """Create the folder of all jobs."""
        folder.mkdir(exist_ok=True)
        self._client, self._folder = client, folder
        self._running: dict[asyncio.Task[None], Job] = {}

    async def start(self, name: str, ids: list[SessionId]) -> None:
        """Start or resume a job, which runs beside the requests. Its ids are saved when this returns."""
        job = Job.open(self._folder / name, client=self._client, plan=PLAN)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(job)
            await job.add(ids)
            opened = stack.pop_all()
        self._running[task := asyncio.create_task(self._run(job, opened))] = job
        task.add_done_callback(self._running.pop)

    def status(self, name: str) -> JobStatus:
        """Return the state of a job, whichever process runs it."""
        if not (self._folder / name).exists():
            raise HTTPException(404, "no such job")
        return JobReader(self._folder / name).status()

    async def stop(self) -> None:
        """Stop all jobs, and wait until their results are saved."""
        for job in self._running.values():
            job.stop()
        if self._running:
            await asyncio.wait(self._running)

    @staticmethod
    async def _run(job: Job, opened: AsyncExitStack) -> None:
        try:
            async with opened:
                logger.info("job %s: %s", job.folder, (await job.run()).to_dict())
        except FullStoryError:
            logger.exception("job %s", job.folder)


class State(TypedDict):
    """What requests share."""

    client: FullStoryClient
    jobs: Jobs


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Open the client when the server starts; stop the jobs and close it when the server stops."""
    folder = Path(os.environ.get("SERVICE_FOLDER", "service"))
    config = ClientConfig.from_env(max_wait=2.0)  # rather a 503 than a response after the caller has left
    cache = ResponseCache(folder / "responses.cache")
    cap = int(os.environ.get("SERVICE_MONTHLY_CAP", "1000"))
    ledger = ActivationLedger(folder / "activations.ledger", monthly_cap=cap)
    async with FullStoryClient(config=config, cache=cache, ledger=ledger) as client:
        jobs = Jobs(client, folder)
        yield {"client": client, "jobs": jobs}
        await jobs.stop()


def get_client(request: Request) -> FullStoryClient:
    """Return the client of the whole program; a test may replace this dependency."""
    client: FullStoryClient = request.state.client
    return client


def get_jobs(request: Request) -> Jobs:
    """Return the jobs of this process."""
    jobs: Jobs = request.state.jobs
    return jobs


Client = Annotated[FullStoryClient, Depends(get_client)]
RunningJobs = Annotated[Jobs, Depends(get_jobs)]
JobName = Annotated[str, fastapi.Path(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]
app = FastAPI(lifespan=lifespan)


@app.get("/sessions/{session}/events", response_class=StreamingResponse)
async def stream_events(session: SessionId, client: Client) -> StreamingResponse:
    """Send the events of a session as they arrive."""
    events = client.sessions.stream_events(session, priority=True)
    first = await anext(events, None)  # an error that comes before it still has a status of its own
    return StreamingResponse(lines(first, events), media_type="application/x-ndjson")


async def lines(first: SessionEvent | None, events: AsyncGenerator[SessionEvent, None]) -> AsyncIterator[str]:
    """Yield each event as a line of JSON; after a failure, the last line has only ``error``."""
    async with aclosing(events):  # so that a caller who leaves frees the connection
        try:
            if first is not None:
                yield json.dumps(first.to_dict()) + "\n"
            async for event in events:
                yield json.dumps(event.to_dict()) + "\n"
        except FullStoryError as error:
            yield json.dumps({"error": type(error).__name__}) + "\n"


@app.get("/sessions/{session}/summary")
async def get_summary(session: SessionId, client: Client) -> SessionSummary:
    """Send the summary of a session."""
    return await client.sessions.summary(session, priority=True)


@app.put("/jobs/{name}", status_code=202)
async def start_job(name: JobName, ids: list[SessionId], jobs: RunningJobs) -> None:
    """Start or resume a job."""
    await jobs.start(name, ids)


@app.get("/jobs/{name}")
def get_job(name: JobName, jobs: RunningJobs) -> JobStatus:  # in a thread: it reads a file
    """Send the state of a job."""
    return jobs.status(name)


@app.get("/metrics", response_class=PlainTextResponse)
async def get_metrics(client: Client) -> str:
    """Send the client's counters, as Prometheus reads them."""
    return "".join(
        f"# TYPE fullstory_{name}_total counter\nfullstory_{name}_total {value}\n"
        for name, value in client.stats.to_dict().items()
    )


@app.exception_handler(FullStoryError)
async def respond_to_error(_: Request, error: FullStoryError) -> JSONResponse:
    """Send the status that an error stands for; its message may quote FullStory, and is for the log only."""
    logger.warning("%s", error)
    status = STATUSES.get(type(error)) or STATUSES_OF_SCOPES.get(error.scope, 502)
    headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    content = {"error": type(error).__name__, "may_have_cost": error.may_have_cost}
    return JSONResponse(content, status, headers)
