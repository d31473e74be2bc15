"""Which watermark each step sees, from those of the reads, and at which times of the clock a step wants to be asked."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.engine.batch import BEGINNING_US, END_US
from penstock.engine.operators import Operator
from penstock.flow import PROCESSING_TIME, Definition, Step, ops

__all__ = ["EventTime"]


class EventTime:
    """The course of event time through one flow."""

    def __init__(self, definition: Definition, operators: Mapping[str, Operator]) -> None:
        self._steps = definition.steps
        self._operators = operators
        holds = {name: operator.holds_us for name, operator in operators.items()}
        self._holds = holds
        self._behind: dict[str, int] = {}
        """Step -> how far its watermark is behind that of the reads."""
        self._clocked: set[str] = set()
        """The steps whose watermark is the clock's: all their reads are in processing time."""
        for step in self._steps:
            inputs = _timed_inputs(step)
            self._behind[step.name] = max((self._behind[name] + holds.get(name, 0) for name in inputs), default=0)
            if isinstance(step.operation, ops.Read):
                is_clocked = step.operation.event_time == PROCESSING_TIME
            else:
                is_clocked = all(name in self._clocked for name in inputs)
            if is_clocked:
                self._clocked.add(step.name)

    def watermarks(self, reads: Mapping[str, int | None]) -> dict[str, int | None]:
        """The watermark of every step's input side: the least of its inputs, less what these hold back."""
        marks: dict[str, int | None] = {}
        for step in self._steps:
            if isinstance(step.operation, ops.Read):
                marks[step.name] = reads.get(step.name)
                continue
            inputs = _timed_inputs(step)
            known = [_less(mark, self._holds.get(name, 0)) for name in inputs if (mark := marks[name]) is not None]
            marks[step.name] = min(known) if known else None
        return marks

    def due_us(self) -> int | None:
        """The time of the clock at which some step has something to give even where no rows come; None: none has."""
        times = []
        for name, operator in self._operators.items():
            timer_us = operator.due_us()
            closes_us = operator.closes_us() if name in self._clocked else None
            times += [timer_us] if timer_us is not None else []
            times += [closes_us + self._behind[name]] if closes_us is not None else []
        return min(times, default=None)


def _timed_inputs(step: Step) -> tuple[str, ...]:
    """The inputs whose time counts. A lookup table holds nobody back: it is as it is when a row comes."""
    return step.inputs[:1] if isinstance(step.operation, ops.Lookup) else step.inputs


def _less(mark_us: int, holds_us: int) -> int:
    return mark_us if mark_us == END_US else max(mark_us - holds_us, BEGINNING_US)
