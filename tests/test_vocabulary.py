"""The package's words: no definition goes by a name that was replaced with the field's own term, and prose is plain."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import fullstory_async

ROOT = Path(fullstory_async.__file__).parent
REPOSITORY = Path(__file__).parent.parent

OLD_NAMES = {
    "agents": "Answer AnswerStore answer _answer",
    "http": """
        SendsRequests Send nobody_asks nobody_hurries at_stake has_time begun unsent reached_nobody note_unsent set_aside
        take_back costs taken owed throttles left _walk _answer _admit _note _begin longest_wait longest_pause longest
        error_for translated RAISED Dropped looks_cut_off AnswerReader whole opened end _watch _unwatch _most Labels look_at
        NotingRequest send_once note_sent watch forget _ring _rings_at move due lost retrying _tell _of of _NONE _items
        _READS _SENDS _given _segment
    """,
    "ratelimit": """
        Line Place taken pass_turn hand_over refuse before _urgent _others _SHARE _give longest_pause _drained _count
        _exchange_bucket _bucket_here _bucket_at_present_rate _pass_gate _patience _too_long _EVENLY _MOMENT _STEP
    """,
    "retry": "RetryBudget take give_back Retry",
    "privacy": """
        without_frames hides_arguments _hides_arguments Scrubber without_persons spelled _spellings _without outline _blot
        _NOBODYS
    """,
    "api": """
        Flights _Flight Passenger join land _tell_stake _anybody_has_time Account call_per_session summary_per_session _one
        _Caller verdict generate can_be_read _same _kept _keep_later keeping Position next_page given
    """,
    "fanout": "Fetch name _droppable _dropped _note_stake _drop_waiting _take",
    "jobs": """
        Unit units_left request_of Place enter leave give_back Outage is_on wait_to_ask has_asked MANY GONE
        settle_answer settle_failure settle_later _forget_failure _remember _keep_spent _restore GroupWriter change
        change_later alone _again _do _take_back make_spare_room _give_spare_room is_out_of_room empty_log storable
        other_things_in UNUSABLE_ITEMS _look_for_damage packer unpacked PackingError Salvage _misled _noted
        _count_the_missing _intact in_thread to_its_end verified organisation_of is_lost is_unsent is_of_the_session _ask
        _asking _is_over _make _show _say_waiting _broken_display _watch _at_most refuse_if_held holder_of _TAKEN _A_LOOK
        _FAR _leave_to_the_parent harmless json_text _clear_away Sink hits
    """,
    "jobs/circuit_breaker": "answered lost",
    "jobs/storage/schema": "unusable",
    "codec": "EventSegments options_json read_options check_options lenient _tolerant times_as_they_came",
    "models": """
        Doubt slip doubt_of_event_type refuse_slip whole flag texts _keeper _nested _deep _REFUSED _LEVELS
        times_as_they_came
    """,
    "validators": "words aware whole_number positive",
    "safe_json": "DEEPEST refuse_depth _members _whole",
    "structuring": "structured reasons",
    "concurrency": "in_thread to_its_end",
    "cluster": """
        holds forget where anew _go_alone _take_alone _alone _teller _told _beyond _TOO_LATE _AGAIN
    """,
    "cli": """
        announcement account_of again_command _many _Order _Terms _looked_up _agreed _terminal no_pairs _STRANGE _checked
        _plain visible say console_for_people console_that_lets_pipes_break _BACKSTAGE
    """,
    "sandbox": """
        routes_beside Refusal Behaviour Proceed silence spoil_next veto looked_at told_as _surroundings
    """,
}
"""Folder or module → names that its definitions had before; an everyday word is free wherever it is not listed."""

OLD_MODULES = [
    "http.parts",
    "http.verdicts",
    "http.exceptions",
    "http.reading",
    "http.labels",
    "http.attempt",
    "http.line",
    "http.observer",
    "http.scrubbing",
    "blotting",
    "json_text",
    "checks",
    "api.flights",
    "api.hiding",
    "api.widening",
    "api.making",
    "api.shared",
    "jobs.units",
    "jobs.outage",
    "jobs.writer",
    "jobs.database",
    "jobs.packing",
    "jobs.salvage",
    "jobs.threads",
    "jobs.verify",
    "jobs.account",
    "jobs.verdicts",
    "jobs.records",
    "jobs.fingerprints",
    "jobs.admission",
    "jobs.export.cells",
    "jobs.export.sink",
    "codec.answers",
    "codec.bodies",
    "codec.segments",
    "models.vocabulary",
    "models.description",
    "cli.wording",
    "cli.fetching",
    "cli.running",
    "cli.serving",
    "cli.settings",
    "cli.usage",
    "sandbox.beside",
    "sandbox.answers",
    "sandbox.refusal",
    "sandbox.faults.notation",
    "sandbox.faults.fault",
    "sandbox.app",
]


def definitions(path: Path) -> dict[str, int]:
    """Return the names that a module defines, with their lines; aliases of public names are not among them."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if "warn_renamed" not in ast.unparse(node):
                found[node.name] = node.lineno
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            is_alias = node.value is not None and ast.unparse(node.value).startswith("Renamed(")
            for target in targets:
                name = target.id if isinstance(target, ast.Name) else None
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                    name = target.attr
                if name is not None and not is_alias:
                    found[name] = node.lineno
    return found


@pytest.mark.parametrize("room", OLD_NAMES)
def test_nothing_is_defined_under_an_old_name(room: str) -> None:
    paths = sorted((ROOT / room).rglob("*.py")) if (ROOT / room).is_dir() else [ROOT / f"{room}.py"]
    old = set(OLD_NAMES[room].split())
    found = {
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in paths
        for name, line in definitions(path).items()
        if name in old
    }
    assert not found, sorted(found)


def test_no_module_has_an_old_name() -> None:
    assert not [name for name in OLD_MODULES if ROOT.joinpath(*name.split(".")).with_suffix(".py").exists()]


UNUSUAL = re.compile(
    r"\bgo(es|ne)? on\b|\bwhom\b|for good\b|that there (is|are)\b|\bso many\b|\bwithout a word\b"
    r"|(?<!there )\b(is|are|was|were) no (?!longer|more|other)[a-z]|\b(is|are|be) told\b|\btold (of|that)\b"
    r"|on (its|their) way\b|\bset aside\b|\btake[ns]? back\b|\bnobody('s)? [a-z]|\beverybody\b|\bbeforehand\b|\banew\b"
    r"|\bbought\b|\bfailed for now\b|\bfor now,|(?<!there )\b(is|are|was|were) no `|\bwhich is no\b|\bunless told\b|\bblotted\b",
    re.IGNORECASE,
)


def test_the_prose_is_plain() -> None:
    """Docstrings begin with an imperative, and phrases that read like a translation are not used."""
    found: list[str] = []
    for path in sorted(ROOT.rglob("*.py")):
        text, name = path.read_text(), path.relative_to(ROOT)
        for number, line in enumerate(text.splitlines(), 1):
            if UNUSUAL.search(line):
                found.append(f"{name}:{number}: {line.strip()}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                docstring = ast.get_docstring(node) or ""
                if docstring.startswith("Tell "):
                    found.append(f"{name}:{getattr(node, 'lineno', 1)}: {docstring[:60]}")
    assert not found


PAGES = sorted(
    path
    for path in (
        REPOSITORY / "README.md",
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "examples").rglob("*.py"),
    )
    if path.name != "architecture.md"  # its lines are docstrings, which are checked above
)


def test_the_pages_and_the_news_are_plain() -> None:
    texts = {path.name: path.read_text() for path in PAGES}
    texts["CHANGELOG.md"] = (REPOSITORY / "CHANGELOG.md").read_text().partition("\n## [0.1.0]")[0]
    found = [
        f"{name}:{number}: {phrase[0]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        for phrase in UNUSUAL.finditer(line)
    ]
    assert not found
