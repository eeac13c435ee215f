"""The level table, and the pages of docs/architecture.md that are made from the code.

``python -m tests.architecture`` rewrites the generated part of the page; tests/test_shape.py fails if it is out of date.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fullstory_async"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- the generated part begins -->\n", "<!-- the generated part ends -->\n"

LEVELS = {
    "messages": 0, "response_info": 0, "startup": 0, "amounts": 0, "spelling": 0, "secret": 1, "error_base": 1, "safe_json": 1, "concurrency": 1, "activations": 1, "deprecation": 1, "_version": 1, "notebook_html": 1, "coerce": 1, "json_ready": 1, "declared": 1,
    "errors": 2, "json_documents": 3,
    "privacy": 3, "validators": 3, "session_id": 3, "pagination": 3, "outcome": 3, "structuring": 3, "threads": 3,
    "environment": 3, "tables": 3, "html_pages": 3, "networks": 4,
    "models": 4, "brake": 4, "stop_rule": 4, "ids": 4, "ratelimit": 4, "retry": 4,
    "config": 5, "codec": 5, "fanout": 5, "files": 5,
    "http": 6, "streams": 6,
    "api": 7, "sandbox": 7, "telemetry": 7,
    "client": 8,
    "jobs": 9, "testing": 9, "": 9,
    "agents": 10, "cluster": 10, "pytest_plugin": 10,
    "cli": 11, "__main__": 12,
}  # fmt: skip
"""Folder or top-level module → level. A module imports only from strictly lower levels, or from its own folder."""


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].removesuffix(".")


def tree() -> str:
    """Return every folder and module of the package with what it is for."""
    lines: list[tuple[str, str]] = [("fullstory_async/", first_line(PACKAGE / "__init__.py"))]
    _add(PACKAGE, 1, lines)
    width = max(len(name) for name, _ in lines) + 2
    return "".join(f"{name:{width}}{text}".rstrip() + "\n" for name, text in lines)


def _add(folder: Path, depth: int, lines: list[tuple[str, str]]) -> None:
    indent = "    " * depth
    for path in sorted(folder.iterdir(), key=lambda each: (each.is_dir(), each.name)):
        if path.is_dir() and (path / "__init__.py").exists():
            lines.append((f"{indent}{path.name}/", first_line(path / "__init__.py")))
            _add(path, depth + 1, lines)
        elif path.suffix == ".py" and path.name != "__init__.py":
            lines.append((f"{indent}{path.name}", first_line(path)))


def level_table() -> str:
    """Return the level table, the highest level first."""
    rows = []
    for level in sorted(set(LEVELS.values()), reverse=True):
        names = "  ".join(name or "__init__" for name, each in LEVELS.items() if each == level)
        rows.append(f"{level:>2}  {names}\n")
    return "".join(rows)


def generated() -> str:
    """Return the generated part of docs/architecture.md."""
    return (
        f"\n## Modules\n\n```\n{tree()}```\n\n## Levels\n\n"
        "A module imports only from strictly lower levels, or from its own folder.\n\n"
        f"```\n{level_table()}```\n\n"
    )


def page() -> str:
    """Return docs/architecture.md as it should be."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    return head + BEGIN + generated() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
