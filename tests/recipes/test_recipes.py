"""The recipes of docs/testing.md with pytest-asyncio, anyio and pytest-recording, as a user has them."""

from __future__ import annotations

import pytest

from fullstory_async.sandbox import Sandbox
from fullstory_async.testing import running_sandbox
from tests.examples import ROOT, blocks

pytest_plugins = ["pytester"]

BOT, TESTS, ANYIO, COMMAND, *_, VCR = blocks(
    (ROOT / "docs" / "testing.md").read_text(encoding="utf-8"), "python"
)


def test_as_they_stand_with_pytest_asyncio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(bot=BOT, test_bot=TESTS, test_command=COMMAND)
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=6)


def test_with_anyio(pytester: pytest.Pytester) -> None:
    tests = TESTS.replace("pytest.mark.asyncio", "pytest.mark.anyio")
    pytester.makepyfile(bot=BOT, test_bot=tests, conftest=ANYIO)
    pytester.runpytest_subprocess("-W", "error", "-p", "no:asyncio").assert_outcomes(passed=5)


RECORDED = """
import pytest
from fullstory_async import FullStoryClient

pytestmark = [pytest.mark.asyncio, pytest.mark.vcr]

async def test_recorded():
    async with FullStoryClient() as client:
        for query in ({"email": "ada@example.com"}, {"uid": "u-1"}):
            sessions = await client.sessions.list(**query)
        events = await client.sessions.events(sessions[0])
        assert events.clicks()
        assert [each.type for each in events] == [each.type async for each in client.sessions.stream_events(sessions[0])]
        assert "Ada was active" in (await client.sessions.summary(sessions[0])).text
        assert (await client.sessions.context(sessions[0])).pages
        assert (await client.whoami()).role == "ADMIN"
"""


def test_a_cassette_replays_without_a_network_and_holds_no_user(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_calls=RECORDED, conftest=VCR)
    with running_sandbox(users=1, sessions=3, mean_events=300) as sandbox:
        monkeypatch.setenv("FULLSTORY_API_KEY", sandbox.api_key)
        monkeypatch.setenv("FULLSTORY_BASE_URL", sandbox.url)
        pytester.runpytest_subprocess("--record-mode=once").assert_outcomes(passed=1)
        assert len(sandbox.requests) == 7
        assert_scrubbed((pytester.path / "cassettes").rglob("*.yaml").__next__().read_text("utf-8"), sandbox)
    replay = pytester.runpytest_subprocess("--record-mode=none", "--block-network")
    replay.assert_outcomes(passed=1)


def assert_scrubbed(cassette: str, sandbox: Sandbox) -> None:
    [user] = sandbox.users
    assert "identify" in cassette
    assert sandbox.session_ids[0].partition(":")[0] in cassette
    texts = [
        sandbox.api_key,
        sandbox.api_key.partition(".")[2],
        user.email,
        user.email.replace("@", "%40"),
        user.uid,
    ]
    assert [text for text in texts if text in cassette] == []
    # the sandbox's own prose about a session names its user, as a real summary may
    assert "203.0.113.7" not in cassette
