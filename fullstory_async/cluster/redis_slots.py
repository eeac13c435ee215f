"""RedisSlots: runs the script in Redis within a bounded time; every failure is a `LimiterUnavailable`.

A request has half of its time on the existing connection and the rest on a new one, in case the old one is
dead. If its response is lost, it may have taken a slot, which then stays unused. After a failure the
connections are dropped: a server that was demoted to a replica would answer "READONLY" over them for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from fullstory_async.cluster.redis_script import SCRIPT, parse, parse_begin
from fullstory_async.cluster.slots import Grant
from fullstory_async.errors import ConfigurationError, LimiterUnavailable
from fullstory_async.secret import Secret
from fullstory_async.spelling import Reading

__all__ = ["RedisSlots"]

T = TypeVar("T")
_DEFAULT_PORT = 6379
_FAILURES = (RedisError, OSError)  # a TimeoutError is an OSError


class RedisSlots:
    """The value that Redis keeps under one key."""

    __slots__ = (
        "_client",
        "_given",
        "_inherited",
        "_key",
        "_pid",
        "_url",
        "location",
        "timeout",
    )

    timeout: float
    """Seconds that one request takes at most."""
    location: str
    """The Redis server, without user and password."""

    def __init__(self, redis: Secret | Redis, key: str, *, timeout: float) -> None:
        """Name the value; nothing is connected yet.

        Raises:
            ConfigurationError: ``redis`` is neither a usable URL nor a `redis.asyncio.Redis`.
        """
        self._key = key
        if not isinstance(redis, (Secret, Redis)):
            raise ConfigurationError(
                f"redis must be a URL or a redis.asyncio.Redis, not {type(redis).__name__}"
            )
        self._url = redis if isinstance(redis, Secret) else None
        self._given = redis if isinstance(redis, Redis) else None
        self._client: Redis | None = None
        self._inherited: list[Redis | None] = []
        self._pid = os.getpid()
        self.timeout = timeout
        self.location = self._describe_location()

    async def ask(self, values: list[int]) -> Grant:
        """Ask for slots or begin a pause; see `arguments`."""
        return parse(await self._request(self._run_script(values)))

    async def is_valid(self, grant: Grant) -> bool:
        """Return whether slots still hold: there was neither a pause nor a loss since."""
        return grant.begin == parse_begin(await self._request(self._connected().get(self._key)))

    async def _run_script(self, values: list[int]) -> Any:
        client = self._connected()
        try:
            # loads the script into a server that does not know it
            return await client.register_script(SCRIPT)(keys=[self._key], args=values)
        except NoScriptError:  # flushed again between loading and use
            return await client.eval(SCRIPT, 1, self._key, *map(str, values))

    async def close(self) -> None:
        """Close the connections that were made here; the next request makes new ones."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*_FAILURES):
                async with asyncio.timeout(self.timeout):
                    await client.aclose()

    def detach(self) -> None:
        """Leave the connections of an event loop that has ended, or that runs in the parent process."""
        if self._pid != os.getpid():
            # Kept, because closing them here would also remove them from the parent's loop, whose epoll is
            # shared with this process.
            self._inherited.append(self._client)
            self._pid = os.getpid()
        self._client = None

    async def _request(self, request: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.timeout):
                return await request
        except TimeoutError:
            failure = f"no response within {self.timeout:g} s"
        except _FAILURES as error:
            failure = f"{type(error).__name__}: {self._without_password(str(error))}"
        await self.close()
        # Raised here and not above: the cause may show the password.
        raise LimiterUnavailable(
            f"the rate limiter that is shared through {self.location} can't be asked: {failure}", sent=False
        )

    def _connected(self) -> Redis:
        if self._given is not None:
            return self._given
        if self._client is None:
            self._client = self._new_client()
        return self._client

    def _new_client(self) -> Redis:
        with contextlib.suppress(ValueError):  # its text may show the password
            return Redis.from_url(
                self._url.reveal() if self._url is not None else "",
                socket_timeout=self.timeout / 2,
                socket_connect_timeout=self.timeout / 2,
                retry=Retry(NoBackoff(), 1),
            )
        raise ConfigurationError(
            "redis is not a URL that it can be reached at: redis://host:port, rediss://… or unix://…"
        )

    def _settings(self) -> dict[str, object]:
        return (self._given or self._new_client()).connection_pool.connection_kwargs

    def _describe_location(self) -> str:
        settings = self._settings()
        if "path" in settings:
            return f"Redis at {settings['path']}"
        if "host" in settings:
            return f"Redis at {settings['host']}:{settings.get('port', _DEFAULT_PORT)}"
        return "Redis"

    def _without_password(self, text: str) -> str:
        password = self._settings().get("password")
        if not (isinstance(password, str) and password):
            return text
        # as it is, however short; and in other spellings
        return Secret(password).redact(Reading(text.replace(password, "…")), "…").text

    def __repr__(self) -> str:
        return f"RedisSlots({getattr(self, 'location', 'not made')}, {self._key!r})"
