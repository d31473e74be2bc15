"""Faults that can be seen in a definition alone, before any schema is known. All of them are reported at once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from penstock.errors import DefinitionError, did_you_mean
from penstock.flow import ops
from penstock.flow.definition import Definition, Step

__all__ = ["FLOW_NAME", "validate"]

FLOW_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,79}")
"""What a flow may be called: it becomes a folder and a label of metrics."""


def validate(definition: Definition) -> None:
    """Raise one DefinitionError that lists every fault; give nothing where there is none."""
    faults = [fault for rule in _RULES for fault in rule(definition)]
    if not faults:
        return
    messages = [message for message, _ in faults]
    message = messages[0] if len(messages) == 1 else "\n  - ".join((f"{len(messages)} faults:", *messages))
    raise DefinitionError(message, flow=definition.name, hint=faults[0][1])


Fault = tuple[str, str]


def _flow_name(definition: Definition) -> Iterator[Fault]:
    if not FLOW_NAME.fullmatch(definition.name):
        yield (f"{definition.name!r} can't be the name of a flow", "letters, digits, '_' and '-', at most 80")


def _has_ends(definition: Definition) -> Iterator[Fault]:
    if not definition.reads:
        yield ("the flow reads nothing", "begin with flow.read(...)")
    if not definition.writes:
        yield ("the flow writes nothing", "end with .write(...)")


def _order(definition: Definition) -> Iterator[Fault]:
    """Inputs come before the steps that use them; what is left over is a cycle or an unknown name."""
    names = [step.name for step in definition.steps]
    for name, count in Counter(names).items():
        if count > 1:
            yield (f"{count} steps are named {name!r}", "give each step a name of its own")
    done: set[str] = set()
    waiting = list(definition.steps)
    while ready := [step for step in waiting if done.issuperset(step.inputs)]:
        done.update(step.name for step in ready)
        waiting = [step for step in waiting if step.name not in done]
    for step in waiting:
        unknown = [name for name in step.inputs if name not in names]
        if unknown:
            close = did_you_mean(unknown[0], names)
            yield (f"step {step.name!r} takes rows of {unknown[0]!r}, which is no step.{close}", "name a step")
    circle = [step.name for step in waiting if all(name in names for name in step.inputs)]
    if circle:
        yield (f"the steps {circle} feed each other in a cycle", "a flow has a direction: break the cycle")


def _writers(definition: Definition) -> Iterator[Fault]:
    targets: dict[tuple[str, str], list[str]] = {}
    for step in definition.writes:
        operation = step.operation
        if isinstance(operation, ops.Write) and operation.dataset.kind != "console":
            targets.setdefault((operation.dataset.kind, operation.dataset.name), []).append(step.name)
    for (kind, name), steps in targets.items():
        if len(steps) > 1:
            yield (f"{kind} {name!r} has {len(steps)} writers: {steps}", "union the streams and write once")


def _named_state(definition: Definition) -> Iterator[Fault]:
    for step in definition.steps:
        if step.operation.remembers and not step.named_by_author:
            yield (
                (
                    f"the state of the step at {step.location} ({step.operation.kind}) has no name of its own; "
                    "it would be lost when a step is added before it"
                ),
                f'name it: {_call(step.operation)}(..., name="..."), or assign the step to a variable',
            )


def _call(operation: ops.Operation) -> str:
    """The method that adds a stateful step, as an author writes it."""
    if isinstance(operation, ops.TopN) and operation.rank is None and operation.n == 1:
        return ".latest"
    return _CALLS.get(type(operation), f".{operation.kind}")


_CALLS: Mapping[type[ops.Operation], str] = MappingProxyType(
    {
        ops.Aggregate: ".agg",
        ops.WindowAggregate: ".agg",
        ops.WindowTop: ".top_n",
        ops.WindowJoin: ".join",
        ops.Lookup: ".join",
    }
)
"""Where the method of the builder has another name than the operation's kind."""


def _updates_reach_keys(definition: Definition) -> Iterator[Fault]:
    """Updating results need a place where rows can be replaced, and steps that understand a changelog."""
    updating: set[str] = set()
    for step in definition.steps:
        operation = step.operation
        inherits = any(name in updating for name in step.inputs) and not isinstance(operation, ops.Late)
        if inherits and not isinstance(operation, _TAKES_UPDATES):
            yield (
                (
                    f"step {step.name!r} ({operation.kind}) can't take updating results "
                    f"(rows of {list(step.inputs)} replace earlier rows)"
                ),
                "write them to a table with a key, or aggregate in a window instead",
            )
        # The console has nothing to replace: it shows each row as it becomes.
        keyless = isinstance(operation, ops.Write) and not operation.dataset.key and operation.dataset.kind != "console"
        if keyless and inherits:
            yield _keyless(definition, step)
        if operation.updating or (inherits and isinstance(operation, _STAYS_UPDATING)):
            updating.add(step.name)


def _keyless(definition: Definition, step: Step) -> Fault:
    """A place without a key gets the results of an updating step; the hint gives the key where it can be known."""
    assert isinstance(step.operation, ops.Write)
    dataset = step.operation.dataset
    origin, kept = definition.step(step.inputs[0]), True
    while not origin.operation.updating:
        kept = kept and not isinstance(origin.operation, ops.Select)  # the one step that may rename a key
        origin = definition.step(origin.inputs[0])
    place = f" at {step.location}" if step.location else ""
    columns = _key_of(origin.operation) if kept else ()
    listed = json.dumps(columns or ["..."])
    call = _KEYED.get(dataset.kind)
    keyed = f"{call}(..., key={listed})" if call else f'a table with a key, e.g. ps.table("...", key={listed})'
    hint = f"write to {keyed}"
    if not columns:
        hint += f", with the columns that tell the rows of {origin.name!r} apart"
    told = f"step {step.name!r}{place}: {dataset.kind} {dataset.name!r} gets updating results but has no key"
    return f"{told} (rows of {origin.name!r} replace earlier rows)", hint


def _key_of(operation: ops.Operation) -> tuple[str, ...]:
    """The columns that name a row of an updating result; empty where nothing says so."""
    if isinstance(operation, ops.TopN):
        ranked = () if operation.rank is None else (operation.rank,)
        return (*operation.keys, *ranked) if operation.n == 1 or ranked else ()
    return operation.keys if isinstance(operation, ops.Aggregate) else ()


_KEYED: Mapping[str, str] = MappingProxyType(
    {
        "table": "ps.table",
        "delta": "ps.delta",
        "duckdb": "ps.duckdb_table",
        "postgres": "ps.postgres",
        "memory": "ps.memory",
    }
)
"""What an author calls for a place that takes a key, by its kind."""


_STAYS_UPDATING = (ops.Filter, ops.WithColumns, ops.Select, ops.Sql, ops.MapBatches, ops.Map, ops.Expect)
_TAKES_UPDATES = (*_STAYS_UPDATING, ops.Aggregate, ops.Write)


def _late_follows_state(definition: Definition) -> Iterator[Fault]:
    for step in definition.steps:
        if isinstance(step.operation, ops.Late):
            parent: Step = definition.step(step.inputs[0])
            if not isinstance(parent.operation, _HAS_LATE_ROWS) or not parent.operation.remembers:
                yield (
                    f"step {parent.name!r} ({parent.operation.kind}) never refuses late rows",
                    "call .late_rows() on a windowed step",
                )


def _used_expectations(definition: Definition) -> Iterator[Fault]:
    for step in definition.steps:
        operation = step.operation
        takes_out = isinstance(operation, ops.Expect) and operation.on_fail == "dead_letter"
        if takes_out and not definition.consumers(step.name):
            yield (
                f"step {step.name!r} takes bad rows out, but nothing uses the stream after it",
                'go on from what .expect(..., on_fail="dead_letter") gives back',
            )


def _renames(definition: Definition) -> Iterator[Fault]:
    names = [step.name for step in definition.steps]
    for one in definition.renames:
        at = _at(one.location)
        if one.new not in names:
            close = did_you_mean(one.new, names)
            told = f"renamed({one.old!r}, {one.new!r}){at}: there is no step {one.new!r}.{close}"
            yield told, "give the old name first, then the name that the step has now"
        if one.old == one.new:
            yield (f"renamed({one.old!r}, {one.new!r}){at}: both names are the same", "take the line out")
    for side, given in (
        ("old name", [one.old for one in definition.renames]),
        ("new name", [one.new for one in definition.renames]),
    ):
        for name, count in Counter(given).items():
            if count > 1:
                yield (f"{count} calls of renamed() have {name!r} as {side}", "keep the one that is so")


def _migrations(definition: Definition) -> Iterator[Fault]:
    steps = {step.name: step for step in definition.steps}
    with_state = [step.name for step in definition.steps if step.operation.remembers]
    for one in definition.migrations:
        call = f"migrate({one.step!r}){_at(one.location)}"
        step = steps.get(one.step)
        if step is None:
            hint = f"steps with state: {', '.join(with_state)}" if with_state else "no step of this flow keeps state"
            yield f"{call}: there is no step {one.step!r}.{did_you_mean(one.step, with_state)}", hint
            continue
        if not step.operation.remembers:
            hint = f"steps with state: {', '.join(with_state)}" if with_state else "take the line out"
            yield f"{call}: the step ({step.operation.kind}) keeps no state", hint
        if one.reset and (one.keep or one.columns):
            yield f"{call}: a state that is reset keeps nothing", "give reset=True alone, or leave it out"
        known = _column_names(step.operation)
        for column in one.columns if known else ():
            if column not in known:
                told = f"{call}: the step has no column {column!r}.{did_you_mean(column, known)}"
                yield told, f"it has: {', '.join(known)}"
    for (name, table, since), count in Counter((m.step, m.table, m.since) for m in definition.migrations).items():
        if count > 1:
            shown = f"{name!r}, table={table!r}" if table else repr(name)
            told = f"{count} calls of migrate({shown}) are for the same state" + (f" ({since})" if since else "")
            yield told, "say all in one call, or tell by since= which state each is for"


def _column_names(operation: ops.Operation) -> tuple[str, ...]:
    """What an author may call a column of a step's state, where the definition alone tells."""
    if isinstance(operation, ops.Aggregate):
        return tuple(operation.aggregates)
    return tuple(operation.state) if isinstance(operation, ops.Process) else ()


def _at(location: str) -> str:
    """Where an author wrote something, short: the file's name and the line."""
    return f" at {location.rpartition('/')[2]}" if location else ""


_HAS_LATE_ROWS = (ops.WindowAggregate, ops.WindowTop, ops.WindowJoin, ops.IntervalJoin, ops.Deduplicate)

_RULES = (
    _flow_name,
    _order,
    _has_ends,
    _writers,
    _named_state,
    _updates_reach_keys,
    _late_follows_state,
    _used_expectations,
    _renames,
    _migrations,
)
