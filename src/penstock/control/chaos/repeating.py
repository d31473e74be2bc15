"""Is a flow deterministic? Every epoch once more, in another process, and there twice: what does each step give?

An epoch that runs again after a crash has to come to the same, or rows are lost or twice. The two processes hash text
differently, and the second has called the author's functions before, so neither may matter.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from penstock.clock import Clock
from penstock.connect import Change, only_in
from penstock.control.chaos.script import Script
from penstock.control.environment import shown_path
from penstock.control.gate import Differ
from penstock.control.ledgers import opened_ledger
from penstock.control.running import PreparedRun
from penstock.engine import Assembly, Computation, Patience, StopSignal
from penstock.flow import Definition
from penstock.ledger import EpochPlan

__all__ = ["TOLERANCE", "record_outputs", "repeat_epochs"]

TOLERANCE = 1e-9
"""How far apart floats may be, relative to their size: sums of the same numbers in another order differ in the end."""
_SAMPLES = 3
_ROWS, _RETRACTED = "rows", "retracted"

Outputs = Mapping[str, Mapping[str, pl.DataFrame]]
"""By step: its rows, and those that it takes back."""


def record_outputs(script: Script, story: Path, folder: Path, clock: Clock) -> str:
    """Run all epochs that a story's ledger has, and keep what each step gave as files."""
    prepared = script.prepared(story)
    plans = _plans(prepared)
    with _computation(prepared, clock) as computation:
        for plan in plans:
            found = _run(computation, plan)
            place = folder / f"{plan.epoch:09d}"
            place.mkdir(parents=True)
            for number, parts in enumerate(found.values()):
                for part, frame in parts.items():
                    frame.write_ipc(place / f"{number:04d}.{part}")
    return f"{len(plans)} epochs"


def repeat_epochs(script: Script, story: Path, folder: Path, clock: Clock) -> dict[str, Any]:
    """Run all epochs twice, and compare with what was kept.

    Gives `epochs`, `steps`, and of the first step in the order of the flow that gives other rows (`different`, None
    where there is none): its name, the author's line, the epoch, which rows. `reordered`: the steps that come before it
    in the flow and give the same rows in another order.
    """
    prepared = script.prepared(story)
    definition = prepared.loaded.definition
    names = [step.name for step in definition.steps]
    first: tuple[int, dict[str, Any]] | None = None
    reordered: set[str] = set()
    plans = _plans(prepared)
    with _computation(prepared, clock) as one, _computation(prepared, clock) as other:
        for plan in plans:
            for computation in (one, other):
                found = _run(computation, plan)
                for number, name in enumerate(names):
                    if first is not None and number >= first[0]:
                        break
                    kept = _kept(folder, plan, number)
                    difference, is_reordered = _difference(name, kept, found.get(name, {}))
                    if is_reordered:
                        reordered.add(name)
                    if difference is not None:
                        first = (number, {**_where(prepared, name), "epoch": plan.epoch, **difference})
    before = _before(definition, first[1]["step"]) if first is not None else set()
    return {
        "epochs": len(plans),
        "steps": len(names),
        "different": None if first is None else first[1],
        "reordered": [name for name in names if name in reordered & before],
    }


@contextmanager
def _computation(prepared: PreparedRun, clock: Clock) -> Iterator[Computation]:
    definition = prepared.loaded.definition
    patience = Patience(definition.name, clock, StopSignal(), 0, lambda _: None)
    assembly = Assembly(
        definition,
        {one.step: one.dataset for one in prepared.bound},
        folder=prepared.folder / "steps",
        root=prepared.loaded.project.root,
        clock=clock,
        patience=patience,
    )
    version = prepared.loaded.fingerprint
    computation = Computation(assembly, version, clock=clock, patience=patience, probe=lambda _point, _epoch: None)
    try:
        yield computation
    finally:
        computation.close()
        assembly.close()


def _plans(prepared: PreparedRun) -> list[EpochPlan]:
    with opened_ledger(prepared.environment) as ledger:
        return [record.plan for record in ledger.epochs(prepared.flow)]


def _run(computation: Computation, plan: EpochPlan) -> dict[str, dict[str, pl.DataFrame]]:
    """What each step gave, in the order of the flow."""
    found: dict[str, dict[str, pl.DataFrame]] = {}

    def watch(step: str, batch: Any) -> None:
        found[step] = {_ROWS: batch.rows}
        if batch.retracted is not None:
            found[step][_RETRACTED] = batch.retracted

    computation.assembly.program.watcher = watch
    computation.run(plan)
    return found


def _kept(folder: Path, plan: EpochPlan, number: int) -> dict[str, pl.DataFrame]:
    place = folder / f"{plan.epoch:09d}"
    files = {part: place / f"{number:04d}.{part}" for part in (_ROWS, _RETRACTED)}
    return {part: pl.read_ipc(file) for part, file in files.items() if file.exists()}


def _difference(
    name: str, before: Mapping[str, pl.DataFrame], now: Mapping[str, pl.DataFrame]
) -> tuple[dict[str, Any] | None, bool]:
    """What differs between two outputs of a step, None for nothing; and whether only their order does."""
    reordered = False
    for part in (_ROWS, _RETRACTED):
        one, other = before.get(part), now.get(part)
        if one is None or other is None:
            if (one is None or one.is_empty()) and (other is None or other.is_empty()):
                continue
            one = other.clear() if one is None and other is not None else one
            other = one.clear() if other is None and one is not None else other
        assert one is not None
        assert other is not None
        if one.equals(other):
            continue
        if one.height == other.height and only_in(one, other).is_empty():
            reordered = True
            continue
        differ = Differ(name, tolerance=TOLERANCE, samples_max=_SAMPLES)
        differ.add(0, Change(one), Change(other))
        found = differ.result()
        if not found.is_equal:
            return {
                "rows": max(one.height, other.height),
                "changed": found.changed,
                "only_first": found.only_old,
                "only_second": found.only_new,
                "columns": list(found.changed_by_column),
                "samples": _samples(found.samples),
            }, reordered
    return None, reordered


def _samples(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    changed = [{"first": one["old"], "second": one["new"], "columns": one["columns"]} for one in found["changed"]]
    lost = [{"first": one["row"], "second": None, "columns": []} for one in found["only_old"]]
    added = [{"first": None, "second": one["row"], "columns": []} for one in found["only_new"]]
    return [*changed, *lost, *added][:_SAMPLES]


def _where(prepared: PreparedRun, name: str) -> dict[str, Any]:
    """The author's line of a step."""
    file, _, line = prepared.loaded.definition.step(name).location.rpartition(":")
    text = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
    shown = f"{shown_path(Path(file), prepared.loaded.code_root)}:{line}" if line.isdigit() else ""
    return {"step": name, "location": shown, "line": text}


def _before(definition: Definition, name: str) -> set[str]:
    """The steps whose rows come to a step, directly or not."""
    inputs = definition.step(name).inputs
    return set(inputs).union(*(_before(definition, one) for one in inputs))
