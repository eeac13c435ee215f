"""Refusals on the way to the service: by a proxy, or by a server that requires a client certificate. Pure.

Neither has passed the request on, so nothing was charged; and neither will answer differently to the next
request, so there is none: a login that is tried again and again locks the account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fullstory_async.errors import ConnectError, ProxyError
from fullstory_async.http.plausibility import is_markup
from fullstory_async.messages import Request, Response
from fullstory_async.safe_json import loads

__all__ = ["REQUIRED_CERTIFICATE", "is_refusal_of_proxy", "refusal_before_service", "refused_by_proxy"]

REQUIRED_CERTIFICATE = (
    "the server requires a client certificate: give one as client_cert (--client-cert on the command line)"
)

_AUTHENTICATION = frozenset({401, 407})
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a proxy that can't reach the service now; it may reach it in a moment."""
_PAGE_STATUSES = frozenset({400, 403, 495, 496, 497})
_NO_CERTIFICATE = re.compile(
    rb"no required SSL certificate|SSL certificate error|client certificate", re.IGNORECASE
)
_PLAIN_HTTP = re.compile(
    rb"plain HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL", re.IGNORECASE
)
_SEARCHED = 4096
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][\w-]*)(?=\s|,|$)")


def refused_by_proxy(status: int, headers: Mapping[str, str], request: Request) -> ConnectError:
    """Return the error for a proxy's own response, to ``CONNECT`` or to a plain request."""
    if status in _TRANSIENT:
        return ConnectError(f"the proxy could not connect: {status}", request=request, sent=False)
    text = f"the proxy refused: {status}; {_advice(status, headers)}"
    return ProxyError(text, request=request, response=Response(status=status), sent=False)


def _advice(status: int, headers: Mapping[str, str]) -> str:
    if status not in _AUTHENTICATION:
        return "its rules don't allow this address, or it is not a proxy for https"
    offered = next((value for name, value in headers.items() if name.lower() == "proxy-authenticate"), "")
    schemes = [scheme for scheme in _SCHEME.findall(offered[:200]) if scheme.lower() != "realm"]
    if schemes and not any(scheme.lower() == "basic" for scheme in schemes):
        return f"it accepts {', '.join(schemes)}, and this client logs in with Basic only"
    return "it requires a user and password, or rejects the given ones (proxy_auth, or in the proxy's URL)"


def is_refusal_of_proxy(response: Response, *, proxied: bool) -> bool:
    """Return whether an error response is a proxy's.

    Args:
        response: a response with an error status.
        proxied: whether the request went through a proxy in plain HTTP, so that it may answer itself.
    """
    if response.status == 407:
        return True
    if not proxied or response.status not in (401, 403):
        return False
    if "proxy-authenticate" in response.headers:
        return True
    try:
        fields = loads(response.body)
    except ValueError:
        return True  # the service's own refusals are JSON
    return not (isinstance(fields, dict) and isinstance(fields.get("message", fields.get("code")), str | int))


def refusal_before_service(request: Request, response: Response, *, proxied: bool) -> ConnectError | None:
    """Return the error for a response that was sent before the request reached the service, if it was.

    That is a proxy's refusal, or a web server's page: about the client certificate, or about plain HTTP at
    a port for TLS.
    """
    if is_refusal_of_proxy(response, proxied=proxied):
        return refused_by_proxy(response.status, response.headers, request)
    if response.status not in _PAGE_STATUSES or not is_markup(response):
        return None
    page = response.body[:_SEARCHED]
    if _PLAIN_HTTP.search(page) is not None:
        text = "the server expects TLS at this port: the base URL has to begin with https://"
    elif _NO_CERTIFICATE.search(page) is not None:
        text = f"{REQUIRED_CERTIFICATE}; it responded {response.status}"
    else:
        return None
    return ConnectError(text, request=request, sent=False, permanent=True)
