"""A flow compiled: its steps in order, each with its operator. One call runs one epoch; nothing is written.

The same program serves every purpose: a live epoch, an epoch run again, a shadow run, a test on frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from penstock.analysis import Analysis, StateLayout
from penstock.connect import Change
from penstock.engine.batch import Batch, Epoch, Watermarks
from penstock.engine.checking import checked
from penstock.engine.event_time import EventTime
from penstock.engine.isolate import isolate
from penstock.engine.operators import Operator, Place, operator_of
from penstock.engine.python_rows import flat_mapped, mapped
from penstock.engine.rows import Rows
from penstock.engine.stateless import transform_of
from penstock.errors import PenstockError
from penstock.flow import Definition, Step, ops, unrecorded
from penstock.ledger import TableChange, TableImage

__all__ = ["Program"]


@dataclass(slots=True)
class _Value:
    """The results of a step in this epoch. `retracted` only where results are updating."""

    rows: Rows
    retracted: Rows | None = None

    def batch(self, epoch: Epoch) -> Batch:
        before = None
        if self.retracted is not None:
            with unrecorded():
                before = self.retracted.collect(_quiet(epoch))
        return Batch(self.rows.collect(epoch), before)

    @property
    def known_rows(self) -> int | None:
        """How many there are; None while a query over them is put off."""
        return None if self.rows.todo else self.rows.frame.height


class Program:
    """The operators of one flow with their state in memory."""

    def __init__(self, definition: Definition, analysis: Analysis) -> None:
        self.definition = definition
        self.analysis = analysis
        self._epoch: Epoch | None = None
        self.watcher: Callable[[str, Batch], None] | None = None
        """Is told what each step gives (a sink: what it gets, and the keys it is to delete as what is retracted)."""
        self.step_rows: dict[str, int | None] = {}
        """How many rows each step but the sinks gave in the last epoch; None where only its query knows."""
        self._operators: dict[str, Operator] = {}
        self._uses = {step.name: len(definition.consumers(step.name)) for step in definition.steps}
        for step in definition.steps:
            place = Place(step, tuple(analysis.steps[name] for name in step.inputs), analysis.steps[step.name])
            operator = operator_of(place)
            if operator is not None:
                self._operators[step.name] = operator
        self._event_time = EventTime(definition, self._operators)
        facts = analysis.steps
        self._transforms = {step.name: transform_of(step, facts[step.name]) for step in definition.steps}

    @property
    def at_step(self) -> str | None:
        """The step that runs, or ran last: of stateless steps, which wait for one another, the one whose turn it is."""
        return None if self._epoch is None else self._epoch.at_step

    @property
    def is_stateful(self) -> bool:
        """Whether anything is remembered between epochs."""
        return bool(self._operators)

    def watermarks(self, reads: Mapping[str, int | None]) -> dict[str, int | None]:
        """The watermark of every step's input side, from those of the reads."""
        return self._event_time.watermarks(reads)

    def run(
        self,
        reads: Mapping[str, Rows],
        before: Mapping[str, int | None],
        after: Mapping[str, int | None],
        epoch: Epoch,
        redriven: Mapping[str, Rows] | None = None,
    ) -> dict[str, Change]:
        """Run one epoch: the rows of each read and their watermarks before and after, to what each sink gets.

        `redriven`: by step, rows that it gets beside those of its input.
        """
        marks_before, marks_after = self.watermarks(before), self.watermarks(after)
        values: dict[str, _Value] = {}
        changes: dict[str, Change] = {}
        self._epoch = epoch
        for step in self.definition.steps:
            epoch.enter(step.name)
            marks = Watermarks(marks_before[step.name], marks_after[step.name])
            given = _with_redriven(step, reads, values, redriven or {}, epoch)
            try:
                if isinstance(step.operation, ops.Write):
                    change = self._change(step, step.operation, values[step.inputs[0]].batch(epoch))
                    changes[step.name] = change
                    if self.watcher is not None:
                        self.watcher(step.name, Batch(change.rows, change.deleted))
                else:
                    values[step.name] = self._value(step, *given, marks, epoch)
                    if self.watcher is not None:
                        self.watcher(step.name, values[step.name].batch(epoch))
                    elif self._uses[step.name] > 1:
                        values[step.name].batch(epoch)
            except PenstockError as error:
                error.flow, error.step = error.flow or self.definition.name, error.step or step.name
                error.epoch = epoch.epoch if error.epoch is None else error.epoch
                raise
        epoch.enter(epoch.at_step)
        self.step_rows = {name: value.known_rows for name, value in values.items()}
        return changes

    def changes(self) -> list[TableChange]:
        """What the last epoch changed in the state."""
        return [change for operator in self._operators.values() for change in operator.changes()]

    def whole(self) -> list[TableChange]:
        """The whole state, as the changes that make it out of nothing."""
        return [change for operator in self._operators.values() for change in operator.whole()]

    def layout(self) -> list[StateLayout]:
        """What is in the tables of state, in the order of the steps."""
        return [layout for operator in self._operators.values() for layout in operator.layout()]

    def load(self, images: Mapping[str, TableImage]) -> None:
        """Take the state of the last committed epoch."""
        for operator in self._operators.values():
            operator.load(images)

    def due_us(self) -> int | None:
        """The processing time at which an epoch is wanted even without rows."""
        return self._event_time.due_us()

    @property
    def state_rows(self) -> dict[str, int]:
        """How many rows each stateful step remembers."""
        return {name: operator.state_rows for name, operator in self._operators.items()}

    def _value(
        self,
        step: Step,
        reads: Mapping[str, Rows],
        values: Mapping[str, _Value],
        marks: Watermarks,
        epoch: Epoch,
    ) -> _Value:
        operation = step.operation
        if isinstance(operation, ops.Read):
            return _Value(reads[step.name])
        if isinstance(operation, ops.Late):
            late = epoch.late.get(step.inputs[0], [])
            schema = self.analysis.steps[step.name].schema
            return _Value(Rows(pl.concat([schema.to_frame(), *late])))
        if step.name in self._operators:
            return self._stateful(step, [values[name] for name in step.inputs], marks, epoch)
        parent = values[step.inputs[0]]
        if isinstance(operation, ops.Union):
            names = self.analysis.steps[step.name].schema.names()
            frames = [values[name].batch(epoch).rows.select(names) for name in step.inputs]
            return _Value(Rows(pl.concat(frames)))
        if (transform := self._transforms[step.name]) is not None:
            before = None if parent.retracted is None else parent.retracted.then(transform)
            return _Value(parent.rows.then(transform), before)
        before = None
        if parent.retracted is not None:
            with unrecorded():
                before = self._rowwise(step, parent.retracted, _quiet(epoch))
        return _Value(self._rowwise(step, parent.rows, epoch), before)

    def _rowwise(self, step: Step, rows: Rows, epoch: Epoch) -> Rows:
        """Expectations and the author's row functions, which know themselves which row was bad."""
        operation, schema = step.operation, self.analysis.steps[step.name].schema
        frame = rows.collect(epoch)
        if isinstance(operation, ops.Expect):
            return Rows(checked(step, frame, epoch, rows.offsets))
        assert isinstance(operation, (ops.Map, ops.FlatMap))
        function = mapped if isinstance(operation, ops.Map) else flat_mapped
        result, refused = function(operation.function, frame, schema)
        rows.bury(step.name, refused, epoch)
        lost = Rows(result, rows.origin)
        lost.origin_lost()
        return lost

    def _stateful(self, step: Step, inputs: list[_Value], marks: Watermarks, epoch: Epoch) -> _Value:
        batches = [value.batch(epoch) for value in inputs]
        operator = self._operators[step.name]
        noted = epoch.mark()
        try:
            result = operator.run(batches, marks, epoch)
        except pl.exceptions.PolarsError:
            # Operators compute on the batch before they touch their state, so they can be asked again without the
            # rows that an expression of theirs can't take. Where no row is to blame, the state may be touched: the
            # epoch fails.
            epoch.back_to(noted)
            good = self._computable(operator, inputs[0].rows, epoch)
            if good.height == inputs[0].rows.frame.height:
                raise
            batches[0] = Batch(good, batches[0].retracted)
            result = operator.run(batches, marks, epoch)
        before = None if result.retracted is None else Rows(result.retracted)
        return _Value(Rows(result.rows), before)

    def _computable(self, operator: Operator, rows: Rows, epoch: Epoch) -> pl.DataFrame:
        """The rows on which the operator's expressions can be computed; the others become dead letters."""

        def probe(frame: pl.DataFrame) -> pl.DataFrame:
            operator.probe(frame)
            return frame

        good, refused = isolate(probe, rows.frame, rows.frame.clear(), operator.place.name)
        rows.bury(operator.place.name, refused, epoch)
        return good

    def _change(self, step: Step, operation: ops.Write, batch: Batch) -> Change:
        key = list(operation.dataset.key)
        if not key:
            return Change(batch.rows)
        rows = batch.rows.unique(key, keep="last", maintain_order=True)
        if batch.retracted is None or batch.retracted.is_empty():
            return Change(rows)
        gone = batch.retracted.select(key).unique(maintain_order=True)
        gone = gone.join(rows, on=key, how="anti", nulls_equal=True, maintain_order="left")
        return Change(rows, gone if gone.height else None)


def _with_redriven(
    step: Step,
    reads: Mapping[str, Rows],
    values: Mapping[str, _Value],
    redriven: Mapping[str, Rows],
    epoch: Epoch,
) -> tuple[Mapping[str, Rows], Mapping[str, _Value]]:
    """What was read and what the steps before gave, as this step sees it."""
    extra = redriven.get(step.name)
    if extra is None:
        return reads, values
    if not step.inputs:
        return {**reads, step.name: _behind(reads[step.name].collect(epoch), extra)}, values
    parent = values[step.inputs[0]]
    batch = parent.batch(epoch)
    return reads, {**values, step.inputs[0]: _Value(_behind(batch.rows, extra), parent.retracted)}


def _behind(rows: pl.DataFrame, extra: Rows) -> Rows:
    """Rows, and dead letters that are tried again behind them. Which letter is which is known of letters alone."""
    return Rows(pl.concat([rows, extra.frame])) if rows.height else Rows(extra.frame, extra.origin)


def _quiet(epoch: Epoch) -> Epoch:
    """Rows that are taken back were judged when they came: nothing is noted a second time."""
    return Epoch(epoch.epoch, epoch.now_us, epoch.seed, epoch.version)
