from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fullstory_async.cli import main
from fullstory_async.sandbox import Sandbox
from fullstory_async.testing import running_sandbox
from tests.cli.forked import Forks
from tests.cli.terminals import Terminals

Run = Callable[..., tuple[int, str, str]]
"""Runs a command with the given arguments; returns its exit code, output and messages."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a directory of its own: its exit code, output and messages."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run_command


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox that lives as long as the test, and is what commands connect to by their environment."""
    with running_sandbox() as sandbox:
        monkeypatch.setenv("FULLSTORY_BASE_URL", sandbox.url)
        monkeypatch.setenv("FULLSTORY_API_KEY", sandbox.api_key)
        yield sandbox


@pytest.fixture
def terminals(forks: Forks) -> Terminals:
    """Commands on a terminal of their own, or without any."""
    return Terminals(forks)
