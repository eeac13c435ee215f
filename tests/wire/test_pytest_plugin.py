"""The pytest plugin: its fixtures, its marker, and that it costs nothing until a fixture is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio.pytest_plugin
import pytest

import fullstory_async.client
import fullstory_async.sandbox
import fullstory_async.testing
from fullstory_async import pytest_plugin
from tests.examples import ROOT, blocks

pytest_plugins = ["pytester"]

# pytester forgets what its runs import, so all of it is imported above
IMPORTED = (fullstory_async.client, fullstory_async.sandbox, fullstory_async.testing)
PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # whether or not this package is installed, the plugin is loaded once, by its name
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def run_tests(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    # as objects, since other tests may have imported them before pytest could rewrite their assertions
    plugins = [pytest_plugin, anyio.pytest_plugin]
    arguments = ("-W", "error", "--strict-markers", "-p", "no:cacheprovider", *options)
    return pytester.runpytest_inprocess(*arguments, plugins=plugins)


def test_the_tests_of_the_docs_pass_with_anyio(run: pytest.Pytester) -> None:
    bot, tests, anyio, command, *_ = blocks(PAGE, "python")
    first_bot = (ROOT / "docs" / "first-bot.md").read_text(encoding="utf-8")
    answer, its_test = *blocks(first_bot, "python"), *blocks(first_bot, "py")
    run.makepyfile(
        bot=bot,
        test_bot=tests.replace("pytest.mark.asyncio", "pytest.mark.anyio"),
        first_bot=answer,
        test_first_bot=its_test.replace("from bot import", "from first_bot import"),
        conftest=anyio,
        test_command=command,
    )
    run_tests(run, "-k", "not command").assert_outcomes(passed=6, deselected=1)


def test_the_programs_of_the_docs_run(run: pytest.Pytester) -> None:
    own_data, unittest, double, autospec = (*blocks(PAGE, "python")[5:9],)
    run.makepyfile(test_unit=unittest)
    run_tests(run).assert_outcomes(passed=1)
    for program in (own_data, double, autospec):
        exec(compile(program, "testing.md", "exec"), {"__name__": "__main__"})


FIXTURES = """
import os
import threading
import urllib.request
import urllib.error
import pytest
from fullstory_async import ClientConfig, FullStoryClient
from fullstory_async.sandbox import Sandbox

pytestmark = pytest.mark.fullstory(sessions=3, wire="spec")

def test_synchronous(fullstory_sandbox):
    assert type(fullstory_sandbox) is Sandbox
    assert len(fullstory_sandbox.session_ids) == 3
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(fullstory_sandbox.url + "/me")

def test_the_environment_leads_to_it(fullstory_sandbox):
    assert not {"FULLSTORY_API_KEY_FILE", "FULLSTORY_PROXY", "FULLSTORY_RATE_LIMIT"} & os.environ.keys()
    assert os.environ["FULLSTORY_OWN"] == "stays"
    config = FullStoryClient().config
    assert config.base_url == fullstory_sandbox.url
    assert config.api_key.reveal() == fullstory_sandbox.api_key

@pytest.mark.fullstory(sessions=1, rate_limit=1, activation_quota=2, latency=0.01)
class TestOptions:
    @pytest.mark.fullstory(sessions=2)
    @pytest.mark.anyio
    async def test_nearest_mark_wins(self, fullstory_sandbox, fullstory_config, fullstory_client):
        assert len(fullstory_sandbox.session_ids) == 2
        assert type(fullstory_config) is ClientConfig
        assert type(fullstory_client) is FullStoryClient
        assert fullstory_client.config == fullstory_config
        async with fullstory_client as client:
            await client.whoami()
        assert [each.status for each in fullstory_sandbox.requests] == [200]

def test_nothing_is_left():
    assert os.environ["FULLSTORY_API_KEY"] == "na1.own"
    assert "FULLSTORY_BASE_URL" not in os.environ
    assert not [each for each in threading.enumerate() if each.name.startswith("fullstory-sandbox")]

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def test_fixtures_and_marks(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.own")
    monkeypatch.setenv("FULLSTORY_API_KEY_FILE", "/nowhere")
    monkeypatch.setenv("FULLSTORY_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("FULLSTORY_RATE_LIMIT", "1")
    monkeypatch.setenv("FULLSTORY_OWN", "stays")
    run.makepyfile(FIXTURES)
    run_tests(run).assert_outcomes(passed=4)


WRONG = """
import pytest

@pytest.mark.fullstory(session=5)
def test_name(fullstory_sandbox): ...

@pytest.mark.fullstory(50)
def test_position(fullstory_sandbox): ...

@pytest.mark.fullstory(wire="dead")
def test_value(fullstory_sandbox): ...
"""


def test_mistakes_in_the_mark_are_explained(run: pytest.Pytester) -> None:
    run.makepyfile(WRONG)
    result = run_tests(run)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "@pytest.mark.fullstory has no option 'session'; there are seed, users, sessions, *",
            "@pytest.mark.fullstory takes options by name, such as sessions=50, not 50",
            "@pytest.mark.fullstory: the sandbox's wire must be 'live' or 'spec', not 'dead'",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_nothing_is_imported_before_a_fixture_is_used(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(fullstory_client): ...\n")
    script = (
        "import sys, pytest\n"
        "code = pytest.main(['--collect-only', '-q', '-p', 'fullstory_async.pytest_plugin'])\n"
        "heavy = {'aiohttp', 'attr', 'msgspec', 'yarl', 'fullstory_async.errors', 'fullstory_async.testing'}\n"
        "assert code == 0 and not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
