"""The report of a job as a web page: its numbers, and that no text becomes markup."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fullstory_async.errors import ConfigurationError
from fullstory_async.html_pages.job_page import JobRecord, Ranking, job_page
from fullstory_async.html_pages.spending import Payment, spending
from fullstory_async.jobs import JobReader
from fullstory_async.jobs.export.page_files import write_page
from tests.jobs.stored import event, stored_job
from tests.pure.test_html_pages import Reader

EVIL = "<script>alert('1')</script>"
START = datetime(2026, 5, 4, 10, tzinfo=UTC)


def page_event(second: int, path: str, browser: str, **properties: object) -> dict[str, object]:
    source = {"url": {"full_url": f"https://x{path}", "path": path}, "user_agent": {"browser": browser}}
    return {
        **event(f"2026-05-04T10:00:0{second}Z", **properties), "source_type": "web", "source_properties": source,
    }  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> JobReader:
    rage, crash = {"fs_rage_count": 2}, {"message": "no"}
    return stored_job(
        tmp_path_factory.mktemp("report") / EVIL.replace("/", ""),
        {
            "1:2": [page_event(0, "/cart", "Firefox", **rage), page_event(1, "/pay", "Firefox", **rage)],
            "1:3": [
                page_event(0, "/pay", EVIL, **rage),
                {**page_event(9, f"/{EVIL}", EVIL, **crash), "event_type": "exception"},
            ],
            "1:4": None,
        },
    )


def rows(html: str, caption: str) -> list[str]:
    """Return the texts of a table's rows, with commas between the cells."""
    table = html[html.index(f"<caption>{caption}") :].partition("</table>")[0]
    return [",".join(Reader(row.replace("</td>", "|")).texts).strip("|") for row in table.split("<tr>")[2:]]


def test_its_numbers_are_the_jobs(reader: JobReader) -> None:
    html = reader.to_html()
    for fact in ("3 sessions", "2 results of 3 calls", "1 failure", "4 events", "1 error", "3 rage clicks"):
        assert f"<li>{fact}" in html
    assert "2026-05-04 10:00 to 2026-05-04 10:00 UTC" in html
    assert rows(html, "Pages by rage clicks")[0].startswith("/pay|,2|,0|,0|,0|,2")
    assert rows(html, "Errors by browser")[1] == "Firefox|,1|,0|,0|,0.0"
    assert rows(html, "Failures by kind")[0].startswith("events|,NotFoundError|,1|,")
    assert "3 activations, at most" in html


def test_no_text_becomes_markup_and_nothing_is_loaded(reader: JobReader) -> None:
    html = reader.to_html(title=EVIL)
    read = Reader(html)
    assert "script" not in {tag for tag, _ in read.tags}
    assert read.links == []
    assert "".join(read.texts).count(EVIL) >= 3


def test_a_bar_stands_for_a_round_length_of_time() -> None:
    def drawn(*offsets: timedelta, at_risk: Callable[[int], bool] = lambda _: False) -> str:
        return "".join(spending([Payment(START + each, at_risk(n)) for n, each in enumerate(offsets)]))

    assert drawn() == ""
    assert "1 activation, at most 1 per second" in drawn(timedelta())
    assert "2 activations, at most 1 per minute" in drawn(timedelta(), timedelta(hours=1))
    assert "at most 1 per day" in drawn(timedelta(), timedelta(days=100))
    risky = drawn(timedelta(), timedelta(), at_risk=lambda n: n == 1)
    assert "1 paid, 1 at risk" in risky
    assert risky.count("<rect") == 2
    assert drawn(*(timedelta(days=36 * n) for n in range(3000))).count("<rect") <= 200


def test_long_tables_are_cut_with_a_note() -> None:
    ranking = Ranking("Many", ("a", "b"), [("x" * 5000, n) for n in range(1000)])
    html = job_page(JobRecord(title="j", subtitle="", facts=[], payments=[], rankings=[ranking]))
    assert "… and 980 more" in html
    assert len(html) < 20_000


def test_the_file_is_private_and_replaces_only_a_page(reader: JobReader, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for text in ("one", "two é"):
        write_page(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for wrong in (
        tmp_path,
        reader.folder / "job.sqlite3",
        tmp_path / "none" / "x.html",
        tmp_path / ("n" * 300),
        tmp_path / "nul\0.html",
    ):
        with pytest.raises(ConfigurationError):
            write_page(wrong, "x")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
