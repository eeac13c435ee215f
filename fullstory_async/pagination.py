"""Page and Pager: await the first page, iterate everything, go on from a token.

The pager knows a function ``fetch(token) -> Page`` and nothing else. The token alone decides: an
empty page with a token goes on, ``None`` or ``""`` stops, and a token that comes back a second time is an
error, because following it would never end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Generic, NoReturn, TypeVar, overload

import attrs

from fullstory_async.errors import PaginationError

__all__ = ["Page", "Pager"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Page(Sequence[T]):
    """One page of a list: a sequence of its items."""

    items: tuple[T, ...] = ()
    """The items of this page."""

    next_token: str | None = None
    """Where to go on, for `Pager.pages`; ``None`` on the last page."""

    received: int | None = attrs.field(default=None, repr=False, eq=False)
    """How many entries the answer held, before any was left out."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The answer as it came."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)


class Pager(Generic[T]):
    """A list that has not been fetched yet.

    ``await pager`` gives the first `Page`; ``async for item in pager`` gives every item up to the limit;
    ``async for page in pager.pages(token)`` gives pages, beginning where an earlier run stopped.
    Each use fetches anew, and each request passes the rate limiter.
    """

    __slots__ = ("_fetch", "_limit")

    def __init__(
        self, fetch: Callable[[str | None], Awaitable[Page[T]]], *, limit: int | None = None
    ) -> None:
        """Wrap a fetch function; ``limit`` is the most items that iteration gives."""
        self._fetch = fetch
        self._limit = limit

    def __await__(self) -> Generator[Any, None, Page[T]]:
        return self._first().__await__()

    async def _first(self) -> Page[T]:
        return await self._fetch(None)

    async def pages(self, token: str | None = None) -> AsyncGenerator[Page[T], None]:
        """Iterate over pages, from the beginning or from a page's ``next_token``.

        Raises:
            PaginationError: the server sent the same token twice.
            FullStoryError: as the request does.
        """
        seen = {token} if token else set()
        while True:
            page = await self._fetch(token)
            yield page
            token = page.next_token
            if not token:
                return
            if token in seen:
                raise PaginationError("the server sent the same page token twice; stopped after its page")
            seen.add(token)

    async def __aiter__(self) -> AsyncIterator[T]:
        left = self._limit
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for item in page.items[:left]:
                    yield item
                if left is not None:
                    left -= len(page.items[:left])
                    if left == 0:
                        return

    def __iter__(self) -> NoReturn:
        raise TypeError("a Pager is asynchronous: use 'async for', or 'await' it for the first page")
