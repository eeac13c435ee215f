"""nginx and tinyproxy, as a company would run them, in front of a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trustme

from tests.limits import SECONDS, until
from tests.wire.proxies import bundle, certificate

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
NGINX, TINYPROXY = shutil.which("nginx", path=PATH), shutil.which("tinyproxy", path=PATH)
WANTED = os.environ.get("FULLSTORY_NETWORKS") == "1"

_NGINX = """
{user}
pid {folder}/nginx.pid;
worker_processes 1;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    server {{
        listen 127.0.0.1:{gateway} ssl;
        location /fullstory/ {{ proxy_pass {sandbox}/; }}
        location / {{ proxy_pass {sandbox}; }}
    }}
    server {{
        listen 127.0.0.1:{mutual} ssl;
        ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;
        location / {{ proxy_pass {sandbox}; }}
    }}
}}
"""
_TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
Allow 127.0.0.1
LogFile "{folder}/tinyproxy.log"
LogLevel Connect
Upstream http {inner} ".company.test"
ConnectPort 443
{more}
"""


@attrs.frozen
class Company:
    """A network: nginx as gateway, once with client certificates, and the files that a program needs."""

    folder: Path
    gateway: str
    mutual: str


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


@asynccontextmanager
async def company(folder: Path, sandbox_url: str, authority: trustme.CA) -> AsyncIterator[Company]:
    """Run nginx in front of a sandbox."""
    assert NGINX is not None
    server = authority.issue_cert("localhost", "127.0.0.1", "api.company.test")
    server.cert_chain_pems[0].write_to_path(folder / "server.pem")
    server.private_key_pem.write_to_path(folder / "server.key")
    bundle(folder).rename(folder / "company-ca.pem")
    bundle(folder)
    certificate(folder)
    gateway, mutual = free_ports(2)
    user = "user root;" if os.geteuid() == 0 else ""  # the workers read the folder of the test
    text = _NGINX.format(folder=folder, sandbox=sandbox_url, gateway=gateway, mutual=mutual, user=user)
    (folder / "nginx.conf").write_text(text)
    command = [
        NGINX,
        "-p",
        str(folder),
        "-e",
        str(folder / "error.log"),
        "-c",
        str(folder / "nginx.conf"),
        "-g",
        "daemon off;",
    ]
    async with running(command, gateway):
        yield Company(folder, f"https://localhost:{gateway}", f"https://localhost:{mutual}")


@asynccontextmanager
async def tinyproxy(folder: Path, inner: str, *more: str) -> AsyncIterator[tuple[str, Path]]:
    """Run tinyproxy with more lines of configuration; give its host and port, and its log.

    It passes requests for hosts of company.test on to another proxy, as no name server knows them.
    """
    assert TINYPROXY is not None
    [port] = free_ports(1)
    (folder / "tinyproxy.conf").write_text(
        _TINYPROXY.format(port=port, folder=folder, inner=inner, more="\n".join(more))
    )
    async with running([TINYPROXY, "-d", "-c", str(folder / "tinyproxy.conf")], port):
        yield f"127.0.0.1:{port}", folder / "tinyproxy.log"


@asynccontextmanager
async def running(command: Sequence[str], port: int) -> AsyncIterator[None]:
    """Run a server until the end of the block; it has started when its port answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, f"{command[0]} has ended: {process.returncode}"
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, SECONDS)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
