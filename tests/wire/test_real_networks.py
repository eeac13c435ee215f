"""The examples of docs/networks.md and the refusals, with nginx and tinyproxy."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from fullstory_async import ConnectError, FullStoryError, ProxyError, RetryPolicy
from fullstory_async.sandbox import Sandbox
from tests.examples import ROOT, blocks
from tests.limits import SECONDS
from tests.wire.proxies import AUTHORITY, proxy_server
from tests.wire.real_networks import NGINX, TINYPROXY, WANTED, Company, company, tinyproxy
from tests.wire.servers import client_of

pytestmark = [
    pytest.mark.skipif(not WANTED, reason="set FULLSTORY_NETWORKS=1 (nox -s networks) to run it with nginx and tinyproxy"),
    pytest.mark.skipif(
        WANTED and not (NGINX and TINYPROXY), reason="install nginx and tinyproxy (Debian: apt-get install nginx tinyproxy) to run it"
    ),
]  # fmt: skip

PAGE = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
PYTHON = blocks(PAGE, "python")
COMMANDS = [
    line.removeprefix("$ ")
    for block in blocks(PAGE, "console")
    for line in block.splitlines()
    if line.startswith("$ ")
]
AGAIN = RetryPolicy(attempts=3, wait_initial=0.01, wait_jitter=0, repeat_metered=True)


@attrs.frozen
class Office:
    """A company's network with a sandbox and a proxy."""

    sandbox: Sandbox
    company: Company
    proxy: str
    log: Path

    @property
    def logged(self) -> list[str]:
        """The requests that reached the proxy."""
        return [line for line in self.log.read_text().splitlines() if "Request (file descriptor" in line]


@asynccontextmanager
async def office(folder: Path, *proxy_settings: str) -> AsyncIterator[Office]:
    async with Sandbox(users=1, sessions=1) as sandbox, company(folder, sandbox.url, AUTHORITY) as here:
        async with proxy_server(target=here.gateway) as inner:
            host = inner.url.removeprefix("http://")
            async with tinyproxy(folder, host, *proxy_settings) as (proxy, log):
                yield Office(sandbox, here, proxy, log)


async def run(office: Office, command: list[str], text: str) -> tuple[int, str]:
    """Run an example in the company's folder, with local addresses in the place of the company's."""
    here, is_proxied = office.company, "roxy" in text or "trust_env" in text
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "FULLSTORY_API_KEY": office.sandbox.api_key, "PROXY_PASSWORD": "s3cret",
        # this machine is never reached through a proxy of the environment
        "FULLSTORY_BASE_URL": "https://api.company.test" if is_proxied else here.gateway,
    }  # fmt: skip
    # examples without a bundle are meant for certificates that every system trusts
    if "company-ca.pem" not in text:
        environment["SSL_CERT_FILE"] = "company-ca.pem"
    if "trust_env" in text:
        environment["HTTPS_PROXY"] = f"http://{office.proxy}"
    for name, local in (
        ("https://gateway.company.test", here.gateway), ("https://mutual.company.test", here.mutual),
        ("proxy.company.test:3128", office.proxy),
    ):  # fmt: skip
        text = text.replace(name, local)
    process = await asyncio.create_subprocess_exec(
        *command, text, cwd=here.folder, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(SECONDS):
        printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


async def test_the_examples_of_the_page(tmp_path: Path) -> None:
    """One after another in one network: starting it costs more than an example."""
    python, shell = [sys.executable, "-W", "error", "-c"], ["bash", "-euo", "pipefail", "-c"]
    ran = 0
    for needs_login in (False, True):
        folder = tmp_path / str(needs_login)
        folder.mkdir()
        async with office(folder, *(["BasicAuth ada s3cret"] if needs_login else [])) as here:
            examples = [(python, text) for text in PYTHON] + [(shell, text) for text in COMMANDS]
            for command, text in examples:
                if ("PROXY_PASSWORD" in text) is not needs_login:
                    continue
                ran, before = ran + 1, len(here.logged)
                code, printed = await run(here, command, text)
                assert (code, "SANDBOX" in printed) == (0, True), f"{text}\n{printed}"
                is_proxied = "roxy" in text or "trust_env" in text
                assert len(here.logged) - before == is_proxied, f"{text}\n{here.log.read_text()}"
    assert ran == len(PYTHON) + len(COMMANDS) == 15


async def refused(client: Any) -> FullStoryError:
    with pytest.raises(FullStoryError) as caught:
        await client.sessions.events("1:2")
    error = caught.value
    assert (error.attempts, error.permanent, error.may_have_cost) == (1, True, False)
    return error


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_tinyproxy_refuses(scheme: str, tmp_path: Path) -> None:
    """It refuses a wrong login with 401, and by a filter with 403. A call and a fan-out of 400 ids ask once together."""
    settings: dict[str, Any] = {"allow_http": True, "retry": AGAIN}
    (tmp_path / "filter").write_text("other.test\n")
    for number, lines in enumerate(
        (["BasicAuth ada s3cret"], [f'Filter "{tmp_path}/filter"', "FilterDefaultDeny Yes"])
    ):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        async with office(folder, *lines) as here:
            settings["proxy"], settings["proxy_auth"] = f"http://{here.proxy}", ("ada", "wr0ng")
            async with client_of(f"{scheme}://api.company.test", **settings) as client:
                error = await refused(client)
                assert (type(error), error.status) == (ProxyError, 401 if number == 0 else 403)
                with pytest.raises(ProxyError):
                    async with client.sessions.events_many(
                        [f"1:{n}" for n in range(400)], concurrency=50
                    ) as outcomes:
                        async for outcome in outcomes:
                            assert type(outcome.error) is ProxyError
            assert len(here.logged) == 1
            assert here.sandbox.requests == []


async def test_nginx_demands_a_client_certificate_or_has_one_that_is_not_trusted(tmp_path: Path) -> None:
    async with Sandbox(users=1, sessions=1) as sandbox, company(tmp_path, sandbox.url, AUTHORITY) as here:
        ca, cert = tmp_path / "company-ca.pem", (tmp_path / "client.pem", tmp_path / "client.key")
        async with client_of(here.mutual, ssl=ca, retry=AGAIN) as client:
            error = await refused(client)
            assert type(error) is ConnectError
            assert "the server requires a client certificate: give one as client_cert" in error.message
        async with client_of(here.gateway, retry=AGAIN) as client:
            error = await refused(client)
            assert "unable to get local issuer certificate" in error.message
            assert "--ca-file" in error.message
        async with client_of(here.gateway.replace("https", "http"), retry=AGAIN) as client:
            assert "the base URL has to begin with https://" in (await refused(client)).message
        assert sandbox.requests == []
        async with client_of(here.mutual, ssl=ca, client_cert=cert) as client:
            with pytest.raises(FullStoryError):  # the sandbox knows another key
                await client.whoami()
        assert len(sandbox.requests) == 1
