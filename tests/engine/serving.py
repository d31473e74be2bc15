"""Processes of one flow without processes: leaders and followers in one thread, stepped by the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

import penstock as ps
from penstock.analysis import renames_of
from penstock.clock import Clock, SystemClock, new_id
from penstock.engine import (
    Assembly,
    Computation,
    Follower,
    Leader,
    Patience,
    Post,
    Probe,
    RunOptions,
    Spill,
    SpillReader,
    StopSignal,
    Tally,
    claim,
    follow,
    lookup_tables,
    stand_by,
    take_over,
)
from penstock.flow import Dataset, Definition
from penstock.ledger import BEGINNING, Ledger, LocalStateStore, open_ledger

__all__ = ["SCHEMA", "Place", "sums", "write_rows"]

SCHEMA = {"key": pl.Int64, "amount": pl.Int64}


def sums(factor: int = 1, *, keyed: bool = True) -> Definition:
    """A running sum by key, times a factor: two versions of one flow with the same state and other results."""
    flow = ps.Flow("sums")
    rows = flow.read(ps.topic("rows", schema=SCHEMA), name="rows")
    totals = rows.group_by("key").agg(total=pl.col("amount").sum(), name="totals")
    scaled = totals.with_columns(total=pl.col("total") * factor, name="scaled")
    scaled.write(ps.table("out", key=["key"] if keyed else []), name="out")
    return flow.build()


def write_rows(file: Path, rows: Sequence[tuple[int, int]]) -> None:
    """Append rows to the input."""
    with file.open("a") as opened:
        opened.writelines(f'{{"key": {key}, "amount": {amount}}}\n' for key, amount in rows)


@dataclass
class Place:
    """Where a flow runs: folder, sink, and the processes that are open."""

    folder: Path
    sink: Dataset
    build: Callable[[int], Definition] = sums
    clock: Clock = field(default_factory=SystemClock)
    epoch_rows: int = 10
    ends: bool = False
    """Whether the input has an end."""
    renames: Sequence[Mapping[str, str]] = ()
    """What the authors of the versions that are known say."""
    opened: list[tuple[Computation, Assembly, Ledger]] = field(default_factory=list)
    spills: list[Spill] = field(default_factory=list)

    @property
    def input(self) -> Path:
        """The file that is read, as it grows."""
        return self.folder / "rows.jsonl"

    def names_of(self, version: str) -> dict[str, str]:
        """What the author of a version says was renamed."""
        return renames_of(self.build(int(version.removeprefix("v"))))

    def ledger(self) -> Ledger:
        """The ledger as a process finds it."""
        return open_ledger(self.folder / "ledger", env="test", clock=self.clock)

    def process(self, factor: int, probe: Probe = lambda _point, _epoch: None) -> tuple[Post, Computation]:
        """A process of a version, with nothing claimed."""
        definition = self.build(factor)
        version = f"v{factor}"
        ledger, stop = self.ledger(), StopSignal()
        options = RunOptions(epoch_rows=self.epoch_rows, patience_s=5)
        tally = Tally(definition.name, lookup_tables(definition), self.clock, lambda _: None)
        patience = Patience(definition.name, self.clock, stop, options.patience_s, lambda _: None)
        owner = f"m{len(self.opened)}"
        store = LocalStateStore(self.folder / "state", flow=definition.name, tidy=False, owner=owner)
        post = Post(definition.name, version, ledger, store, options, self.clock, patience, probe, stop, tally)
        assembly = Assembly(
            definition,
            {step.name: self.sink for step in definition.writes}
            | {step.name: ps.files(str(self.input), schema=SCHEMA, tail=not self.ends) for step in definition.reads},
            folder=self.folder / "steps",
            root=self.folder,
            clock=self.clock,
            patience=patience,
            renames=self.renames,
        )
        computation = Computation(assembly, version, clock=self.clock, patience=patience, probe=probe)
        computation.names_of = self.names_of
        self.opened.append((computation, assembly, ledger))
        return post, computation

    def lead(self, factor: int, probe: Probe = lambda _point, _epoch: None) -> Leader:
        """A process that claims the flow."""
        post, computation = self.process(factor, probe)
        return claim(post, computation, holder=f"v{factor}", spill_folder=self.folder / new_id())

    def follow(
        self, factor: int, savepoint: str, probe: Probe = lambda _point, _epoch: None, record_from: int | None = None
    ) -> Follower:
        """A process that follows from a savepoint."""
        post, computation = self.process(factor, probe)
        found = next(one for one in (BEGINNING, *post.ledger.savepoints(post.flow)) if one.id == savepoint)
        return follow(post, computation, found, spill=self.spill(), record_from=record_from)

    def spill(self) -> Spill:
        """A spill of its own for a process."""
        self.spills.append(Spill(self.folder / new_id()))
        return self.spills[-1]

    def stand_by(self, factor: int, probe: Probe = lambda _point, _epoch: None) -> Follower:
        """A standby of the version that leads."""
        return stand_by(*self.process(factor, probe))

    def reader(self, follower: Follower) -> SpillReader:
        """What a follower spilled."""
        assert follower.spill is not None
        return SpillReader(follower.spill.folder)

    def take_over(self, follower: Follower) -> Leader:
        """Let a follower take over from whoever leads."""
        standing = follower.post.ledger.standing(follower.post.flow)
        assert standing is not None
        leader, _ = take_over(follower, holder=follower.post.version, expected=standing.generation)
        return leader

    def close(self) -> None:
        """End all processes."""
        for spill in self.spills:
            spill.close()
        for computation, assembly, ledger in self.opened:
            computation.close()
            assembly.close()
            ledger.close()
