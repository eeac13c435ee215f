"""Network: the TLS context and the proxy of a client, from its settings and, if asked, from the environment.

Everything is read and checked when a `ClientConfig` is made. A proxy's user and password, and the password of
a private key, are secrets as the API key is: no message shows them, and no URL that is handed on holds them.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from yarl import URL

from fullstory_async.environment import decode_text, read_file, variable
from fullstory_async.errors import ConfigurationError
from fullstory_async.secret import Secret

__all__ = [
    "ClientCert", "Network", "PathLike", "ProxyAuth", "client_cert_paths", "is_loopback", "parse_url",
    "proxy_url", "secret_pair", "tls_context",
]  # fmt: skip

PathLike = str | os.PathLike[str]
ClientCert = PathLike | tuple[PathLike, PathLike] | tuple[PathLike, PathLike, str | Secret]
"""A PEM file with certificate and private key; or the two files, and the private key's password."""
ProxyAuth = tuple[str | Secret, str | Secret]
"""The user and the password of a proxy."""

_PEM = re.compile(
    r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----",
    re.DOTALL,
)
_DER = b"\x30"
_LARGEST_FILE = 16 * 1024 * 1024
"""Bytes of a file with certificates; the bundles of systems have a quarter of a MiB."""


@attrs.frozen
class Network:
    """How a client reaches the service."""

    tls: ssl.SSLContext | bool = True
    """The TLS context; ``True`` for the default one, with the system's authorities."""
    proxy: URL | None = None
    """The proxy in use, without user and password."""
    login: Mapping[str, Secret] = attrs.field(factory=dict, repr=False)
    """The header that logs in to the proxy, if it needs a login."""
    secrets: tuple[Secret, ...] = attrs.field(default=(), repr=False)
    """The texts that a proxy must not be quoted with."""
    proxy_reads_requests: bool = False
    """Whether the proxy reads each request, in plain HTTP, and so may answer it itself. It is asked for
    connections otherwise."""

    @classmethod
    def from_settings(
        cls,
        base_url: URL,
        *,
        trusted: ssl.SSLContext | PathLike | None,
        client_cert: ClientCert | None,
        proxy: Secret | None,
        proxy_auth: tuple[Secret, Secret] | None,
        trust_env: bool,
    ) -> Network:
        """Load the certificates, and choose the proxy for a base URL.

        Raises:
            ConfigurationError: a file or a variable can't be used; the text names the setting.
        """
        name = "ssl"
        if trusted is None and trust_env and (file := variable("SSL_CERT_FILE")) is not None:
            trusted, name = file, "SSL_CERT_FILE"
        tls = tls_context(trusted, client_cert, name)
        url = None if proxy is None else proxy_url(proxy, "proxy")
        if url is None and trust_env:
            url = _proxy_from_environment(base_url)
        if url is None:
            if proxy_auth is not None and not trust_env:
                raise ConfigurationError("proxy_auth needs a proxy: set proxy too")
            return cls(tls)
        if proxy_auth is None and url.user is not None:
            proxy_auth = Secret(url.user), Secret(url.password or "")
        elif proxy_auth is not None and proxy is not None and url.user is not None:
            raise ConfigurationError("give the proxy's user and password in proxy or in proxy_auth, not both")
        url, reads = url.with_user(None), base_url.scheme == "http"
        if proxy_auth is None:
            return cls(tls, url, proxy_reads_requests=reads)
        user, password = proxy_auth
        token = Secret(base64.b64encode(f"{user.reveal()}:{password.reveal()}".encode()).decode())
        return cls(tls, url, {"Proxy-Authorization": token.map("Basic {}".format)}, (token, password), reads)


def tls_context(
    trusted: ssl.SSLContext | PathLike | None, client_cert: ClientCert | None, name: str = "ssl"
) -> ssl.SSLContext | bool:
    """Return a TLS context that trusts a CA bundle and shows a client certificate.

    Args:
        trusted: a ready context; or the path of a bundle, whose authorities replace the system's.
        client_cert: the client certificate, if any.
        name: the setting that ``trusted`` comes from, for messages.

    Returns:
        ``True`` if the default context will do.

    Raises:
        ConfigurationError: a file can't be used, or a context is given together with a certificate.
    """
    if isinstance(trusted, ssl.SSLContext):
        if trusted.protocol is ssl.PROTOCOL_TLS_SERVER:
            raise ConfigurationError(
                "ssl is a context for servers; make it with ssl.create_default_context()"
            )
        if client_cert is not None:
            raise ConfigurationError(
                "client_cert can't be added to the context given as ssl: call its load_cert_chain yourself"
            )
        return trusted
    if trusted is None and client_cert is None:
        return True
    certificates = None if trusted is None else _read_bundle(trusted, name)
    try:
        context = ssl.create_default_context(cadata=certificates)
    except (ssl.SSLError, ValueError):
        raise ConfigurationError(
            f"{name}: {os.fspath(trusted or '')!r} holds a damaged certificate"
        ) from None
    context.set_alpn_protocols(("http/1.1",))
    if client_cert is not None:
        _load_client_cert(context, client_cert)
    return context


def _read_bundle(path: Any, name: str) -> str | bytes:
    """Return the certificates of a file in PEM or DER form."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(
            f"{name} must be an ssl.SSLContext or the path of a CA bundle, not {type(path).__name__}; "
            "certificates are always checked"
        )
    content = read_file(path, f"the CA bundle {os.fspath(path)!r} ({name})", _LARGEST_FILE)
    if content.startswith(_DER):
        return content
    # only the certificates: OpenSSL takes no comment that isn't ASCII, and no byte order mark
    text = decode_text(content) or content.decode("latin-1")
    found = "\n".join(_PEM.findall(text))
    if not found:
        raise ConfigurationError(f"{name}: no certificate in PEM form in {os.fspath(path)!r}")
    return found


def client_cert_paths(value: Any) -> tuple[PathLike, PathLike, Secret | None]:
    """Return the certificate's file, the private key's file and its password.

    Raises:
        ConfigurationError: the value has another shape.
    """
    parts = value if isinstance(value, tuple) else (value, value)
    paths, password = parts[:2], parts[2] if len(parts) == 3 else None
    fine = 2 <= len(parts) <= 3 and all(isinstance(path, str | os.PathLike) for path in paths)
    if not fine or not isinstance(password, str | Secret | None):
        raise ConfigurationError(
            "client_cert must be the path of a PEM file with certificate and private key, "
            "or (certificate, key) or (certificate, key, password)"
        )
    return paths[0], paths[1], None if password is None else Secret.of(password)


def _load_client_cert(context: ssl.SSLContext, client_cert: ClientCert) -> None:
    certificate, key, password = client_cert_paths(client_cert)
    shown = os.fspath(certificate)
    for path in (certificate, key):
        read_file(path, f"the file {os.fspath(path)!r} (client_cert)", _LARGEST_FILE)
        if not Path(path).is_file():  # OpenSSL would read it a second time
            raise ConfigurationError(f"client_cert: {os.fspath(path)!r} is not a regular file")
    is_asked = False

    def give_password() -> str:
        nonlocal is_asked
        is_asked = True
        # an empty one instead of OpenSSL's question on the terminal
        return "" if password is None else password.reveal()

    try:
        context.load_cert_chain(certificate, key, give_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        if is_asked and password is None:
            reason = f"the private key in {os.fspath(key)!r} is encrypted: give (certificate, key, password)"
        elif is_asked:
            reason = f"the password of the private key in {os.fspath(key)!r} is wrong"
        elif getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            reason = f"the private key in {os.fspath(key)!r} is of another certificate than {shown!r}"
        else:
            reason = (
                f"need a certificate in {shown!r} and its private key in {os.fspath(key)!r}, both in PEM form"
            )
        raise ConfigurationError(f"client_cert: {reason}") from None


def secret_pair(value: Any) -> tuple[Secret, Secret] | None:
    """Return a proxy's user and password as secrets.

    Raises:
        ConfigurationError: the value isn't a pair of texts that a header can hold.
    """
    if value is None:
        return None
    is_pair = isinstance(value, tuple | list) and len(value) == 2
    if not is_pair or not all(isinstance(each, str | Secret) for each in value):
        raise ConfigurationError("proxy_auth must be (user, password)")
    user, password = map(Secret.of, value)
    if ":" in user.reveal() or not (user.reveal() + password.reveal()).isprintable():
        raise ConfigurationError("proxy_auth holds a control character, or a colon in the user")
    return user, password


def parse_url(value: Any, name: str) -> URL:
    """Return a URL. Raises `ConfigurationError`, which does not show the value."""
    value = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be text, not {type(value).__name__}")
    try:
        url = URL(value)
        _ = url.port, str(url)  # reading them checks them
        if any(char.isspace() or not char.isprintable() for char in value):
            raise ValueError
    except ValueError:
        raise ConfigurationError(f"{name} is not a URL") from None
    return url


def proxy_url(value: Any, name: str) -> URL:
    """Return the URL of a proxy. Raises `ConfigurationError`, which does not show the value."""
    url = parse_url(value, name)
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{name} must be an http:// or https:// URL with a host")
    # a password with one of these characters would end the host's part of the URL before the host
    if url.raw_path not in ("", "/") or url.raw_query_string or url.raw_fragment:
        raise ConfigurationError(
            f"{name} must end after host and port; in a password, write / as %2F, ? as %3F and # as %23"
        )
    return url


def _proxy_from_environment(base_url: URL) -> URL | None:
    """Return the proxy that the environment names for a base URL, if any."""
    if is_loopback(base_url.host or "") or _bypasses(base_url):
        return None
    names = [f"{base_url.scheme}_proxy", f"{base_url.scheme}_proxy".upper()]
    # under CGI, a client's header "Proxy" arrives as this variable
    if base_url.scheme == "http" and "REQUEST_METHOD" in os.environ:
        names.pop()
    for name in names:
        if (value := variable(name)) is not None:
            return proxy_url(value if "://" in value else f"http://{value}", f"the variable {name}")
    return None


def _bypasses(url: URL) -> bool:
    """Return whether ``NO_PROXY`` names a URL's host: by name, domain, address or network."""
    entries = re.split(r"[,\s]+", (variable("no_proxy") or variable("NO_PROXY") or "").lower())
    # a name that isn't ASCII may stand there in either form
    hosts = {host.rstrip(".") for host in (url.host, url.raw_host) if host is not None}
    return any(_matches(entry, host, url.port) for entry in entries for host in hosts if entry)


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of the two is a name
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit():
        return int(number) == (port or 0) and _matches(name, host, port)
    domain = entry.removeprefix("*").strip(".")
    return bool(domain) and (host == domain or (host.endswith(f".{domain}") and not _is_address(host)))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its address or, as the standards reserve it, by its name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
