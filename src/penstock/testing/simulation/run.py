"""One run from a seed, and what came of it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from penstock.clock import ManualClock, new_id
from penstock.connect import clear
from penstock.engine import RunOptions
from penstock.flow import Definition, Flow
from penstock.ledger import dead_letter_frame, open_ledger
from penstock.testing.simulation.chance import Chance, Rates
from penstock.testing.simulation.clocks import WorldClock
from penstock.testing.simulation.inputs import Input
from penstock.testing.simulation.sinks import Target, Targets, memory_target
from penstock.testing.simulation.verdict import judge
from penstock.testing.simulation.versions import Versions, written
from penstock.testing.simulation.world import World

__all__ = ["Outcome", "simulate", "simulated"]

STEPS = 120
LAST_STEPS = 600
_SHOWN = 150
_TEMPLATE_FLOW = "penstock-template"


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `problems`: what did not hold, in words. `steps`: what happened, a line each.

    `tables`: by the name of each dataset that the flow writes, the rows that it holds in the end. `dead`: the dead
    letters, with the columns of `penstock deadletters`.
    """

    seed: int
    problems: Sequence[str]
    steps: Sequence[str]
    tables: Mapping[str, pl.DataFrame] = field(repr=False)
    dead: pl.DataFrame = field(repr=False)
    versions: Sequence[str]
    """The version of each epoch, in the end."""
    handovers: int
    undos: int
    processes: int

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.problems

    def report(self, again: str = "") -> str:
        """What went wrong after which steps, and how to see it again."""
        told = list(self.steps)
        if len(told) > 2 * _SHOWN:
            told[_SHOWN:-_SHOWN] = [f"... {len(told) - 2 * _SHOWN} more ..."]
        again = again or f"simulate(..., seed={self.seed})"
        problems = [f"PROBLEM: {one}" for one in self.problems]
        return "\n".join([f"seed {self.seed}:", *told, "", *problems, f"again: {again}"])

    def verify(self, again: str = "") -> None:
        """Raise AssertionError with the report where something did not hold."""
        if self.problems:
            raise AssertionError(self.report(again))


def simulate(
    flow: Flow | Definition,
    inputs: Mapping[str, pl.DataFrame],
    *,
    seed: int,
    versions: Sequence[Flow | Definition] = (),
    steps: int = STEPS,
) -> Outcome:
    """Run a flow through a life that the seed decides, and say whether everything held.

    The rows of `inputs` (by dataset name) come bit by bit. Meanwhile processes are killed and frozen at any point,
    other `versions` of the flow are deployed, rolled back and undone, the disk is full or rotten, sinks go away and
    answers are lost: all in this thread and in simulated time, so the same seed gives the same run. In the end each row
    must have had its effect once, by the version that the ledger names, and the state be that of a run from scratch.

    Sinks are tables in memory. Raises SchemaError and DefinitionError as a run does, and where `versions` are not
    versions of one flow.
    """
    definitions = [one.build() if isinstance(one, Flow) else one for one in (flow, *versions)]
    return simulated(definitions, inputs, seed=seed, steps=steps)


def simulated(
    definitions: Sequence[Definition],
    inputs: Mapping[str, pl.DataFrame],
    *,
    seed: int,
    steps: int = STEPS,
    target: Targets = memory_target,
    rates: Rates | None = None,
    world_class: type[World] = World,
) -> Outcome:
    """`simulate` into other places than memory. `rates`: how often what happens; None: the seed says it."""
    chance, clock = Chance(seed, rates), WorldClock()
    scope = new_id()
    memory = Path("/dev/shm")  # noqa: S108 - the files live as long as the run: no disk need see them
    with tempfile.TemporaryDirectory(prefix="penstock-", dir=memory if memory.is_dir() else None) as made:
        folder = Path(made)
        flow = definitions[0].name
        _lay_ledger(folder / "ledger", flow)
        ledger = open_ledger(folder / "ledger", env="test", clock=clock)
        tables = {one.name: one for definition in definitions for one in written(definition)}
        targets = {name: target(folder, f"{scope}/{name}", one) for name, one in tables.items()}
        try:
            given = {
                name: Input(frame, chance.random.randint(1, 3), chance.random) for name, frame in sorted(inputs.items())
            }
            options = _options(chance)
            versions = Versions(definitions, given, targets, folder=folder, clock=clock)
            world = world_class(chance, clock, ledger, folder, versions, given, options)
            try:
                world.run(steps)
                if not world.problems:
                    world.settle(LAST_STEPS)
                problems = world.problems or judge(world, targets)
                return _outcome(world, seed, problems, targets)
            finally:
                world.close()
        finally:
            ledger.close()
            for one in targets.values():
                clear(one.dataset.name)


def _outcome(world: World, seed: int, problems: Sequence[str], targets: Mapping[str, Target]) -> Outcome:
    return Outcome(
        seed,
        tuple(problems),
        tuple(world.lines_seen),
        {name: one.read() for name, one in targets.items()},
        dead_letter_frame(world.ledger.dead_letters(world.flow, limit=100_000)),
        tuple(record.version for record in world.ledger.epochs(world.flow)),
        world.handovers,
        world.undos,
        len(world.processes),
    )


def _options(chance: Chance) -> RunOptions:
    random = chance.random
    return RunOptions(
        epoch_rows=random.choice((4, 10, 40)),
        patience_s=random.choice((0.0, 2.0, 10.0)),
        savepoint_s=random.choice((None, 0.5, 3.0)),
        hold_s=random.choice((0.0, 1.0, 1e9, 1e9)),
        keep_s=60.0,
    )


@functools.cache
def _template() -> Mapping[str, bytes]:
    """The files of an empty ledger: making the tables takes longer than a run of a few epochs."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as made:
        folder = Path(made)
        ledger = open_ledger(folder, env="test", clock=ManualClock())
        ledger.claim(_TEMPLATE_FLOW, version="", holder="")
        ledger.forget_flow(_TEMPLATE_FLOW)
        ledger.close()
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _lay_ledger(folder: Path, flow: str) -> None:
    for name, data in _template().items():
        file = folder / name.replace(f"/{_TEMPLATE_FLOW}/", f"/{flow}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
