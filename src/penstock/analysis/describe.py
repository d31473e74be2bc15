"""A step in one short line, for pictures and lists: what it reads, its window, its keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from penstock.analysis.functions import name_of
from penstock.flow import Dataset, Step, duration_text, ops

__all__ = ["describe"]


def describe(step: Step) -> str:
    """What a step does, without its name and kind. One line of any length; may be empty."""
    return " ".join(_RULES[type(step.operation)](step).split())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _by(keys: Sequence[str]) -> str:
    return f"by {_listed(keys)}" if keys else "over all"


def _ordered(by: Sequence[str], descending: Sequence[bool]) -> str:
    order = _listed([f"{name} {'down' if down else 'up'}" for name, down in zip(by, descending, strict=True)])
    return order or "event time down"


def _kept(ttl_us: int | None) -> str:
    return "" if ttl_us is None else f", forgotten after {duration_text(ttl_us)}"


def _dataset(dataset: Dataset) -> str:
    return f"{dataset.kind} {dataset.name}" if dataset.name != dataset.kind else dataset.kind


def _expression(value: Any) -> str:
    text = str(value)
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def _outputs(expressions: Sequence[Any]) -> str:
    return _listed([_output(item) for item in expressions])


def _output(item: Any) -> str:
    if isinstance(item, tuple):
        return str(item[0])
    if isinstance(item, (list, set)):
        return _outputs(list(item))
    if isinstance(item, pl.Expr) and not item.meta.has_multiple_outputs():
        return item.meta.output_name(raise_if_undetermined=False) or _expression(item)
    return _expression(item)


def _read(step: Step) -> str:
    operation: Any = step.operation
    text = _dataset(operation.dataset)
    if operation.table:
        return f"{text}, as a table"
    if operation.event_time is not None:
        text += f", by {operation.event_time}"
    return f"{text}, late by {duration_text(operation.lateness_us)}" if operation.lateness_us else text


def _write(step: Step) -> str:
    dataset: Dataset = step.operation.dataset  # type: ignore[attr-defined]
    return f"{_dataset(dataset)}, key {_listed(dataset.key)}" if dataset.key else _dataset(dataset)


def _aggregate(step: Step) -> str:
    operation: Any = step.operation
    return f"{_by(operation.keys)}: {_listed(tuple(operation.aggregates))}{_kept(operation.ttl_us)}"


def _window_aggregate(step: Step) -> str:
    operation: Any = step.operation
    return f"{_by(operation.keys)}, {operation.window}: {_listed(tuple(operation.aggregates))}"


def _window_top(step: Step) -> str:
    operation: Any = step.operation
    order = _ordered(operation.by, operation.descending)
    return f"{_by(operation.keys)}, {operation.window}: first {operation.n} of {order}"


def _top_n(step: Step) -> str:
    operation: Any = step.operation
    order = _ordered(operation.by, operation.descending)
    return f"{_by(operation.keys)}: first {operation.n} of {order}{_kept(operation.ttl_us)}"


def _deduplicate(step: Step) -> str:
    operation: Any = step.operation
    within = "" if operation.within_us is None else f" within {duration_text(operation.within_us)}"
    return f"{_by(operation.keys)}{within}"


def _pairs(step: Step) -> str:
    operation: Any = step.operation
    on = _listed([left if left == right else f"{left} = {right}" for left, right in operation.on])
    return f"{operation.how} on {on}"


def _interval_join(step: Step) -> str:
    operation: Any = step.operation
    bounds = (operation.lower_us, operation.upper_us)
    if bounds == (None, None):
        return _pairs(step)
    lower, upper = ("any time" if bound is None else duration_text(bound) for bound in bounds)
    return f"{_pairs(step)}, from {lower} to {upper}"


def _window_join(step: Step) -> str:
    return f"{_pairs(step)}, {step.operation.window}"  # type: ignore[attr-defined]


def _expect(step: Step) -> str:
    operation: Any = step.operation
    return f"{_listed([check.name for check in operation.checks])}, else {operation.on_fail.replace('_', ' ')}"


_RULES: dict[type[ops.Operation], Callable[[Step], str]] = {
    ops.Read: _read,
    ops.Filter: lambda step: _expression(step.operation.predicate),  # type: ignore[attr-defined]
    ops.WithColumns: lambda step: _outputs(step.operation.expressions),  # type: ignore[attr-defined]
    ops.Select: lambda step: _outputs(step.operation.expressions),  # type: ignore[attr-defined]
    ops.Sql: lambda step: step.operation.query,  # type: ignore[attr-defined]
    ops.MapBatches: lambda step: name_of(step.operation.function),  # type: ignore[attr-defined]
    ops.Map: lambda step: name_of(step.operation.function),  # type: ignore[attr-defined]
    ops.FlatMap: lambda step: name_of(step.operation.function),  # type: ignore[attr-defined]
    ops.Union: lambda step: f"of {_listed(step.inputs)}",
    ops.Expect: _expect,
    ops.Write: _write,
    ops.Late: lambda step: f"refused by {step.inputs[0]}",
    ops.Aggregate: _aggregate,
    ops.WindowAggregate: _window_aggregate,
    ops.WindowTop: _window_top,
    ops.TopN: _top_n,
    ops.Deduplicate: _deduplicate,
    ops.IntervalJoin: _interval_join,
    ops.WindowJoin: _window_join,
    ops.Lookup: _pairs,
    ops.Process: lambda step: f"{_by(step.operation.keys)}: {name_of(step.operation.handler)}",  # type: ignore[attr-defined]
}
