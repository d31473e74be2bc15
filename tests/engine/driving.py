"""Drive a compiled flow epoch by epoch, with watermarks that the test chooses; rows and multisets for oracles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import polars as pl
from hypothesis import strategies as st

import penstock as ps
from penstock.analysis import Analysis, analyse
from penstock.clock import epoch_time
from penstock.connect import Change
from penstock.engine.batch import BEGINNING_US, END_US, Epoch
from penstock.engine.program import Program
from penstock.engine.rows import Rows
from penstock.flow import Flow, Stream
from penstock.ledger import MemoryStateStore, SegmentRef

SECOND_US = 1_000_000
NOW_US = 1_700_000_000 * SECOND_US
COLUMNS: Mapping[str, Any] = {"k": pl.String, "j": pl.Int64, "at": pl.Datetime("us"), "v": pl.Int64, "n": pl.Int64}
"""Two columns for keys, the event time, a value that may be null, and a number that tells rows apart."""

Row: TypeAlias = tuple[str | None, int | None, int, int | None, int]
"""(k, j, time in s, v, n)"""


def frame_of(rows: Iterable[Row]) -> pl.DataFrame:
    """Rows as a frame of `COLUMNS`; their time is in seconds."""
    given = [(k, j, at * SECOND_US, v, n) for k, j, at, v, n in rows]
    schema = {**COLUMNS, "at": pl.Int64}
    return pl.DataFrame(given, schema=schema, orient="row").with_columns(pl.col("at").cast(pl.Datetime("us")))


def read(flow: Flow, name: str = "left", **options: Any) -> Stream:
    """A read of rows of `COLUMNS`, whose step and dataset have this name."""
    return flow.read(ps.topic(name, schema=dict(COLUMNS)), event_time="at", name=name, **options)


@dataclass(slots=True)
class Drive:
    """A flow's program and what became of its epochs. `marks_s`: watermarks by read step, in seconds."""

    flow: Flow
    analysis: Analysis = field(init=False)
    program: Program = field(init=False)
    epochs: list[Epoch] = field(default_factory=list)
    changes: list[dict[str, Change]] = field(default_factory=list)
    before: dict[str, int | None] = field(init=False)
    store: MemoryStateStore = field(default_factory=MemoryStateStore)
    segments: list[SegmentRef] = field(default_factory=list)

    def __post_init__(self) -> None:
        definition = self.flow.build()
        self.analysis = analyse(definition, {})
        self.program = Program(definition, self.analysis)
        self.before = {
            step.name: BEGINNING_US if self.analysis.steps[step.name].event_time else None
            for step in self.program.definition.reads
        }

    def epoch(
        self,
        reads: Mapping[str, pl.DataFrame],
        marks_s: Mapping[str, float] | float | None = None,
        *,
        now_us: int | None = None,
    ) -> dict[str, pl.DataFrame]:
        """Run one epoch; gives the rows of each write. Marks never go back; one number is for all reads."""
        number = len(self.epochs) + 1
        epoch = Epoch(number, NOW_US + number * SECOND_US if now_us is None else now_us, number, "v1")
        after = dict(self.before)
        for name, mark in self.before.items():
            wanted = marks_s.get(name) if isinstance(marks_s, Mapping) else marks_s
            if mark is not None and wanted is not None:
                after[name] = max(mark, END_US if math.isinf(wanted) else round(wanted * SECOND_US))
        given = {}
        for step in self.program.definition.reads:
            schema = self.analysis.steps[step.name].schema
            frame = reads.get(step.name)
            given[step.name] = Rows(schema.to_frame() if frame is None else frame.select(schema.names()))
        with epoch_time(epoch.now_us, epoch.seed):
            changes = self.program.run(given, self.before, after, epoch)
        self.epochs.append(epoch)
        self.changes.append(changes)
        self.before = after
        state = self.program.changes()
        if state:
            self.segments.append(self.store.write(number, number, state))
        return {name: change.rows for name, change in changes.items()}

    def restart(self) -> None:
        """A new process: the same definition, the state from files; every other time they are written anew before."""
        if self.epochs and len(self.epochs) % 2 == 0:
            self.segments = [self.store.write(0, len(self.epochs), self.program.whole(), whole=True)]
        self.program = Program(self.program.definition, self.analysis)
        self.program.load(self.store.load(self.segments))

    def finish(self) -> dict[str, pl.DataFrame]:
        """The last epoch: no rows, and time at its end."""
        return self.epoch({}, math.inf)

    def table(self, sink: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The changelog of a sink folded: key -> row. Deleting a row that is not there is an error."""
        key = self.program.definition.step(sink).operation.dataset.key  # type: ignore[attr-defined]
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for change in (changes[sink] for changes in self.changes):
            for gone in change.deleted.rows() if change.deleted is not None else ():
                del rows[gone]
            for row in change.rows.iter_rows(named=True):
                rows[tuple(row[name] for name in key)] = row
        return rows

    def results(self, sink: str) -> pl.DataFrame:
        """All rows that a sink was given."""
        return pl.concat([changes[sink].rows for changes in self.changes])

    @property
    def rows_late(self) -> int:
        """How many rows came too late, over all epochs."""
        return sum(epoch.rows_late for epoch in self.epochs)


def plain(value: Any) -> Any:
    """A value that compares well: floats rounded, NaN equal to itself."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else round(value, 6) + 0.0
    return tuple(map(plain, value)) if isinstance(value, list) else value


def multiset(rows: pl.DataFrame | Iterable[Sequence[Any]]) -> Counter[tuple[Any, ...]]:
    """Rows as a multiset of tuples of plain values."""
    given = rows.rows() if isinstance(rows, pl.DataFrame) else rows
    return Counter(tuple(plain(value) for value in row) for row in given)


def seconds(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its times as whole seconds since 1970."""
    return frame.with_columns(
        pl.col(name).cast(pl.Datetime("us")).dt.epoch("us") // SECOND_US
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Datetime)
    )


KEYS_S = st.sampled_from(["a", "b", "", None])
TIMES_S = st.integers(-12, 30)
VALUES = st.one_of(st.none(), st.integers(-2, 4))


@st.composite
def some_rows(draw: st.DrawFn, *, max_size: int = 8, times: st.SearchStrategy[int] = TIMES_S) -> list[Row]:
    """A few rows of few keys, out of order; `n` is to be given by `numbered`."""
    row = st.tuples(KEYS_S, st.sampled_from([1, None]), times, VALUES, st.just(0))
    return draw(st.lists(row, max_size=max_size))


def numbered(epochs: Sequence[Sequence[Row]], first: int = 0) -> list[list[Row]]:
    """The rows of epochs with a number each, in the order in which they come."""
    out: list[list[Row]] = []
    for rows in epochs:
        out.append([(k, j, at, v, first + place) for place, (k, j, at, v, _) in enumerate(rows)])
        first += len(rows)
    return out


@dataclass(frozen=True, slots=True)
class Plan:
    """Epochs of one read: the rows of each, and the watermark (s) after it; the last one ends the input."""

    rows: list[list[Row]]
    marks_s: list[float]

    @property
    def befores_s(self) -> list[float]:
        """The watermark before each epoch."""
        return [-math.inf, *self.marks_s[:-1]]

    def __iter__(self) -> Any:
        return iter(zip(self.rows, self.befores_s, self.marks_s, strict=True))


@st.composite
def plans(draw: st.DrawFn, *, max_epochs: int = 5, first: int = 0) -> Plan:
    """Some epochs, some of them empty, with watermarks that rise in leaps: many rows are late."""
    epochs = draw(st.lists(some_rows(), min_size=1, max_size=max_epochs))
    rises = draw(st.lists(st.integers(-15, 30), min_size=len(epochs), max_size=len(epochs)))
    marks: list[float] = [float(max(rises[: place + 1])) for place in range(len(rises))]
    return Plan([*numbered(epochs, first), []], [*marks, math.inf])


def run_plan(drive: Drive, plan: Plan, *, restarts: bool = False) -> list[dict[str, pl.DataFrame]]:
    """Run a plan over the read `left`; with `restarts`, each epoch in a process of its own."""
    out = []
    for rows, _, after in plan:
        out.append(drive.epoch({"left": frame_of(rows)}, after))
        if restarts:
            drive.restart()
    return out
