"""pgbouncer in transaction mode, in front of a server of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.cluster.postgres_servers import PASSWORD, Server, unprivileged
from tests.faults.redis_servers import free_port
from tests.limits import SECONDS

_SETTINGS = """
[databases]
postgres = host=127.0.0.1 port={server} password='{password}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
server_login_retry = 1
default_pool_size = {size}
"""


@contextmanager
def pgbouncer(server: Server, *, size: int = 2) -> Iterator[str]:
    """Run one with so many connections to the server; yield the DSN."""
    binary = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert binary is not None, "install pgbouncer (Debian: apt-get install pgbouncer)"
    folder, port = Path(tempfile.mkdtemp(prefix="fullstory-pgbouncer-")), free_port()
    folder.chmod(0o755)
    settings = _SETTINGS.format(server=server.port, password=PASSWORD, port=port, folder=folder, size=size)
    (folder / "settings.ini").write_text(settings)
    (folder / "users").write_text(f'"postgres" "{PASSWORD}"\n')
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, folder / "settings.ini"], stdout=log, stderr=log, cwd=folder, **unprivileged()
        )
    try:
        dsn, end = server.dsn(port=port), time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(dsn, prepare_threshold=None).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.02)
        yield dsn
    finally:
        process.kill()
        process.wait(SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
