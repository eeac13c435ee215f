"""Says what a failed TLS handshake means, and which setting helps."""

from __future__ import annotations

import re

import aiohttp

from fullstory_async.http.proxy_refusals import REQUIRED_CERTIFICATE

__all__ = ["certificate_alert", "describe_tls_failure", "refuses_certificate"]

_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 27})
"""OpenSSL's codes for a chain that ends at an authority that is not trusted."""
_REQUIRED = re.compile(r"ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE")
_REJECTED = re.compile(
    r"ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_\w+|ACCESS_DENIED)"
)
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE")
_CLOSED = (
    "the connection was closed while it was made, and no reason given; "
    "a server may do so if it requires a client certificate (client_cert)"
)
_CONTEXT = re.compile(r" ssl:(?:default|<[^>]*>|\w+)")


def describe_tls_failure(raised: BaseException) -> str:
    """Return the text for a connection that was not made, without the repr of the TLS context."""
    if not isinstance(raised, aiohttp.ClientConnectorCertificateError):
        text = raised.message if isinstance(raised, aiohttp.ClientResponseError) else str(raised)
        if isinstance(raised, aiohttp.ClientConnectorError) and raised.os_error.strerror is None:
            # an error without a number, which aiohttp shows as "None"
            return f"{raised.host}:{raised.port}: {str(raised.os_error) or _CLOSED}"
        hint = (
            "; the server there does not speak TLS (is its URL an http:// one?)"
            if _NO_TLS.search(text)
            else ""
        )
        return certificate_alert(text) or f"{_CONTEXT.sub('', text)}{hint}"
    error = raised.certificate_error
    reason = getattr(error, "verify_message", "") or str(error)
    text = f"the certificate of {raised.host}:{raised.port} can't be trusted: {reason}"
    if getattr(error, "verify_code", 0) in _UNKNOWN_AUTHORITY:
        text += (
            "; if its authority is your company's, give a CA bundle that holds it: "
            "ClientConfig(ssl=…), --ca-file, or SSL_CERT_FILE on the command line"
        )
    return text


def refuses_certificate(raised: BaseException) -> bool:
    """Return whether an error is a server's TLS alert about the client's certificate."""
    return certificate_alert(str(raised)) is not None


def certificate_alert(text: str) -> str | None:
    """Return what a TLS alert means, if it is about the client's certificate."""
    if _REQUIRED.search(text):
        kind = "" if "HANDSHAKE_FAILURE" not in text else " (or no common cipher: the handshake failed)"
        return f"{REQUIRED_CERTIFICATE}{kind}"
    if (alert := _REJECTED.search(text)) is not None:
        name = alert[1].lower().replace("_", " ")
        return f"the server does not accept the client certificate ({name}): check client_cert"
    return None
