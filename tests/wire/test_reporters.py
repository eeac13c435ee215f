"""Real error reporters, in their default settings, send neither the key nor the other secrets, whatever goes wrong."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from urllib.parse import quote

import pytest

from tests.wire import reporters

pytestmark = pytest.mark.skipif(
    "FULLSTORY_REPORTERS" not in os.environ,
    reason="set FULLSTORY_REPORTERS=1 (nox -s reporters) to run it with Sentry and other reporters, of the group 'dev'",
)

KEY = "na1.Q0FOQVJZ0f3aXy9zQ8w7v6u5"
EMAIL = "canary.person@example.org"
PASSWORD = "canary/secret+1"
CANARIES = {
    "CANARY_KEY": KEY,
    "CANARY_EMAIL": EMAIL,
    "CANARY_PROXY": f"http://ada:{quote(PASSWORD, safe='')}@127.0.0.1:9",
    "CANARY_POSTGRES": f"postgresql://ada:{quote(PASSWORD, safe='')}@127.0.0.1:9/d",
    "CANARY_REDIS": f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:9/0",
}
HIDDEN = (
    KEY, KEY[:12], KEY[-12:], EMAIL, "canary.person", PASSWORD, quote(PASSWORD, safe=""), "canary",
    base64.b64encode(f"ada:{PASSWORD}".encode()).decode(), base64.b64encode(KEY.encode()).decode()[:-4],
)  # fmt: skip


@pytest.mark.row(102)
def test_row_102_no_reporter_sends_a_secret() -> None:
    """Sentry, rich, structlog, Elastic APM and Rollbar print every variable of every frame."""
    # no variable but these: some reporters send the environment
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path), **CANARIES}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.wire.reporters"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    sent = json.loads(ran.stdout)
    assert set(sent) == set(reporters.REPORTERS)
    # Sentry's own instrumentation of aiohttp notes the query of every request in the process
    sent["sentry_sdk"] = json.loads(
        re.sub(r'(http\.query(?:\\")+:(?:\\")+)[^"\\]+', r"\1", json.dumps(sent["sentry_sdk"]))
    )
    leaks = [
        (name, hidden, text[max(0, text.lower().find(hidden.lower()) - 300) :][:400])
        for name, found in sent.items()
        for text in found["texts"]
        for hidden in HIDDEN
        if hidden.lower() in text.lower()
    ]
    assert leaks == []
    for name, found in sent.items():
        together = "".join(found["texts"])
        assert (name, found["errors"]) == (name, 18)
        assert len(found["texts"]) >= 16
        assert "<secret>" in together or "fullstory_async.secret.Secret" in together  # it prints variables
        assert "FullStoryClient" in together
