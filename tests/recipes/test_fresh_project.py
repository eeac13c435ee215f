"""A project with nothing installed but this package and pytest uses the fixtures."""

from __future__ import annotations

import importlib.util

import pytest

from tests.examples import ROOT, blocks

pytest_plugins = ["pytester"]

TESTS = """
import asyncio

async def call(client):
    async with client:
        return await client.whoami()

def test_a_call(fullstory_client, fullstory_sandbox, fullstory_config):
    assert asyncio.run(call(fullstory_client)).email == "admin@example.com"
    assert fullstory_config.base_url == fullstory_sandbox.url
"""


def test_the_fixtures_need_only_pytest(pytester: pytest.Pytester) -> None:
    command = blocks((ROOT / "docs" / "testing.md").read_text(encoding="utf-8"), "python")[3]
    pytester.makepyfile(test_call=TESTS, test_command=command)
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)
    pytester.runpytest_subprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.fullstory(*"])
    pytester.runpytest_subprocess("-p", "no:fullstory").assert_outcomes(errors=2)


def test_nothing_else_is_installed() -> None:
    assert importlib.util.find_spec("hypothesis") is None
