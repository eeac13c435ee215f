"""For tests of programs that use this package: a sandbox for any test, a double, and settings for recordings.

With pytest, the fixtures ``fullstory_sandbox``, ``fullstory_config`` and ``fullstory_client`` need no import.
"""

from fullstory_async.messages import Request, Response
from fullstory_async.testing.cassettes import vcr_settings
from fullstory_async.testing.fake_transport import FakeTransport, Scripted, json_response
from fullstory_async.testing.sandbox_thread import SandboxOptions, running_sandbox

__all__ = [
    "FakeTransport",
    "Request",
    "Response",
    "SandboxOptions",
    "Scripted",
    "json_response",
    "running_sandbox",
    "vcr_settings",
]
