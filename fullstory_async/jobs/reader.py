"""JobReader: reads a job as typed results and as tables, while it is being written or years later."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import attrs

from fullstory_async.codec import decode_events, decode_summary
from fullstory_async.deprecation import warn_about_schema
from fullstory_async.errors import ConfigurationError, DecodeError
from fullstory_async.jobs.export import Redact, export
from fullstory_async.jobs.export.destination import check_json
from fullstory_async.jobs.export.parquet import RowGroups
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.export.responses import response_columns
from fullstory_async.jobs.export.structures import event_shapes
from fullstory_async.jobs.export.tables import Tables, portions
from fullstory_async.jobs.plan import EVENTS, SUMMARY
from fullstory_async.jobs.session import JobSession, session_of_row
from fullstory_async.jobs.storage.passes import Pass
from fullstory_async.jobs.storage.reader import RecordReader
from fullstory_async.jobs.storage.records import JobFailure, JobResult, Record
from fullstory_async.jobs.storage.tasks import JobTask, request_for
from fullstory_async.messages import Request, Response
from fullstory_async.models import SessionRef, session_id_of
from fullstory_async.session_id import SessionId
from fullstory_async.tables.arrow import arrow_schema, import_pyarrow
from fullstory_async.tables.columns import TABLES, Schema
from fullstory_async.threads import WorkerThread
from fullstory_async.validators import shown

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["JobReader"]

TableName = Literal["events", "sessions", "pages", "summaries", "failures"]

T = TypeVar("T")


class JobReader(RecordReader):
    """Reads a job's folder. Its database is opened for each pass, and never written.

    `results`, `sessions` and `failures` return a pass: ``async for`` reads it in a thread, and ``for`` reads
    it in synchronous code. The other methods block for as long as they read.

    It is a cache too: with ``FullStoryClient(cache=JobReader(folder))``, a call that the job has made for the
    same session, with the same profile and without further options, costs nothing. Other calls are made, and
    paid for, and the folder stays as it is.
    """

    @property
    def name(self) -> str:
        """The job with its folder, for messages."""
        return f"the job {self.folder}"

    def keeps(self, request: Request) -> bool:
        """Return whether the job makes such requests; for the client, as the next two."""
        return request.operation in self.plan.operations and request.session_id is not None

    async def get(self, _account: str, request: Request) -> bytes | None:
        """Return the response that the job has to the same request.

        Raises:
            JobError: the job can't be read.
        """
        session_id, operation = SessionId(request.session_id or ""), request.operation
        made = request_for(JobTask(0, session_id, operation), self.plan)
        if attrs.evolve(request, priority=made.priority) != made:
            return None
        read = partial(self.record_of, session_id, with_bodies=operation)
        record = await WorkerThread(self.name).run(read)
        return None if record is None else record.bodies.get(operation)

    async def put(self, *_: object) -> None:
        """Do nothing: only a run of the job stores responses."""

    def result(self, session_id: SessionRef) -> JobResult | None:
        """Return one session with its typed responses; None if the job doesn't have it.

        Args:
            session_id: the session, in any form.

        Raises:
            InvalidSessionId: this isn't a session id.
            JobError: the session is damaged, or the job can't be read.
        """
        record = self.record_of(session_id_of(session_id))
        return None if record is None else next(self._result(record))

    def results(self) -> Pass[JobResult]:
        """Return every session with its typed responses, in the order in which the ids were added."""
        return Pass(self, self._result)

    def sessions(self) -> Pass[JobSession]:
        """Return every session in figures: also those without events, failed, or not fetched yet."""
        tables = self._tables()
        return Pass(self, lambda record: _sessions(tables, record))

    def failures(self) -> Pass[JobFailure]:
        """Return every failure, in the order in which the ids were added."""
        return Pass(self, _failures, with_bodies=False)

    def to_arrow(self, table: TableName, *, json: Literal["text", "struct"] = "text") -> pa.RecordBatchReader:
        """Return a table of the job as a stream of Arrow record batches.

        pyarrow, pandas, polars and DuckDB read it batch by batch, so that a job larger than the memory can be
        read. The folder is read meanwhile, by the thread that takes a batch.

        Args:
            table: ``events``, ``sessions``, ``pages``, ``summaries`` or ``failures``. A table that the job's
                plan does not fill is empty.
            json: ``struct`` for structures in place of JSON text, as in an export. Reads the job twice.

        Raises:
            ConfigurationError: there is no such table or form of JSON, or pyarrow is not installed.
            JobError: the job can't be read.
        """
        if table not in TABLES:
            raise ConfigurationError(f"the table must be one of {', '.join(TABLES)}, not {shown(table)}")
        check_json(json)
        tables = self._tables(table)
        if json == "struct":
            tables = attrs.evolve(tables, shapes=event_shapes(tables, self.records()))
        schema = arrow_schema(tables.columns(table))
        return import_pyarrow().RecordBatchReader.from_batches(schema, self._record_batches(tables, table))

    def export(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        out_dir: str | os.PathLike[str] | None = None,
        file_format: str | None = None,
        overwrite: bool = False,
        append: bool = False,
        partition_by: Literal["date"] | None = None,
        rows_per_file: int | None = None,
        bom: bool = False,
        schema: Schema = "v2",
        json: Literal["text", "struct"] = "text",
        redact: Redact = (),
        allow_missing: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> list[Path]:
        """Write the job's tables to files, with the options, results and errors of `Job.export`.

        ``progress`` is called after each session.
        """
        warn_about_schema(schema)
        return export(
            self, path, out_dir=out_dir, file_format=file_format, overwrite=overwrite, append=append,
            partition_by=partition_by, rows_per_file=rows_per_file, bom=bom, schema=schema, json=json,
            redact=redact, allow_missing=allow_missing, progress=progress,
        )  # fmt: skip

    def to_html(self, *, title: str | None = None) -> str:
        """Return a report of the job for people: one HTML file without scripts, which loads nothing.

        It has totals, activations over time, failures by kind, pages by rage clicks and errors by browser.
        Pages are named by their paths; no user is named, unless a path or a failure's message does. Reads the
        whole job.

        Args:
            title: the heading; by default the name of the folder.

        Raises:
            JobError: the job can't be read.
        """
        # a report is seldom asked for
        from fullstory_async.html_pages.job_page import job_page  # noqa: PLC0415
        from fullstory_async.jobs.job_figures import JobFigures  # noqa: PLC0415

        figures, tables = JobFigures(), self._tables()
        with closing(self.records()) as records:
            for record in records:
                figures.add(record, tables)
        return job_page(figures.to_record(title or self.folder.name, self.status(), self.damaged))

    def _record_batches(self, tables: Tables, table: str) -> Iterator[pa.RecordBatch]:
        groups = RowGroups(tables.columns(table))
        with closing(self.records()) as records:
            for portion in portions(records):
                for name, rows in tables.rows(*portion):
                    if name == table and (batch := groups.add(rows)) is not None:
                        yield batch
        if (batch := groups.take()) is not None:
            yield batch

    def _tables(self, table: str = "") -> Tables:
        responses = response_columns(self) if table == "summaries" else {}
        return Tables(
            self.plan, Redaction.of((), self.secret), organisation=self.organisation,
            inputs=self.input_columns, responses=responses,
        )  # fmt: skip

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


def _sessions(tables: Tables, record: Record) -> Iterator[JobSession]:
    for name, rows in tables.rows(record):
        if name == "sessions":
            for row in rows:
                yield session_of_row(record, tables.columns(name), row)


def _failures(record: Record) -> Iterator[JobFailure]:
    yield from record.failures.values()
