"""A web service in several processes: what the workers of a prefork server share, and what each one makes.

Run it as ``gunicorn -k uvicorn.workers.UvicornWorker -w 4 examples.prefork:app`` with the key in
``FULLSTORY_API_KEY``, and ask ``GET /sessions/USER:SESSION``. It is plain ASGI, so any other server runs it.

* Made before the fork, or from the environment in each worker: the settings.
* Made by each worker when it starts, in its own event loop: the client with its connections.
* Shared through files: the ledger, which keeps all workers within one budget, and caches.
* Divided: the rate. Each worker has 1/N of it, or all ask Postgres or Redis (docs/cluster.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    FullStoryClient,
    FullStoryError,
    InvalidSessionId,
    NotFoundError,
    SessionId,
)

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class App:
    """The application of one worker: opens a client when the server starts it."""

    def __init__(self, *, workers: int, ledger: str, monthly_cap: int) -> None:
        """Keep the settings; nothing is opened before the server says so, after the fork."""
        self._workers = workers
        self._ledger = ledger
        self._monthly_cap = monthly_cap
        self._client: FullStoryClient | None = None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            status, body = await self._respond(scope["path"])
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        config = ClientConfig.from_env(max_wait=2.0)  # a person waits for the response
        whole = config.rate_limit
        share = attrs.evolve(
            whole, rate=whole.rate / self._workers, burst=max(1.0, whole.burst / self._workers)
        )
        config = attrs.evolve(config, rate_limit=share)
        ledger = ActivationLedger(self._ledger, monthly_cap=self._monthly_cap)
        async with FullStoryClient(config=config, ledger=ledger) as self._client:
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown, when all responses have been sent
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, path: str) -> tuple[int, dict[str, Any]]:
        if self._client is None or not path.startswith("/sessions/"):
            return 404, {"error": "ask for /sessions/USER:SESSION"}
        try:
            session_id = SessionId(path.removeprefix("/sessions/"))
            return 200, (await self._client.sessions.events(session_id, priority=True)).to_dict()
        except InvalidSessionId as error:
            return 422, {"error": error.message}
        except NotFoundError:
            return 404, {"error": "no such session"}
        except FullStoryError as error:
            # the message may quote the service, so it is for the log and not for users
            return 503, {"error": type(error).__name__, "retry_after": error.retry_after}


app = App(
    workers=int(os.environ.get("WEB_CONCURRENCY", "4")),  # gunicorn's own variable
    ledger=os.environ.get("FULLSTORY_LEDGER", "fullstory.ledger"),
    monthly_cap=int(os.environ.get("FULLSTORY_MONTHLY_CAP", "1000")),
)
