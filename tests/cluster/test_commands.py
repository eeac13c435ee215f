"""The commands of a cluster other than its workers, and that none of them shows the password."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fullstory_async.testing import running_sandbox
from tests.cluster.commands import Cluster
from tests.cluster.postgres_servers import PASSWORD, Server
from tests.limits import SECONDS


@pytest.fixture
def cluster(postgres: Server, schema: str, tmp_path: Path) -> Iterator[Cluster]:
    with running_sandbox(sessions=200, mean_events=5) as sandbox:
        yield Cluster(postgres, sandbox, schema, tmp_path)


def test_from_the_ids_to_the_export(cluster: Cluster) -> None:
    (cluster.folder / "ids.txt").write_text("\n".join(cluster.sandbox.session_ids))
    assert cluster.run("init", "--max-activations", "500")[0] == 0
    code, out, err = cluster.run("add", "--ids", "ids.txt")
    assert (code, json.loads(out)["new"]) == (0, 200), err
    code, out, err = cluster.run("status")
    assert code == 0, err
    found = json.loads(out)
    assert found == cluster.status()
    assert (found["sessions"], found["pending"], found["max_activations"]) == (200, 200, 500)
    code, _, err = cluster.run("work", "--until-done", "--rate", "1000")
    assert code == 0, err
    assert (
        "this worker: 200 fetched, 0 failed; all: 200 of 200 sessions; 200 activations spent, 300 left" in err
    )
    code, out, err = cluster.run(
        "export", "out.jsonl", "--redact", "user_email=hash", "--allow-missing", FULLSTORY_API_KEY=""
    )
    assert (code, out) == (0, "")
    assert "out.jsonl" in err
    rows = [json.loads(line) for line in (cluster.folder / "out.jsonl").read_text().splitlines()]
    assert {row["full_session_id"] for row in rows} == set(cluster.sandbox.session_ids)


def test_the_columns_of_a_table_come_with_the_export(cluster: Cluster) -> None:
    tickets = "\n".join(f"T-{n},{each}" for n, each in enumerate(cluster.sandbox.session_ids[:3]))
    (cluster.folder / "tickets.csv").write_text(f"Ticket,Session\n{tickets}\n")
    assert cluster.run("init", "--max-activations", "500")[0] == 0
    code, out, err = cluster.run("add", "--ids", "tickets.csv")
    assert (code, json.loads(out)["new"]) == (0, 3), err
    code, _, err = cluster.run("export", "out.jsonl", "--allow-missing")
    assert code == 0, err
    rows = [json.loads(line) for line in (cluster.folder / "out.sessions.jsonl").read_text().splitlines()]
    assert [row["input_ticket"] for row in rows] == ["T-0", "T-1", "T-2"]


def test_sessions_that_are_known_cost_nothing(cluster: Cluster) -> None:
    cluster.prepare(ids=cluster.sandbox.session_ids[:150])
    code, out, err = cluster.run("add", "--ids", "ids.txt")
    assert (code, json.loads(out)) == (0, {"new": 0, "known": 150, "refused": 0, "without_id": 0})
    assert "150 sessions, 150 calls left, up to 150 activations" in err
    (cluster.folder / "more.txt").write_text("\n".join([*cluster.sandbox.session_ids, "what is this?"]))
    code, out, err = cluster.run("add", "--ids", "more.txt")
    assert (code, json.loads(out)["new"], json.loads(out)["refused"]) == (3, 50, 1)
    assert "1 invalid id left out" in err


def test_without_a_terminal_many_activations_need_a_consent(cluster: Cluster) -> None:
    (cluster.folder / "ids.txt").write_text("\n".join(cluster.sandbox.session_ids))
    code, out, err = cluster.run("add", "--ids", "ids.txt")
    assert (code, out) == (2, "")
    assert "give --yes or FULLSTORY_YES=1 as consent, or limit the budget" in err
    assert cluster.status()["sessions"] == 0
    for consent in (("--yes",), ()):
        code, _, err = cluster.run("add", "--ids", "ids.txt", *consent, FULLSTORY_YES="" if consent else "1")
        assert code == 0, err
    assert cluster.status()["sessions"] == 200


def test_only_workers_need_a_key(cluster: Cluster) -> None:
    (cluster.folder / "ids.txt").write_text("\n".join(cluster.sandbox.session_ids[:3]))
    for arguments in (("init",), ("add", "--ids", "ids.txt"), ("status",), ("purge", "--session", "1:2")):
        code, _, err = cluster.run(*arguments, FULLSTORY_API_KEY="")
        assert code == (5 if arguments[0] == "purge" else 0), err
    code, _, err = cluster.run("work", FULLSTORY_API_KEY="")
    assert code == 2
    assert "no API key" in err


def test_a_session_is_erased_and_not_added_again(cluster: Cluster) -> None:
    one, *_ = ids = cluster.sandbox.session_ids[:3]
    cluster.prepare(ids=ids)
    assert cluster.run("work", "--until-done")[0] == 0
    said = "1 session erased; earlier exports and backups still have it\n"
    assert cluster.run("purge", "--session", one.replace(":", "!")) == (0, "", said)
    code, _, err = cluster.run("purge", "--session", one)
    assert (code, err) == (5, f"the store has no data of the session {one}, and will not fetch it\n")
    assert json.loads(cluster.run("add", "--ids", "ids.txt")[1])["new"] == 0
    assert cluster.status()["sessions"] == 2
    dump = [row for table in ("sessions", "procrastinate_jobs") for row in cluster.postgres.do(
        f"SELECT t::text FROM {cluster.schema}.{table} t")]  # fmt: skip
    assert one not in repr(dump)


def test_budgets_of_two_names_are_two(cluster: Cluster) -> None:
    cluster.prepare(ids=cluster.sandbox.session_ids[:3])
    assert cluster.run("init", "--budget", "other", "--max-activations", "7", "--quiet") == (0, "", "")
    code, out, _ = cluster.run("status", "--budget", "other", "--json")
    found = json.loads(out)
    assert (code, found["budget"], found["sessions"], found["max_activations"]) == (0, "other", 0, 7)
    # a limit that is not named stays
    assert cluster.run("init", "--quiet") == (0, "", "")
    assert cluster.status()["max_activations"] == 10_000


def test_status_as_a_table_and_again_and_again(cluster: Cluster) -> None:
    cluster.prepare(ids=cluster.sandbox.session_ids[:3])
    code, out, _ = cluster.run("status", "--output", "table")
    assert code == 0
    assert ["pending", "3"] in [line.split() for line in out.splitlines()]
    process = cluster.start("status", "--watch")
    assert process.stdout is not None
    rows = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert [row["pending"] for row in rows] == [3, 3]
    assert process.returncode == 0


def test_numbers_that_make_no_sense_are_refused(cluster: Cluster) -> None:
    assert "--max-activations must be 1 or more" in cluster.run("init", "--max-activations", "0")[2]
    assert "--concurrency must be 1 or more" in cluster.run("work", "--concurrency", "0")[2]
    assert "OUT is missing" in cluster.run("export")[2]


def test_no_output_has_the_password(cluster: Cluster) -> None:
    cluster.prepare(ids=cluster.sandbox.session_ids[:3])
    wrong = cluster.postgres.dsn(password="wr0ng-passw0rd")
    away = cluster.postgres.dsn(port=1)
    endings: dict[tuple[str, ...], int] = {
        **{("status", "--dsn", dsn): 1 for dsn in (wrong, away)},
        **{("init", "--dsn", dsn): 1 for dsn in (wrong, away)},
        **{("add", "--ids", "ids.txt", "--dsn", dsn): 1 for dsn in (wrong, away)},
        **{("work", "--until-done", "--dsn", dsn): 1 for dsn in (wrong, away)},
        ("status", "--dsn", f"postgresql://me:{PASSWORD}@[nowhere/x"): 2,
        ("status", "--dsn", cluster.postgres.dsn(), "--budget", ""): 2,
        ("status", "--dsn", cluster.postgres.dsn(), "--misspelt"): 2,
        ("status", "--dsn", cluster.postgres.dsn(), cluster.postgres.dsn()): 2,
        ("work", "--until-done", "--verbose"): 0,
        ("status",): 0,
    }
    with ThreadPoolExecutor(4) as threads:
        ended = threads.map(lambda arguments: cluster.run(*arguments), endings)
    for (arguments, expected), (code, out, err) in zip(endings.items(), ended, strict=True):
        assert code == expected, (arguments, err)
        assert "passw0rd" not in out + err
        assert PASSWORD not in out + err
        assert "Traceback" not in err


def test_sessions_are_erased_together_and_none_if_one_is_mistyped(cluster: Cluster) -> None:
    ids = cluster.sandbox.session_ids[:3]
    cluster.prepare(ids=ids)
    assert cluster.run("purge", "--session", ids[1], "--session", "no id")[0] == 2
    assert cluster.status()["sessions"] == 3
    code, _, err = cluster.run("purge", "--session", ids[1], "--session", "7:7", "--session", ids[2])
    assert (code, err.splitlines()) == (
        5,
        [
            "the store has no data of the session 7:7, and will not fetch it",
            "2 sessions erased; earlier exports and backups still have them",
        ],
    )
    assert cluster.status()["sessions"] == 1
