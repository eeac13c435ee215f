"""``fullstory-async mcp``: its options; tests/agents has the server."""

from __future__ import annotations

import importlib.abc
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

KEY = "a-token-of-the-tests"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget=-1"], "--budget must be 0 or more"),
        (["--ask-from=often"], 'is neither a number of activations nor "never"'),
        (["--monthly-cap=5"], "--monthly-cap needs --ledger"),
        (["--redact=user_email=blur"], "redact takes 'drop' or 'hash'"),
        (["--transport=http"], "needs a bearer token: set FULLSTORY_MCP_TOKEN, or give --token-file"),
        (["--transport=http", "--token-file=short"], "must have 16 printable characters or more"),
        (["--port=1"], "--port needs --transport http"),
        (["--transport=http", "--token-file=long", "--port=65536"], "--port must be from 0 to 65535"),
        (["--transport=http", "--token-file=long", "--port=-1"], "--port must be from 0 to 65535"),
        (["--job=nowhere"], "nowhere"),
    ],
)
def test_bad_options_are_reported(run: Run, tmp_path: Path, options: list[str], message: str) -> None:
    Path(tmp_path, "short").write_text("secret\n")
    Path(tmp_path, "long").write_text(KEY)
    code, out, err = run("mcp", "--sandbox", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert "secret" not in err


def test_a_redaction_of_no_documented_field_is_reported(run: Run) -> None:
    _, _, err = run("mcp", "--sandbox", "--redact=user_mail,user_email", "--monthly-cap=5")
    assert err == (
        "warning: --redact: no documented field is named user_mail\n"
        "fullstory-async: --monthly-cap needs --ledger\n"
    )


class _Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, *_: object) -> None:
        if name == "mcp":
            raise ModuleNotFoundError("No module named 'mcp'", name="mcp")


def test_without_the_sdk_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name
        for name in sys.modules
        if name == "mcp" or name.startswith(("mcp.", "fullstory_async.agents.serv"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Missing(), *sys.meta_path])
    code, _, err = run("mcp", "--sandbox")
    assert code == 2
    assert err == "fullstory-async: mcp is not installed: pip install 'fullstory-async[mcp]'\n"
