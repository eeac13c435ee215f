"""ClientConfig: defaults, the environment, and a clear word for each bad value."""

from __future__ import annotations

import copy
import math
import pickle
import traceback
from typing import Any

import attrs
import pytest
from yarl import URL

from fullstory_async import (
    ClientConfig,
    ConfigurationError,
    FullStoryClient,
    RateLimit,
    RateLimiter,
    RetryPolicy,
    Secret,
)

KEY = "na1.c2VjcmV0L0RFTU8="


def test_the_region_follows_the_key() -> None:
    assert ClientConfig(api_key=KEY).base_url == "https://api.fullstory.com"
    assert ClientConfig(api_key="old-key").base_url == "https://api.fullstory.com"
    assert ClientConfig(api_key="eu1.abc").base_url == "https://api.eu1.fullstory.com"
    assert (
        ClientConfig(api_key="eu1.abc", base_url="https://proxy.test/fs").base_url == "https://proxy.test/fs"
    )


def test_the_environment_fills_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", KEY)
    monkeypatch.setenv("FULLSTORY_BASE_URL", "http://127.0.0.1:8765")
    config = ClientConfig()
    assert (config.api_key, config.base_url) == (Secret(KEY), "http://127.0.0.1:8765")
    assert ClientConfig(api_key="other").api_key == Secret("other")
    assert FullStoryClient().config == config


def test_a_key_given_apart_takes_its_region_along() -> None:
    config = ClientConfig(rate_limit=RateLimit(3, 3))
    assert config.api_key is None
    client = FullStoryClient("eu1.abc", config=config)
    assert client.config.base_url == "https://api.eu1.fullstory.com"
    assert client.config.rate_limit == RateLimit(3, 3)
    for url in ("https://x.test", "https://api.fullstory.com"):
        assert FullStoryClient("eu1.abc", config=ClientConfig(base_url=url)).config.base_url == url


@pytest.mark.parametrize("given", [KEY, f"Basic {KEY}", f"basic {KEY}", f" {KEY}\n"])
def test_the_key_is_taken_as_it_is_pasted(given: str) -> None:
    assert ClientConfig(api_key=given).api_key == Secret(KEY)
    assert ClientConfig(api_key=Secret(given)).api_key == Secret(KEY)


@pytest.mark.parametrize("key", ["", "  ", "Basic ", "a\r\nX-Evil: 1", "a b", "a\x00", "schlüssel", 5])
def test_a_bad_key_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="API key") as caught:
        FullStoryClient(key)
    assert "Evil" not in str(caught.value)


def test_variables_give_every_other_setting_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "API_KEY": KEY, "MAX_WAIT": "30", "READ_TIMEOUT": " 2.5\n", "MAX_RESPONSE_BYTES": "1000", "RATE_LIMIT": "4/9",
        "RETRY": "5", "TRUST_ENV": "yes", "REDACT_TRACES": "0", "LIST_API": "v2", "USER_AGENT": "bot/1",
        "OVERALL_TIMEOUT": "7",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"FULLSTORY_{name}", value)
    assert ClientConfig.from_env(overall_timeout=8.0, api_key="na1.own") == ClientConfig(
        api_key="na1.own", max_wait=30, read_timeout=2.5, max_response_bytes=1000, rate_limit=RateLimit(4, 9),
        retry=RetryPolicy(attempts=5), trust_env=True, list_api="v2", user_agent="bot/1", overall_timeout=8,
    )  # fmt: skip
    assert ClientConfig() == ClientConfig(api_key=KEY)
    monkeypatch.setenv("FULLSTORY_RATE_LIMIT", "adaptive")
    assert ClientConfig.from_env().rate_limit == RateLimit.adaptive()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MAX_WAIT", "-1", "max_wait must be a finite number above 0"),
        ("MAX_WAIT", "soon", "must be a number, not 'soon'"),
        ("RATE_LIMIT", "0", "must be a rate such as 8, rate and burst such as 8/16, or adaptive, not '0'"),
        ("RATE_LIMIT", "1/2/3", "must be a rate"),
        ("ALLOW_HTTP", "maybe", "must be 1 or 0, true or false, not 'maybe'"),
        ("LIST_API", "v3", "list_api must be 'v1' or 'v2'"),
        ("RETRY", "0", "attempts must be a whole number, 1 or more"),
        ("SSL", "/nowhere", "can't read the CA bundle"),
        ("PROXY", "http://u:geheim@h:99999", "proxy is not a URL"),
        ("CLIENT_CERT", "/nowhere", "client_cert"),
    ],
)
def test_an_unusable_variable_is_named(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FULLSTORY_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        ClientConfig.from_env(api_key=KEY)
    assert str(caught.value).startswith(f"the variable FULLSTORY_{name}")
    assert reason in str(caught.value)
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


def test_the_variable_is_found_whatever_words_the_message_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLSTORY_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("FULLSTORY_RETRY", "2")
    monkeypatch.setenv("FULLSTORY_SSL", "/nowhere/proxy/attempts.pem")
    with pytest.raises(ConfigurationError, match=r"^the variable FULLSTORY_SSL: .*/nowhere/proxy/attempts"):
        ClientConfig.from_env(api_key=KEY)
    # the program's own setting is not blamed on a variable
    with pytest.raises(ConfigurationError, match=r"^can't read the file '/nowhere/proxy' \(client_cert\)"):
        ClientConfig.from_env(api_key=KEY, ssl=None, client_cert="/nowhere/proxy")
    monkeypatch.setenv("FULLSTORY_RETRY", "0")
    monkeypatch.setenv("FULLSTORY_RATE_LIMIT", "fast")
    policy = RetryPolicy(attempts=9)
    assert ClientConfig.from_env(ssl=None, retry=policy, rate_limit=RateLimit(3, 3)).retry is policy
    monkeypatch.delenv("FULLSTORY_RETRY")
    monkeypatch.delenv("FULLSTORY_RATE_LIMIT")
    # nor are settings that don't go together
    with pytest.raises(ConfigurationError, match="^give the proxy's user and password in proxy or in proxy_"):
        monkeypatch.setenv("FULLSTORY_PROXY", "http://u:p@proxy.example:3128")
        ClientConfig.from_env(api_key=KEY, ssl=None, proxy_auth=("u", "p"))


def test_a_setting_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(TypeError, match="max_wate"):
        ClientConfig.from_env(max_wate=5)


def test_no_key_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", "")
    with pytest.raises(
        ConfigurationError, match="FULLSTORY_API_KEY.*fullstory-async demo.*fullstory-async sandbox"
    ):
        FullStoryClient()


@pytest.mark.parametrize(
    "name", ["connect_timeout", "read_timeout", "summary_read_timeout", "overall_timeout", "max_wait"]
)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "5", None])
def test_times_are_positive_seconds(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        ClientConfig(api_key=KEY, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", ""), ("base_url", "api.fullstory.com"), ("base_url", "ftp://x"), ("base_url", "https://"),
        ("base_url", "http://api.fullstory.com"), ("base_url", "https://u:p@x.test"), ("base_url", "https://x.test/?a=1"),
        ("base_url", "https://x.test/#a"), ("base_url", 5), ("base_url", "https://x.test:port"), ("base_url", "https://x y"),
        ("base_url", "https://x.test\n"), ("base_url", "https://x.test/\ud800"), ("overall_timeout", 10**400),
        ("rate_limit", 8), ("retry", 3), ("allow_http", "yes"),
        ("max_response_bytes", 0), ("max_response_bytes", 1.5), ("max_response_bytes", True),
        ("proxy", "socks5://x"), ("proxy", "nonsense"), ("proxy", 5),
        ("integration_source", "a\nb"), ("integration_source", ""), ("user_agent", "a\r\nb"), ("user_agent", None),
    ],
)  # fmt: skip
def test_each_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        ClientConfig(api_key=KEY, **{name: value})


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1",
        "http://127.0.0.1",
        "http://127.9.9.9:80",
        "http://[::1]:80",
        "http://a.localhost",
    ],
)
def test_loopback_may_be_unencrypted(url: str) -> None:
    assert ClientConfig(api_key=KEY, base_url=url).base_url == url


def test_elsewhere_it_must_be_allowed() -> None:
    assert ClientConfig(api_key=KEY, base_url="http://10.0.0.1", allow_http=True).allow_http


def test_a_proxy_elsewhere_reads_plain_http_only_if_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for base in ("http://localhost:1", "http://127.0.0.1", "http://[::1]", "http://[::ffff:127.0.0.1]"):
        for proxy in ("http://proxy.test:3128", "https://ada:canary@proxy.test", "http://10.0.0.1"):
            with pytest.raises(
                ConfigurationError, match="the proxy would get the API key unencrypted"
            ) as caught:
                ClientConfig(api_key=KEY, base_url=base, proxy=proxy)
            assert "canary" not in str(caught.value)
            assert ClientConfig(api_key=KEY, base_url=base, proxy=proxy, allow_http=True).network.proxy
        assert ClientConfig(api_key=KEY, base_url=base, proxy="http://127.0.0.1:3128").network.proxy
    assert ClientConfig(api_key=KEY, base_url="https://api.test", proxy="http://proxy.test").network.proxy
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test")
    assert ClientConfig(api_key=KEY, base_url="http://localhost", trust_env=True).network.proxy is None


def test_the_key_and_the_proxy_are_never_shown() -> None:
    config = ClientConfig(api_key=KEY, proxy="http://user:pass@proxy.test:3128")
    client = FullStoryClient(config=config)
    for shown in (repr(config), str(config), repr(client), repr(vars(client)), repr(client.limiter)):
        assert KEY not in shown
        assert "pass" not in shown.replace("_pass", "")


@pytest.mark.parametrize(
    ("rate", "burst"), [(0, 1), (-1, 1), (math.inf, 1), (math.nan, 1), ("8", 1), (8, 0), (8, 0.5), (True, 1)]
)
def test_a_rate_limit_must_admit_something(rate: Any, burst: float) -> None:
    with pytest.raises(ConfigurationError):
        RateLimit(rate, burst)


def test_rate_limit_defaults() -> None:
    assert RateLimit() == RateLimit(8, 8)
    assert RateLimit(50).burst == 50
    assert RateLimit(0.5).burst == 1
    wrong: Any = "8"
    with pytest.raises(ConfigurationError, match="rate"):
        RateLimit(wrong)


@pytest.mark.parametrize("max_wait", [-1, math.nan, "5", None])
def test_max_wait_is_checked(max_wait: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_wait"):
        RateLimiter(RateLimit(), max_wait=max_wait)


def test_a_limiter_takes_a_rate_limit() -> None:
    wrong: Any = 8
    with pytest.raises(ConfigurationError, match="RateLimit"):
        RateLimiter(wrong)


def test_values_compare_and_pickle_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ClientConfig(api_key=KEY, retry=RetryPolicy(attempts=5), base_url="https://x.test", max_wait=7)
    assert config == ClientConfig(
        api_key=KEY, retry=RetryPolicy(attempts=5), base_url="https://x.test", max_wait=7
    )
    assert KEY.encode() not in pickle.dumps(config)
    monkeypatch.setenv("FULLSTORY_API_KEY", KEY)
    assert pickle.loads(pickle.dumps(config)) == config
    assert (
        pickle.loads(pickle.dumps(ClientConfig(api_key="eu1.x"))).base_url == "https://api.eu1.fullstory.com"
    )
    assert copy.copy(config).api_key == copy.deepcopy(config).api_key == Secret(KEY)
    assert ClientConfig(api_key="eu1.x") == ClientConfig(
        api_key="eu1.x", base_url="https://api.eu1.fullstory.com"
    )


@pytest.mark.parametrize(
    "url", ["http://us%40er:pa%2Fss@proxy.test:3128", "https://us%40er@proxy.test:3128/"]
)
def test_a_proxys_password_is_treated_as_the_key_is(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", KEY)
    config = ClientConfig(proxy=url)
    assert config.proxy == Secret(url)
    assert copy.deepcopy(config).proxy == attrs.evolve(config, max_wait=1).proxy == Secret(url)
    for shown in (repr(config), repr(config.proxy), repr(attrs.asdict(config))):
        assert "us%40er" not in shown
    pickled = pickle.dumps(config)
    assert b"us%40er" not in pickled
    assert b"pa%2Fss" not in pickled
    read = pickle.loads(pickled)
    assert URL(read.proxy.reveal()) == URL(url).with_user(None)  # nothing goes past it
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(config.proxy)


@pytest.mark.parametrize(
    "url",
    ["https://canary:hidden@x.test", "https://canary@x.test", "http://canary:hidden@127.0.0.1:1", "ftp://canary:hidden@x.test",
     "https://canary:hidden@", "https://canary:hidden@x.test:port", "https://canary:hidden@x.test /"],
)  # fmt: skip
@pytest.mark.parametrize("given", ["argument", "environment"])
def test_a_password_in_the_base_url_is_refused_and_not_shown(
    url: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"base_url": url} if given == "argument" else {}
    if given == "environment":
        monkeypatch.setenv("FULLSTORY_BASE_URL", url)
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        ClientConfig(api_key=KEY, **settings)
    trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in trace.stack if frame.filename != __file__]
    shown = str(caught.value) + repr(caught.value) + "".join(str(frame.locals) for frame in ours)
    assert ours
    assert "hidden" not in shown
    assert "canary" not in shown


def test_a_base_url_from_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLSTORY_BASE_URL", "http://127.0.0.1:1")
    config = ClientConfig(api_key=KEY)
    monkeypatch.delenv("FULLSTORY_BASE_URL")
    assert FullStoryClient("eu1.x", config=config).config.base_url == "http://127.0.0.1:1"


def test_a_client_that_could_not_be_made_can_still_be_shown() -> None:
    half_made = FullStoryClient.__new__(FullStoryClient)
    assert repr(half_made) == "FullStoryClient(not made)"


@pytest.mark.parametrize(
    "wrong",
    [
        {"config": {"api_key": KEY}},
        {"api_key": KEY, "limiter": RateLimit()},
        {"api_key": KEY, "session": "session"},
    ],
)
def test_a_client_takes_only_its_own_kinds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="must be a"):
        FullStoryClient(**wrong)
