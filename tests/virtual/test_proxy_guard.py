"""ProxyGuard in virtual time: who asks a proxy, and when again."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from fullstory_async import ConnectError, ProxyError
from fullstory_async.http.call import Attempt
from fullstory_async.http.proxy_refusals import refused_by_proxy
from fullstory_async.http.transport.proxy_guard import ProxyGuard
from fullstory_async.messages import Request, Response
from fullstory_async.networks import Network

pytestmark = pytest.mark.virtual_time

REQUEST = Request(operation="events", path="/x", metered=True)
LATE = 10_000.0


@attrs.define
class Proxied:
    """A transport whose requests end as they are told to, a second after they were sent."""

    ends: list[Response | ConnectError]
    slots: asyncio.Semaphore | None = None
    sent: int = 0
    most_at_once: int = 0
    now: int = 0

    def check(self) -> object:
        return None

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        self.sent += 1
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            await asyncio.sleep(1)
        finally:
            self.now -= 1
        end = self.ends[min(self.sent, len(self.ends)) - 1]
        if isinstance(end, ConnectError):
            raise end
        return end


FINE = Response(status=200)
TUNNEL_REFUSED = refused_by_proxy(407, {}, REQUEST)


async def results(guard: ProxyGuard, number: int) -> list[str]:
    calls = [guard.send(REQUEST, LATE, Attempt(0.0)) for _ in range(number)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    return [type(each).__name__ for each in found]


async def test_a_rejected_login_is_tried_again_after_a_minute_by_one_call() -> None:
    transport = Proxied([TUNNEL_REFUSED, TUNNEL_REFUSED, FINE])
    guard = ProxyGuard(transport, Network())
    assert await results(guard, 20) == ["ProxyError"] * 20
    await asyncio.sleep(58)
    assert await results(guard, 20) == ["ProxyError"] * 20
    assert transport.sent == 1
    await asyncio.sleep(3)
    assert await results(guard, 20) == ["ProxyError"] * 20
    assert transport.sent == 2
    await asyncio.sleep(61)
    assert await results(guard, 20) == ["Response"] * 20
    assert transport.most_at_once == 19


@pytest.mark.parametrize("status", [401, 403, 407])
async def test_a_login_that_is_rejected_later_stops_everybody(status: int) -> None:
    """A password that expires: those in flight fail, and no call asks after them."""
    transport = Proxied([FINE, FINE, Response(status=status)])
    guard = ProxyGuard(transport, Network(proxy_reads_requests=True))
    assert await results(guard, 2) == ["Response"] * 2
    assert await results(guard, 3) == ["Response"] * 3  # the pipeline turns the refusals into errors
    with pytest.raises(ProxyError, match="not asked again for 60 s") as caught:
        await guard.send(REQUEST, LATE, Attempt(0.0))
    assert (caught.value.status, caught.value.may_have_cost) == (status, False)
    assert transport.sent == 5


async def test_what_is_no_refusal_is_not_remembered() -> None:
    for refusal in (
        refused_by_proxy(503, {}, REQUEST),
        ConnectError("x"),
    ):
        transport = Proxied([refusal, refusal, FINE])
        guard = ProxyGuard(transport, Network())
        assert await results(guard, 3) == [type(refusal).__name__] * 2 + ["Response"]
        assert (transport.sent, transport.most_at_once) == (3, 1)
    assert (guard.slots, guard.check()) == (None, None)


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ("Negotiate, NTLM", "it accepts Negotiate, NTLM, and this client logs in with Basic only"),
        ('Digest realm="a b", nonce="x"', "it accepts Digest"), ('Basic realm="x"', "requires a user and password"),
        ('NTLM, basic realm="x"', "requires a user and password"), ("", "requires a user and password"),
    ],
)  # fmt: skip
async def test_the_advice_follows_what_the_proxy_offers(offered: str, said: str) -> None:
    assert said in refused_by_proxy(407, {"Proxy-Authenticate": offered}, REQUEST).message
