"""What a command says that can't be understood: one line, and where to read on."""

from __future__ import annotations

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

__all__ = ["usage_text"]


def usage_text(error: CycloptsError) -> str:
    """Return what is wrong with a command line, in the words of its user."""
    command = " ".join(("fullstory-async", *(error.command_chain or ())))
    if type(error) is MissingArgumentError and error.argument is not None:
        _, meant, suggestion = str(error).partition(" Did you mean ")
        named = _named(error)
        text = f"{error.argument.name} is missing" if named is None else f"{named} needs a value"
        text = f"{text}.{meant}{suggestion}"
    elif isinstance(error, UnusedCliTokensError):
        text = f"too many arguments: {', '.join(map(repr, error.unused_tokens or ()))}."
    else:
        text = str(error)
    return f"{command}: {text} '{command} --help' says what it takes.\n"


def _named(error: MissingArgumentError) -> str | None:
    """Return the option as it stands there, without its value; ``None`` where it is not there at all."""
    tokens = [] if error.argument is None else error.argument.tokens
    return error.keyword or next((token.keyword for token in tokens if token.keyword is not None), None)
