"""One server of Postgres for the tests of engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.postgres_servers import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()
