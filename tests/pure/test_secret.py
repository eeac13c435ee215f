"""A secret shows itself in no operation but `reveal`, and is revealed in few places."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint
import reprlib
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from rich.pretty import pretty_repr

import fullstory_async
from fullstory_async import (
    ClientConfig,
    ConfigurationError,
    FullStoryClient,
    InvalidSessionId,
    RateLimiter,
    ResponseCache,
    Secret,
    SessionId,
)
from fullstory_async.cli.app import run
from fullstory_async.cluster import Postgres, PostgresRateLimiter, RedisRateLimiter
from fullstory_async.jobs import JobReader
from fullstory_async.sandbox import Sandbox

KEY = "na1.CANARY/0f3a+="
PACKAGE = Path(fullstory_async.__file__).parent

SHOWN: dict[str, Callable[[Any], object]] = {
    "str": str, "repr": repr, "ascii": ascii, "format": format, "f-string": lambda s: f"{s} {s!r} {s!s:.80}", "%": lambda s: "%s %r" % (s, s),  # noqa: UP031

    "format with a width": lambda s: f"{s:>200.100}", "slice": lambda s: s[:4], "index": lambda s: s[0], "concatenation": lambda s: "x" + s,
    "concatenation before": lambda s: s + "x", "repetition": lambda s: s * 2, "iteration": list, "unpacking": lambda s: [*s], "join": "".join,
    "join of several": lambda s: ",".join([s] * 2), "encode": lambda s: s.encode("utf-8", "strict"), "bytes": bytes, "bytearray": bytearray, "length": len,
    "modulo": lambda s: s % (), "in": lambda s: "CANARY" in s, "replace": lambda s: s.replace("a", "b"), "split": lambda s: s.split("."),
    "json": json.dumps, "json by repr": lambda s: json.dumps(s, default=repr), "str's own methods": str.__str__, "vars": vars,
    "attributes": lambda s: [getattr(s, name) for name in dir(s) if name != "reveal"], "copy": lambda s: repr(copy.copy(s)), "deepcopy": lambda s: repr(copy.deepcopy([s])),
    "pickle": pickle.dumps, "reduce": lambda s: s.__reduce_ex__(4), "state": lambda s: [s.__getstate__()], "reprlib": reprlib.repr, "pprint": pprint.pformat,
    "rich": lambda s: pretty_repr({"key": s}), "attrs": lambda s: attrs.asdict(ClientConfig(api_key=s)), "log": lambda s: logging.makeLogRecord({"msg": "%s", "args": (s,)}).getMessage(),
    "a template": "{0} {0!r} {0:s}".format, "sum": lambda s: sum([s], ""), "sorted": lambda s: sorted([s, s]), "float": float, "int": int, "open": open,
}  # fmt: skip


@pytest.mark.parametrize("how", SHOWN)
def test_no_operation_shows_a_secret(how: str) -> None:
    """It either fails, with an error that does not show it, or returns something else."""
    try:
        result = SHOWN[how](Secret(KEY))
    except Exception as error:  # noqa: BLE001  # any will do
        result = f"{error!r} {error.__cause__!r}"
    for part in (KEY, KEY[:6], "CANARY"):
        assert part not in f"{result!r}{result}"


def test_it_can_be_compared_and_revealed() -> None:
    secret = Secret(KEY)
    assert secret.reveal() == KEY
    assert type(secret.reveal()) is str
    assert secret == Secret(KEY)
    assert secret != Secret("other")
    assert secret != 5
    assert len({secret, Secret(KEY), copy.copy(secret)}) == 1
    assert [bool(secret), bool(Secret(""))] == [True, False]
    assert secret.startswith("na1.")
    assert Secret.of(secret) is secret
    for wrong in (KEY.encode(), secret, None):
        with pytest.raises(TypeError, match="must be a str") as caught:
            Secret(cast("Any", wrong))
        assert "CANARY" not in shown_frames(caught.value)


def test_comparing_with_a_text_works_for_one_more_version() -> None:
    config = ClientConfig(api_key=KEY)
    with pytest.warns(DeprecationWarning, match="compare its reveal") as warned:
        assert config.api_key == KEY
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning):
        assert config.api_key != "other"
    assert "CANARY" not in str(warned[0].message)


@pytest.mark.row(100)
def test_row_100_fingerprints_never_change() -> None:
    """Every ledger, cache, shared limiter and job is filed under them; one of a masked key would be everybody's."""
    golden = {KEY: "10102ef2dab5e8d8", "eu1.a2V5": "cfa36893cd167eae", None: "a361c7de9e1a4705"}
    assert {key: ClientConfig(api_key=key).key_fingerprint for key in golden} == golden


def test_a_secret_is_revealed_in_few_places() -> None:
    """The API key for its header, when that is written, and for its fingerprint. The others are for other secrets."""
    places = Counter[str]()
    for path in {*PACKAGE.rglob("*.py")} - {PACKAGE / "secret.py"}:
        places[path.relative_to(PACKAGE).as_posix()] += path.read_text().count(".reveal(")
    assert +places == {
        "http/transport/tracking.py": 1,  # the header
        "config.py": 1,  # the fingerprint
        "networks.py": 7,  # a proxy's URL and login, the password of a private key
        "cli/connection.py": 1,  # a proxy's URL, without its login
        "cluster/redis_slots.py": 1,  # the URL of Redis
        "cluster/connections.py": 1,  # the DSN of Postgres
        "cluster/postgres.py": 2,  # the DSN's parts, and its password to redact messages of the server
    }


def shown_frames(error: BaseException) -> str:
    """Return the variables of all frames of an error but the test's own, and its text."""
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    ours = [frame for frame in frames if frame.filename != __file__]
    return f"{error!r} {[frame.locals for frame in ours]} {error.__cause__!r} {error.__context__!r}"


class Odd:
    """A value that fails in an unusual way wherever it is used, and shows what it was given."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError("odd")


URL = f"redis://:{KEY}@127.0.0.1:1"
WRONG: dict[str, Callable[[], object]] = {
    "a misspelt setting": lambda: ClientConfig(api_key=KEY, **cast("Any", {"ratelimit": 5})),
    "a misspelt setting of the client": lambda: FullStoryClient(KEY, **cast("Any", {"ratelimit": 5})),
    "a misspelt setting of the limiter": lambda: RedisRateLimiter(URL, ClientConfig(api_key=KEY), **cast("Any", {"nam": 5})),
    "a key by position": lambda: cast("Any", ClientConfig)(KEY),
    "too many by position": lambda: cast("Any", FullStoryClient)(KEY, KEY),
    "a wrong type": lambda: ClientConfig(api_key=KEY, rate_limit=cast("Any", 5)),
    "a wrong type of the client": lambda: FullStoryClient(KEY, limiter=cast("Any", 5)),
    "bytes": lambda: ClientConfig(api_key=cast("Any", KEY.encode())),
    "a key in another place": lambda: ClientConfig(rate_limit=cast("Any", KEY)),
    "a key as base URL": lambda: ClientConfig(base_url=KEY),
    "a key as list API": lambda: ClientConfig(list_api=cast("Any", KEY)),
    "a key as cache": lambda: FullStoryClient(KEY, cache=cast("Any", KEY), ledger=cast("Any", KEY)),
    "a key as a file": lambda: ClientConfig(ssl=KEY),
    "a key of the limiter": lambda: RateLimiter(cast("Any", KEY)),
    "a key as a timeout": lambda: RedisRateLimiter(URL, ClientConfig(api_key=KEY), timeout=cast("Any", KEY)),
    "a URL in another place": lambda: ClientConfig(max_wait=cast("Any", f"http://u:{KEY}@h")),
    "a URL as a file": lambda: ClientConfig(ssl=Path(f"http://u:{KEY[4:10]}@h")),
    "an odd value": lambda: ClientConfig(api_key=KEY, proxy_auth=cast("Any", Odd())),
    "an odd value of the client": lambda: FullStoryClient(KEY, hooks=cast("Any", Odd())),
    "a proxy of a wrong type": lambda: ClientConfig(api_key=KEY, proxy=cast("Any", f"http://u:{KEY}@h".encode())),
    "a proxy that is no URL": lambda: ClientConfig(api_key=KEY, proxy=f"socks5://u:{KEY}@h:x"),
    "a login of a wrong type": lambda: ClientConfig(api_key=KEY, proxy="http://h", proxy_auth=cast("Any", (KEY, KEY.encode()))),
    "a certificate": lambda: ClientConfig(api_key=KEY, client_cert=cast("Any", ("cert.pem", 5, KEY))),
    "a wrong URL of Redis": lambda: RedisRateLimiter(f"http://:{KEY}@h", ClientConfig(api_key=KEY)),
    "a URL of Redis in bytes": lambda: RedisRateLimiter(cast("Any", URL.encode()), ClientConfig(api_key=KEY)),
    "a DSN that can't be read": lambda: Postgres(f"host=h password={KEY} word"),
    "a DSN in bytes": lambda: Postgres(cast("Any", f"password={KEY}".encode())),
    "a DSN in another place": lambda: Postgres("", schema=f"postgresql://u:{KEY}@h"),
    "a misspelt setting of the database": lambda: Postgres(f"postgresql://u:{KEY}@h", **cast("Any", {"shema": "s"})),
    "a misspelt setting of its limiter": lambda: PostgresRateLimiter(f"postgresql://u:{KEY}@h", ClientConfig(api_key=KEY), **cast("Any", {"nam": 5})),
    "a wrong timeout of the limiter": lambda: RedisRateLimiter(URL, ClientConfig(api_key=KEY), timeout=0),
}  # fmt: skip


@pytest.mark.row(100)
@pytest.mark.parametrize("how", WRONG)
def test_row_100_no_constructor_shows_what_it_was_given(how: str) -> None:
    with pytest.raises((ConfigurationError, InvalidSessionId, TypeError, ZeroDivisionError)) as caught:
        WRONG[how]()
    assert "CANARY" not in shown_frames(caught.value)
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if frame.f_code.co_filename != __file__:  # also what hides in a subclass of str
            assert "CANARY" not in "".join(each for each in frame.f_locals.values() if isinstance(each, str))


@pytest.mark.row(121)
@pytest.mark.parametrize(
    "name", ["FULLSTORY_API_KEY_FILE", "FULLSTORY_BASE_URL", "HTTPS_PROXY", "SSL_CERT_FILE"]
)
def test_row_121_no_variable_is_shown_that_holds_the_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake is a likely one, and the message goes to the log of a service or of CI."""
    for value in (KEY, f"Basic {KEY}", f"ftp://u:{KEY[:9]}@h"):
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError, match=name) as caught:
            ClientConfig(api_key=None if "KEY" in name else "k", trust_env=True)
        assert "CANARY" not in shown_frames(caught.value)


MISPLACED: dict[str, Callable[[], object]] = {
    "a key as a session id": lambda: SessionId(KEY.replace("/", "_")),
    "a key as a path": lambda: ResponseCache(cast("Any", [KEY])),
    "a public URL": lambda: Sandbox(public_url=f"https://{KEY[4:10]}@sandbox.test"),
    "a key as a job": lambda: JobReader(cast("Any", [KEY])),
}


@pytest.mark.row(121)
@pytest.mark.parametrize("how", MISPLACED)
def test_row_121_no_message_shows_a_key_in_a_wrong_place(how: str) -> None:
    with pytest.raises((ConfigurationError, InvalidSessionId)) as caught:
        MISPLACED[how]()
    assert "CANARY" not in f"{caught.value} {caught.value!r} {caught.value.message}"
    assert "<secret>" in str(caught.value)


@pytest.mark.row(121)
@pytest.mark.parametrize(
    "arguments",
    [
        ["whoami", "--api-key-file", KEY], [f"--api-key={KEY}", "whoami"], ["whoami", KEY], ["whoami", "--rate", KEY], ["whoami", "--timeout", KEY],
        ["whoami", f"http://u:{KEY[:9]}@h"], ["whoami", "--ca-file", f"http://u:{KEY[:9]}@h"], ["events", KEY.replace("/", "_"), "--sandbox"],
        ["sandbox", "--public-url", f"https://{KEY[:9]}@h"], ["fetch", "--job", "j", "--events", "--max-failures", KEY], ["sessions", "--after", KEY, "--uid", "u"],
    ],
)  # fmt: skip
def test_row_121_no_usage_error_shows_the_key(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    shown = "".join(capsys.readouterr())
    assert "CANARY" not in shown
    assert "fullstory-async" in shown
