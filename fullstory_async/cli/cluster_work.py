"""The command ``cluster work``: one worker, until it is stopped or nothing is left."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fullstory_async.activations import Activations
from fullstory_async.cli.cluster_options import Cluster
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError, exit_for
from fullstory_async.cli.output import printable, write_stderr
from fullstory_async.cli.signals import asks_twice, exit_of_server, on_interrupt
from fullstory_async.client import FullStoryClient
from fullstory_async.config import ClientConfig
from fullstory_async.errors import FullStoryError, StorageError

if TYPE_CHECKING:
    from fullstory_async.cluster import PostgresStore
    from fullstory_async.cluster.worker import Worker

__all__ = ["work"]

_Flag = Parameter(negative="")
_INTERVAL = 30.0
"""Seconds between two lines of progress."""


def work(
    *,
    concurrency: int = 32,
    until_done: Annotated[bool, _Flag] = False,
    quiet: Annotated[bool, _Flag] = False,
    connection: Connection = Connection(),  # noqa: B008  (frozen)
    options: Cluster = Cluster(),  # noqa: B008
) -> Exit:
    """Fetch the added sessions, together with all other workers. One activation per session.

    Start as many workers as you like, on as many machines. They share the rate limit, the budget and the
    results. A worker that is killed loses nothing: others fetch its sessions, and at most the calls that it
    had in flight are paid for twice. Waits for new sessions, and for Postgres if it is away.

    Ctrl-C and SIGTERM wait up to 5 seconds for calls in flight; the second one quits at once. Exits with 7 if
    the budget is used up.

    Parameters
    ----------
    concurrency
        Maximum number of calls in flight.
    until_done
        End when all sessions are fetched or have failed: with 0, or with 3 if some failed.
    quiet
        Print only warnings and errors.
    """
    if concurrency < 1:
        raise UsageError("--concurrency must be 1 or more")

    async def run(config: ClientConfig) -> Exit:
        async with options.store(config) as store, options.queue() as queue:
            from fullstory_async.cluster.worker import Worker  # noqa: PLC0415  (as in `Cluster.queue`)

            async with FullStoryClient(config=config, limiter=store.limiter, ledger=store.ledger) as client:
                worker = Worker(store, client, queue, concurrency=concurrency, until_done=until_done)
                return await _run(worker, store, quiet=quiet)

    return connection.run(run)


async def _run(worker: Worker, store: PostgresStore, *, quiet: bool) -> Exit:
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        worker.stop(at_once=asks_twice(received))
        if len(received) == 1:
            write_stderr(
                "\nStopping: waiting up to 5 s for calls in flight (they may be billed). "
                "Press Ctrl-C again to quit now.\n"
            )

    fatal: FullStoryError | None = None
    printer = asyncio.create_task(_print_lines(worker, store)) if not quiet else None
    with on_interrupt(stop):
        try:
            await worker.run()
        except FullStoryError as error:
            fatal = error
        finally:
            if printer is not None:
                printer.cancel()
                await asyncio.wait([printer])
        if not quiet:
            write_stderr(await _line(worker, store))
    if fatal is not None:
        write_stderr(f"fullstory-async: {printable(str(fatal))}\n")
        return exit_for(fatal)
    if received:
        return exit_of_server(received[0])
    return Exit.SOME_FAILED if (await store.status()).failed else Exit.OK


async def _print_lines(worker: Worker, store: PostgresStore) -> None:
    while True:
        await asyncio.sleep(_INTERVAL)
        write_stderr(await _line(worker, store))


async def _line(worker: Worker, store: PostgresStore) -> str:
    """Return what this worker has done, and what all of them have."""
    counts = worker.counts
    parts = [f"this worker: {counts.done} fetched, {counts.failed} failed"]
    # it is away, which the reason for waiting says
    with suppress(StorageError):
        found = await store.status()
        limit = (
            "" if found.max_activations is None else f", {max(0, found.max_activations - found.spent)} left"
        )
        parts.append(f"all: {found.done + found.failed} of {found.sessions} sessions")
        parts.append(f"{Activations(found.spent, found.at_risk)}{limit}")
    if worker.waiting:
        parts.append(f"waiting: {printable(worker.waiting)}")
    return "; ".join(parts) + "\n"
