"""Lives of flows whose handovers are the real driver's, in a server that dies, over the real engine."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from penstock.testing.simulation.chance import Chance, Rates
from penstock.testing.simulation.run import Outcome, simulated
from tests.simulation.lives import rows_lost, seeds
from tests.simulation.places import place_of
from tests.simulation.served import ServedWorld
from tests.simulation.shapes import drawn

SEEDS = 40
STEPS = 220
SOAK_SEEDS = int(os.environ.get("PENSTOCK_SOAK_SEEDS", "5000")) // 10
SOAK_CHUNK = 50


def served(seed: int, rates: Rates | None = None) -> Outcome:
    """The life of a seed with a server. The clock goes on: stages wait by it."""
    story = drawn(seed)
    rates = rates or replace(Chance(seed).rates, people=1 / 4, jump=0.0)
    return simulated(
        story.versions,
        story.inputs,
        seed=seed,
        steps=STEPS,
        target=place_of(seed),
        rates=rates,
        world_class=ServedWorld,
    )


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_a_served_life(seed: int) -> None:
    """Everything holds in the end, and all that was asked for has ended: one version leads, and nothing is held."""
    outcome = served(seed)
    problems = [*outcome.problems, *(() if outcome.problems else rows_lost(drawn(seed), outcome))]
    again = f"PENSTOCK_SEED={seed} .venv/bin/python -m pytest tests/simulation -k served"
    assert not problems, outcome.report(again) + "\n" + "\n".join(problems)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + SOAK_SEEDS, SOAK_CHUNK))
def test_many_served_lives(first: int) -> None:
    """A tenth of the seeds of the other lives."""
    for seed in range(first, min(first + SOAK_CHUNK, SEEDS + SOAK_SEEDS)):
        test_a_served_life(seed)


ENDS = (
    "receipt: done",
    "release: refused",
    "release: failed",
    "release: rolled-back",
    "the server dies",
    "is refused: ",
)


def test_handovers_end_in_every_way() -> None:
    """A driver that never gets to some end of a handover is not tried there."""
    wanted = set(ENDS)
    for seed in range(60):
        outcome = served(seed, Rates(people=1 / 4, kill=1 / 400))
        assert outcome.passed, outcome.report()
        wanted -= {end for end in wanted if any(end in step for step in outcome.steps)}
        if not wanted:
            return
    pytest.fail(f"no handover ended like {sorted(wanted)}")
