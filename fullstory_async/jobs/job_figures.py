"""JobFigures: what a job's report counts, session by session, from the rows of its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import attrs

from fullstory_async.activations import Activations
from fullstory_async.amounts import counted
from fullstory_async.html_pages.job_page import JobRecord, Ranking
from fullstory_async.html_pages.spending import Payment
from fullstory_async.jobs.export.tables import Tables
from fullstory_async.jobs.storage.records import JobStatus, Record

__all__ = ["JobFigures"]

_NO_PAGE = "no page: an app or a server"
_SIGNS = ("rage click", "dead click", "error click")


@attrs.define
class JobFigures:
    """The counts of a report."""

    sums: Counter[str] = attrs.field(factory=Counter)
    pages: dict[str, Counter[str]] = attrs.field(factory=dict)
    browsers: dict[str, Counter[str]] = attrs.field(factory=dict)
    failures: dict[tuple[str, str], Counter[str]] = attrs.field(factory=dict)
    messages: dict[tuple[str, str], str] = attrs.field(factory=dict)
    """The first message of each kind of failure."""
    payments: list[Payment] = attrs.field(factory=list)
    span: list[str] = attrs.field(factory=list)
    """The earliest start and the latest end of a session."""

    def add(self, record: Record, tables: Tables) -> None:
        """Count one session."""
        self.payments += [Payment(when, is_at_risk=False) for when in record.fetched.values()]
        adders = {"events": self._add_event, "sessions": self._add_session, "failures": self._add_failure}
        for name, rows in tables.rows(record):
            if (add := adders.get(name)) is not None:
                columns = [column.name for column in tables.columns(name)]
                for row in rows:
                    add(dict(zip(columns, row, strict=True)))

    def _add_event(self, event: Mapping[str, Any]) -> None:
        page = event["page_path"] or event["page_title"] or _NO_PAGE
        counts = self.pages.setdefault(page, Counter())
        counts["events"] += 1
        counts["errors"] += event["is_error"]
        counts.update(event["frustrations"])
        self.sums.update(event["frustrations"])

    def _add_session(self, session: Mapping[str, Any]) -> None:
        self.sums["events"] += session["events"] or 0
        self.sums["errors"] += session["errors"] or 0
        if session["events"] is not None:
            counts = self.browsers.setdefault(session["browser"] or "unknown", Counter())
            counts.update(sessions=1, errors=session["errors"], affected=int(session["errors"] > 0))
        times = [*self.span, *filter(None, (session["started_at"], session["ended_at"]))]
        self.span = [min(times), max(times)] if times else []

    def _add_failure(self, failure: Mapping[str, Any]) -> None:
        kind = failure["operation"], failure["error"]
        counts = self.failures.setdefault(kind, Counter())
        counts["calls"] += 1
        counts["permanent"] += failure["permanent"]
        counts["may_have_cost"] += failure["may_have_cost"]
        self.messages.setdefault(kind, failure["message"])
        # a response that can't be read is in `Record.fetched` too
        if failure["may_have_cost"] and failure["attempts"]:
            self.payments.append(Payment(datetime.fromisoformat(failure["failed_at"]), is_at_risk=True))

    def to_record(self, title: str, status: JobStatus, damaged: int) -> JobRecord:
        """Return the report."""
        notes = [
            f"The job {status.missing}." if status.missing else "",
            f"{counted(damaged, 'session')} can't be read: the job's file is damaged." if damaged else "",
        ]
        return JobRecord(
            title=title, subtitle="Report of a FullStory job", facts=list(self._facts(status)),
            payments=self.payments, rankings=list(self._rankings()), note=" ".join(filter(None, notes)),
        )  # fmt: skip

    def _facts(self, status: JobStatus) -> Iterator[str]:
        yield counted(status.sessions, "session")
        yield f"{counted(status.done, 'result')} of {counted(status.calls, 'call')}"
        yield f"{counted(status.failed, 'failure')}, {status.permanent:,} of them permanent"
        yield f"{counted(status.left, 'call')} left"
        yield str(Activations(status.spent, status.at_risk))
        if status.plan.max_activations is not None:
            yield f"budget {status.plan.max_activations:,}"
        if self.browsers:
            yield counted(self.sums["events"], "event")
            yield counted(self.sums["errors"], "error")
            yield from (counted(self.sums[sign], sign) for sign in _SIGNS if self.sums[sign])
        if self.span:
            yield " to ".join(f"{datetime.fromisoformat(each):%Y-%m-%d %H:%M}" for each in self.span) + " UTC"

    def _rankings(self) -> Iterator[Ranking]:
        yield Ranking(
            "Failures by kind",
            ("operation", "error", "calls", "permanent", "may have cost", "first message"),
            [
                (*kind, counts["calls"], counts["permanent"], counts["may_have_cost"], self.messages[kind])
                for kind, counts in _sorted(self.failures.items(), "calls")
            ],
        )
        yield Ranking(
            "Pages by rage clicks",
            ("page", "rage clicks", "dead clicks", "error clicks", "errors", "events"),
            [
                (page, *(counts[name] for name in (*_SIGNS, "errors", "events")))
                for page, counts in _sorted(self.pages.items(), _SIGNS[0], "errors", "events")
            ],
        )
        yield Ranking(
            "Errors by browser",
            ("browser", "sessions", "sessions with errors", "errors", "errors per session"),
            [
                (name, counts["sessions"], counts["affected"], counts["errors"],
                 f"{counts['errors'] / counts['sessions']:.1f}")
                for name, counts in _sorted(self.browsers.items(), "errors", "sessions")
            ],
        )  # fmt: skip


def _sorted(items: Iterable[tuple[Any, Counter[str]]], *names: str) -> list[tuple[Any, Counter[str]]]:
    """Return counts by name, the largest first."""
    return sorted(items, key=lambda item: [-item[1][name] for name in names])
