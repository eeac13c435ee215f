"""The page of messages: every text that the package raises, by its error, from the code itself."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import fullstory_async

__all__ = ["page", "raised"]

_PACKAGE = Path(fullstory_async.__file__).parent
_OUTSIDE = {"UsageError": "a wrong option or argument of a command; no paid call was sent"}
_INTERNAL = ("sandbox", "testing", "pytest_plugin")
"""Parts whose messages concern tests only."""
_INTRO = """# Messages

The texts of all errors, by class; `…` stands for a value. [Errors and exit codes](../errors.md) says for each
class what happened, what it may have cost and what to do next.

"""


def raised() -> dict[str, set[str]]:
    """Return the texts that each class of error is raised with."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(_PACKAGE.rglob("*.py")):
        if path.relative_to(_PACKAGE).parts[0].removesuffix(".py") in _INTERNAL:
            continue
        for name, text in _in_module(ast.parse(path.read_text(encoding="utf-8"))):
            found[name].add(text)
    return found


def page() -> str:
    """Return the page in Markdown."""
    sections = []
    for name, texts in sorted(raised().items()):
        title = f"[`{name}`](exceptions.md#{name.lower()})" if hasattr(fullstory_async, name) else f"`{name}`"
        lines = "".join(f"* {_escaped(text)}\n" for text in sorted(texts, key=str.lower))
        what = _OUTSIDE.get(name)
        sections.append(f"## {name}\n\n{title}{': ' + what if what else ''}\n\n{lines}")
    return _INTRO + "\n".join(sections)


def _in_module(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the class and the text of each error that a module makes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            name = node.func.id
            if name == "UsageError" or _is_error(name):
                text = _text(node.args[0])
                if text.strip("… .:"):
                    yield name, text


def _is_error(name: str) -> bool:
    kind = getattr(fullstory_async, name, None) if name in fullstory_async.__all__ else None
    return isinstance(kind, type) and issubclass(kind, fullstory_async.FullStoryError)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each) if isinstance(each, ast.Constant) else "…" for each in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return "…"


def _escaped(text: str) -> str:
    for character in "\\`*_{}[]<>#|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
