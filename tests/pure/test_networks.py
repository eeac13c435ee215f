"""The settings of TLS and proxies, and what is cleaned of values from outside: pure but for small files."""

from __future__ import annotations

import os
import pickle
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from yarl import URL

from fullstory_async import ClientConfig, ConfigurationError, FullStoryClient, Secret
from tests.wire.proxies import AUTHORITY, bundle, certificate

KEY = "na1.c2VjcmV0L0RFTU8="


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        ClientConfig(api_key=KEY, **settings)
    assert "canary" not in str(caught.value) + repr(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("how", ["text", "bom", "utf-16", "comments", "two", "der"])
def test_a_bundle_is_read_however_it_was_saved(how: str, tmp_path: Path) -> None:
    pem = AUTHORITY.cert_pem.bytes()
    written = {
        "text": pem,
        "bom": b"\xef\xbb\xbf" + pem.replace(b"\n", b"\r\n"),
        "utf-16": pem.decode().encode("utf-16"),
        "comments": "Unsere Zertifikate, geprüft\n".encode("latin-1") + pem,
        "two": trustme.CA().cert_pem.bytes() + b"\n# another\n" + pem,
        "der": ssl.PEM_cert_to_DER_cert(pem.decode()),
    }[how]
    (tmp_path / "ca").write_bytes(written)
    tls = ClientConfig(api_key=KEY, ssl=tmp_path / "ca").network.tls
    assert isinstance(tls, ssl.SSLContext)
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(tls.get_ca_certs()) == (2 if how == "two" else 1)


def test_what_ssl_and_client_cert_can_not_be_is_said(tmp_path: Path) -> None:
    ca, (cert, key) = bundle(tmp_path), certificate(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "damaged").write_bytes(ca.read_bytes().replace(b"M", b"-", 5))
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = certificate(other)
    assert "certificates are always checked" in refusal(ssl=False)
    assert "ssl must be an ssl.SSLContext or the path" in refusal(ssl=5)
    assert "context for servers" in refusal(ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert "can't read the CA bundle '/no' (ssl): No such file" in refusal(ssl="/no")
    assert "Is a directory" in refusal(ssl=tmp_path)
    assert "no certificate in PEM form" in refusal(ssl=tmp_path / "empty")
    assert "no certificate in PEM form" in refusal(ssl=key)
    assert "damaged certificate" in refusal(ssl=tmp_path / "damaged")
    assert "load_cert_chain" in refusal(ssl=ssl.create_default_context(), client_cert=(cert, key))
    for wrong in (5, (cert,), (cert, key, "a", "b"), (cert, key, 5), [cert, key]):
        assert "client_cert must be the path" in refusal(client_cert=wrong)
    assert "can't read the file '/no'" in refusal(client_cert="/no")
    assert "need a certificate in" in refusal(client_cert=cert)
    assert "is of another certificate" in refusal(client_cert=(cert, other_key))


def test_a_private_key_with_a_password(tmp_path: Path) -> None:
    cert, plain = certificate(tmp_path)
    loaded = serialization.load_pem_private_key(plain.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"canary"),
        )
    )  # fmt: skip
    assert "encrypted: give (certificate, key, password)" in refusal(client_cert=(cert, locked))
    assert "password of the private key in" in refusal(client_cert=(cert, locked, "canary/2"))
    config = ClientConfig(api_key=KEY, client_cert=(cert, locked, "canary"))
    assert isinstance(config.network.tls, ssl.SSLContext)
    assert "canary" not in repr(config) + repr(config.client_cert) + repr(attrs.asdict(config))
    assert b"canary" not in config.__reduce__()[1][0].__repr__().encode()


def test_a_proxys_login_in_each_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLSTORY_API_KEY", KEY)
    settings: dict[str, Any]
    for settings in (
        {"proxy": "http://ada:canary%20%2F@proxy.test:3128"},
        {"proxy": "http://proxy.test:3128", "proxy_auth": ("ada", "canary /")},
        {"proxy": "http://proxy.test:3128", "proxy_auth": ["ada", "canary /"]},
    ):
        config = ClientConfig(**settings)
        network = config.network
        assert (network.proxy, network.login) == (
            URL("http://proxy.test:3128"), {"Proxy-Authorization": Secret("Basic YWRhOmNhbmFyeSAv")}
        )  # fmt: skip
        shown = (
            repr(config)
            + repr(network)
            + repr(attrs.asdict(config))
            + repr(vars(FullStoryClient(config=config)))
        )
        assert "canary" not in shown
        assert "YWRhO" not in shown
        pickled = pickle.dumps(config)
        assert b"canary" not in pickled
        assert b"YWRhO" not in pickled
        read = pickle.loads(pickled)
        assert (read.network.proxy, read.network.login) == (network.proxy, {})
    assert "proxy_auth must be (user, password)" in refusal(proxy="http://x", proxy_auth="ada:canary")
    assert "a colon in the user" in refusal(proxy="http://x", proxy_auth=("a:b", "canary"))
    assert "a control character" in refusal(proxy="http://x", proxy_auth=("a", "canary\n"))
    for password in ("cana/ry", "cana?ry", "cana#ry", "canary/@"):
        assert "proxy" in refusal(proxy=f"http://ada:{password}@proxy.test:3128")
    assert "in a password, write / as %2F" in refusal(proxy="http://ada:1/canary@proxy.test:3128")
    assert "proxy_auth needs a proxy" in refusal(proxy_auth=("a", "canary"))
    assert "not both" in refusal(proxy="http://ada:canary@x", proxy_auth=("a", "canary"))


def test_a_context_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="path of a CA bundle"):
        pickle.dumps(ClientConfig(api_key=KEY, ssl=ssl.create_default_context()))


@pytest.mark.row(85)
@pytest.mark.parametrize(
    ("url", "no_proxy", "is_used"),
    [
        ("https://api.test", "", True), ("https://api.test", "*", False), ("https://api.test", "api.test", False),
        ("https://api.test", ".test", False), ("https://api.test", "test", False), ("https://api.test", "*.test", False),
        ("https://api.test", "pi.test", True), ("https://api.test", "a, API.TEST ,b", False), ("https://api.test", "a api.test", False),
        ("https://api.test", "api.test:443", False), ("https://api.test", "api.test:8443", True),
        ("https://api.test:8443", "api.test:8443", False), ("https://10.1.2.3", "10.0.0.0/8", False),
        ("https://10.1.2.3", "10.1.2.3", False), ("https://11.1.2.3", "10.0.0.0/8", True), ("https://[fd00::1]", "fd00::/8", False),
        ("https://[fd00::1]", "[fd00::1]", False), ("https://10.1.2.3", "2.3", True), ("https://api.test", ",", True),
        ("https://bücher.test", "xn--bcher-kva.test", False), ("https://bücher.test", "bücher.test:443", False),
        ("https://127.0.0.1", "", False), ("https://[::1]", "", False), ("https://localhost:1", "", False),
    ],
)  # fmt: skip
def test_row_85_no_proxy(url: str, no_proxy: str, is_used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    network = ClientConfig(api_key=KEY, base_url=url, trust_env=True).network
    assert network.proxy == (URL("http://proxy.test:3128") if is_used else None)


@pytest.mark.row(85)
def test_row_85_which_variable_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def proxy(scheme: str = "https", **settings: Any) -> URL | None:
        settings = {"trust_env": True, "allow_http": True, **settings}
        return ClientConfig(api_key=KEY, base_url=f"{scheme}://api.test", **settings).network.proxy

    monkeypatch.setenv("HTTP_PROXY", "plain.test:1")
    assert (proxy(), proxy("http")) == (None, URL("http://plain.test:1"))
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert proxy("http") is None  # what a CGI script has as HTTP_PROXY came from its client
    monkeypatch.setenv("HTTPS_PROXY", "https://upper.test:1")
    assert proxy() == URL("https://upper.test:1")
    monkeypatch.setenv("https_proxy", " lower.test:1\r\n")
    assert proxy() == URL("http://lower.test:1")
    assert proxy(trust_env=False) is None
    assert proxy(proxy="http://given.test") == URL("http://given.test")
    monkeypatch.setenv("https_proxy", "socks5://ada:canary@proxy.test")
    assert "the variable https_proxy must be an http" in refusal(trust_env=True)
    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/ca.pem")
    assert "(SSL_CERT_FILE): No such file" in refusal(trust_env=True)
    assert ClientConfig(api_key=KEY).network.tls is True
    monkeypatch.setenv("SSL_CERT_FILE", f"\ufeff{bundle(tmp_path)} ")
    tls = ClientConfig(api_key=KEY, trust_env=True).network.tls
    assert isinstance(tls, ssl.SSLContext)
    assert len(tls.get_ca_certs()) == 1


@pytest.mark.row(86)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", [KEY, f"{KEY}\r\n", f"\r\n  Basic {KEY} \t\r\n\r\n", f"\ufeff{KEY}\x00"])
def test_row_86_a_key_file_as_editors_and_shells_write_it(
    text: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(text.encode(encoding))
    monkeypatch.setenv("FULLSTORY_API_KEY_FILE", f" {tmp_path / 'key'}\r")
    assert ClientConfig().api_key == FullStoryClient().config.api_key == Secret(KEY)
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.variable")
    assert ClientConfig().api_key == Secret("na1.variable")
    assert ClientConfig(api_key="na1.given").api_key == Secret("na1.given")


@pytest.mark.row(86)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't read the API key file"), (b"", "holds no API key"), (b" \r\n\xef\xbb\xbf", "holds no API key"),
        (b"\xffcanary\x80", "neither UTF-8 nor UTF-16"), (b"canary\r\ncanary", "holds 2 lines; it must hold the API key alone"),
        (b"c" * 70_000, "larger than 64 KiB"), (b'"canary"', "the API key in the file that FULLSTORY_API_KEY_FILE names begins or ends with a quotation mark"),
        (b"can ary", "holds a space"), ("canäry".encode(), "a non-ASCII character"),
    ],
)  # fmt: skip
def test_row_86_a_key_file_that_is_none_is_named(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("FULLSTORY_API_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match="FULLSTORY_API_KEY_FILE") as caught:
        ClientConfig()
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)
    assert FullStoryClient(KEY).config.api_key == Secret(KEY)  # which needs no file


@pytest.mark.row(86)
def test_row_86_pipes_and_devices_end_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No writer is waited for, and no endless file is read to its end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "no certificate in PEM form" in refusal(ssl=pipe)
    assert "'/dev/zero' (ssl) is larger than 16384 KiB" in refusal(ssl="/dev/zero")
    assert "is not a regular file" in refusal(client_cert=pipe)
    for path, said in (
        (pipe, "holds no API key"),
        (tmp_path, "Is a directory"),
        ("/dev/zero", "larger than 64 KiB"),
    ):
        monkeypatch.setenv("FULLSTORY_API_KEY_FILE", str(path))
        with pytest.raises(ConfigurationError, match="FULLSTORY_API_KEY_FILE") as caught:
            ClientConfig()
        assert said in str(caught.value)
    # a pipe as the shell makes it for <(command), which is still writing
    source, target = os.pipe()
    monkeypatch.setenv("FULLSTORY_API_KEY_FILE", f"/dev/fd/{source}")
    with ThreadPoolExecutor() as pool, os.fdopen(target, "w") as writer:
        config = pool.submit(ClientConfig)
        writer.write(KEY)
        writer.close()
        api_key = config.result().api_key
        assert api_key is not None
        assert api_key.reveal() == KEY
    os.close(source)


@pytest.mark.row(86)
def test_row_86_variables_are_cleaned_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for around in (" {}\r\n", "\ufeff{}", "\udcef\udcbb\udcbf{}\r", "\udcff\udcfe{}", "\t{}\xa0"):
        monkeypatch.setenv("FULLSTORY_BASE_URL", around.format("https://gateway.test/fs"))
        monkeypatch.setenv("FULLSTORY_API_KEY", around.format(KEY))
        config = ClientConfig()
        assert (config.base_url, config.api_key) == ("https://gateway.test/fs", Secret(KEY))
    for wrong in (
        '"https://x.test"',
        "https://x y",
        "http://x.test",
        "https://canary:canary@x.test",
        "x.test",
    ):
        monkeypatch.setenv("FULLSTORY_BASE_URL", wrong)
        assert "base_url (the variable FULLSTORY_BASE_URL)" in refusal()
        assert ClientConfig(base_url="https://y.test").base_url == "https://y.test"
    monkeypatch.setenv("FULLSTORY_BASE_URL", " \r\n")
    assert "the variable FULLSTORY_BASE_URL is empty but for white space" in refusal()
    monkeypatch.delenv("FULLSTORY_BASE_URL")
    for wrong, said in (("  ", "is empty"), ("'canary'", "quotation mark"), ("can ary", "a space")):
        monkeypatch.setenv("FULLSTORY_API_KEY", wrong)
        with pytest.raises(ConfigurationError, match="variable FULLSTORY_API_KEY .*") as caught:
            ClientConfig()
        assert said in str(caught.value)
        assert "canary" not in str(caught.value)
