"""The report of a job in Chromium."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fullstory_async.html_pages.job_page import JobRecord, Ranking, job_page
from fullstory_async.html_pages.spending import Payment
from tests.pages.browser import measured


@pytest.mark.parametrize(("dark", "background"), [(False, "rgb(255, 255, 255)"), (True, "rgb(22, 24, 28)")])
def test_it_fits_a_phone_and_follows_the_colour_scheme(tmp_path: Path, dark: bool, background: str) -> None:
    record = JobRecord(
        title="friday.job", subtitle="x" * 90, facts=["200 sessions"] * 9,
        payments=[Payment(datetime(2026, 5, 4, n, tzinfo=UTC), is_at_risk=n == 3) for n in range(9)],
        rankings=[Ranking("Pages", ("page", "rage clicks", "errors"), [("/" + "long" * 40, 1, 2)] * 30)],
    )  # fmt: skip
    script = """
    const bars = [...document.querySelectorAll("svg rect")].filter(e => e.getBoundingClientRect().height > 1);
    return [innerWidth, document.documentElement.scrollWidth, bars.length,
            getComputedStyle(document.body).backgroundColor];
    """
    inner, scroll, bars, colour = measured(job_page(record), script, tmp_path, width=390, dark=dark)
    assert (inner, bars, colour) == (390, 9, background)
    assert scroll <= inner
