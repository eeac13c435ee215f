"""The shape of the package: levels, imports, public names, sizes, no global state."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections import deque
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Union, get_origin
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import attrs
import msgspec
import pytest

import fullstory_async
from tests import architecture
from tests.architecture import LEVELS
from tests.limits import SECONDS

ROOT = Path(fullstory_async.__file__).parent

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix(".")
    for path in ROOT.rglob("*.py")
)


def room_of(module: str) -> str:
    return module.partition(".")[0]


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split(".")) if module else ROOT
    module_file = path.with_suffix(".py")  # one may stand beside a folder of data with its name
    return module_file if module and module_file.exists() else path / "__init__.py"


@cache  # parsing the whole package takes half a second, and most tests of this file look at it
def tree_of(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text())


@cache  # as walking it takes as long
def nodes_of(module: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(module)))


@cache
def imports_of(module: str) -> set[str]:
    """Return the package's modules that one imports, be it for type checking only."""
    found: set[str] = set()
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.startswith("fullstory_async")]
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "fullstory_async"
        ):
            assert node.level == 0
            base = node.module.removeprefix("fullstory_async").removeprefix(".")
            for alias in node.names:
                deeper = f"{base}.{alias.name}".removeprefix(".")
                found.add(deeper if deeper in MODULES else base)
    return found


def test_imports_go_strictly_downwards() -> None:
    for module in MODULES:
        room = room_of(module)
        for imported in imports_of(module):
            other = room_of(imported)
            if other != room:
                assert LEVELS[other] < LEVELS[room], f"{module} imports {imported}, which is not below it"


def test_there_are_no_circles() -> None:
    graph = {module: imports_of(module) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"a circle: {' → '.join((*trail, module))}"
        if module not in done:
            for imported in graph[module]:
                visit(imported, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_only_the_transport_imports_the_network_client() -> None:
    importers = {
        module
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "aiohttp" for alias in node.names)
    }
    assert {m for m in importers if not m.startswith("http.transport.")} == {"client"}
    assert "if TYPE_CHECKING:\n    import aiohttp\n" in path_of("client").read_text()
    assert {m for m in MODULES if "from aiohttp import" in path_of(m).read_text()} == {
        "sandbox.server",
        "sandbox.serving",
        "sandbox.faults.bodies",
        "sandbox.faults.connections",
        "sandbox.faults.contents",
        "sandbox.faults.exchange",
        "sandbox.faults.registry",
        "sandbox.faults.rules",
        "sandbox.faults.refusals",
        "sandbox.routes",
    }


def test_every_module_can_be_imported_without_a_warning() -> None:
    """Each half of them in a fresh interpreter, so that no order of imports matters."""
    names = ["fullstory_async" + (f".{m}" if m else "") for m in MODULES if m != "__main__"]
    script = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)"
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *reversed(names[part::2])], stderr=subprocess.PIPE
        )
        for part in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, errors.decode()


def test_the_public_names_are_exactly_those_in_all() -> None:
    values = {name: getattr(fullstory_async, name) for name in fullstory_async.__all__}
    public = {
        name
        for name, value in vars(fullstory_async).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public | {"__version__"} == set(fullstory_async.__all__)
    # what type checkers read is what a program gets
    blocks = [each for each in ast.parse(path_of("").read_text()).body if isinstance(each, ast.If)]
    declared = {
        alias.name: getattr(importlib.import_module(str(each.module)), alias.name)
        for each in blocks[0].body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    assert declared == values
    assert list(fullstory_async.__all__) == sorted(fullstory_async.__all__)


def test_everything_public_is_documented() -> None:
    for name in set(fullstory_async.__all__) - {"__version__"}:
        cls = getattr(fullstory_async, name)
        if get_origin(cls) is Union:
            continue  # which has no docstring; its classes do
        assert cls.__doc__, name
        for attribute, value in vars(cls).items():
            if not attribute.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert value.__doc__, f"{name}.{attribute}"


def faults_of_shape(module: str) -> list[str]:
    text = path_of(module).read_text()
    found = [] if ast.get_docstring(tree_of(module)) else ["has no docstring"]
    if text.count("\n") > 350:
        found.append("has over 350 lines")
    found += [f"{n}: over 110 columns" for n, line in enumerate(text.splitlines(), 1) if len(line) > 110]
    for node in nodes_of(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert node.end_lineno is not None
            if body and node.end_lineno - body[0].lineno >= 45:
                found.append(f"{node.name} is long")
    return [f"{module} {fault}" for fault in found]


def test_every_module_says_what_it_is_for_and_is_small() -> None:
    assert not [fault for module in MODULES for fault in faults_of_shape(module)]


_CHANGEABLE = (list, set, dict, deque, WeakSet, WeakKeyDictionary, WeakValueDictionary)
_OF_THE_PROCESS = {"OPEN_CLIENTS", "_COMPACTING"}
"""State on purpose: a warning that concerns all clients of a process, and a table that remembers what it computed."""


def _keeps_state(value: object) -> bool:
    """Return whether something is an instance of a class of this package whose attributes can change."""
    cls = type(value)
    if not cls.__module__.startswith("fullstory_async.") or isinstance(value, (type, Enum, msgspec.Struct)):
        return False
    return not attrs.has(cls) or cls.__setattr__ is object.__setattr__


def test_no_module_holds_mutable_state() -> None:
    for found in pkgutil.walk_packages([str(ROOT)], "fullstory_async."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            constant = name.lstrip("_").isupper()  # a table, never changed
            if isinstance(value, _CHANGEABLE) and not constant and not name.startswith("__"):
                pytest.fail(f"{found.name}.{name} is mutable")
            if _keeps_state(value) and name not in _OF_THE_PROCESS:
                pytest.fail(f"{found.name}.{name} can change")


def test_large_libraries_are_imported_when_they_are_needed() -> None:
    scripts = [
        "import fullstory_async, fullstory_async.jobs",
        "from fullstory_async import FullStoryClient\nFullStoryClient('na1.key')",
        "from fullstory_async.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "try: main(['fetch', '--help'])\nexcept SystemExit: pass",
    ]
    steps = [
        f"{script}\nassert not {{'aiohttp', 'pyarrow', 'duckdb'}} & sys.modules.keys(), {script!r}"
        for script in scripts
    ]
    script = "\n".join(["import sys", *steps])
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, stdout=subprocess.DEVNULL)


OPENING = """
import asyncio
from fullstory_async import FullStoryClient

async def main():
    turns = 0
    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)
    counting = asyncio.create_task(count())
    async with FullStoryClient("na1.key"), FullStoryClient("na1.other"):
        pass
    assert turns > 20, turns
    counting.cancel()

asyncio.run(main())
"""


def test_the_help_page_imports_no_library() -> None:
    script = (
        "from fullstory_async.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "import sys\nassert not {'attr', 'cyclopts', 'msgspec', 'rich', 'asyncio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_the_event_loop_goes_on_while_the_network_client_is_imported() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", OPENING], check=True)


def test_no_function_takes_two_callables() -> None:
    """State is a field of a record: a function that is handed several callbacks hides it."""
    for module in MODULES:
        for node in nodes_of(module):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                parameters = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                taken = [
                    p.arg for p in parameters if p.annotation and "Callable" in ast.unparse(p.annotation)
                ]
                assert len(taken) < 2, f"{module}.{node.name} takes {taken}"


def private_accesses(module: str) -> list[str]:
    """Return accesses to private attributes of objects that are neither ``self`` nor made of this module's classes."""
    nodes = nodes_of(module)
    own = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    }
    own |= {
        target.id
        for node in nodes
        if isinstance(node, (ast.AnnAssign, ast.Assign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    own |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    return [
        f"{module}:{node.lineno} {ast.unparse(node)}"
        for node in nodes
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and node.attr not in own
    ]


def test_no_module_uses_private_names_of_another() -> None:
    """Those that are left reach into other libraries, where there is no public way; each says so in its place."""
    found = [access for module in MODULES for access in private_accesses(module)]
    assert len(found) <= 3, found


def test_the_architecture_page_is_what_the_code_says() -> None:
    assert architecture.PAGE.read_text() == architecture.page(), "run: python -m tests.architecture"
