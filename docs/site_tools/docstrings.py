"""Docstrings of attributes and properties: a colon in them is punctuation, not the end of a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the tests do without Sphinx
    from sphinx.application import Sphinx

__all__ = ["setup"]

_COLON = "\N{MODIFIER LETTER COLON}"
_TEXTS = ("attribute", "data", "property")


def setup(app: Sphinx) -> None:
    """Hide the first line's colons from napoleon, which would read a type before them."""
    app.connect("autodoc-process-docstring", _hide, priority=100)
    app.connect("autodoc-process-docstring", _show, priority=900)


def _hide(_app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    if what in _TEXTS and lines:
        lines[0] = lines[0].replace(":", _COLON)


def _show(_app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    if what in _TEXTS:
        lines[:] = [line.replace(_COLON, ":") for line in lines]
