"""Whose job it is."""

from __future__ import annotations

from fullstory_async.api import Account, call_once
from fullstory_async.codec import decode_key_owner
from fullstory_async.errors import DecodeError, NotFoundError, PermissionDeniedError
from fullstory_async.http import endpoints
from fullstory_async.http.options import CallOptions

__all__ = ["organisation_of"]

_SECONDS = 30.0


async def organisation_of(account: Account) -> str | None:
    """Return the organisation of the client's key, or ``None`` where the service does not say. Free of charge.

    Raises:
        FullStoryError: the key is rejected, or there is no answer.
    """
    try:
        return (await call_once(account, endpoints.me(), decode_key_owner, CallOptions(_SECONDS))).org_id
    except (NotFoundError, PermissionDeniedError, DecodeError):  # a service of the published contract alone
        return None
