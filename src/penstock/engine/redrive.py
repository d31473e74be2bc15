"""Dead letters that get another try: their payloads as rows of the step that could not take them.

They come in an epoch of their own, whose plan holds the payloads: run again, it gives them the same second try.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from penstock.analysis import Analysis, renames_of
from penstock.connect import JsonLines
from penstock.engine.batch import Epoch
from penstock.engine.reading import with_processing_time
from penstock.engine.rows import Origin, Rows
from penstock.errors import SchemaError
from penstock.flow import Definition, Step

__all__ = ["in_order", "redriven_rows"]

_PLAN_CHARS = 16 * 1024 * 1024
_UNITS_US = {"ms": 1 / 1_000, "us": 1, "ns": 1_000}
"""Type of a duration -> how many of it are a microsecond."""


def in_order(letters: Sequence[Mapping[str, Any]], definition: Definition) -> list[Mapping[str, Any]]:
    """The longest beginning of `letters` that one epoch can take and still keep their order.

    In an epoch the rows that come to a step from the steps before it go before the letters of the step itself. So once
    a letter of a step is taken, one of a step before it has to wait for the next epoch. Nor does one epoch take many
    megabytes of payloads: they are in its plan.
    """
    before: dict[str, set[str]] = {}
    for step in definition.steps:
        before[step.name] = set(step.inputs).union(*(before[name] for name in step.inputs))
    taken: list[Mapping[str, Any]] = []
    closed: set[str] = set()
    size_chars = 0
    for letter in letters:
        name = _step_of(letter, definition)
        size_chars += len(letter["payload"])
        if name in closed or (taken and size_chars > _PLAN_CHARS):
            break
        closed |= before.get(name, set())
        taken.append(letter)
    return taken


def redriven_rows(letters: Sequence[Mapping[str, Any]], analysis: Analysis, epoch: Epoch) -> dict[str, Rows]:
    """By step the rows of its letters, in their order. A payload that is no row of the step is a dead letter again."""
    by_step: dict[str, list[Mapping[str, Any]]] = {}
    for letter in letters:
        step = _step_of(letter, analysis.definition)
        if step in analysis.steps:
            by_step.setdefault(step, []).append(letter)
        else:
            epoch.dead_row(step, f"the flow has no step {step!r} any more", letter["payload"], _address(letter))
    return {name: _rows(analysis.definition.step(name), mine, analysis, epoch) for name, mine in by_step.items()}


def _step_of(letter: Mapping[str, Any], definition: Definition) -> str:
    """The step that is to take a letter: by the name it has now."""
    name = str(letter["step"])
    known = any(step.name == name for step in definition.steps)
    return name if known else renames_of(definition).get(name, name)


def _address(letter: Mapping[str, Any]) -> dict[str, Any]:
    return {"letter": letter["letter"]} if "letter" in letter else {}


def _rows(step: Step, letters: Sequence[Mapping[str, Any]], analysis: Analysis, epoch: Epoch) -> Rows:
    schema = analysis.steps[step.inputs[0] if step.inputs else step.name].schema
    parser = _Payloads(schema)
    good: list[Mapping[str, Any]] = []
    lines: list[_Line] = []
    for letter in letters:
        try:
            line = parser.line(letter["payload"])
        except ValueError as error:
            epoch.dead_row(step.name, str(error), letter["payload"], _address(letter))
            continue
        good.append(letter)
        lines.append(line)
    frame, bad = parser.parse(lines)
    for number, why in bad.items():
        epoch.dead_row(step.name, why, good[number]["payload"], _address(good[number]))
    taken = [letter for number, letter in enumerate(good) if number not in bad]
    if not step.inputs:
        frame = with_processing_time(step, frame, epoch)
    ids = tuple(int(letter["letter"]) for letter in taken if "letter" in letter)
    origin = Origin(step.name, (("letters", len(ids)),), {"start": {}, "end": {}}, ids)
    return Rows(frame.select(schema.names()), origin if len(ids) == frame.height and ids else None)


@dataclass(frozen=True, slots=True)
class _Line:
    """A payload as a line of JSON, and the values in it that JSON has no word for."""

    text: bytes
    special: Mapping[str, float]


class _Payloads:
    """Reads back what `row_json` wrote, or a person edited."""

    def __init__(self, schema: pl.Schema) -> None:
        self._schema = schema
        self._unreadable: dict[str, str] = {}
        for name, dtype in schema.items():
            try:
                JsonLines(pl.Schema({name: dtype}))
            except SchemaError as error:
                self._unreadable[name] = error.message
        readable = {name: dtype for name, dtype in schema.items() if name not in self._unreadable}
        self._parser = JsonLines(pl.Schema(readable))

    def line(self, payload: str) -> _Line:
        """One payload, made readable. Raises ValueError, which says what is wrong with it."""
        try:
            value = json.loads(payload)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ValueError("the payload is no JSON object: edit it to be one")  # noqa: TRY004 - a value of a person's
        for name, why in self._unreadable.items():
            if value.get(name) is not None:
                raise ValueError(f"{why}: a dead letter can't carry it")
        special: dict[str, float] = {}
        for name, dtype in self._schema.items():
            found = value.get(name)
            if isinstance(found, float) and not math.isfinite(found) and dtype.is_float():
                special[name], value[name] = found, None
            elif isinstance(dtype, pl.Duration) and isinstance(found, int):
                value[name] = round(found * _UNITS_US[dtype.time_unit])
        return _Line(json.dumps(value).encode() + b"\n", special)

    def parse(self, lines: Sequence[_Line]) -> tuple[pl.DataFrame, dict[int, str]]:
        """The rows of the lines that are some, and by its number why a line is none."""
        frame, bad = self._parser.parse(b"".join(line.text for line in lines))
        places, at = {}, 0
        for number, line in enumerate(lines):
            places[at] = number
            at += len(line.text)
        wrong = {places[one.place]: one.error for one in bad}
        kept = [line for number, line in enumerate(lines) if number not in wrong]
        for name in self._unreadable:
            frame = frame.with_columns(pl.lit(None, self._schema[name]).alias(name))
        for name in {name for line in kept for name in line.special}:
            values = [line.special.get(name) for line in kept]
            given = pl.Series(name, values, self._schema[name], strict=False)
            frame = frame.with_columns(pl.coalesce(given, pl.col(name)).alias(name))
        return frame, wrong
