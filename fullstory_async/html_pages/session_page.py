"""The page of one session: summary, time strip, switches, and its events page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from fullstory_async.amounts import counted
from fullstory_async.html_pages.document import document, fact_list, notice
from fullstory_async.html_pages.moments import Moment, Row, Section, SessionRecord, arrange
from fullstory_async.html_pages.strip import strip
from fullstory_async.notebook_html import clip, escape, escape_lines

__all__ = ["session_page"]

_MAX_ROWS = 2000
"""Rows of a page; an event that is left out is still in the strip and in all numbers."""
_MAX_TYPES = 40
_MAX_LINKS = 200
_MAX_ANCHORS = 20
"""Anchors of a row: links to the first events of a group still find it."""
_MAX_TEXT = 300
_MAX_URL = 200
_MAX_KIND = 60
_MAX_SUMMARY = 20_000

_STYLE = """
.bar{position:sticky;top:0;display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;align-items:center;
padding:.5rem .7rem;background:var(--bar);border:1px solid var(--line);border-radius:.4rem}
.bar select{font:inherit;max-width:14rem}.bar label{white-space:nowrap}
.bar details ol{max-height:50vh;overflow:auto;margin:.3rem 0}.bar details[open]{flex-basis:100%}
main table{table-layout:fixed}main tr{border-bottom:1px solid var(--line)}
col.at{width:5rem}col.kind{width:12rem}td.kind{color:var(--dim)}
td.at{white-space:nowrap;font-variant-numeric:tabular-nums;color:var(--dim)}
tr.dim td{color:var(--dim)}tr.gap td{color:var(--dim);font-style:italic}
b{font-size:.8rem;font-weight:500;border:1px solid;border-radius:.6rem;padding:0 .45rem;margin-left:.5rem;
white-space:nowrap}b.times{border:0;padding:0}
tr,section,i{scroll-margin-top:4rem}tr:target{background:var(--band)}
main section{content-visibility:auto;contain-intrinsic-size:auto 20rem}
:root:has(#problems:checked) :is(main section:not(.has-problem),main tr:not(.problem)){display:none}
@media(max-width:40rem){.kind{display:none}col.at{width:4.2rem}.bar{position:static}}
@media print{.bar{display:none}main section{content-visibility:visible}}
"""


def session_page(record: SessionRecord) -> str:
    """Return the page of a session as HTML, of limited size."""
    sections, left_out = arrange(record.visits, _MAX_ROWS)
    counts = Counter(moment.kind for visit in record.visits for moment in visit.moments)
    # the most frequent ones can be selected; the numbers name them in the style sheet
    numbers = {kind: number for number, (kind, _) in enumerate(counts.most_common(_MAX_TYPES))}
    rules = "".join(
        f":root:has(#o{n}:checked) :is(main tr:not(.k{n}),main section:not(:has(.k{n}))){{display:none}}\n"
        for n in numbers.values()
    )
    return document(record.title, _body(record, sections, left_out, counts, numbers), style=_STYLE + rules)


def _body(
    record: SessionRecord,
    sections: Sequence[Section],
    left_out: int,
    counts: Counter[str],
    numbers: Mapping[str, int],
) -> Iterator[str]:
    yield f"<header><h1>{escape(clip(record.title, _MAX_TEXT))}</h1>"
    yield from (f'<p class="dim">{escape(clip(text, _MAX_TEXT))}</p>' for text in record.subtitles)
    yield fact_list(record.facts)
    if record.summary:
        yield f'<div class="summary">{escape_lines(clip(record.summary, _MAX_SUMMARY))}</div>'
    yield from strip(record)
    yield from notice(record.note)
    yield from notice(_left_out(left_out, counts.total()))
    yield "</header>"
    if not sections:
        yield "<main><p>No events.</p></main>"
        return
    yield from _bar(sections, counts, numbers)
    yield "<main>"
    for section in sections:
        yield from _section(section, numbers)
    yield "</main>"


def _left_out(count: int, total: int) -> str:
    if not count:
        return ""
    return (
        f"{count:,} of {counted(total, 'event')} are left out of the list below to keep this page light: "
        "errors and frustrations are listed first. All events count in the strip and in the numbers."
    )


def _bar(sections: Sequence[Section], counts: Counter[str], numbers: Mapping[str, int]) -> Iterator[str]:
    rows = [row.moments[0] for section in sections for row in section.rows if row.moments]
    problems = sum(moment.is_problem for moment in rows)
    yield '<nav class="bar" aria-label="Events">'
    yield '<label><input type="checkbox" id="problems" autocomplete="off"> '
    yield f"Problems only ({problems:,})</label>"
    yield '<label>Type <select autocomplete="off"><option>all</option>'
    for kind, number in numbers.items():
        yield f'<option id="o{number}">{escape(clip(kind, _MAX_KIND))} ({counts[kind]:,})</option>'
    yield "</select></label>"
    yield f"<details><summary>Pages ({len(sections):,})</summary><ol>"
    for section in sections[:_MAX_LINKS]:
        first = section.rows[0].moments[0].clock if section.rows[0].moments else ""
        yield f'<li><a href="#v{section.number}">{escape(clip(section.visit.title, _MAX_KIND))}</a> '
        yield f'<span class="dim">{escape(first)}</span></li>'
    yield "</ol>"
    if len(sections) > _MAX_LINKS:
        yield f"<p>… and {len(sections) - _MAX_LINKS:,} more</p>"
    yield "</details></nav>"


def _section(section: Section, numbers: Mapping[str, int]) -> Iterator[str]:
    visit = section.visit
    has_problem = any(row.moments and row.moments[0].is_problem for row in section.rows)
    yield f'<section id="v{section.number}"{" class=has-problem" if has_problem else ""}>'
    yield f"<h2>{escape(clip(visit.title, _MAX_TEXT))}</h2>"
    if visit.url:
        yield f'<p class="dim">{escape(clip(visit.url, _MAX_URL))}</p>'
    # the widths, as a first row that spans columns has none
    yield '<table><colgroup><col class="at"><col class="kind"><col></colgroup>'
    for row in section.rows:
        yield _row(row, numbers) if row.moments else _gap(row.left_out)
    yield "</table></section>"


def _gap(count: int) -> str:
    return f'<tr class="gap"><td colspan="2">… {counted(count, "event")} left out</td></tr>'


def _row(row: Row, numbers: Mapping[str, int]) -> str:
    first = row.moments[0]
    classes = [f"k{numbers[first.kind]}"] if first.kind in numbers else []
    classes += ["problem"] if first.is_problem else ["dim"] if first.look == "dim" else []
    anchors = _anchors(row.moments[:_MAX_ANCHORS])
    marks = "".join(f'<b class="{look}">{escape(text)}</b>' for look, text in first.marks)
    if len(row.moments) > 1:
        marks += f'<b class="times">×{len(row.moments):,} until {escape(row.moments[-1].clock)}</b>'
    # the first anchor is the row's own, so that the row is the target that is highlighted
    own = f' id="{anchors[0]}"' if anchors else ""
    others = "".join(f'<i id="{anchor}"></i>' for anchor in anchors[1:])
    tone = f' class="{first.look}"' if first.look in ("error", "warn", "go") else ""
    return (
        f'<tr{own} class="{" ".join(classes)}"><td class="at">{escape(first.clock)}{others}</td>'
        f'<td class="kind">{escape(clip(first.kind, _MAX_KIND))}</td>'
        f"<td{tone}>{escape(clip(first.text, _MAX_TEXT))}{marks}</td></tr>"
    )


def _anchors(moments: Sequence[Moment]) -> list[str]:
    """Return the anchors of events as attributes, each once."""
    return [escape(anchor) for anchor in dict.fromkeys(each.anchor for each in moments) if anchor]
