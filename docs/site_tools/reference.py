"""The reference's pages that are made from the code: the API, the commands, the events, the messages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import attrs

import fullstory_async
from fullstory_async import api, cluster, jobs, models, sandbox, streams, telemetry, testing
from fullstory_async.cli.app import application
from fullstory_async.declared import Declared
from fullstory_async.models import event_data, views
from site_tools import messages
from site_tools.public import PAGES

__all__ = ["public_names", "write_pages"]

_INTERNAL = {"ApiContext", "ListEndpoints", "call_once", "RefOrRow", "SessionRef", "session_id_of", "text_of"}
"""Names that packages offer to other parts of this one."""
_EVENTS = """# Events and their fields

Every documented type of event, and the class whose fields `event.TYPE` has. A field that the service did not
send, or sent with another type, is `None`. Types that aren't listed arrive as well: `event.data` has
everything, unchanged.

| type | class |
|---|---|
"""
_MODULES = (fullstory_async, api, cluster, jobs, models, sandbox, streams, telemetry, testing)


def public_names() -> set[str]:
    """Return every public name once, as in `PAGES`: those of the package itself without a module."""
    found = {name for name in fullstory_async.__all__ if name != "__version__"}
    for module in _MODULES[1:]:
        short = module.__name__.removeprefix("fullstory_async.")
        names = set(module.__all__) - found - _INTERNAL
        found |= {f"{short}.{name}" for name in names}
    return found


def write_pages(docs: Path) -> None:
    """Write the pages into a folder that isn't committed; unchanged ones are left for the next build."""
    folder = docs / "reference"
    folder.mkdir(exist_ok=True)
    pages = {name: _api_page(*page) for name, page in PAGES.items()}
    pages |= {"events": _events_page(), "commands": _commands_page(), "messages": messages.page()}
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _api_page(title: str, intro: str, names: Iterable[str]) -> str:
    return f"# {title}\n\n{intro}\n\n" + "\n".join(_entry(name) for name in names)


def _entry(name: str) -> str:
    """Return the section of one public name."""
    module, _, short = name.rpartition(".")
    home = f"fullstory_async.{module}".rstrip(".")
    value = getattr(_module(home), short)
    kind, options = "autodata", ""
    if inspect.isclass(value):
        kind = "autoclass"
        options = "   :members:\n"
        declared = [each for each, what in vars(value).items() if isinstance(what, Declared)]
        if declared:  # its docstring describes them: on the class, each is the attribute's own class
            options += f"   :exclude-members: {', '.join(declared)}\n"
        if attrs.has(value) or short == "SessionEvent":
            options += "   :inherited-members: Struct, JsonReady, Exception\n"
        if issubclass(value, Exception) and short != "FullStoryError":
            options = "   :members:\n   :show-inheritance:\n"
    elif callable(value) and not isinstance(value, type(int | str)):
        kind = "autofunction"
    return f"## {short}\n\n```{{eval-rst}}\n.. {kind}:: {home}.{short}\n{options}```\n"


def _module(name: str) -> ModuleType:
    return next(each for each in _MODULES if each.__name__ == name)


def _events_page() -> str:
    rows = "".join(
        f"| `{name}` | [`{kind}`](#{kind.lower()}) |\n"
        for name in views.EVENT_TYPES
        for kind in [vars(views.EventViews)[name].kind.__name__]
    )
    parts = (_fields_of(name, getattr(event_data, name)) for name in event_data.__all__)
    return f"{_EVENTS}{rows}\n`event.source` is a [`SourceData`](#sourcedata).\n{''.join(parts)}"


def _fields_of(name: str, kind: type[attrs.AttrsInstance]) -> str:
    rows = "".join(
        f"| `{field.name}` | `{str(field.type).replace('|', chr(92) + '|')}` |\n"
        for field in attrs.fields(kind)
    )
    table = f"\n| field | type |\n|---|---|\n{rows}" if rows else "\nIt has no documented fields.\n"
    return f"\n## {name}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n{table}"


def _commands_page() -> str:
    """Return the command line's own help, every command of it."""
    text = application([]).generate_docs(heading_level=1, usage_name="fullstory-async")
    text = re.sub(
        r"^(fullstory-async[a-z -]*?) -m [\w.]+(?= |$)", r"\1", text, flags=re.MULTILINE
    )  # how it was started
    head, _, rest = text.partition("## Table of Contents")
    rest = rest[rest.index("**Commands**:") :]
    rest = re.sub(r"\n {4,}(?=\S)(?!- )", " ", rest)
    rest = re.sub(r"^(Example: )?(fullstory-async [^\n]+(?:\n[^\n]+)*)$", _as_code, rest, flags=re.MULTILINE)
    intro = "The help of every command, as `fullstory-async COMMAND --help` prints it.\n\n"
    return head.replace("# fullstory-async\n", f"# Commands and options\n\n{intro}", 1) + rest


def _as_code(found: re.Match[str]) -> str:
    """Return a line of a command, outside of blocks, as code."""
    command = " ".join(found[2].split())
    return found[0] if found[1] is None and "OPTIONS" in command else f"{found[1] or ''}`{command}`"
