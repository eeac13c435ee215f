"""ClientConfig: every setting of a client, validated when it is created.

The key and the base URL come from arguments, or else from the environment: ``FULLSTORY_API_KEY`` or the file
that ``FULLSTORY_API_KEY_FILE`` names, and ``FULLSTORY_BASE_URL``. Proxies and authorities are read from there
only with ``trust_env``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from ssl import SSLContext
from typing import Any, Literal, Self, get_args

import attrs
from yarl import URL

from fullstory_async import validators
from fullstory_async._version import __version__
from fullstory_async.environment import (
    clean_key,
    flag,
    is_value_of,
    key_from_environment,
    number,
    variable,
)
from fullstory_async.errors import ConfigurationError
from fullstory_async.networks import (
    ClientCert,
    Network,
    PathLike,
    client_cert_paths,
    is_loopback,
    parse_url,
    proxy_url,
    secret_pair,
)
from fullstory_async.privacy import hide_arguments
from fullstory_async.ratelimit.limiter import DEFAULT_MAX_WAIT, RateLimit
from fullstory_async.retry import RetryPolicy
from fullstory_async.secret import Secret

__all__ = ["ClientConfig", "ListApi"]

ListApi = Literal["v1", "v2"]
"""FullStory's two endpoints that list sessions, named as its documentation does: ``GET /sessions/v2`` is v1,
``GET /v2/sessions`` is v2."""
_DEFAULT_LIST_API: ListApi = "v1"

_NA_URL = "https://api.fullstory.com"
_EU_URL = "https://api.eu1.fullstory.com"
_BASE_URL = "FULLSTORY_BASE_URL"

_NUMBERS = (
    "max_wait", "connect_timeout", "read_timeout", "summary_read_timeout", "overall_timeout",
    "max_response_bytes",
)  # fmt: skip
_FLAGS = ("allow_http", "trust_env", "redact_traces")
_TEXTS = ("ssl", "client_cert", "proxy", "list_api", "integration_source", "user_agent")


def _api_key(value: str | Secret | None) -> Secret | None:
    """Return the key without whitespace and a pasted ``Basic``; reject text that no header can hold."""
    if isinstance(value, Secret):
        return value.map(lambda key: clean_key(key, "the API key"))
    key, name = key_from_environment() if value is None else (value, "the API key")
    return None if key is None else Secret(clean_key(key, name))


def _given_base_url(value: str | None) -> str | None:
    return variable(_BASE_URL) if value is None else validators.exact_text(value)


def _base_url(config: ClientConfig) -> str:
    given = config._given_base_url  # noqa: SLF001  (part of the class)
    if given is not None:
        return given
    return _EU_URL if config.api_key is not None and config.api_key.startswith("eu1.") else _NA_URL


def _header_text(_: object, attribute: attrs.Attribute[str], value: Any) -> None:
    if not (isinstance(value, str) and value and value.isascii() and value.isprintable()):
        raise ConfigurationError(
            f"{attribute.name} must be printable ASCII text, not {validators.shown(value)}"
        )


def _list_api(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not (isinstance(value, str) and value in get_args(ListApi)):
        raise ConfigurationError(f"{attribute.name} must be 'v1' or 'v2', not {validators.shown(value)}")


def _secret(value: str | Secret | None) -> Secret | None:
    return Secret(value) if isinstance(value, str) else value


def _proxy(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        proxy_url(value, attribute.name)


def _client_cert(value: Any) -> Any:
    """Return the parts of a client certificate, its password as a secret."""
    if value is None:
        return None
    certificate, key, password = client_cert_paths(value)
    return (certificate, key) if password is None else (certificate, key, password)


def _check_base_url(config: ClientConfig, _: object, value: Any) -> None:
    is_variable = isinstance(value, str) and is_value_of(_BASE_URL, value)
    name = f"base_url (the variable {_BASE_URL})" if is_variable else "base_url"
    url = parse_url(value, name)
    if "@" in value or url.raw_query_string or url.fragment:  # before anything that shows it
        raise ConfigurationError(f"{name} must not hold a user, a password, a query or a fragment")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"{name} must be an https:// URL with a host (http:// for this machine only), "
            f"not {validators.shown(value)}"
        )
    if url.scheme == "http" and not (config.allow_http or is_loopback(url.host)):
        raise ConfigurationError(
            f"{name} {validators.shown(value)} would send the API key unencrypted; "
            "use https:// (a program may pass allow_http=True, the command line --allow-http)"
        )


@attrs.frozen(kw_only=True)
class ClientConfig:
    """The settings of a `FullStoryClient`. Every time is in seconds, as a float.

    Raises:
        ConfigurationError: a value is missing or unusable; the message names the setting, never the key.
    """

    api_key: Secret | None = attrs.field(default=None, converter=_api_key, repr=False)
    """The API key, sent as it is; default: ``FULLSTORY_API_KEY``, or the content of the file that
    ``FULLSTORY_API_KEY_FILE`` names. Never shown; its ``reveal()`` returns the text.

    It may be missing here: a client accepts the key and the other settings separately."""

    allow_http: bool = attrs.field(default=False, validator=validators.instance_of(bool))
    """Whether the key may be sent unencrypted to a host other than this machine. Without it, a connection
    that a name such as ``localhost`` leads elsewhere is refused before anything is sent."""

    _given_base_url: str | None = attrs.field(
        default=None, alias="base_url", converter=_given_base_url, repr=False, eq=False
    )

    base_url: str = attrs.field(
        init=False, default=attrs.Factory(_base_url, takes_self=True), validator=_check_base_url
    )
    """The API's address; default: ``FULLSTORY_BASE_URL``, or by the key's region (``eu1.…`` is the EU)."""

    rate_limit: RateLimit = attrs.field(factory=RateLimit, validator=validators.instance_of(RateLimit))
    """The rate limit. FullStory publishes no numbers: 8 per second with bursts of 8 is cautious, and
    `RateLimit.adaptive` finds the limit."""

    max_wait: float = attrs.field(default=DEFAULT_MAX_WAIT, validator=validators.number(above=0))
    """The longest wait of a single call for the rate limiter; a longer pause or queue raises
    `RateLimitedError`."""

    retry: RetryPolicy = attrs.field(factory=RetryPolicy, validator=validators.instance_of(RetryPolicy))
    """When and how often to retry."""

    connect_timeout: float = attrs.field(default=5.0, validator=validators.number(above=0))
    """For a connection: name look-up, TCP, a proxy's tunnel and TLS."""

    read_timeout: float = attrs.field(default=60.0, validator=validators.number(above=0))
    """From sending the request to the last byte of the response, for one attempt."""

    summary_read_timeout: float = attrs.field(default=180.0, validator=validators.number(above=0))
    """The same for summaries, which a language model writes while the call waits."""

    overall_timeout: float = attrs.field(default=600.0, validator=validators.number(above=0))
    """For one call with all attempts and waits; ``timeout=`` replaces it. In a fan-out it starts when the
    rate limiter first lets the call through."""

    max_response_bytes: int = attrs.field(
        default=64 * 1024 * 1024,
        converter=validators.exact_integer,
        validator=validators.integer(at_least=1),
    )
    """The largest body that is read, in bytes after decompression."""

    ssl: SSLContext | PathLike | None = None
    """What decides which servers are trusted: an `ssl.SSLContext`, or the path of a CA bundle (PEM), whose
    authorities replace the system's. Certificates are always checked. A context can't be pickled."""

    client_cert: ClientCert | None = attrs.field(default=None, converter=_client_cert, repr=False)
    """The certificate for servers that require one: a PEM file with certificate and private key, or
    ``(certificate, key)`` or ``(certificate, key, password)``. The password is hidden and never pickled."""

    proxy: Secret | None = attrs.field(default=None, converter=_secret, validator=_proxy, repr=False)
    """URL of an HTTP proxy. Hidden, and pickled without user and password."""

    proxy_auth: tuple[Secret, Secret] | None = attrs.field(default=None, converter=secret_pair, repr=False)
    """User and password of the proxy. Hidden, and never pickled."""

    trust_env: bool = attrs.field(default=False, validator=validators.instance_of(bool))
    """Whether ``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY`` and ``SSL_CERT_FILE`` fill in ``proxy`` and
    ``ssl``. This machine is never reached through a proxy of the environment."""

    redact_traces: bool = attrs.field(default=False, validator=validators.instance_of(bool))
    """Whether aiohttp's tracing, which Sentry and OpenTelemetry attach to, gets the URL of a list of sessions
    without its query, which names a user. Everything else of the request stays visible there."""

    network: Network = attrs.field(init=False, repr=False, eq=False)
    """The proxy and the TLS context that these settings result in."""

    list_api: ListApi = attrs.field(default=_DEFAULT_LIST_API, validator=_list_api)
    """Where a user's sessions are listed: ``"v1"`` is ``GET /sessions/v2``, ``"v2"`` is ``GET /v2/sessions``.
    If the path isn't served, the client tries the other one. A ``session_uid`` always goes to v2."""

    integration_source: str | None = attrs.field(
        default=None, converter=validators.exact_text, validator=attrs.validators.optional(_header_text)
    )
    """The ``Integration-Source`` header, for FullStory's partners."""

    user_agent: str = attrs.field(
        default=f"fullstory_async/{__version__}", converter=validators.exact_text, validator=_header_text
    )
    """The ``User-Agent`` header."""

    def __attrs_post_init__(self) -> None:
        network = Network.from_settings(
            URL(self.base_url), trusted=self.ssl, client_cert=self.client_cert, proxy=self.proxy,
            proxy_auth=self.proxy_auth, trust_env=self.trust_env,
        )  # fmt: skip
        proxy = network.proxy
        reads = proxy is not None and network.proxy_reads_requests and not is_loopback(proxy.host or "")
        if reads and not self.allow_http:
            raise ConfigurationError(
                "the proxy would get the API key unencrypted, because base_url begins with http://; "
                "use https:// (a program may pass allow_http=True, the command line --allow-http)"
            )
        object.__setattr__(self, "network", network)  # the class is frozen, and attrs validates before

    @classmethod
    @hide_arguments
    def from_env(cls, **settings: Any) -> Self:
        """Return the settings that environment variables give, each ``FULLSTORY_`` and its name in capitals.

        ``FULLSTORY_MAX_WAIT=30``, for example. ``FULLSTORY_RATE_LIMIT`` is a rate (``8``), rate and burst
        (``8/16``) or ``adaptive``, ``FULLSTORY_RETRY`` the number of attempts, ``FULLSTORY_SSL`` the path of
        a CA bundle, and ``FULLSTORY_CLIENT_CERT`` that of a PEM file with its private key.

        Args:
            settings: settings that the program decides, whatever the variables say.

        Raises:
            ConfigurationError: an unusable value; the message names the variable.
        """
        wanted = {name: read for name, read in _READERS.items() if name not in settings}
        values = {name: read(_variable_of(name)) for name, read in wanted.items()}
        given = {name: value for name, value in values.items() if value is not None}
        try:
            return cls(**given, **settings)
        except ConfigurationError as error:
            problem = error.message
        found = (each for name, value in given.items() if (each := _problem_alone(name, value)) is not None)
        raise ConfigurationError(next(found, problem))

    @property
    def key_fingerprint(self) -> str:
        """A hash that identifies the key without revealing it; for files that several keys share."""
        # every ledger, cache and limiter is filed under it: it must never change
        key = None if self.api_key is None else self.api_key.reveal()
        return hashlib.sha256(f"fullstory_async:{key}".encode()).hexdigest()[:16]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle everything but the secrets: the key, a proxy's user and password, a private key's password.

        The process that unpickles it takes the key from its own environment. The proxy itself is kept,
        because no request may bypass it; a proxy that needs the password will refuse.
        """
        if isinstance(self.ssl, SSLContext):
            raise TypeError("an SSLContext is not pickled: give ssl as the path of a CA bundle")
        settings = attrs.asdict(
            self, recurse=False, filter=lambda field, _: field.init and field.name not in _NOT_PICKLED
        )
        if self.proxy is not None:
            settings["proxy"] = str(proxy_url(self.proxy, "proxy").with_user(None))
        if self.client_cert is not None:
            settings["client_cert"] = client_cert_paths(self.client_cert)[:2]
        return _from_settings, ({**settings, "base_url": self.base_url},)

    def __copy__(self) -> ClientConfig:
        """Return the same object, key included: it is immutable."""
        return self

    def __deepcopy__(self, _: Any) -> ClientConfig:
        """Return the same object, key included: it is immutable."""
        return self


# attrs generates __init__, so it can't be decorated in the class; the key is one of its arguments
ClientConfig.__init__ = hide_arguments(ClientConfig.__init__)  # type: ignore[method-assign]


def _variable_of(setting: str) -> str:
    return f"FULLSTORY_{setting.upper()}"


def _rate_limit(name: str) -> RateLimit | None:
    text = variable(name)
    if text is None or text == "adaptive":
        return None if text is None else RateLimit.adaptive()
    try:
        return RateLimit(*map(float, text.split("/", maxsplit=1)))
    except (ValueError, ConfigurationError):
        raise ConfigurationError(
            f"the variable {name} must be a rate such as 8, rate and burst such as 8/16, or adaptive, "
            f"not {text!r:.40}"
        ) from None


def _retry(name: str) -> RetryPolicy | None:
    attempts: Any = number(name)
    try:
        return None if attempts is None else RetryPolicy(attempts=attempts)
    except ConfigurationError as error:
        raise ConfigurationError(f"the variable {name}: {error.message}") from None


_READERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(_NUMBERS, number), **dict.fromkeys(_FLAGS, flag), **dict.fromkeys(_TEXTS, variable),
    "rate_limit": _rate_limit, "retry": _retry,
}  # fmt: skip
"""Settings that have a variable, but for the key and the base URL, which are always read."""


def _problem_alone(name: str, value: Any) -> str | None:
    """Return what is wrong with a variable's value, whatever the other settings are; ``None`` if nothing."""
    if name in _FLAGS:
        return None
    others: dict[str, Any] = {"api_key": "na1.any", "base_url": _NA_URL}
    try:
        ClientConfig(**others, **{name: value})
    except ConfigurationError as error:
        return f"the variable {_variable_of(name)}: {error.message}"
    return None


_NOT_PICKLED = frozenset({"api_key", "proxy_auth", "_given_base_url"})


def _from_settings(settings: dict[str, Any]) -> ClientConfig:
    return ClientConfig(**settings)
