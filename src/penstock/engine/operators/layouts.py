"""How operators tell what is in their tables of state (`StateLayout`), for the comparison of two versions of a flow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from penstock.analysis import Empty, IfChanged, StateColumn, StateFact, StateLayout, meaning_of
from penstock.engine.aggregates import Aggregation, Partial
from penstock.engine.keyed import KeyedTable
from penstock.engine.timelog import EXPIRES
from penstock.flow import Step, duration_text

__all__ = ["columns_of_partials", "duration_fact", "layout_of", "order_fact"]


def layout_of(
    step: Step,
    table: Any,
    *,
    part: str = "",
    operator: str = "",
    columns: Mapping[str, StateColumn] | None = None,
    facts: Sequence[StateFact] = (),
    expires_base: str = "",
    expires_after_us: int | None = None,
) -> StateLayout:
    """The layout of a `KeyedTable`, or of a log with the attributes of `TimeLog`.

    `columns`: those that are more than a column of the rows that came in. Names with two underscores are the
    operator's own.
    """
    known = columns or {}
    is_keyed = isinstance(table, KeyedTable)
    key = table.key if is_keyed else ()
    found = {
        name: known.get(name) or StateColumn(name, dtype, "own" if name.startswith("__") else _role(name, key))
        for name, dtype in table.schema.items()
        if name != EXPIRES
    }
    return StateLayout(
        table=table.name,
        step=step.name,
        part=part,
        kind="keyed" if is_keyed else "log",
        operator=operator or step.operation.kind,
        key=tuple(found[name] for name in key),
        values=tuple(column for name, column in found.items() if name not in key),
        facts=tuple(facts),
        expires=table.is_expiring if is_keyed else True,
        expires_base=expires_base,
        expires_after_us=expires_after_us,
    )


def _role(name: str, key: Sequence[str]) -> Any:
    return "key" if name in key else "row"


def duration_fact(name: str, span_us: int | None, if_changed: IfChanged = "time") -> StateFact:
    """A fact that is a span of time, or that there is none."""
    return StateFact(name, span_us, if_changed, "none" if span_us is None else duration_text(span_us))


def order_fact(by: Sequence[str], descending: Sequence[bool]) -> StateFact:
    """The order by which rows are kept or not."""
    words = [f"{name} {'descending' if down else 'ascending'}" for name, down in zip(by, descending, strict=True)]
    value = [[name, down] for name, down in zip(by, descending, strict=True)]
    return StateFact("order", value, "meaning", ", ".join(words) or "arrival")


def columns_of_partials(
    aggregation: Aggregation, types: Mapping[str, pl.DataType], *, counted: bool = False
) -> dict[str, StateColumn]:
    """The stored columns of an aggregation, by name, with what each means and which results need it.

    `counted`: sets are kept as a number of members, the members in a table of their own.
    """
    partials = {partial.column: partial for partial in aggregation.partials}
    results = _results(aggregation)
    labels = _labels(aggregation, results)
    found = {}
    for name, partial in partials.items():
        found[name] = StateColumn(
            name,
            types[name],
            "partial",
            label=labels[name],
            meaning=_meaning(partial, partials),
            text=_text(partial, partials),
            merge=partial.kind,
            results=results[name],
            empty=_empty(partial, types[name], counted=counted),
        )
    return found


def _results(aggregation: Aggregation) -> dict[str, tuple[str, ...]]:
    """Partial -> the results that are made of it, through what finishes them and what they go by."""
    finish = {expression.meta.output_name(): expression.meta.root_names() for expression in aggregation.finish}
    found: dict[str, list[str]] = {partial.column: [] for partial in aggregation.partials}
    partials = {partial.column: partial for partial in aggregation.partials}
    for result in aggregation.results:
        waiting = list(result.meta.root_names())
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            waiting += finish.get(name, [])
            if name in partials:
                found[name].append(result.meta.output_name())
                waiting += [other for other in _others(partials[name]) if other]
    return {name: tuple(names) for name, names in found.items()}


def _others(partial: Partial) -> tuple[str, str, str]:
    return partial.presence, partial.mean, partial.when


def _labels(aggregation: Aggregation, results: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """What an author calls a partial: the result that it alone is, else the first result that needs it and a word."""
    alone: dict[str, str] = {}
    plain = {one.meta.output_name(): one.meta.root_names() for one in aggregation.finish}
    sets = {partial.column for partial in aggregation.partials if partial.kind == "set"}
    for result in aggregation.results:
        (root, *more) = result.meta.root_names() or [""]
        if more or not result.meta.undo_aliases().meta.is_column():
            continue
        name = root if root not in plain else next(iter(set(plain[root]) & sets), "")
        alone.setdefault(name, result.meta.output_name())
    found: dict[str, str] = {}
    for partial in aggregation.partials:
        label = alone.get(partial.column) or ".".join((*results[partial.column][:1], _word(partial)))
        count = 1
        wanted = label
        while label in found.values():
            count += 1
            label = f"{wanted}{count}"
        found[partial.column] = label
    return found


def _word(partial: Partial) -> str:
    """What a partial is among those of one result."""
    tree = _tree(partial.batch)
    is_count = tree == "Len" or (isinstance(tree, dict) and "Count" in tree.get("Agg", {}))
    return "count" if is_count else "spread" if partial.kind == "m2" else partial.kind


def _tree(expression: pl.Expr) -> Any:
    """The serialized form, without the name and the last cast, which only makes the sum wide enough."""
    tree = json.loads(expression.meta.undo_aliases().meta.serialize(format="json"))
    return tree["Cast"]["expr"] if isinstance(tree, dict) and "Cast" in tree else tree


def _meaning(partial: Partial, partials: Mapping[str, Partial]) -> str:
    """How it is computed, and what it goes by; not how many partials were found before it."""
    others = [_meaning(partials[name], partials) if name else "" for name in _others(partial)]
    return meaning_of(partial.kind, json.dumps(_tree(partial.batch), sort_keys=True), *others)


def _text(partial: Partial, partials: Mapping[str, Partial]) -> str:
    """The expression as an author would know it."""
    if partial.members is not None:
        return f"{partial.members}.n_unique()"
    text = str(partial.batch.meta.undo_aliases())
    text = text.removesuffix(".strict_cast(Int64)").removesuffix(".strict_cast(Float64)")
    return f"{text}, by {_text(partials[partial.when], partials)}" if partial.when else text


def _empty(partial: Partial, dtype: pl.DataType, *, counted: bool) -> Empty:
    """What it is before any row: what its expression gives for none."""
    if partial.kind == "set":
        return "zero" if counted else "list"
    return "zero" if partial.kind == "sum" and (dtype.is_numeric() or dtype == pl.Duration) else "null"
