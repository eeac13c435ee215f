"""Listing sessions: one page, from whichever of the service's two list endpoints is there.

FullStory documents ``GET /sessions/v2`` and a newer ``GET /v2/sessions``, and both forms of responses are
decoded from either. Where one path isn't served, the other one is asked, once per call until it has answered.
"""

from __future__ import annotations

import attrs

from fullstory_async.api.calls import call_once
from fullstory_async.api.context import ApiContext
from fullstory_async.codec import decode_sessions
from fullstory_async.config import ListApi
from fullstory_async.errors import FullStoryError, UnexpectedResponseError
from fullstory_async.http import endpoints
from fullstory_async.http.options import CallOptions
from fullstory_async.messages import Request
from fullstory_async.models import Session
from fullstory_async.pagination import Page

__all__ = ["SessionQuery", "fetch_sessions"]

_FOUND_NOTHING = ("user_not_found", "resource_not_found")
"""Codes of a 404 that comes from the endpoint itself."""


@attrs.frozen(kw_only=True)
class SessionQuery:
    """Which sessions to list. Its repr, which error trackers record, hides the user."""

    uid: str | None = attrs.field(repr=False)
    email: str | None = attrs.field(repr=False)
    session_uid: str | None = attrs.field(repr=False)

    def request(self, list_api: ListApi, *, limit: int, token: str | None) -> Request:
        """Return the request for a page."""
        return endpoints.list_sessions(
            list_api=list_api, uid=self.uid, email=self.email, session_uid=self.session_uid, limit=limit,
            token=token,
        )  # fmt: skip


async def fetch_sessions(
    api: ApiContext, query: SessionQuery, options: CallOptions, *, limit: int, token: str | None
) -> Page[Session]:
    """Fetch one page of sessions. Raises `FullStoryError`."""
    chosen = api.lists.choose(by_session_uid=query.session_uid is not None)
    try:
        request = options.apply(query.request(chosen, limit=limit, token=token))
        return await call_once(api, request, decode_sessions, options.timeout)
    except FullStoryError as error:
        if not _is_unserved(error):
            raise
        refused = error
    other = api.lists.other(chosen)
    try:
        request = options.apply(query.request(other, limit=limit, token=token))
        page = await call_once(api, request, decode_sessions, options.timeout)
    except FullStoryError as error:
        if not _is_unserved(error):
            raise
    else:
        api.lists.unserved = chosen
        return page
    # neither path is served: the configured one is the one to report
    raise refused


def _is_unserved(error: FullStoryError) -> bool:
    """Return whether an error says that the path isn't served, and not that nothing was found."""
    # a page of another service says nothing about FullStory's paths
    if isinstance(error, UnexpectedResponseError):
        return False
    return error.status == 405 or (error.status == 404 and error.code not in _FOUND_NOTHING)
