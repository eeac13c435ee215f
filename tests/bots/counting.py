"""Count an example's lines of code."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType


def lines_of_code(module: ModuleType) -> int:
    """Return the number of lines without imports, docstrings, comments and blank lines."""
    source = inspect.getsource(module)
    left_out = set[int]()
    for node in ast.walk(ast.parse(source)):
        is_import = isinstance(node, ast.Import | ast.ImportFrom)
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_import or is_text):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and line.strip()[0] != "#" and n not in left_out for n, line in lines)
