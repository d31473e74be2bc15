"""Dead letters that get another try: their payloads as rows of the step that could not take them.

They come in an epoch of their own, whose plan holds the payloads: run again, it gives them the same second try.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from penstock.analysis import Analysis
from penstock.connect import JsonLines
from penstock.engine.batch import Epoch

__all__ = ["redriven_rows"]


def redriven_rows(letters: Sequence[Mapping[str, Any]], analysis: Analysis, epoch: Epoch) -> dict[str, pl.DataFrame]:
    """By step the rows of its letters, in their order. A payload that is no row of the step is a dead letter again."""
    by_step: dict[str, list[str]] = {}
    for letter in letters:
        if letter["step"] in analysis.steps:
            by_step.setdefault(letter["step"], []).append(letter["payload"])
        else:
            epoch.dead_row(letter["step"], f"the flow has no step {letter['step']!r} any more", letter["payload"])
    return {step: _rows(step, payloads, analysis, epoch) for step, payloads in by_step.items()}


def _rows(step: str, payloads: Sequence[str], analysis: Analysis, epoch: Epoch) -> pl.DataFrame:
    inputs = analysis.definition.step(step).inputs
    parser = JsonLines(analysis.steps[inputs[0] if inputs else step].schema)
    frames = [parser.schema.to_frame()]
    for payload in payloads:
        line = _line(payload)
        frame, bad = (None, []) if line is None else parser.parse(line)
        if frame is None:
            epoch.dead_row(step, "the payload is no JSON object: edit it to be one", payload)
        elif bad or frame.height != 1:
            epoch.dead_row(step, bad[0].error if bad else "the payload is no row", payload)
        else:
            frames.append(frame)
    return pl.concat(frames, rechunk=False)


def _line(payload: str) -> bytes | None:
    """The payload as one line of JSON; None where it is no JSON object."""
    try:
        value = json.loads(payload)
    except ValueError:
        return None
    return json.dumps(value).encode() + b"\n" if isinstance(value, dict) else None
