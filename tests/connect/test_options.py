"""Every option that a connector reads is a parameter of the function that authors call, and documented there."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest

from penstock.connect.registry import SINKS, SOURCES
from penstock.control import binding

NOT_OPTIONS = frozenset({"schema", "key", "name"})
"""Parameters that are fields of the dataset itself."""


@pytest.mark.parametrize("kind", sorted({*SOURCES, *SINKS}))
def test_options_of_a_connector_are_parameters_of_its_function(kind: str) -> None:
    """What a connector looks up in the options can be given by name, and what can be given is looked up."""
    read = {option for target in targets(kind) for option in options_read(*target)}
    offered = set(inspect.signature(binding.KINDS[kind]).parameters) - NOT_OPTIONS

    assert offered == read


@pytest.mark.parametrize("kind", binding.KINDS)
def test_options_are_documented_where_authors_give_them(kind: str) -> None:
    """The docstring of a dataset's function names each of its options."""
    function = binding.KINDS[kind]
    text = inspect.getdoc(function) or ""

    missing = [name for name in inspect.signature(function).parameters if f"`{name}`" not in text]

    assert set(missing) <= NOT_OPTIONS


def targets(kind: str) -> Iterator[tuple[str, str]]:
    """Module and class of the source and the sink of a kind."""
    for table in (SOURCES, SINKS):
        if kind in table:
            module, _, name = table[kind].partition(":")
            yield module, name


def options_read(module: str, name: str) -> set[str]:
    """The option keys in a definition of `penstock.connect` and in all that it uses, whatever module that is in."""
    found: set[str] = set()
    waiting, seen = [(module, name)], set()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        node = definitions(place[0]).get(place[1])
        if node is None:
            continue
        found.update(keys_in(node))
        waiting += uses(place[0], node)
    return found


def keys_in(node: ast.AST) -> Iterator[str]:
    """Constants in `options["x"]`, `options.get("x")`, `option_text(dataset, "x")` and `_number(options, "x", 0)`."""
    for part in ast.walk(node):
        key: ast.expr | None = None
        if isinstance(part, ast.Subscript) and is_options(part.value):
            key = part.slice
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            key = part.args[0] if part.func.attr == "get" and is_options(part.func.value) else None
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and len(part.args) > 1:
            key = part.args[1] if part.func.id in ("option_text", "_number") else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def is_options(node: ast.expr) -> bool:
    """Whether an expression is the options of a dataset: `dataset.options`, or a variable of that name."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name == "options"


def uses(module: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """The definitions of `penstock.connect` that a definition names."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    imported = imports(module)
    for name in names:
        yield imported.get(name, (module, name))


@cache
def tree(module: str) -> ast.Module:
    """The syntax tree of a module."""
    loaded: ModuleType = importlib.import_module(module)
    return ast.parse(inspect.getsource(loaded))


@cache
def definitions(module: str) -> dict[str, ast.AST]:
    """Functions and classes of a module by name; nothing for what is not a connector's module."""
    if not module.startswith("penstock.connect."):
        return {}
    kinds = (ast.FunctionDef, ast.ClassDef)
    here: dict[str, ast.AST] = {node.name: node for node in tree(module).body if isinstance(node, kinds)}
    for name, (elsewhere, original) in imports(module).items():
        if name not in here and original in definitions(elsewhere):
            here[name] = definitions(elsewhere)[original]
    return here


@cache
def imports(module: str) -> dict[str, tuple[str, str]]:
    """What a module takes from other modules of `penstock.connect`: name here -> (module, name there)."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in tree(module).body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("penstock.connect.")
        for alias in node.names
    }
