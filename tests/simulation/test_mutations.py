"""The simulation can fail: an engine, a ledger or a sink that is spoilt on purpose is found out within a few lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest

from penstock.analysis import StepNames
from penstock.connect import Change
from penstock.connect.memory import MemorySink
from penstock.engine.branch import Branch
from penstock.engine.leading import Leader
from penstock.engine.program import Program
from penstock.engine.spill import SpillReader
from penstock.ledger import LocalStateStore, sql
from penstock.testing.simulation.chance import Rates
from tests.simulation.lives import lived

LIVES = 60


def without_a_fence(patch: pytest.MonkeyPatch) -> None:
    """The sink takes rows of any generation."""
    patch.setattr(MemorySink, "_check_fence", lambda _sink, _generation: None)


def adding_instead_of_replacing(patch: pytest.MonkeyPatch) -> None:
    """The sink adds the rows of an epoch that is written again to those that it has."""
    write = MemorySink.write

    def added(sink: MemorySink, epoch: int, generation: int, change: Change) -> Any:
        there = sink._store.epochs.get(epoch)
        whole = change if there is None else Change(pl.concat([there.rows, change.rows]), change.deleted)
        return write(sink, epoch, generation, whole)

    patch.setattr(MemorySink, "write", added)


def writing_twice(patch: pytest.MonkeyPatch) -> None:
    """Now and then the engine writes an epoch into the next one too."""
    write = Leader._write

    def twice(leader: Leader, computed: Any) -> Any:
        epoch = computed.plan.epoch
        for name, change in computed.changes.items():
            if epoch % 7 == 0:
                leader.computation.assembly.sinks[name].write(epoch + 100, leader.generation, change)
        return write(leader, computed)

    patch.setattr(Leader, "_write", twice)


def losing_what_waits(patch: pytest.MonkeyPatch) -> None:
    """Who follows forgets some changes of state before they are in a file."""
    add = Branch.add

    def forgetful(branch: Branch, epoch: int, changes: Any) -> None:
        add(branch, epoch, [] if epoch % 4 == 0 else changes)

    patch.setattr(Branch, "add", forgetful)


def forgetting_at_once(patch: pytest.MonkeyPatch) -> None:
    """The input of an epoch is forgotten before the epoch is committed."""
    finish = Leader._finish

    def early(leader: Leader, computed: Any, ahead: Any = None) -> None:
        for name, source in leader.computation.assembly.sources.items():
            source.forget(leader.computation.named(computed.plan).ranges[name]["end"])
        finish(leader, computed, ahead)

    patch.setattr(Leader, "_finish", early)


def pruning_savepoints(patch: pytest.MonkeyPatch) -> None:
    """Files that only a savepoint names are pruned."""
    prune = LocalStateStore.prune

    def greedy(store: LocalStateStore, keep: Any) -> int:
        return prune(store, [ref for ref in keep if ref.last == max(one.last for one in keep)])

    patch.setattr(LocalStateStore, "prune", greedy)


def taking_letters_twice(patch: pytest.MonkeyPatch) -> None:
    """A dead letter that was tried again waits on."""
    patch.setattr(sql, "letters_redriven", lambda *_: None)


def keeping_undone_letters(patch: pytest.MonkeyPatch) -> None:
    """An undo gives letters another try that fell in the epochs which it takes back."""
    patch.setattr("penstock.engine.following.without_undone", lambda plan, _first: plan)


def skipping_an_epoch_of_an_undo(patch: pytest.MonkeyPatch) -> None:
    """An undo leaves out the last epoch that it should write anew."""
    changes = SpillReader.changes
    patch.setattr(SpillReader, "changes", lambda reader, sink, first, last: changes(reader, sink, first, last - 1))


def knowing_one_name_only(patch: pytest.MonkeyPatch) -> None:
    """A step that was renamed is another step."""
    patch.setattr(StepNames, "own", {})


def planning_over_a_plan(patch: pytest.MonkeyPatch) -> None:
    """A leader that starts does not run the epoch that was planned, but one that it plans itself."""
    init = Leader.__init__

    def amnesiac(leader: Leader, post: Any, computation: Any, resume: Any) -> None:
        init(leader, post, computation, resume)
        leader.plan = None

    patch.setattr(Leader, "__init__", amnesiac)


def writing_half_of_the_state_anew(patch: pytest.MonkeyPatch) -> None:
    """A leader that comes upon a damaged file leaves out a table when it writes its state anew."""
    whole = Program.whole
    patch.setattr(Program, "whole", lambda program: whole(program)[1:])


CALM = Rates(people=1 / 4)
KILLS = Rates(kill=1 / 60, people=1 / 8)
FROZEN = Rates(freeze=1 / 30, people=1 / 6)
LETTERS = Rates(people=1 / 2)
DAMAGE = Rates(damage=1 / 4)
MUTATIONS: Mapping[Callable[[pytest.MonkeyPatch], None], Rates] = {
    without_a_fence: FROZEN,
    adding_instead_of_replacing: KILLS,
    writing_twice: CALM,
    losing_what_waits: CALM,
    forgetting_at_once: KILLS,
    pruning_savepoints: CALM,
    taking_letters_twice: CALM,
    keeping_undone_letters: LETTERS,
    skipping_an_epoch_of_an_undo: CALM,
    knowing_one_name_only: CALM,
    planning_over_a_plan: KILLS,
    writing_half_of_the_state_anew: DAMAGE,
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_what_is_spoilt_is_found_out(mutation: Callable[[pytest.MonkeyPatch], None]) -> None:
    """Within a few lives something does not hold, which does without the mutation."""
    for seed in range(LIVES):
        with pytest.MonkeyPatch.context() as patch:
            mutation(patch)
            found = lived(seed, rates=MUTATIONS[mutation])
        if not found.passed:
            assert lived(seed, rates=MUTATIONS[mutation]).passed
            return
    pytest.fail(f"nobody noticed in {LIVES} lives")
