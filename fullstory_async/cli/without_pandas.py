"""Keep pandas out of an export.

Where pandas is installed, pyarrow imports it with its first conversion, to recognise its types. That takes
30 MiB and a fifth of a second, for a command that has no value of pandas.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

__all__ = ["without_pandas"]


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:  # noqa: ARG002
        if name == "pandas":
            raise ModuleNotFoundError("an export does without pandas", name=name)


@contextmanager
def without_pandas() -> Iterator[None]:
    """Let pyarrow look for pandas in vain, unless the program has imported it already."""
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
