"""How tests run: async ones on a loop of their own, in virtual time where they are marked so, and leak-free."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import attrs
import hypothesis
import hypothesis.strategies
import pytest

from fullstory_async import ClientConfig
from tests import optional
from tests.cli.forked import Forks
from tests.faults.plugin import Outcomes
from tests.limits import A_TEST, SECONDS
from tests.patient_loop import PatientLoop
from tests.virtual_time import VirtualLoop

# The same examples in every run, so that a run that passes passes again; --hypothesis-profile=explore looks further.
hypothesis.settings.register_profile("default", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("default")

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
SETTINGS = ("api_key_file", "mcp_token", *(each.alias for each in attrs.fields(ClientConfig)))
OUTSIDE = {
    *(f"FULLSTORY_{name}".upper() for name in SETTINGS),
    *("SSL_CERT_FILE", "REQUEST_METHOD"),
    *PROXIES,
    *map(str.lower, PROXIES),
}
"""Variables that would change what tests do."""

UVLOOP = os.environ.get("FULLSTORY_UVLOOP") == "1"
"""Whether tests in real time run on uvloop instead of asyncio's own loop."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-reliability",
        action="store_true",
        help="write the fault matrix with this run's outcomes into docs/reliability.md",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-timeout reads the option
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("timeout") is None:
        config.option.timeout = A_TEST
    # PYTHONDONTWRITEBYTECODE is overruled, for this run and for the commands that tests start: without bytecode
    # each of them would compile all files again, which takes longer than most tests. It goes into __pycache__
    # folders beside the sources, which git ignores.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # commands that tests run must not ask whoever started the tests from a terminal
    os.environ["FULLSTORY_YES"] = "1"
    # under nohup, and in a shell's background jobs, they are ignored, which commands respect
    for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    config.addinivalue_line("markers", "virtual_time: run on a loop whose clock jumps to the next timer")
    config.addinivalue_line("markers", "smoke: one happy path of each public surface, in a few seconds")
    config.addinivalue_line(
        "markers", "real_time: run on a loop whose clock goes on while the machine stands still"
    )
    config.addinivalue_line("markers", "row(number): a test of that row of the fault matrix")
    config.pluginmanager.register(optional)
    config.pluginmanager.register(Outcomes(write=bool(config.getoption("write_reliability"))))


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import a share of the test files first: in a fresh copy, a worker then compiles some of them, not all."""
    config = session.config
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args != config.getini("testpaths"):
        return
    files = [
        file for file in sorted(optional.TESTS.rglob("test_*.py")) if optional.reason_to_skip(file) is None
    ]
    for file in files[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        # the collection imports it again, and reports what is wrong with it
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.relative_to(optional.TESTS.parent).with_suffix("").parts))


def pytest_collection_finish() -> None:
    # Hypothesis registers its random numbers with the first example, and warns if it finds nothing that refers to
    # them. What is frozen is not found.
    hypothesis.given(hypothesis.strategies.none())(lambda _: None)()
    # it stays until the end: the garbage collector need not go through all of it again and again
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    factory: Any = PatientLoop
    if pyfuncitem.get_closest_marker("virtual_time"):
        factory = VirtualLoop
    elif UVLOOP:
        factory = importlib.import_module("uvloop").new_event_loop
    elif pyfuncitem.get_closest_marker("real_time"):
        factory = asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_leaving_nothing(pyfuncitem.obj, arguments))
    return True


async def _leaving_nothing(test: Any, arguments: dict[str, Any]) -> None:
    await test(**arguments)
    for _ in range(3):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"the test left tasks behind: {left}"


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Commands as processes, which cost little."""
    with Forks() as forks:
        yield forks


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OUTSIDE & os.environ.keys():
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_threads_of_ours_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield

    def left() -> list[str]:
        names = [thread.name for thread in set(threading.enumerate()) - before]
        return [name for name in names if name.startswith("fullstory")]

    # one that has done its work may not have ended yet, or may be starting another to end its own
    end = time.monotonic() + SECONDS
    while left() and time.monotonic() < end:
        time.sleep(0.005)
    assert not left(), f"the test left threads behind: {left()}"
