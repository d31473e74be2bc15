"""What a run left behind, and whether another one left the same: rows, dead letters, input, state."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from penstock.connect import Change, only_in
from penstock.control.chaos.repeating import TOLERANCE
from penstock.control.gate import Differ
from penstock.control.ledgers import opened_ledger
from penstock.control.readers import READERS, Shelf
from penstock.control.running import PreparedRun
from penstock.control.tables import TableFacts
from penstock.ledger import DeadLetter, EpochRecord, Ledger, LocalStateStore

__all__ = ["Remains", "differences", "remains_of"]

_LETTERS_MAX = 1_000_000
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Remains:
    """What is there after a run. `tables`: by write step. `letters`: dead letters. `state`: by table of state."""

    tables: Mapping[str, pl.DataFrame]
    letters: Sequence[DeadLetter]
    records: Sequence[EpochRecord]
    state: Mapping[str, pl.DataFrame]

    @property
    def rows(self) -> int:
        """How many rows all sinks hold."""
        return sum(frame.height for frame in self.tables.values())

    @property
    def rows_in(self) -> Counter[str]:
        """How many rows were read, by read step."""
        found: Counter[str] = Counter()
        for record in self.records:
            found.update(record.rows_in)
        return found

    @property
    def rows_late(self) -> int:
        """How many rows came too late."""
        return sum(record.rows_late for record in self.records)


def remains_of(prepared: PreparedRun) -> Remains:
    """What the run of a flow left in its place. Raises what reading raises."""
    with opened_ledger(prepared.environment) as ledger:
        records = ledger.epochs(prepared.flow)
        letters = ledger.dead_letters(prepared.flow, limit=_LETTERS_MAX)
        state = _state(prepared, ledger)
    return Remains(_tables(prepared), letters, records, state)


def differences(expected: Remains, found: Remains) -> list[str]:
    """What is not as it should be, in words; nothing where all is. Rows are compared as multisets."""
    return [
        *_in_ledger(found),
        *_in_input(expected, found),
        *_in_letters(expected, found),
        *_in_frames("sink", expected.tables, found.tables),
        *_in_frames("state", expected.state, found.state),
    ]


def _tables(prepared: PreparedRun) -> dict[str, pl.DataFrame]:
    found: dict[str, pl.DataFrame] = {}
    with tempfile.TemporaryDirectory(prefix="penstock-chaos-") as scratch, duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        shelf = Shelf(connection, prepared.environment.root, Path(scratch))
        for one in prepared.bound:
            if one.writes:
                facts = TableFacts(one.step, one.dataset.kind, one.dataset.options, one.dataset.key)
                text = READERS[one.dataset.kind](shelf, facts)
                frame = pl.DataFrame() if text is None else connection.sql(text).pl()
                found[one.step] = frame.select(name for name in frame.columns if not name.startswith("_penstock"))
    return found


def _state(prepared: PreparedRun, ledger: Ledger) -> dict[str, pl.DataFrame]:
    store = LocalStateStore(prepared.folder / "state", flow=prepared.flow, tidy=False)
    images = store.load(ledger.segments(prepared.flow))
    return {name: image.rows for name, image in images.items()}


def _in_ledger(found: Remains) -> Iterator[str]:
    """Whether epochs follow one another, and each begins where the one before ended."""
    numbers = [record.epoch for record in found.records]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the ledger has the epochs {numbers[:20]}, not all of 1 to {max(numbers, default=0)}"
    for before, after in zip(found.records, found.records[1:], strict=False):
        for step, taken in after.plan.ranges.items():
            known = before.plan.ranges.get(step)
            if known is not None and known["end"] != taken["start"]:
                yield f"epoch {after.epoch} begins to read {step} at {taken['start']}, and {known['end']} was the end"


def _in_input(expected: Remains, found: Remains) -> Iterator[str]:
    for step in sorted({*expected.rows_in, *found.rows_in}):
        should, is_ = expected.rows_in[step], found.rows_in[step]
        if should != is_:
            yield f"{is_:,} rows of {step} were read, not {should:,}"
    if expected.rows_late != found.rows_late:
        yield f"{found.rows_late:,} rows were too late, not {expected.rows_late:,}"
    last = [one.records[-1].plan.ranges if one.records else {} for one in (expected, found)]
    for step, taken in last[0].items():
        if last[1].get(step, {}).get("end") != taken["end"]:
            yield f"{step} was read up to {last[1].get(step, {}).get('end')}, not to {taken['end']}"


def _in_letters(expected: Remains, found: Remains) -> Iterator[str]:
    should, are = (Counter((one.step, one.message, one.payload) for one in side.letters) for side in (expected, found))
    for word, some in (("missing", should - are), ("too many", are - should)):
        if some:
            step, message, payload = next(iter(some))
            yield f"dead letters, {some.total():,} {word}, e.g. of {step}: {message}: {payload[:200]}"


def _in_frames(what: str, expected: Mapping[str, pl.DataFrame], found: Mapping[str, pl.DataFrame]) -> Iterator[str]:
    for name in sorted({*expected, *found}):
        should, are = expected.get(name, pl.DataFrame()), found.get(name, pl.DataFrame())
        if should.is_empty() and are.is_empty():
            continue
        if should.height == are.height and only_in(should, are).is_empty():
            continue
        differ = Differ(name, tolerance=TOLERANCE, samples_max=_SHOWN)
        differ.add(0, Change(should), Change(are))
        diff = differ.result()
        if diff.is_equal:
            continue
        parts = [
            f"{diff.only_old:,} missing" if diff.only_old else "",
            f"{diff.only_new:,} too many" if diff.only_new else "",
            f"{diff.changed:,} changed in {', '.join(diff.changed_by_column)}" if diff.changed else "",
            *diff.limits,
        ]
        samples = [
            *diff.samples.get("changed", ()),
            *diff.samples.get("only_old", ()),
            *diff.samples.get("only_new", ()),
        ]
        shown = f", e.g. {samples[0].get('row') or samples[0].get('new')}" if samples else ""
        told = ", ".join(part for part in parts if part) or "other columns"
        yield f"{what} {name}, of {should.height:,} rows: {told}{shown}"
