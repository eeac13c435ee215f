"""The recipes of docs/testing.md with pytest-asyncio, anyio and pytest-recording, as a user has them."""

from __future__ import annotations

import pytest

from fullstory_async.sandbox import Sandbox, SandboxSession, SandboxUser
from fullstory_async.testing import running_sandbox
from tests.examples import ROOT, blocks

pytest_plugins = ["pytester"]

BOT, TESTS, ANYIO, COMMAND, *_, VCR = blocks(
    (ROOT / "docs" / "testing.md").read_text(encoding="utf-8"), "python"
)


def test_as_they_stand_with_pytest_asyncio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(bot=BOT, test_bot=TESTS, test_command=COMMAND)
    # pytest-asyncio warns where it is not set
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
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
        for query in ({"email": "ada@example.com"}, {"uid": "u-4711"}):
            sessions = await client.sessions.list(**query)
        events = await client.sessions.events(sessions[0])
        assert any(each.click for each in events)
        assert [each.type for each in events] == [each.type async for each in client.sessions.stream_events(sessions[0])]
        assert "A user whose address is" in (await client.sessions.summary(sessions[0])).text
        assert (await client.sessions.context(sessions[0])).pages
        assert (await client.whoami()).role == "ADMIN"
"""


IDENTIFY = {
    "event_type": "identify",
    "event_properties": {"user_id": "u-4711", "user_email": "ada@example.com", "user_display_name": "Ada L."},
    "source_properties": {"location": {"ip_address": "203.0.113.7", "lat_long": "33.75,-84.39"}},
}
SESSION = SandboxSession(
    user=SandboxUser(email="ada@example.com", uid="u-4711", name="Ada L."),
    events=[IDENTIFY, *[{"event_type": "click"}] * 300],
    summary="A user whose address is ada@example.com.",
)


def test_a_cassette_replays_without_a_network_and_holds_no_user(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_calls=RECORDED, conftest=VCR)
    with running_sandbox(sessions=[SESSION]) as sandbox:
        monkeypatch.setenv("FULLSTORY_API_KEY", sandbox.api_key)
        monkeypatch.setenv("FULLSTORY_BASE_URL", sandbox.url)
        pytester.runpytest_subprocess("--record-mode=once").assert_outcomes(passed=1)
        assert len(sandbox.requests) == 7
        [cassette] = (pytester.path / "cassettes").rglob("*.yaml")
        assert_scrubbed(cassette.read_text("utf-8"), sandbox)
    replay = pytester.runpytest_subprocess("--record-mode=none", "--block-network")
    replay.assert_outcomes(passed=1)


def assert_scrubbed(cassette: str, sandbox: Sandbox) -> None:
    assert "identify" in cassette
    assert sandbox.session_ids[0].partition(":")[0] in cassette
    key = sandbox.api_key.partition(".")[2]
    private = [key, "ada@", "ada%40", "u-4711", "Ada L.", "203.0.113.7", "33.75"]
    assert [text for text in private if text in cassette] == []
