"""Pytest plugin: the fixtures and the marker for tests of programs that use this package.

It is loaded with every run of pytest, so it imports nothing but pytest until a fixture is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

if TYPE_CHECKING:
    from fullstory_async.client import FullStoryClient
    from fullstory_async.config import ClientConfig
    from fullstory_async.sandbox import Sandbox
    from fullstory_async.testing import SandboxOptions

__all__ = ["fullstory_client", "fullstory_config", "fullstory_sandbox", "pytest_configure"]

_MARKER = "fullstory"
_UNLIMITED = 1e6
"""Requests per second that no test reaches."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(**options): options of the sandbox behind the fixtures, "
        "such as sessions=50, wire='spec', rate_limit=10, activation_quota=5, latency=0.1",
    )


@pytest.fixture
def fullstory_sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a local FullStory in a thread; its key and URL are in the environment during the test.

    The marker ``fullstory`` sets its options.
    """
    import attrs  # noqa: PLC0415

    from fullstory_async.config import ClientConfig  # noqa: PLC0415
    from fullstory_async.errors import ConfigurationError  # noqa: PLC0415
    from fullstory_async.testing import running_sandbox  # noqa: PLC0415

    options = _options(request.node)
    with contextlib.ExitStack() as stack:
        try:
            sandbox = stack.enter_context(running_sandbox(**options))
        except ConfigurationError as error:
            pytest.fail(f"@pytest.mark.{_MARKER}: {error}", pytrace=False)
        # the developer's own settings are not for tests
        settings = [each.alias for each in attrs.fields(ClientConfig)]
        for name in ("api_key_file", *settings):
            monkeypatch.delenv(f"FULLSTORY_{name}".upper(), raising=False)
        monkeypatch.setenv("FULLSTORY_API_KEY", sandbox.api_key)
        monkeypatch.setenv("FULLSTORY_BASE_URL", sandbox.url)
        yield sandbox


@pytest.fixture
def fullstory_config(fullstory_sandbox: Sandbox) -> ClientConfig:
    """Return the settings of a client of the sandbox, with the rate limit lifted."""
    from fullstory_async.config import ClientConfig  # noqa: PLC0415
    from fullstory_async.ratelimit.limiter import RateLimit  # noqa: PLC0415

    return ClientConfig(
        api_key=fullstory_sandbox.api_key,
        base_url=fullstory_sandbox.url,
        rate_limit=RateLimit(_UNLIMITED, _UNLIMITED),
    )


@pytest.fixture
def fullstory_client(fullstory_config: ClientConfig) -> FullStoryClient:
    """Return a client of the sandbox. The test opens it: ``async with fullstory_client as client:``."""
    from fullstory_async.client import FullStoryClient  # noqa: PLC0415

    return FullStoryClient(config=fullstory_config)


def _options(node: Any) -> SandboxOptions:
    """Return the options of a test's markers; a nearer one overrides those of its class or module."""
    from fullstory_async.testing import sandbox_thread  # noqa: PLC0415

    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers(_MARKER))):
        if marker.args:
            _fail(f"takes options by name, such as sessions=50, not {marker.args[0]!r}")
        known = sandbox_thread.SandboxOptions.__annotations__
        for name in marker.kwargs:
            if name not in known:
                _fail(f"has no option {name!r}; there are {', '.join(known)}")
        options |= marker.kwargs
    return cast("SandboxOptions", options)


def _fail(problem: str) -> NoReturn:
    pytest.fail(f"@pytest.mark.{_MARKER} {problem}", pytrace=False)
