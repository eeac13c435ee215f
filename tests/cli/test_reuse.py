"""Commands that print what was paid for before: from a cache, from a job's folder, from a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fullstory_async import ClientConfig, FullStoryClient, ResponseCache, SessionId
from fullstory_async.jobs import Job, JobPlan
from fullstory_async.sandbox import Sandbox
from tests.cli.conftest import Run


def ids_of(service: Sandbox) -> tuple[SessionId, SessionId]:
    one, other = service.session_ids[:2]
    return one, other


def test_one_session_is_looked_at_in_eight_ways_and_paid_for_once(
    run: Run, service: Sandbox, tmp_path: Path
) -> None:
    one, _ = ids_of(service)
    said = []
    for output in ("jsonl", "json", "csv", "table", "timeline", "html"):
        code, out, err = run("events", one, "--cache", "one.db", "--output", output)
        assert (code, bool(out)) == (0, True)
        said.append(err)
    assert said == ["1 activation spent\n"] + ["0 activations spent (from one.db)\n"] * 5
    assert run("summary", one, "--cache", "one.db", "--output", "text")[2] == "1 activation spent\n"
    assert run("summary", one, "--cache", "one.db", "--output", "table")[2].startswith("0 activations spent")

    async def look() -> list[int]:
        config = ClientConfig(api_key=service.api_key, base_url=service.url)
        cache = ResponseCache(tmp_path / "one.db", events_ttl=3600)
        async with FullStoryClient(config=config, cache=cache) as client:
            found = [await client.sessions.events(one), await client.sessions.summary(one)]
            return [each.activations for each in found]

    assert asyncio.run(look()) == [0, 0]
    assert service.stats()["by_operation"] == {"events": 1, "summary": 1}
    assert service.activations == 2
    assert run("summary", one, "--cache", "one.db", "--profile", "sales")[2] == "1 activation spent\n"
    for expected in ("1 activation spent\n", "0 activations spent (from one.db)\n"):
        assert run("context", one, "--cache", "one.db", "--markdown")[2] == expected
    assert service.activations == 4


def test_what_was_printed_is_printed_again_in_any_form(
    run: Run, service: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = ids_of(service)
    printed = {
        output: run("events", one, "--output", output)[1] for output in ("jsonl", "json", "csv", "timeline")
    }
    monkeypatch.delenv("FULLSTORY_API_KEY")
    monkeypatch.delenv("FULLSTORY_BASE_URL")
    before = service.activations
    for saved in ("jsonl", "json"):
        (tmp_path / f"one.{saved}").write_text(printed[saved])
        for output in ("csv", "timeline"):
            code, out, err = run("events", f"one.{saved}", "--output", output)
            assert (code, out) == (0, printed[output]), (saved, output)
            assert err == f"0 activations spent (from one.{saved})\n"
    assert run("events", one, "--from", "one.jsonl", "--type", "click")[0] == 0
    code, _, err = run("events", other, "--from", "one.jsonl")
    assert (code, f"holds the events of {one}" in err) == (2, True)
    assert run("events", "9:" + "9" * 5000)[0] == 2  # too long for the name of a file, and for an id
    (tmp_path / "raw.json").write_bytes(b'{\n"events": []\n}')
    assert run("events", "raw.json", "--output", "json")[:2] == (0, "[]\n")
    (tmp_path / "raw.json").write_text("nothing")
    code, _, err = run("events", "raw.json")
    assert (code, "raw.json holds no events" in err) == (2, True)
    assert service.activations == before


def test_a_jobs_folder_and_saved_responses_are_read_without_a_key(
    run: Run, service: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = ids_of(service)

    async def fetch() -> None:
        config = ClientConfig(api_key=service.api_key, base_url=service.url)
        async with FullStoryClient(config=config) as client:
            plan = JobPlan(events=True, summary="support")
            async with Job.open(tmp_path / "friday.job", client=client, plan=plan) as job:
                await job.add([one])
                await job.run()
            (tmp_path / "context.json").write_bytes((await client.sessions.context(one)).raw)
            (tmp_path / "summary.json").write_bytes((await client.sessions.summary(one)).raw)

    asyncio.run(fetch())
    summary = run("summary", one, "--profile", "support", "--output", "text")[1]
    expected = run("events", one)[1]
    before = service.activations
    monkeypatch.delenv("FULLSTORY_API_KEY")
    from_job = ("--from", "friday.job")
    assert run("events", one, *from_job) == (0, expected, "0 activations spent (from friday.job)\n")
    assert run("summary", one, *from_job, "--output", "text")[:2] == (0, summary)
    assert run("context", one, "--from", "context.json", "--markdown")[1].startswith("# Session")
    (row,) = map(json.loads, run("summary", one, "--from", "summary.json")[1].splitlines())
    assert row["full_session_id"] == one
    assert service.activations == before
    refused = {
        ("events", other, *from_job): "has no result of 'events'",
        ("events", "friday.job"): "name a session, and a job's folder with --from",
        ("summary", one, *from_job, "--profile", "sales"): "of the profile 'support' only",
        ("summary", one, *from_job, "--set", "llm.pre_prompt=x"): "--set can't be used",
        ("context", one, *from_job): "jobs have no contexts",
        ("context", one, "--from", "none.json"): "none.json can't be read: No such file",
        ("events", one, *from_job, "--cache", "c.db"): "--cache can't be used",
        ("events", one, *from_job, "--no-event-cache"): "--event-cache can't be used",
    }
    for command, reason in refused.items():
        code, out, err = run(*command)
        assert (code, out) == (2, ""), command
        assert reason in err, command


def test_what_context_and_summary_printed_is_read_again_for_its_own_session_only(
    run: Run, service: Sandbox, tmp_path: Path
) -> None:
    one, other = ids_of(service)
    files = {"events": "events.json", "context": "context.json", "summary": "summary.json"}
    for command, file in files.items():
        options = ("--profile", "support") if command == "summary" else ()
        printed = run(command, one, *options)[1]
        (tmp_path / file).write_text(printed, encoding="utf-8")
        assert run(command, one, "--from", file) == (0, printed, f"0 activations spent (from {file})\n")
    short = {"session_id": one.partition(":")[2], "summary": "x"}
    (tmp_path / "short.json").write_text(json.dumps(short))
    (tmp_path / "junk").write_bytes(b"\x00\xff")
    refused = {
        (
            "context",
            other,
            "--from",
            "context.json",
        ): f"context.json holds the context of {one}, not of {other}",
        (
            "summary",
            other,
            "--from",
            "summary.json",
        ): f"summary.json holds the summary of {one}, not of {other}",
        ("context", one, "--from", "summary.json"): "summary.json holds no context",
        ("summary", one, "--from", "context.json"): "context.json holds no summary",
        ("summary", one, "--from", "events.json"): "events.json holds no summary",
        ("context", one, "--from", "junk"): "junk holds no context: ",
        ("summary", other, "--from", "short.json"): "short.json holds the summary of",
        (
            "summary",
            one,
            "--from",
            "summary.json",
            "--profile",
            "sales",
        ): "of the profile 'support', not of 'sales'",
    }
    for arguments, reason in refused.items():
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), arguments
        assert reason in err, arguments
    assert json.loads(run("summary", one, "--from", "short.json")[1])["full_session_id"] == one
