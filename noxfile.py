"""The project's checks; ``nox -l`` lists them.

Their dependencies are locked, with hashes, in ``requirements/dev.txt``; ``nox -s lock`` updates it.
Two checks don't use the lock: ``lowest`` installs the lower bounds, and the README's own commands,
which CI runs unchanged, install the newest versions.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "security", "tests", "coverage"]
nox.options.default_venv_backend = "uv|venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
LOCK = "requirements/dev.txt"


def install_locked(session: nox.Session) -> None:
    """Install the locked dependencies, verified by hash, and the project itself."""
    session.install("--require-hashes", "--requirement", LOCK)
    session.install("--no-deps", "--no-build-isolation", "--editable", ".")


def lowest_versions() -> list[str]:
    """Return the requirements of pyproject.toml and build.in, pinned to their lower bounds."""
    loaded = nox.project.load_toml("pyproject.toml")
    project, build = loaded["project"], Path("requirements/build.in").read_text(encoding="utf-8")
    declared = [
        *project["dependencies"],
        *itertools.chain(*project["optional-dependencies"].values()),
        *itertools.chain(*loaded["dependency-groups"].values()),
        *loaded["build-system"]["requires"],
        *(line for line in build.splitlines() if not line.startswith("#")),
    ]
    pinned = []
    for requirement in map(Requirement, declared):
        if requirement.name != project["name"]:  # an extra that includes another
            [bound] = [each for each in requirement.specifier if each.operator == ">="]
            requirement.specifier = SpecifierSet(f"=={bound.version}")
            pinned.append(str(requirement))
    return pinned


@nox.session
def lint(session: nox.Session) -> None:
    install_locked(session)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("python", "-m", "tests.prose")


@nox.session
def types(session: nox.Session) -> None:
    install_locked(session)
    session.run("mypy")
    session.run("python", "-m", "tests.examples")  # type-check the examples of README and docs
    session.run("pyright")


@nox.session
def security(session: nox.Session) -> None:
    """Look for unsafe code; ``lint`` does too, with ruff's rules S."""
    install_locked(session)
    session.run("bandit", "--quiet", "-c", "pyproject.toml", "-r", "fullstory_async")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/site, offline; a warning or a broken link inside it is an error."""
    install_locked(session)
    session.run(
        "python", "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-b", "html", "docs", "build/site"
    )
    session.run("python", "docs/site_tools/links.py", "build/site")


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and the source archive into dist/, twice, and check contents, metadata and hashes."""
    install_locked(session)
    session.run("python", "-m", "tests.package", "dist")
    session.run("twine", "check", "--strict", *map(str, sorted(Path("dist").glob("fullstory_async-*"))))


@nox.session
def workflows(session: nox.Session) -> None:
    """Lint the GitHub workflows with zizmor, offline. They can't run here."""
    install_locked(session)
    session.run("zizmor", "--offline", "--pedantic", ".github/workflows")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    install_locked(session)
    session.run("pytest", *session.posargs)


@nox.session
def uvloop(session: nox.Session) -> None:
    """Run the tests over real HTTP on uvloop instead of asyncio's own event loop."""
    install_locked(session)
    session.run("pytest", "tests/wire", *session.posargs, env={"FULLSTORY_UVLOOP": "1"})


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest supported Python and dependencies."""
    session.install(*lowest_versions())
    session.install("--no-deps", "--no-build-isolation", "--editable", ".")
    session.run("pytest", *session.posargs, env={"FULLSTORY_LOWEST": "1"})


@nox.session
def coverage(session: nox.Session) -> None:
    install_locked(session)
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def lock(session: nox.Session) -> None:
    """Update ``requirements/dev.txt`` within the ranges of pyproject.toml.

    It is valid for every platform and Python version; ``-- --upgrade`` takes the newest versions.
    """
    session.install("uv>=0.6.17")  # the first one that knows groups
    session.run(
        "uv", "pip", "compile", "pyproject.toml", "requirements/build.in", "--all-extras",
        "--group", "dev", "--group", "bench", "--universal", "--python-version", "3.11",
        "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-config", "--quiet",
        "--output-file", LOCK, *session.posargs,
        env={"UV_CUSTOM_COMPILE_COMMAND": "nox -s lock"},
    )  # fmt: skip


@nox.session
def audit(session: nox.Session) -> None:
    """Look up the locked versions among the known vulnerabilities; needs PyPI's JSON API.

    ``-- --vulnerability-service osv`` asks OSV instead.
    """
    session.install("pip-audit>=2.10")
    session.run(
        "pip-audit", "--strict", "--disable-pip", "--require-hashes", "--requirement", LOCK, *session.posargs
    )


@nox.session
def sbom(session: nox.Session) -> None:
    """Write ``dist/sbom.json``, a CycloneDX list of the installed packages."""
    session.install("cyclonedx-bom>=7")
    session.run("python", "-m", "venv", "--clear", installed := f"{session.virtualenv.location}/installed")
    python = f"{installed}/bin/python"
    session.run(python, "-m", "pip", "install", "--quiet", ".", external=True)
    session.run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "pip", "setuptools", external=True)
    session.run("python", "-c", "import pathlib; pathlib.Path('dist').mkdir(exist_ok=True)")
    session.run(
        "cyclonedx-py", "environment", "--pyproject", "pyproject.toml", "--output-reproducible",
        "--output-file", "dist/sbom.json", python,
    )  # fmt: skip


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Run the benchmarks and write benchmarks/RESULTS.md.

    ``-- --quick`` only checks that they run.
    """
    install_locked(session)
    session.run("python", "-m", "benchmarks", *session.posargs)
    if "--quick" not in session.posargs:  # whose figures mean nothing
        session.run("python", "-m", "benchmarks.figures")


@nox.session
def steady(session: nox.Session) -> None:
    """Run the tests 20 times (``-- N``) beside two busy processes; every run must pass."""
    install_locked(session)
    session.run("python", "-m", "tests.steady", *session.posargs)


@nox.session
def networks(session: nox.Session) -> None:
    """Run the examples of docs/networks.md through nginx and tinyproxy, which have to be installed."""
    install_locked(session)
    script = "tests/wire/test_real_networks.py"
    session.run("pytest", "-n", "2", script, *session.posargs, env={"FULLSTORY_NETWORKS": "1"})


@nox.session
def data(session: nox.Session) -> None:
    """Read exports and tables back with pyarrow, pandas, polars, DuckDB and SQLite."""
    install_locked(session)
    session.run("pytest", "-n", "2", "tests/data", *session.posargs, env={"FULLSTORY_DATA": "1"})


@nox.session(reuse_venv=False)
def recipes(session: nox.Session) -> None:
    """Run the recipes of docs/testing.md in a project with this package, pytest, and what they name."""
    # the package is installed as a user has it, and the project's own settings and fixtures are left out
    command = ("pytest", "-o", "addopts=", "--confcutdir", "tests/recipes")
    environment = {"FULLSTORY_RECIPES": "1"}
    session.install(".", "pytest>=8.3")
    session.run(*command, "tests/recipes/test_fresh_project.py", env=environment)
    session.install("anyio>=4.6", "pytest-asyncio>=1.5", "pytest-recording>=0.14", "vcrpy>=9.4")
    command = (*command, "-p", "no:asyncio", "-p", "no:anyio", "-p", "no:recording")
    session.run(*command, "tests/recipes/test_recipes.py", *session.posargs, env=environment)


@nox.session
def frameworks(session: nox.Session) -> None:
    """Take models as fields of pydantic and responses of FastAPI, and run coroutines with trio."""
    install_locked(session)
    session.install("fastapi>=0.115", "trio>=0.27")
    session.run("pytest", "-n", "0", "tests/frameworks", *session.posargs, env={"FULLSTORY_FRAMEWORKS": "1"})


@nox.session
def bots(session: nox.Session) -> None:
    """Run the service and the bots of examples/ with FastAPI, uvicorn, slack_bolt and discord.py."""
    install_locked(session)
    session.run("pytest", "-n", "2", "tests/bots", *session.posargs, env={"FULLSTORY_BOTS": "1"})


@nox.session
def pages(session: nox.Session) -> None:
    """Open the web pages in headless Chromium, which has to be installed."""
    install_locked(session)
    session.run("pytest", "-n", "2", "tests/pages", *session.posargs, env={"FULLSTORY_PAGES": "1"})


@nox.session
@nox.parametrize("server", ["debian", "wheel"])
def cluster(session: nox.Session, server: str) -> None:
    """Share limit, budget and answers through Postgres: Debian's, if it is installed, and a wheel's."""
    install_locked(session)
    environment = {"FULLSTORY_CLUSTER": "1", "FULLSTORY_POSTGRES": server}
    session.run("pytest", "-n", "2", "tests/cluster", *session.posargs, env=environment)


@nox.session
def engines(session: nox.Session) -> None:
    """Fetch with Spark, Ray, Dask, dlt and Daft, and kill their workers.

    Java 17 and Postgres have to be installed. What this session installs also lets the benchmarks measure
    them: ``.nox/engines/bin/python -m benchmarks.engines``.
    """
    session.install(
        "--editable", ".[test,worker]", "pyspark>=4", "ray[data]>=2.51",
        "dask[dataframe,distributed]>=2025.1", "dlt[duckdb]>=1", "daft>=0.7",
    )  # fmt: skip
    session.run("pytest", "-n", "0", "tests/engines", *session.posargs, env={"FULLSTORY_ENGINES": "1"})


@nox.session
def mcp(session: nox.Session) -> None:
    """Serve agents over MCP, with the SDK's own client in both generations of the protocol."""
    install_locked(session)
    session.run("pytest", "-n", "2", "tests/agents", *session.posargs, env={"FULLSTORY_MCP": "1"})


@nox.session
def instrumentation(session: nox.Session) -> None:
    """Check ``redact_traces`` with the newest instrumentations of aiohttp, Sentry's and OpenTelemetry's."""
    session.install("sentry-sdk>=2.75", "opentelemetry-instrumentation-aiohttp-client>=0.66b1")
    session.install("opentelemetry-sdk>=1.45", "--editable", ".")
    session.run("python", "-m", "tests.instrumentation")


@nox.session
def reporters(session: nox.Session) -> None:
    """Report errors with Sentry, rich, structlog, Elastic APM and Rollbar; none may send a secret."""
    install_locked(session)
    script = "tests/wire/test_reporters.py"
    session.run("pytest", "-n", "0", script, *session.posargs, env={"FULLSTORY_REPORTERS": "1"})


@nox.session
def kills(session: nox.Session) -> None:
    """Kill a job of 5 000 ids 50 times at random moments; nothing may be lost."""
    install_locked(session)
    session.run("pytest", "-n", "0", "-s", "tests/jobs/test_kills.py", env={"FULLSTORY_KILLS": "50"})


@nox.session(name="kills-cluster")
def kills_cluster(session: nox.Session) -> None:
    """Fetch 20 000 ids with 4 workers; kill workers 50 times and Postgres 5 times.

    FULLSTORY_CLUSTER_KILLS sets these four numbers.
    """
    install_locked(session)
    sizes = os.environ.get("FULLSTORY_CLUSTER_KILLS", "20000,4,50,5")
    environment = {"FULLSTORY_CLUSTER": "1", "FULLSTORY_CLUSTER_KILLS": sizes}
    session.run("pytest", "-n", "0", "-s", "tests/cluster/test_store_kills.py", env=environment)


@nox.session
def cancellations(session: nox.Session) -> None:
    """Cancel 10 000 calls, fan-outs, streams and jobs at random; nothing may leak."""
    install_locked(session)
    script = "tests/endurance/test_cancellations.py"
    session.run("pytest", "-n", "0", "-s", script, env={"FULLSTORY_CANCELLATIONS": "10000"})


@nox.session
def window(session: nox.Session) -> None:
    """Count what a strict server refuses while connections open, at four rates and three round trips.

    It takes about ten minutes, on a machine with nothing else to do.
    """
    install_locked(session)
    script = "tests/endurance/test_window.py"
    session.run("pytest", "-n", "0", "-s", script, env={"FULLSTORY_WINDOW": "6"})


@nox.session
def bodies(session: nox.Session) -> None:
    """Decode 10 000 random response bodies, valid and invalid by the published contract."""
    install_locked(session)
    script = "tests/contract/test_random_bodies.py"
    session.run("pytest", "-n", "0", "-s", script, env={"FULLSTORY_BODIES": "10000"})


@nox.session
def soak(session: nox.Session) -> None:
    """Run a job for one hour against a service that fails in one of 20 calls.

    FULLSTORY_SOAK_SECONDS sets another duration.
    """
    install_locked(session)
    seconds = os.environ.get("FULLSTORY_SOAK_SECONDS", "3600")
    session.run(
        "pytest", "-n", "0", "-s", "tests/endurance/test_soak.py", env={"FULLSTORY_SOAK_SECONDS": seconds}
    )


@nox.session
def faults(session: nox.Session) -> None:
    """Inject every fault of the matrix, and write the table in docs/reliability.md."""
    install_locked(session)
    environment = {"FULLSTORY_FAULTS": "all", "FULLSTORY_REPORTERS": "1"}
    session.run("pytest", "-n", "0", "-m", "row", "--write-reliability", *session.posargs, env=environment)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Corrupt response bodies and job files at random.

    60 seconds per test by default; ``-- 600`` sets another duration.
    """
    install_locked(session)
    seconds = session.posargs[0] if session.posargs else "60"
    session.run("pytest", "-n", "0", "-s", "tests/fuzz", env={"FULLSTORY_FUZZ_SECONDS": seconds})


@nox.session
def schemathesis(session: nox.Session) -> None:
    """Send the sandbox requests that its own contract allows and forbids."""
    install_locked(session)
    session.install("schemathesis>=4.32")
    script = "tests/contract/test_sandbox_contract.py"
    session.run("pytest", "-n", "0", script, "-k", "schemathesis", env={"FULLSTORY_SCHEMATHESIS": "60"})
