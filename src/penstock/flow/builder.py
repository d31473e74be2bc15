"""The builder: `Flow`, and the handles whose methods an author chains. Each call adds one frozen step; nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from penstock.errors import DefinitionError
from penstock.flow import ops
from penstock.flow.checks import Check, OnFail
from penstock.flow.datasets import Dataset
from penstock.flow.definition import Definition
from penstock.flow.durations import Duration, duration_us
from penstock.flow.migrations import Migration, Rename
from penstock.flow.names import hint_of_caller
from penstock.flow.naming import Node, name_steps
from penstock.flow.validate import validate
from penstock.flow.windows import Window

__all__ = ["Flow", "Keyed", "Stream", "Table", "Windowed"]

Names = str | Sequence[str]
Function = TypeVar("Function", bound=Callable[..., Any])


def _columns(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _on(on: Names | Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if isinstance(on, Mapping):
        return tuple(on.items())
    return tuple((column, column) for column in _columns(on))


def _order(by: Names, descending: bool | Sequence[bool]) -> tuple[tuple[str, ...], tuple[bool, ...]]:  # noqa: FBT001
    columns = _columns(by)
    flags = (descending,) * len(columns) if isinstance(descending, bool) else tuple(descending)
    if len(flags) != len(columns):
        raise DefinitionError(f"{len(columns)} order columns but {len(flags)} directions", hint="give one for each")
    return columns, flags


def _here() -> str:
    hint = hint_of_caller()
    return f"{hint.file}:{hint.line}"


def _named(expressions: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*expressions, *((name, expression) for name, expression in named.items()))


def _optional_us(duration: Duration | None, what: str) -> int | None:
    return None if duration is None else duration_us(duration, what=what)


class Flow:
    """A dataflow in the making: `read` gives streams, `build` gives the frozen definition.

    `owner`: the team that answers for it. `freshness`: how old its newest result may be ("30s"). `align`: how far, in
    event time, one source may run ahead of another. `epoch_rows`, `epoch_ms`: limits of one epoch.
    """

    def __init__(
        self,
        name: str,
        *,
        owner: str = "",
        description: str = "",
        freshness: Duration | None = None,
        align: Duration | None = None,
        epoch_rows: int | None = None,
        epoch_ms: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.owner = owner
        self.description = description
        self._freshness_us = _optional_us(freshness, "freshness")
        self._align_us = _optional_us(align, "align")
        self._epoch_rows = epoch_rows
        self._epoch_ms = epoch_ms
        self._labels = dict(labels or {})
        self._nodes: list[Node] = []
        self._renames: list[Rename] = []
        self._migrations: list[Migration] = []
        self._file = hint_of_caller().file

    def read(
        self,
        dataset: Dataset,
        *,
        event_time: str | None = None,
        lateness: Duration = "0s",
        idle_after: Duration | None = None,
        name: str | None = None,
    ) -> Stream:
        """A stream of the rows of `dataset`.

        `event_time`: the column that says when a row happened. `lateness`: how far behind the newest row a row may
        be and still count. `idle_after`: a partition silent for so long no longer holds the watermark back.
        """
        operation = ops.Read(
            dataset,
            event_time,
            duration_us(lateness, what="lateness"),
            _optional_us(idle_after, "idle_after"),
        )
        return Stream(self, self._add(operation, (), name))

    def table(self, dataset: Dataset, *, key: Names, name: str | None = None) -> Table:
        """A lookup table: the last row of each `key`. Where its input is bounded it is read before everything else."""
        node = self._add(ops.Read(dataset, table=True), (), name)
        return Table(self, node, _columns(key))

    def renamed(self, old: str, new: str) -> None:
        """Say that the step `new` is the one that was called `old`: it takes over its state and its place in the input.

        Let the line stay: a version before may come back, and where there is none that has `old` it changes nothing.
        """
        self._renames.append(Rename(old, new, _here()))

    @overload
    def migrate(self, step: str, *, table: str = ..., since: str = ...) -> Callable[[Function], Function]: ...
    @overload
    def migrate(
        self,
        step: str,
        *,
        columns: Mapping[str, Any],
        keep: bool = ...,
        table: str = ...,
        since: str = ...,
    ) -> None: ...
    @overload
    def migrate(self, step: str, *, keep: bool, table: str = ..., since: str = ...) -> None: ...
    @overload
    def migrate(self, step: str, *, reset: bool, table: str = ..., since: str = ...) -> None: ...
    def migrate(
        self,
        step: str,
        *,
        columns: Mapping[str, Any] | None = None,
        keep: bool = False,
        reset: bool = False,
        table: str = "",
        since: str = "",
    ) -> Callable[[Function], Function] | None:
        """Say what becomes of the state of `step` where that of the version before does not fit this one by itself.

        `columns`: what rows that are there have in new columns: a value, a Polars expression over their old columns,
        or None, nothing yet. `keep=True`: the state goes on although what it means changed. `reset=True`: it starts
        empty. Without any of these it is a decorator: the function gets the old rows as a DataFrame and gives the new
        ones. It runs on a copy of the state, before anything stops. `table`: which table of a step with several.
        `since`: the fingerprint of the old state, as a refusal shows it: the line counts for no other.
        """
        location = _here()

        def add(function: Callable[..., Any] | None) -> None:
            given = dict(columns or {})
            self._migrations.append(Migration(step, table, given, keep, reset, function, since, location))

        def decorate(function: Function) -> Function:
            add(function)
            return function

        if columns is None and not keep and not reset:
            return decorate
        add(None)
        return None

    def build(self) -> Definition:
        """The definition as a frozen value. Raises DefinitionError with every fault found."""
        steps = name_steps(self._nodes)
        definition = Definition(
            name=self.name,
            steps=steps,
            owner=self.owner,
            description=self.description,
            freshness_us=self._freshness_us,
            align_us=self._align_us,
            epoch_rows=self._epoch_rows,
            epoch_ms=self._epoch_ms,
            file=self._file,
            labels=self._labels,
            renames=tuple(self._renames),
            migrations=tuple(self._migrations),
        )
        validate(definition)
        return definition

    def _add(self, operation: ops.Operation, inputs: tuple[Node, ...], name: str | None) -> Node:
        for node in inputs:
            if node not in self._nodes:
                raise DefinitionError(
                    f"the step {operation.kind} takes rows of another flow than {self.name!r}",
                    flow=self.name,
                    hint="read the dataset in this flow, or write it to a table that both flows use",
                )
        node = Node(operation, inputs, name, hint_of_caller())
        self._nodes.append(node)
        return node


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A lookup table: the right side of `Stream.join`."""

    flow: Flow
    node: Node
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The rows after some step. Every method adds a step and gives the stream after it; `name` overrides its name."""

    flow: Flow
    node: Node

    def _then(self, operation: ops.Operation, name: str | None, *others: Node) -> Stream:
        return Stream(self.flow, self.flow._add(operation, (self.node, *others), name))  # noqa: SLF001

    def filter(self, predicate: Any, *, name: str | None = None) -> Stream:
        """Keep the rows for which a Polars expression is true (null: not kept)."""
        return self._then(ops.Filter(predicate), name)

    def with_columns(self, *expressions: Any, name: str | None = None, **named: Any) -> Stream:
        """Add or replace columns by Polars expressions."""
        return self._then(ops.WithColumns(_named(expressions, named)), name)

    def select(self, *expressions: Any, name: str | None = None, **named: Any) -> Stream:
        """Exactly these columns: names or Polars expressions. Keep the event-time column where windows follow."""
        return self._then(ops.Select(_named(expressions, named)), name)

    def sql(self, query: str, *, name: str | None = None) -> Stream:
        """DuckDB SQL over each batch, which is the table `self`. It sees one batch at a time, never the whole."""
        return self._then(ops.Sql(query), name)

    def map_batches(self, function: Callable[..., Any], *, schema: Any = None, name: str | None = None) -> Stream:
        """Your own function, DataFrame -> DataFrame. `schema`: what it gives, where an empty frame can't tell."""
        return self._then(ops.MapBatches(function, schema), name)

    def map(self, function: Callable[..., Any], *, schema: Any = None, name: str | None = None) -> Stream:
        """Your own function, row (dict) -> row (dict), None drops it. Row by row in Python: 10 to 100 times slower.

        `schema`: the columns it gives; default: the function's return annotation, else the same as it takes.
        """
        return self._then(ops.Map(function, schema), name)

    def flat_map(self, function: Callable[..., Any], *, schema: Any = None, name: str | None = None) -> Stream:
        """Your own function, row (dict) -> any number of rows."""
        return self._then(ops.FlatMap(function, schema), name)

    def union(self, *others: Stream, name: str | None = None) -> Stream:
        """The rows of all these streams, which have the same columns."""
        return self._then(ops.Union(), name, *(other.node for other in others))

    def branch(self, predicate: Any, *, names: tuple[str, str] | None = None) -> tuple[Stream, Stream]:
        """Two streams: the rows for which the expression is true, and all others."""
        yes, no = names or (None, None)
        kept = self._then(ops.Filter(predicate), yes)
        return kept, self._then(ops.Filter(~predicate.fill_null(False)), no)  # noqa: FBT003 - Polars' signature

    def expect(self, *checks: Check, on_fail: OnFail = "warn", name: str | None = None) -> Stream:
        """Hold rows to expectations; see `ps.not_null` and the others. Without them the flow is only assumed right."""
        return self._then(ops.Expect(checks, on_fail), name)

    def write(self, dataset: Dataset, *, name: str | None = None) -> None:
        """Write the rows to a dataset. A flow may write to several."""
        self._then(ops.Write(dataset), name)

    def group_by(self, *keys: str, name: str | None = None) -> Keyed:
        """Rows by key: then `.agg`, `.window(...)`, `.top_n`, `.latest`, `.process`."""
        return Keyed(self, tuple(keys), name)

    key_by = group_by

    def window(self, window: Window) -> Windowed:
        """All rows by window of event time, without a key."""
        return Windowed(self, (), window)

    def deduplicate(self, *keys: str, within: Duration | None = None, name: str | None = None) -> Stream:
        """The first row of each key. `within`: how long (event time) a key is remembered; None: for ever."""
        return self._then(ops.Deduplicate(keys, _optional_us(within, "within")), name)

    def join(
        self,
        other: Stream | Table,
        *,
        on: Names | Mapping[str, str],
        within: tuple[Duration, Duration] | None = None,
        window: Window | None = None,
        how: ops.JoinHow | None = None,
        suffix: str = "_right",
        name: str | None = None,
    ) -> Stream:
        """Join with a stream or a table. `on`: columns of the same name, or {left: right}.

        A table: each row with the table's row of that key (default `how="left"`). A stream with `within=(lower,
        upper)`: pairs with `lower <= other's time - own time <= upper`. With `window`: the rows of one window, when
        it closes. A stream with neither: every pair ever (the state grows with the input).
        """
        pairs = _on(on)
        operation: ops.Operation
        if isinstance(other, Table):
            if set(other.key) != {right for _, right in pairs}:
                raise DefinitionError(
                    f"the table {other.node.label} has the key {list(other.key)}, the join is on {list(pairs)}",
                    flow=self.flow.name,
                    hint="join on all key columns of the table, as {own column: key column}",
                )
            operation = ops.Lookup(pairs, how or "left", suffix)
        elif window is not None:
            operation = ops.WindowJoin(pairs, window, how or "inner", suffix)
        else:
            lower, upper = within or (None, None)
            operation = ops.IntervalJoin(
                pairs, _optional_us(lower, "within"), _optional_us(upper, "within"), how or "inner", suffix
            )
        return self._then(operation, name, other.node)

    def late_rows(self, *, name: str | None = None) -> Stream:
        """The rows that this (windowed or joining) step refused because they came after the watermark."""
        return self._then(ops.Late(), name)


@dataclass(frozen=True, slots=True, eq=False)
class Keyed:
    """Rows by key."""

    stream: Stream
    keys: tuple[str, ...]
    name: str | None = None

    def window(self, window: Window) -> Windowed:
        """By key and window of event time."""
        return Windowed(self.stream, self.keys, window, self.name)

    def agg(self, *, ttl: Duration | None = None, name: str | None = None, **aggregates: Any) -> Stream:
        """Running aggregates by key over all time, updated as rows come. `ttl`: forget keys silent for so long."""
        operation = ops.Aggregate(self.keys, aggregates, _optional_us(ttl, "ttl"))
        return self.stream._then(operation, name or self.name)  # noqa: SLF001

    def top_n(
        self,
        n: int,
        *,
        by: Names,
        descending: bool | Sequence[bool] = True,
        rank: str | None = "rank",
        ttl: Duration | None = None,
        name: str | None = None,
    ) -> Stream:
        """The first `n` rows of each key by an order, as they stand; ties go to the row that came first."""
        columns, flags = _order(by, descending)
        operation = ops.TopN(self.keys, n, columns, flags, rank, _optional_us(ttl, "ttl"))
        return self.stream._then(operation, name or self.name)  # noqa: SLF001

    def latest(self, *, by: Names = (), ttl: Duration | None = None, name: str | None = None) -> Stream:
        """The latest row of each key, by `by` (default: the event time, else the order of arrival)."""
        columns, flags = _order(by, descending=True)
        operation = ops.TopN(self.keys, 1, columns, flags, None, _optional_us(ttl, "ttl"))
        return self.stream._then(operation, name or self.name)  # noqa: SLF001

    def process(
        self,
        handler: Any,
        *,
        schema: Any,
        state: Mapping[str, Any],
        ttl: Duration | None = None,
        name: str | None = None,
    ) -> Stream:
        """Your own function with state and timers for each key; see `ps.KeyContext`.

        `handler(context, rows)` gives rows of `schema`; with a method `on_timer(context, time)` where timers are set.
        `state`: the columns that are kept for each key and their types.
        """
        operation = ops.Process(self.keys, handler, schema, dict(state), _optional_us(ttl, "ttl"))
        return self.stream._then(operation, name or self.name)  # noqa: SLF001


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """Rows by key and window; the results have the columns `window_start` and `window_end`."""

    stream: Stream
    keys: tuple[str, ...]
    window: Window
    name: str | None = None

    def agg(self, *, name: str | None = None, **aggregates: Any) -> Stream:
        """Polars aggregations over each window, given once, when the watermark passes its end."""
        operation = ops.WindowAggregate(self.keys, self.window, aggregates)
        return self.stream._then(operation, name or self.name)  # noqa: SLF001

    def top_n(
        self,
        n: int,
        *,
        by: Names,
        descending: bool | Sequence[bool] = True,
        ties: bool = False,
        name: str | None = None,
    ) -> Stream:
        """The first `n` rows of each window by an order; with `ties` also those equal to the last of them."""
        columns, flags = _order(by, descending)
        operation = ops.WindowTop(self.keys, self.window, n, columns, flags, ties)
        return self.stream._then(operation, name or self.name)  # noqa: SLF001
