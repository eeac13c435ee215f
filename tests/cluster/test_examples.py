"""The files of examples/cluster: their commands run as processes here, where no container engine is needed."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fullstory_async.testing import running_sandbox
from tests.cluster.postgres_servers import Server
from tests.limits import SECONDS, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"
COMPOSE = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]
KUBERNETES = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()))
GIVEN = {"POSTGRES_PASSWORD": "s3cret-word", "FULLSTORY_API_KEY": "any-key"}
"""What a user exports."""


def substituted(value: Any, variables: dict[str, str]) -> str:
    """Replace ``${NAME:-default}`` and ``${NAME:?message}`` as Compose does."""

    def replace(found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        if kind == ":?":
            return variables[name]
        return variables.get(name) or text

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", replace, str(value))


def start(service: str, dsn: str, **variables: str) -> subprocess.Popen[str]:
    """Start a service of the Compose file; its Postgres is another one."""
    described = COMPOSE[service]
    environment = {name: substituted(value, variables) for name, value in described["environment"].items()}
    assert (
        environment["FULLSTORY_CLUSTER_DSN"]
        == f"postgresql://postgres:{variables['POSTGRES_PASSWORD']}@postgres/postgres"
    )
    program, *options = (substituted(each, variables) for each in described["command"])
    assert program == "fullstory-async"
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "fullstory_async", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**kept, **environment, "FULLSTORY_CLUSTER_DSN": dsn},
    )  # fmt: skip


def test_the_services_of_the_compose_file_fetch_what_is_added(postgres: Server) -> None:
    postgres.do("DROP DATABASE IF EXISTS compose", "CREATE DATABASE compose")
    dsn = postgres.dsn(dbname="compose")
    with running_sandbox(sessions=120, mean_events=5) as sandbox:
        given = {**GIVEN, "FULLSTORY_API_KEY": sandbox.api_key, "FULLSTORY_BASE_URL": sandbox.url}
        init = start("init", dsn, **given, MAX_ACTIVATIONS="130")
        _, err = init.communicate(timeout=SECONDS)
        assert init.returncode == 0, err
        assert "a limit of 130" in err
        workers = [start("worker", dsn, **given) for _ in range(COMPOSE["worker"]["deploy"]["replicas"])]
        try:
            assert len(workers) == 4
            add = start("add", dsn, **given)
            out, err = add.communicate("\n".join(sandbox.session_ids), timeout=SECONDS)
            assert add.returncode == 0, err
            assert json.loads(out)["new"] == 120
            wait_until(
                lambda: postgres.do("SELECT count(*) FROM fullstory.answers", dbname="compose") == [(120,)]
            )
            for each in workers:
                each.terminate()
            endings = [(each.communicate(timeout=SECONDS)[1], each.returncode) for each in workers]
        finally:
            for each in workers:
                each.kill()
                each.communicate(timeout=SECONDS)
        assert [code for _, code in endings] == [0, 0, 0, 0], endings
        assert sandbox.activations == 120
    assert COMPOSE["worker"]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}
    assert COMPOSE["init"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def commands() -> dict[str, list[str]]:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(EXAMPLES / "fullstory-worker@.service")
    found = {"systemd": shlex.split(unit["Service"]["ExecStart"])}
    for document in KUBERNETES:
        if "template" in document.get("spec", {}):
            (container,) = document["spec"]["template"]["spec"]["containers"]
            found[document["kind"]] = container["command"]
    return found


@pytest.mark.parametrize("where", ["systemd", "Job", "Deployment"])
def test_the_commands_of_the_other_files_are_understood(where: str) -> None:
    program, *options = commands()[where]
    assert Path(program).name == "fullstory-async"
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "fullstory_async", *options], capture_output=True, text=True, timeout=SECONDS,
        env={**kept, "FULLSTORY_API_KEY": "any-key"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2, "fullstory-async: no Postgres: set FULLSTORY_CLUSTER_DSN, or give --dsn\n",
    )  # fmt: skip


def test_every_file_gives_a_worker_more_time_to_stop_than_it_needs() -> None:
    (deployment,) = (each for each in KUBERNETES if each["kind"] == "Deployment")
    unit = (EXAMPLES / "fullstory-worker@.service").read_text()
    assert COMPOSE["worker"]["stop_grace_period"] == "15s"
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 15
    assert "\nTimeoutStopSec=15\n" in unit
