"""Whole lives of flows, each from a seed: whatever is killed, frozen, deployed, undone or broken, each row counts."""

from __future__ import annotations

import os

import pytest

from penstock.testing.simulation.chance import Rates
from tests.simulation.lives import again, lived, problems_of, seeds

SEEDS = 220
SOAK_SEEDS = int(os.environ.get("PENSTOCK_SOAK_SEEDS", "5000"))
SOAK_CHUNK = 50


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_a_life(seed: int) -> None:
    """Everything holds in the end: rows, state, records, dead letters, files."""
    outcome, problems = problems_of(seed)
    assert not problems, outcome.report(again(seed)) + "\n" + "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + SOAK_SEEDS, SOAK_CHUNK))
def test_many_lives(first: int) -> None:
    """As many more as `PENSTOCK_SOAK_SEEDS` says."""
    for seed in range(first, min(first + SOAK_CHUNK, SEEDS + SOAK_SEEDS)):
        test_a_life(seed)


@pytest.mark.parametrize("seed", range(8))
def test_a_seed_has_one_life(seed: int) -> None:
    """The same steps, in the same order, with the same result; another seed has another life."""
    first, second = lived(seed), lived(seed)
    assert first.steps == second.steps
    assert first.versions == second.versions
    assert lived(seed + 1).steps != first.steps


HAPPENINGS = {
    "is killed at": Rates(kill=1 / 50),
    "is frozen at": Rates(freeze=1 / 50),
    "answer to commit is lost": Rates(answer=1 / 20),
    "refuses": Rates(refusal=1 / 20),
    "the disk is full": Rates(full=1 / 4),
    "while it wrote the state": Rates(torn=1 / 4),
    "the disk flipped a bit": Rates(damage=1 / 4),
    "the disk cut": Rates(damage=1 / 4),
    "the disk lost": Rates(damage=1 / 4),
    "ends: CorruptState": Rates(damage=1 / 4, kill=1 / 100),
    "the clock is set by -": Rates(jump=1 / 4),
    "is away": Rates(outage=1 / 8),
    "forgets too much": Rates(loss=1 / 20),
    "takes over as generation": Rates(people=1 / 4),
    "with the ledger's own state": Rates(people=1 / 4),
    "rollback of": Rates(people=1 / 4),
    "by hidden": Rates(people=1 / 4),
    "ends the undo": Rates(people=1 / 4),
    "get another try": Rates(people=1 / 4),
    "production has changed": Rates(people=1 / 3, kill=1 / 200),
    "rescue": Rates(people=1 / 3, kill=1 / 400),
    "are rolled up": Rates(people=1 / 2),
}


@pytest.mark.parametrize("line", HAPPENINGS)
def test_it_happens(line: str) -> None:
    """No kind of fault or deed is only said to be simulated."""
    for seed in range(40):
        outcome = lived(seed, rates=HAPPENINGS[line])
        assert outcome.passed, outcome.report()
        if any(line in step for step in outcome.steps):
            return
    pytest.fail(f"nothing like {line!r} happened")
