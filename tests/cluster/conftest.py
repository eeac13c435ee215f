"""One server of Postgres for each worker of pytest, and one schema for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fullstory_async.cluster.postgres import Postgres
from tests.cluster.postgres_servers import Server, new_name


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres(_server: Server) -> Server:
    """The server, which runs; a test may kill it."""
    _server.start()
    return _server


@pytest.fixture
def schema() -> str:
    """The name of a schema that no other test uses."""
    return new_name("test")


@pytest.fixture
def database(postgres: Server, schema: str) -> Postgres:
    """A database that is not opened yet, in a schema of its own."""
    return Postgres(postgres.dsn(), schema=schema)
