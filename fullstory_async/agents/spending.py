"""What an agent may spend: one decision, from the server's terms and what was spent so far."""

from __future__ import annotations

import enum

import attrs

__all__ = ["Decision", "Spent", "Terms", "decide", "question", "refusal"]


class Decision(enum.Enum):
    """What happens to a call that would cost an activation."""

    PAY = "pay"
    ASK = "ask"
    """A person decides."""
    CANNOT_ASK = "cannot ask"
    """A person would have to decide, and the agent's program can't ask one."""
    RUN_EXHAUSTED = "run exhausted"
    MONTH_EXHAUSTED = "month exhausted"
    ONLY_LISTED = "only listed"
    """Only listed sessions may be fetched: the latest ids were made up."""


_MAX_UNKNOWN = 3
"""Calls in a row for sessions or profiles that don't exist, after which an agent probably makes them up."""


@attrs.frozen(kw_only=True)
class Terms:
    """The limits that a server was started with."""

    budget: int = 10
    """The most activations of this run of the server."""
    ask_from: int | None = 0
    """A person is asked from this many spent activations on; ``None`` for never."""


@attrs.frozen(kw_only=True)
class Spent:
    """What was spent so far, calls under way included."""

    run: int = 0
    month: int | None = None
    """Activations of the key this month; ``None`` without a ledger."""
    monthly_cap: int | None = None
    unknown: int = 0
    """The latest calls in a row for what doesn't exist; FullStory may charge for each."""


def decide(terms: Terms, spent: Spent, *, can_ask: bool, is_listed: bool = False) -> Decision:
    """Return whether one more activation may be spent, or who has to be asked.

    Args:
        terms: the limits.
        spent: what was spent so far.
        can_ask: whether the agent's program can ask a person.
        is_listed: whether the service has listed what is asked for.
    """
    if spent.run >= terms.budget:
        return Decision.RUN_EXHAUSTED
    if spent.month is not None and spent.monthly_cap is not None and spent.month >= spent.monthly_cap:
        return Decision.MONTH_EXHAUSTED
    if terms.ask_from is None or spent.run < terms.ask_from:
        return Decision.PAY if is_listed or spent.unknown < _MAX_UNKNOWN else Decision.ONLY_LISTED
    return Decision.ASK if can_ask else Decision.CANNOT_ASK


def question(what: str, session_id: str, terms: Terms, spent: Spent) -> str:
    """Return what a person is asked before an activation is spent."""
    month = "" if spent.month is None else f", and {_of(spent.month, spent.monthly_cap)} this month"
    return (
        f"Spend 1 FullStory activation on {what} of session {session_id}? "
        f"This run has spent {_of(spent.run, terms.budget)}{month}."
    )


def refusal(decision: Decision, terms: Terms, spent: Spent, *, was_asked: bool = True) -> str:
    """Return why nothing was spent, and what to do; for `Decision.ASK`, a person who was asked declined."""
    match decision:
        case Decision.RUN_EXHAUSTED:
            why = (
                f"the budget of this run, {terms.budget}, is used up. Work with the sessions that are stored"
            )
            return f"Nothing was spent: {why}, or ask a person to restart the server with a larger --budget."
        case Decision.MONTH_EXHAUSTED:
            why = f"{_of(spent.month or 0, spent.monthly_cap)} activations of this month are spent"
            return f"Nothing was spent: {why}. Work with the sessions that are stored."
        case Decision.CANNOT_ASK:
            return (
                "Nothing was spent: this costs 1 activation, a person has to agree, and this program can't "
                "ask one (it offers no form elicitation). A person can restart the server with "
                f"--ask-from never; it still spends at most {terms.budget}."
            )
        case Decision.ONLY_LISTED:
            return (
                f"Nothing was spent: the last {spent.unknown} sessions or profiles don't exist, and looking "
                "up each may have cost an activation. Take an id from find_sessions, and leave out the "
                "profile."
            )
        case _ if not was_asked:
            return (
                "Nothing was spent: calls at the same time have spent what needs no person's consent. Call "
                "the tool once more: then a person is asked."
            )
        case _:
            return "Nothing was spent: a person declined. Don't ask again unless a person wants it."


def _of(count: int, most: int | None) -> str:
    return str(count) if most is None else f"{count} of {most}"
