"""A local FullStory that enforces its own limits, for trying the client and for testing against.

::

    async with Sandbox(seed=0, rate_limit=RateLimit(50, 50)) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)

It serves the Sessions API in the live service's wire form, as FullStory documents it, or in the form of a
published third-party OpenAPI description, with users, sessions, events and summaries generated from a seed.
It checks the key, limits the rate, counts activations, records every request, and injects faults on request::

    sandbox.inject(Fault.status(503), operation="events", times=2)

`Fault` lists all faults. Sessions of your own are `SandboxSession` objects::

    ada = SandboxUser(email="ada@example.com")
    async with Sandbox(sessions=[SandboxSession(user=ada, events=[{"event_type": "click"}])]) as sandbox:
"""

from fullstory_async.sandbox.faults import Fault, FaultRule
from fullstory_async.sandbox.own_data import SandboxSession, SandboxUser
from fullstory_async.sandbox.server import Sandbox
from fullstory_async.sandbox.state import RecordedRequest, RecordedRequests, Wire
from fullstory_async.sandbox.world import User

__all__ = [
    "Fault",
    "FaultRule",
    "RecordedRequest",
    "RecordedRequests",
    "Sandbox",
    "SandboxSession",
    "SandboxUser",
    "User",
    "Wire",
]
