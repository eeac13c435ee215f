"""JobReader: reads a job as typed results and as tables, while it is being written or years later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from fullstory_async.codec import decode_events, decode_summary
from fullstory_async.errors import DecodeError
from fullstory_async.jobs.plan import EVENTS, SUMMARY
from fullstory_async.jobs.storage.passes import Pass
from fullstory_async.jobs.storage.reader import RecordReader
from fullstory_async.jobs.storage.records import JobFailure, JobResult, Record
from fullstory_async.messages import Response
from fullstory_async.session_id import SessionId

__all__ = ["JobReader"]

T = TypeVar("T")


class JobReader(RecordReader):
    """Reads a job's folder. Its database is opened for each pass, and never written.

    `results` and `failures` return a pass: ``async for`` reads it in a thread, and ``for`` reads it in
    synchronous code. The other methods block for as long as they read.
    """

    def results(self) -> Pass[JobResult]:
        """Return every session with its typed responses, in the order in which the ids were added."""
        return Pass(self, self._result)

    def failures(self) -> Pass[JobFailure]:
        """Return every failure, in the order in which the ids were added."""
        return Pass(self, _failures, with_bodies=False)

    def _result(self, record: Record) -> Iterator[JobResult]:
        failures = list(record.failures.values())

        def decoded(operation: str, decode: Callable[[Response], T]) -> T | None:
            if operation not in record.bodies:
                return None
            try:
                return decode(Response(status=200, body=record.bodies[operation]))
            except DecodeError as error:
                failures.append(record.malformed(operation, error))
                return None

        events = decoded(EVENTS, lambda response: decode_events(response, SessionId(record.session_id)))
        summary = decoded(
            SUMMARY,
            lambda response: decode_summary(response, SessionId(record.session_id), self.plan.summary),
        )
        yield JobResult(
            session_id=record.session_id, events=events, summary=summary, failures=tuple(failures)
        )


def _failures(record: Record) -> Iterator[JobFailure]:
    yield from record.failures.values()
