"""The questions of ``fetch``: where they are asked, and what stands for an answer where nobody can be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fullstory_async.jobs import JobReader
from fullstory_async.sandbox.world import World
from tests.cli.terminals import Ended, Terminals

Run = Callable[..., tuple[int, str, str]]

IDS = [str(session_id) for session_id in World(0, 20, 200, 200).sessions][:101]
WRONG = [f"{n}:{n}" for n in range(1, 61)]
FETCH = ("fetch", "--summary", "support", "--job", "j", "--rate", "1000", "--sandbox")
QUESTION = "Spend up to 101 activations? [y/N]"
WARNING = "warning: there is no terminal to ask on before spending up to 101 activations."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ids").write_text("\n".join(IDS))
    (tmp_path / "wrong").write_text("\n".join(WRONG))
    return tmp_path


def done(folder: Path) -> int:
    return JobReader(folder / "j").status().done if (folder / "j").exists() else 0


def nothing_was_spent(ended: Ended, folder: Path) -> bool:
    return (
        ended.code == 130 and "nothing was spent" in ended.shown + ended.err and not (folder / "j").exists()
    )


@pytest.mark.row(66)
@pytest.mark.parametrize("streams", ["", "stdin", "stdout", "stderr", "stdin,stdout", "stdin,stdout,stderr"])
def test_the_question_goes_to_the_terminal_whatever_is_piped(
    terminals: Terminals, folder: Path, streams: str
) -> None:
    ids = ("--ids", "-") if "stdin" not in streams else ("--ids", "ids")
    stdin = "\n".join(IDS).encode()
    refused = terminals.run(*FETCH, *ids, cwd=folder, streams=streams, stdin=stdin, typed="n\n")
    assert QUESTION in refused.shown
    assert QUESTION not in refused.out + refused.err
    assert nothing_was_spent(refused, folder)
    if streams == "stdin,stdout":
        agreed = terminals.run(*FETCH, *ids, cwd=folder, streams=streams, stdin=stdin, typed="y\n")
        assert (agreed.code, QUESTION in agreed.shown, done(folder)) == (0, True, 101), agreed
        assert "101 activations spent" in agreed.shown + agreed.err


@pytest.mark.row(66)
@pytest.mark.parametrize(("typed", "agreed"), [(" YES \n", True), ("\x04", False), ("ye\n", False)])
def test_only_yes_is_yes(terminals: Terminals, folder: Path, typed: str, agreed: bool) -> None:
    ended = terminals.run(*FETCH, "--ids", "ids", cwd=folder, streams="", typed=typed)
    assert (done(folder) == 101) is agreed
    assert nothing_was_spent(ended, folder) is not agreed


@pytest.mark.row(66)
def test_ctrl_c_at_the_question_spends_nothing(terminals: Terminals, folder: Path) -> None:
    ended = terminals.run(*FETCH, "--ids", "ids", cwd=folder, streams="stdin,stderr", typed="\x03")
    assert (ended.code, QUESTION in ended.shown, (folder / "j").exists()) == (130, True, False)


@pytest.mark.row(66)
@pytest.mark.parametrize("streams", ["", "stdin,stdout,stderr"])
def test_a_background_process_does_not_ask(terminals: Terminals, folder: Path, streams: str) -> None:
    """Reading from the terminal would stop it until somebody brings it to the foreground."""
    ended = terminals.run(*FETCH, "--ids", "ids", cwd=folder, streams=streams, background=True, typed="n\n")
    assert "[y/N]" not in ended.shown + ended.err
    assert (ended.code, done(folder), WARNING in ended.shown + ended.err) == (0, 101, True)


@pytest.mark.row(66)
def test_without_a_terminal_it_warns(terminals: Terminals, folder: Path) -> None:
    ended = terminals.without(*FETCH, "--ids", "ids", cwd=folder)
    assert (ended.code, done(folder), ended.out) == (0, 101, "")
    assert WARNING in ended.err
    assert (
        "The next version will exit with 2 here: give --max-activations, --yes or FULLSTORY_YES=1"
        in ended.err
    )


@pytest.mark.row(66)
@pytest.mark.parametrize(
    ("options", "value"),
    [
        (("--yes",), None),
        (("--max-activations", "5000"), None),
        ((), "1"),
        (("--max-activations", "40"), None),
    ],
)
def test_consent_without_a_terminal(
    terminals: Terminals, folder: Path, options: tuple[str, ...], value: str | None
) -> None:
    environment = {} if value is None else {"FULLSTORY_YES": value}
    ended = terminals.without(*FETCH, *options, "--ids", "ids", cwd=folder, environment=environment)
    assert (ended.code, "warning" in ended.err) == (7 if "40" in options else 0, False), ended.err
    assert done(folder) == (40 if "40" in options else 101)


@pytest.mark.parametrize("value", ["", "true"])
def test_the_variable_has_one_value(terminals: Terminals, folder: Path, value: str) -> None:
    ended = terminals.without(*FETCH, "--ids", "ids", cwd=folder, environment={"FULLSTORY_YES": value})
    assert (ended.code, WARNING in ended.err) == (0, True)


def test_the_variable_answers_on_a_terminal_too(terminals: Terminals, folder: Path) -> None:
    ended = terminals.run(*FETCH, "--ids", "ids", cwd=folder, environment={"FULLSTORY_YES": "1"}, typed="n\n")
    assert (ended.code, "[y/N]" in ended.shown, done(folder)) == (0, False, 101)


def test_a_saved_budget_is_consent_too(terminals: Terminals, folder: Path) -> None:
    terminals.without(*FETCH, "--ids", "ids", "--max-activations", "101", cwd=folder)
    ended = terminals.without(*FETCH, "--resume", "--events", cwd=folder)
    assert (ended.code, "warning" in ended.err) == (7, False), ended.err


@pytest.mark.row(66)
def test_ids_that_are_no_pairs_are_asked_about(terminals: Terminals, folder: Path) -> None:
    (folder / "halves").write_text("12345\n67890\n" + IDS[0])
    question = "2 ids are not USER:SESSION pairs. Spend up to 3 activations? [y/N]"
    ended = terminals.run(*FETCH, "--ids", "halves", cwd=folder, streams="", typed="n\n")
    assert (question in ended.shown, nothing_was_spent(ended, folder)) == (True, True), ended
    ended = terminals.without(*FETCH, "--ids", "halves", cwd=folder)
    assert (ended.code, "before spending up to 3 activations" in ended.err) == (3, True), ended.err


@pytest.mark.parametrize("command", ["events", "context", "summary"])
def test_single_commands_warn_of_ids_that_are_no_pairs(run: Run, command: str) -> None:
    text = "warning: this is not a USER:SESSION pair, so FullStory may not know it\n"
    code, out, err = run(command, "12345", "--sandbox")
    assert (code, out) == (5, "")
    assert err.startswith(text)
    assert "USER:SESSION pairs" in err.removeprefix(text)
    assert text not in run(command, IDS[0], "--sandbox")[2]


@pytest.mark.row(65)
@pytest.mark.parametrize(("typed", "code", "spent"), [("n\n", 10, 20), ("y\n", 3, 60)])
def test_wrong_ids_are_asked_about_on_a_terminal(
    terminals: Terminals, folder: Path, typed: str, code: int, spent: int
) -> None:
    ended = terminals.run(*FETCH, "--ids", "wrong", cwd=folder, streams="stdin", typed=typed)
    assert "No call found a session so far. Fetch the other ids all the same? [y/N]" in ended.shown
    assert (ended.code, JobReader(folder / "j").status().spent) == (code, spent), ended
    assert "No session found: 0 results and 20 activations" in ended.err
    assert "--max-failures 100% if the ids are right" in ended.err
    # the answer is saved, so that the job does not stop again
    assert JobReader(folder / "j").plan.max_failures == (None if code == 10 else "100%")


@pytest.mark.row(65)
@pytest.mark.parametrize("given", [("--yes",), ("--max-activations", "1000")])
def test_wrong_ids_end_the_run_where_nobody_can_be_asked(
    terminals: Terminals, folder: Path, given: tuple[str, ...]
) -> None:
    ended = terminals.without(*FETCH, *given, "--ids", "wrong", cwd=folder)
    assert (ended.code, "[y/N]" in ended.err, JobReader(folder / "j").status().spent) == (10, False, 20)
    ended = terminals.without(*FETCH, *given, "--resume", cwd=folder)
    assert (ended.code, JobReader(folder / "j").status().spent) == (10, 20)
    ended = terminals.without(*FETCH, *given, "--resume", "--max-failures", "40", cwd=folder)
    assert (ended.code, JobReader(folder / "j").status().spent) == (10, 40)
    assert "--resume --sandbox --rate 1000.0 --max-failures 40  (with --max-failures 100%" in ended.err
    ended = terminals.without(*FETCH, *given, "--resume", "--max-failures", "100%", cwd=folder)
    assert (ended.code, JobReader(folder / "j").status().spent) == (3, 60)


def test_yes_asks_nothing_about_wrong_ids(terminals: Terminals, folder: Path) -> None:
    ended = terminals.run(*FETCH, "--yes", "--ids", "wrong", cwd=folder, typed="y\n")
    assert (ended.code, "[y/N]" in ended.shown) == (10, False)


@pytest.mark.parametrize("text", ["0", "-1", "x", "150%", "", "1.5"])
def test_wrong_limits_are_wrong_usage(run: Run, folder: Path, text: str) -> None:
    code, _, err = run(*FETCH, "--ids", "wrong", f"--max-failures={text}")
    assert (code, "--max-failures must be" in err, len(err.splitlines())) == (2, True, 1), err
