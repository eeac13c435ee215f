"""The package's own pytest plugin, also where the package was not installed but is on the path."""

from __future__ import annotations

import pytest

from fullstory_async import pytest_plugin

_ENTRY_POINT = "fullstory"


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin(_ENTRY_POINT):
        config.pluginmanager.register(pytest_plugin, _ENTRY_POINT)
