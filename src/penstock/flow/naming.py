"""From the builder's nodes to named steps: a given name, else the author's variable or function, else the place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import DefinitionError
from penstock.flow import ops
from penstock.flow.definition import Step
from penstock.flow.names import Hint

__all__ = ["Node", "name_steps"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,119}")


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A step that has no final name yet."""

    operation: ops.Operation
    inputs: tuple[Node, ...]
    given: str | None
    hint: Hint

    @property
    def label(self) -> str:
        """A name good enough for an error message."""
        return self.given or (self.hint.variables[0] if self.hint.variables else self.operation.kind)


def name_steps(nodes: Sequence[Node]) -> tuple[Step, ...]:
    """Name every node, in the order in which they were written.

    In one statement `x = a.filter(...).map(...)` the last step is `x`, those before it `x.filter`.
    """
    names: dict[int, str] = {}
    taken: Counter[str] = Counter()
    explicit = {node.given for node in nodes if node.given}
    for node in nodes:
        if node.given is not None:
            _check_given(node.given, taken)
            names[id(node)] = node.given
            taken[node.given] += 1
            continue
        wanted = _wanted(node, nodes, names)
        name, count = wanted, 1
        while taken[name] or name in explicit:
            count += 1
            name = f"{wanted}_{count}"
        taken[name] += 1
        names[id(node)] = name
    return tuple(
        Step(
            names[id(node)],
            node.operation,
            tuple(names[id(parent)] for parent in node.inputs),
            f"{node.hint.file}:{node.hint.line}",
            _is_stable(node, nodes),
        )
        for node in nodes
    )


def _check_given(name: str, taken: Counter[str]) -> None:
    if not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{name!r} can't be the name of a step",
            hint="letters, digits, '_', '-' and '.', starting with a letter, at most 120",
        )
    if taken[name]:
        raise DefinitionError(f"two steps are named {name!r}", hint="give one of them another name=")


def _is_stable(node: Node, nodes: Sequence[Node]) -> bool:
    """Whether a name stays when steps are added elsewhere; in a statement that ran several times it only counts."""
    if node.given:
        return True
    if node.hint.variables:
        return len(_ends(node, nodes)) <= len(node.hint.variables)
    return _function_name(node.operation) is not None


def _ends(node: Node, nodes: Sequence[Node]) -> list[Node]:
    """The steps of the node's statement whose rows no other step of the statement takes."""
    place = (node.hint.file, node.hint.statement, node.hint.variables)
    same = [other for other in nodes if (other.hint.file, other.hint.statement, other.hint.variables) == place]
    taken = {id(parent) for other in same for parent in other.inputs}
    return [other for other in same if id(other) not in taken]


def _function_name(operation: ops.Operation) -> str | None:
    function: object = None
    if isinstance(operation, (ops.MapBatches, ops.Map, ops.FlatMap)):
        function = operation.function
    elif isinstance(operation, ops.Process):
        function = operation.handler
    if function is None:
        return None
    name = getattr(function, "__name__", type(function).__name__)
    return None if name == "<lambda>" else str(name)


def _wanted(node: Node, nodes: Sequence[Node], names: dict[int, str]) -> str:
    operation = node.operation
    if node.hint.variables:
        return _from_variable(node, nodes)
    if function := _function_name(operation):
        return function
    if isinstance(operation, (ops.Read, ops.Write)):
        plain = re.sub(r"[^A-Za-z0-9_.\-]+", "_", operation.dataset.name).strip("_.-") or operation.dataset.kind
        plain = plain if plain[0].isalpha() or plain[0] == "_" else f"_{plain}"
        return plain if isinstance(operation, ops.Read) else f"write_{plain}"
    return f"{names[id(node.inputs[0])]}.{operation.kind}"


def _from_variable(node: Node, nodes: Sequence[Node]) -> str:
    variables, ends = node.hint.variables, _ends(node, nodes)
    if node not in ends:
        return f"{variables[0]}.{node.operation.kind}"
    place = ends.index(node)
    return variables[place] if len(ends) <= len(variables) else variables[0]
