"""ProfilesAPI: summary profiles, which store the settings of summaries under an id."""

from __future__ import annotations

from collections.abc import Mapping

from fullstory_async import validators
from fullstory_async.api.calls import call_once
from fullstory_async.api.context import ApiContext
from fullstory_async.codec import decode_profile, decode_profiles, profile_body
from fullstory_async.errors import ConfigurationError
from fullstory_async.http import endpoints
from fullstory_async.http.options import CallOptions, ExtraQuery
from fullstory_async.models import Profile, ProfileConfiguration
from fullstory_async.pagination import Page, Pager
from fullstory_async.privacy import hide_arguments

__all__ = ["ProfilesAPI"]

_NOTHING = b"{}"
_PAGE = 100
"""Page size of FullStory's own client; the largest allowed one is not documented."""


class ProfilesAPI:
    """The operations on summary profiles, as ``client.profiles``.

    The options ``priority``, ``timeout``, ``extra_query`` and ``extra_headers`` and the errors are those of
    `SessionsAPI`. Reads are retried after a lost response. `create`, `update` and `delete` are sent once:
    after a `TransportError` with ``sent`` they may have been carried out, so check with `get` or `list`. None
    of them is on FullStory's newer list of metered calls; an older copy of it names `create`.
    """

    __slots__ = ("_api",)

    def __init__(self, api: ApiContext) -> None:
        """Offer the operations of one client."""
        self._api = api

    @hide_arguments
    def list(
        self,
        *,
        limit: int | None = None,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Pager[Profile]:
        """List the organisation's profiles. The service's default profile is not among them.

        Entries that are null or have no id, which early versions of the service left behind, are skipped.

        Args:
            limit: the most profiles to return; ``None`` for all.

        Returns:
            A `Pager`: ``await`` it for the first page, or iterate over it. Until then nothing is sent.
        """
        if limit is not None:
            validators.positive_integer(limit, "limit", or_else="None for all")
            limit = int(limit)
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        size = _PAGE if limit is None else min(limit, _PAGE)

        async def fetch(token: str | None) -> Page[Profile]:
            request = endpoints.list_profiles(limit=size, token=token)
            return await call_once(self._api, options.apply(request), decode_profiles, options.timeout)

        options.apply(endpoints.list_profiles(limit=size))
        return Pager(fetch, limit=limit)

    @hide_arguments
    async def get(
        self,
        profile_id: str,
        *,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Profile:
        """Get a profile.

        Args:
            profile_id: the profile's id.

        Raises:
            NotFoundError: no profile has this id.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        request = endpoints.get_profile(_checked(profile_id))
        return await call_once(self._api, options.apply(request), decode_profile, options.timeout)

    @hide_arguments
    async def create(
        self,
        name: str,
        configuration: ProfileConfiguration,
        *,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Profile:
        """Create a profile; the service assigns its id. Names need not be unique.

        Args:
            name: its display name.
            configuration: its settings; only fields that were set are sent.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        if configuration is None:
            raise ConfigurationError("configuration must be a ProfileConfiguration, not None")
        body = profile_body(_checked_name(name), configuration)
        return await call_once(
            self._api, options.apply(endpoints.create_profile(body)), decode_profile, options.timeout
        )

    @hide_arguments
    async def update(
        self,
        profile_id: str,
        *,
        name: str | None = None,
        configuration: ProfileConfiguration | None = None,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> Profile:
        """Update a profile in part: fields that are not set keep their value. Returns the updated profile.

        Args:
            profile_id: which profile.
            name: its new name.
            configuration: the fields to change.

        Raises:
            ConfigurationError: nothing to change; nothing was sent.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        body = profile_body(None if name is None else _checked_name(name), configuration)
        if body == _NOTHING:
            raise ConfigurationError("update needs a name, a configuration with something set, or both")
        request = endpoints.update_profile(_checked(profile_id), body)
        return await call_once(self._api, options.apply(request), decode_profile, options.timeout)

    @hide_arguments
    async def delete(
        self,
        profile_id: str,
        *,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> None:
        """Delete a profile. Summaries that use it fail from then on.

        Args:
            profile_id: the profile's id.

        Raises:
            NotFoundError: no profile has this id.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        request = endpoints.delete_profile(_checked(profile_id))
        await call_once(self._api, options.apply(request), lambda _: None, options.timeout)


def _checked(profile_id: str) -> str:
    """Return the id, or raise if it can't be one segment of a path."""
    usable = isinstance(profile_id, str) and profile_id.isprintable() and profile_id.strip(". ")
    if not usable or "/" in profile_id:
        raise ConfigurationError(f"a profile's id is a text without slashes, not {profile_id!r:.80}")
    return str.__str__(profile_id)


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"a profile's name must be text, not {name!r:.80}")
    return str.__str__(name)
