"""What the project's own files promise: versions, the changelog, the README."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path

import attrs
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import fullstory_async
from fullstory_async.api import ProfilesAPI, SessionsAPI
from fullstory_async.cli import main
from tests.examples import POSTGRES, ROOT, blocks, python_examples
from tests.limits import SECONDS

CI = (ROOT / ".ci" / "run").read_text()
NOXFILE = (ROOT / "noxfile.py").read_text()
SPELLED_OUT = {"tests", "benchmarks"}
"""Sessions of nox whose commands CI has itself."""
BY_HAND = {
    "lock", "audit", "sbom", "coverage", "steady", "kills", "cancellations", "window", "bodies", "soak", "faults",
    "fuzz", "schemathesis", "kills_cluster", "engines",
}  # fmt: skip
"""Sessions that look for rare failures for minutes or hours, measure, or write files that are committed."""
README = (ROOT / "README.md").read_text()


def test_the_changelog_names_this_version_first() -> None:
    versions = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == fullstory_async.__version__


def test_the_dependencies_are_the_ones_that_were_decided() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[]", requirement)[0] for requirement in project["dependencies"]}
    assert names == {"aiohttp", "aiolimiter", "attrs", "cattrs", "msgspec", "yarl"}
    assert project["requires-python"] == ">=3.11"


def test_the_lock_names_hashes_for_all_that_is_asked_for_and_no_place_to_get_it_from() -> None:
    text = (ROOT / "requirements" / "dev.txt").read_text()
    assert not re.search(r"://|file:|--(extra-)?index-url|--find-links", text)
    locked = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)):
        requirement = Requirement(entry.split("\\")[0])
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), requirement
        if requirement.marker is None or requirement.marker.evaluate():
            locked[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = (ROOT / "requirements" / "build.in").read_text().splitlines()
    extras = project["project"]["optional-dependencies"]
    asked = [
        *project["project"]["dependencies"],
        *chain(*extras.values()),
        *chain(*project["dependency-groups"].values()),
        *(r for r in build if r[0] != "#"),
    ]
    for requirement in map(Requirement, [*asked, *project["build-system"]["requires"]]):
        name = canonicalize_name(requirement.name)
        assert name == "fullstory-async" or requirement.specifier.contains(locked[name]), requirement


def _lower_bounds() -> dict[str, Requirement]:
    """Return what pyproject.toml requires here, by name: the dependencies, all extras and groups, the build."""
    loaded = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = loaded["project"]["optional-dependencies"].values()
    declared = [
        *loaded["project"]["dependencies"],
        *chain(*extras),
        *chain(*loaded["dependency-groups"].values()),
        *loaded["build-system"]["requires"],
    ]
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        if name == "fullstory-async" or (requirement.marker and not requirement.marker.evaluate()):
            continue
        assert name not in found, f"{name} has two bounds"
        [bound] = [each for each in requirement.specifier if each.operator == ">="]
        assert bound.operator == ">=", requirement
        found[name] = requirement
    return found


def test_what_is_installed_is_within_the_bounds_and_at_them_in_nox_s_lowest() -> None:
    at_the_bounds = "FULLSTORY_LOWEST" in os.environ
    installed = {}
    for name, requirement in _lower_bounds().items():
        try:
            installed[name] = Version(metadata.version(name))
        except metadata.PackageNotFoundError:  # the groups "bench" and "dev" aren't needed here
            assert not at_the_bounds, f"{name} is not installed"
            continue
        [bound] = [each for each in requirement.specifier if each.operator == ">="]
        if at_the_bounds:
            assert installed[name] == Version(bound.version), requirement
        assert installed[name] in requirement.specifier, requirement
    assert {"aiohttp", "msgspec", "cyclopts", "duckdb", "pyarrow", "redis", "pytest"} <= installed.keys()


def test_the_quick_start_has_two_commands_of_one_line_and_ci_runs_them_as_they_are() -> None:
    section = README.split("## Quick start")[1].split("\n## ")[0]
    commands = blocks(section, "sh")
    assert [command.count("\n") for command in commands] == [1, 1]
    folders = [re.findall(r"-m venv (\S+)", command) for command in commands]
    assert folders == [[".venv-demo"], [".venv-test"]]
    for command, [folder] in zip(commands, folders, strict=True):
        assert command.startswith("echo ")
        assert f"`{folder}`" in section
    assert "Quick start" in CI
    assert re.search(r'^    bare bash -euo pipefail -c "\$commands" </dev/null$', CI, re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 180


@pytest.mark.skipif(sys.platform == "win32", reason="CI's script is for bash")
def test_ci_runs_the_readme_without_the_settings_of_its_machine() -> None:
    function = re.search(r"^bare\(\) \{.*?^\}$", CI, re.MULTILINE | re.DOTALL)
    assert function is not None
    settings = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm"}
    shown = subprocess.run(
        ["bash", "-c", f"{function[0]}\nbare env"], env=settings, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split("=")[0] for line in shown.splitlines()} == {"HOME", "PATH", "LANG"}


def test_ci_runs_every_check_with_the_programs_that_it_needs() -> None:
    sessions = set(re.findall(r"^@nox\.session.*\n(?:@.*\n)?def (\w+)", NOXFILE, re.MULTILINE))
    run = set(re.findall(r"^(?:here|apart) (\w+)$|--session (\w+) <", CI, re.MULTILINE))
    assert {first or second for first, second in run} == sessions - SPELLED_OUT - BY_HAND
    needed = {"redis-server", "nginx-light", "tinyproxy", "chromium", "nodejs", "postgresql", "pgbouncer"}
    assert needed == set(re.findall(r"^install (\S+) ", CI, re.MULTILINE))


def test_ci_runs_the_tests_with_and_without_buffered_output() -> None:
    assert re.search(r"^PYTHONUNBUFFERED=1 \S+/nox .*--session lowest", CI, re.MULTILINE)
    assert CI.count("PYTHONUNBUFFERED") == 1


def test_the_python_examples_run_against_a_sandbox(tmp_path: Path) -> None:
    """In one process, each with a folder and a sandbox of its own."""
    # docs/networks.md is about a company's network, which tests/wire/test_real_networks.py makes
    # docs/testing.md holds tests, which tests/wire/test_pytest_plugin.py and tests/recipes run
    # what needs Postgres is run by tests/cluster/test_pages.py
    examples = {
        name: text
        for name, text in python_examples().items()
        if not name.startswith(("networks_", "testing_")) and POSTGRES not in text
    }
    script = tmp_path / "examples.py"
    script.write_text(_RUNNER.format(examples=examples, redis=_REDIS))
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ran = re.findall(r"^ran (\S+) of the docs$", done.stdout, re.MULTILINE)
    assert ran == list(examples)


_RUNNER = """
import asyncio, os, threading
from fullstory_async import FullStoryClient
from fullstory_async.jobs import Job, JobPlan
from fullstory_async.testing import running_sandbox

async def make_job(folder):
    async with FullStoryClient() as client:
        async with Job.open(folder, client=client, plan=JobPlan(events=True)) as job:
            await job.add(client.sessions.list(uid="u-1", limit=3))
            await job.run()

def run(name, example):
    os.mkdir(name)
    os.chdir(name)
    with running_sandbox(sessions=40, mean_events=5) as sandbox:
        os.environ["FULLSTORY_BASE_URL"], os.environ["FULLSTORY_API_KEY"] = sandbox.url, sandbox.api_key
        if 'Job.open("friday.job") as' in example:  # it opens a job that there is
            asyncio.run(make_job("friday.job"))
        exec(compile(example, name, "exec"), {{"__name__": "__main__"}})
    os.chdir("..")
    print(f"ran {{name}} of the docs")

{redis}
for name, example in {examples!r}.items():
    run(name, example)
"""

_REDIS = """
from fakeredis import TcpFakeServer

server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["REDIS_URL"] = f"redis://127.0.0.1:{server.server_address[1]}"
"""


@cache  # as the docs show some commands many times
def help_of(*command: str) -> str:
    with redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert not ended.value.code, command
    return printed.getvalue()


def test_the_commands_that_the_readme_shows_exist() -> None:
    texts = [README, *(path.read_text() for path in (ROOT / "docs").glob("*.md"))]
    shown = [
        command.strip()
        for text in texts
        for block in blocks(text, "console")
        for line in block.splitlines()
        for command in line.removeprefix("$ ").split(" | ")
        if command.startswith("fullstory-async")
    ]
    assert shown
    for line in shown:
        words = shlex.split(line.split(">")[0])[1:]
        command = words[:2] if words[0] in ("cluster", "job", "profiles") else words[:1]
        printed = help_of(*command)
        for option in (word for word in words if word.startswith("--")):
            assert option in printed, f"{line}: no {option}"


def test_the_coverage_table_names_what_exists() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    table = guide.split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 11
    for _, methods, commands, _, link in rows:
        for method in re.findall(r"client\.(?:(\w+)\.)?(\w+)", methods):
            api = {"sessions": SessionsAPI, "profiles": ProfilesAPI, "": fullstory_async.FullStoryClient}[
                method[0]
            ]
            assert callable(getattr(api, method[1]))
            assert f"client.{'.'.join(filter(None, method))}(" in guide
        for command in re.findall(r"`([^`]+)`", commands):
            words = command.split()
            assert help_of(*(words[:1] if "--" in command else words[:2]))
        heading = re.search(r"\(#([\w-]+)\)", link)
        assert heading is not None
        assert heading[1] in [
            title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", guide, re.MULTILINE)
        ]


def test_the_guide_names_every_option() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    groups = {
        "llm": fullstory_async.LLMOptions, "slice": fullstory_async.SliceOptions, "context": fullstory_async.ContextOptions,
        "events": fullstory_async.EventOptions, "cache": fullstory_async.CacheOptions, "media": fullstory_async.MediaOptions,
    }  # fmt: skip
    named = set(re.findall(r"^\| `(\w+\.\w+)` \| \S", guide, re.MULTILINE))
    assert named == {f"{group}.{field.name}" for group, cls in groups.items() for field in attrs.fields(cls)}
