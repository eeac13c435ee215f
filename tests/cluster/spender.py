"""A process that reserves activations until there are none, and writes one line for each: ``python -m tests.cluster.spender``.

It writes "ready", and begins when it reads a line. Its arguments: DSN, schema, cap, callers at once, seconds by which its clock is wrong.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from fullstory_async.cluster import Postgres, PostgresLedger
from fullstory_async.errors import ActivationBudgetError, StorageError


async def main(dsn: str, schema: str, cap: str, callers: str, wrong_by: str) -> None:
    clock = time.time
    time.time = lambda: clock() + float(wrong_by)
    database = await Postgres(dsn, schema=schema).open()
    ledger = PostgresLedger(database, "the-key", budget="shared", max_activations=int(cap))

    await ledger.open()
    os.write(1, b"ready\n")
    sys.stdin.readline()

    async def spend() -> None:
        while True:
            try:
                reservation = await ledger.reserve()
            except ActivationBudgetError:
                return
            except StorageError as error:
                if error.permanent:
                    raise
                await asyncio.sleep(0.05)  # Postgres is away
            else:
                os.write(1, f"{reservation.month}\n".encode())
                await asyncio.sleep(0.01)  # so that the others get some too

    await asyncio.gather(*(spend() for _ in range(int(callers))))
    await ledger.finish()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
