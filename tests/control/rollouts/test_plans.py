"""Plans as values: what is asked, and where the flow is, give a list of stages and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.control.rollouts.plans import (
    Deploy,
    Hidden,
    Manner,
    Replay,
    Rollback,
    Situation,
    Undo,
    build_plan,
    starting_point,
)
from penstock.control.rollouts.stages import (
    STAGES,
    Approve,
    CatchUp,
    Check,
    Compare,
    Corrections,
    Cut,
    Follow,
    Gate,
    Hold,
    Into,
    Keep,
    Receipt,
    Retire,
    Savepoint,
    Shadow,
    Stage,
    Start,
    Verdict,
    Watch,
    plan_from_json,
    plan_to_json,
)
from penstock.errors import ConfigError, LedgerError
from penstock.ledger import Savepoint as RestorePoint
from penstock.ledger import Standing

OLD, NEW = "0ld0ld0ld0ld", "2e42e42e42e4"
POINTS = (
    RestorePoint("a", 100, OLD, (), made_us=1),
    RestorePoint("b", 141, OLD, (), made_us=2),
    RestorePoint("c", 150, NEW, (), made_us=3),
)
LED_BY_OLD = Situation("orders", Standing(7, OLD, "m1 (process 1)", 160), running=True, savepoints=POINTS)
LED_BY_NEW = replace(LED_BY_OLD, standing=Standing(8, NEW, "m2 (process 2)", 160))


def test_a_deploy_proves_before_it_cuts_and_watches_after() -> None:
    """Everything that may say no comes before the cut, the way back is kept warm after it."""
    assert build_plan(LED_BY_OLD, Deploy(NEW), Manner(shadow_epochs=100, shadow_s=None, watch_s=5)) == (
        Check(NEW),
        Verdict(OLD, NEW),
        Hold(),
        Savepoint(),
        Follow(NEW),
        CatchUp(),
        Shadow(100, None),
        Gate(),
        Approve("person"),
        Cut(NEW, expected_version=OLD, expected_generation=7),
        Watch(5),
        Retire(),
        Receipt(),
    )


def test_a_deploy_by_policy_may_be_forced_with_a_reason() -> None:
    """The reason stands in the plan, and so in the ledger."""
    plan = build_plan(LED_BY_OLD, Deploy(NEW), Manner(approve="policy", force=True, why="the old rows are wrong"))
    assert Gate(force=True, why="the old rows are wrong") in plan
    assert Approve("policy") in plan


def test_a_flow_that_does_not_run_is_neither_shadowed_nor_watched() -> None:
    """Where nobody leads there is nothing to compare with and nothing to keep warm; the state is moved all the same."""
    plan = build_plan(replace(LED_BY_OLD, running=False), Deploy(NEW))
    assert plan == (
        Check(NEW),
        Verdict(OLD, NEW),
        Savepoint(),
        Follow(NEW),
        CatchUp(),
        Gate(),
        Approve("person"),
        Cut(NEW, OLD, 7),
        Retire(),
        Receipt(),
    )


@pytest.mark.parametrize("manner", [Manner(None, None), Manner(0, 30.0), Manner(20, 0)])
def test_no_shadow_run_may_be_asked_for(manner: Manner) -> None:
    """Without any limit, or with one of nothing, nothing is compared."""
    assert not any(isinstance(stage, Shadow) for stage in build_plan(LED_BY_OLD, Deploy(NEW), manner))


def test_a_flow_that_never_ran_is_checked_and_started() -> None:
    """There is no state to move and no version to take over from."""
    plan = build_plan(Situation("orders"), Deploy(NEW), Manner(approve="policy"))
    assert plan == (Check(NEW), Approve("policy"), Start(NEW), Receipt())


def test_the_version_that_leads_is_not_deployed_again() -> None:
    """No change, no plan."""
    assert build_plan(LED_BY_OLD, Deploy(OLD)) == ()
    assert build_plan(LED_BY_OLD, Rollback(OLD)) == ()


def test_a_rollback_in_the_watch_is_one_cut() -> None:
    """The old version is there, hidden and warm."""
    situation = replace(LED_BY_NEW, hidden=Hidden("m1", OLD, first_epoch=142))
    assert build_plan(situation, Rollback(OLD)) == (Cut(OLD, NEW, 8), Retire(), Receipt())


def test_a_rollback_after_the_watch_is_a_deploy_of_the_version_before() -> None:
    """Its state has to be made from that of the version that leads, so the verdict comes first."""
    assert build_plan(LED_BY_NEW, Rollback(OLD)) == (
        Check(OLD),
        Verdict(NEW, OLD),
        Hold(),
        Savepoint(),
        Follow(OLD),
        CatchUp(),
        Cut(OLD, NEW, 8),
        Retire(),
        Receipt(),
    )


def test_an_undo_starts_in_the_past_and_writes_anew() -> None:
    """It begins from the last restore point of the good version at or before the epoch, and rewrites what follows."""
    assert build_plan(LED_BY_NEW, Undo(145, OLD, corrected=("mail",), left=("hook",))) == (
        Check(OLD, input_from=142),
        Hold(),
        Savepoint("b", 141),
        Follow(OLD),
        CatchUp(),
        Compare(146, 160),
        Approve("person"),
        Cut(OLD, NEW, 8, rewrite_first=146),
        Corrections(("mail",), ("hook",)),
        Retire(),
        Receipt(),
    )


def test_an_undo_by_a_version_without_a_restore_point_moves_another_ones_state() -> None:
    """The verdict says whether that can be done."""
    plan = build_plan(LED_BY_NEW, Undo(120, "third"))
    assert plan[:4] == (Check("third", input_from=101), Verdict(OLD, "third"), Hold(), Savepoint("a", 100))


def test_an_undo_to_before_the_first_restore_point_reads_the_whole_input() -> None:
    """Epoch 0 is a restore point that is always there, if the input is."""
    plan = build_plan(LED_BY_NEW, Undo(99, OLD))
    assert plan[:3] == (Check(OLD, input_from=1), Hold(), Savepoint(None, 0))


def test_an_undo_in_the_watch_uses_the_hidden_version_at_once() -> None:
    """Where it has the outputs of all that is to be written anew, nothing is run again."""
    situation = replace(LED_BY_NEW, hidden=Hidden("m1", OLD, first_epoch=142))
    assert build_plan(situation, Undo(141, OLD))[0] == Cut(OLD, NEW, 8, rewrite_first=142)
    assert isinstance(build_plan(situation, Undo(130, OLD))[0], Check)


def test_an_undo_of_nothing_is_no_plan() -> None:
    """The last epoch is as it should be."""
    assert build_plan(LED_BY_NEW, Undo(160, OLD)) == ()


def test_a_replay_follows_a_range_beside_the_leader() -> None:
    """The version of then runs beside it, so that rows can be compared; the rows go where they were asked for."""
    ask = Replay(142, 150, NEW, then=OLD, out="elsewhere/x", environment="staging", flow="orders.replay")
    assert build_plan(LED_BY_OLD, ask) == (
        Check(NEW, input_from=142),
        Verdict(OLD, NEW),
        Savepoint("b", 141),
        Follow(NEW, until=150, beside=OLD),
        CatchUp(),
        Compare(142, 150),
        Keep(142, 150, "elsewhere/x"),
        Into(142, 150, "staging", "orders.replay"),
        Retire(),
        Receipt(),
    )


@pytest.mark.parametrize(("first", "last"), [(0, 5), (6, 5), (150, 161)])
def test_a_replay_of_epochs_that_are_not_there_is_refused(first: int, last: int) -> None:
    """The error says which there are."""
    with pytest.raises(ConfigError, match=r"the flow has 1\.\.160"):
        build_plan(LED_BY_OLD, Replay(first, last, NEW))


@pytest.mark.parametrize("ask", [Rollback(OLD), Undo(0, OLD), Replay(1, 1, OLD)])
def test_nothing_is_taken_back_of_a_flow_that_never_ran(ask: Rollback | Undo | Replay) -> None:
    """It says so and names the verb to begin with."""
    with pytest.raises(ConfigError, match="never ran"):
        build_plan(Situation("orders"), ask)


def test_the_starting_point_is_the_versions_own_where_it_has_one() -> None:
    """A later one of another version would have to be moved, and may hold what is to be undone."""
    assert starting_point(POINTS, 160, OLD) == POINTS[1]
    assert starting_point(POINTS, 160, NEW) == POINTS[2]
    assert starting_point(POINTS, 145, NEW) == POINTS[1]
    assert starting_point(POINTS, 99, OLD) is None


EVERY_STAGE: tuple[Stage, ...] = (
    Check(NEW, input_from=3),
    Verdict(OLD, NEW),
    Hold(),
    Savepoint("a", 100),
    Follow(NEW, until=9, beside=OLD),
    CatchUp(12.5),
    Shadow(100, 30.0),
    Gate(force=True, why="so"),
    Approve("policy", 60.0),
    Cut(NEW, OLD, 7, rewrite_first=3),
    Corrections(("a", "b"), ("c",)),
    Watch(60.0),
    Retire(),
    Receipt(),
    Start(NEW),
    Compare(1, 2),
    Keep(1, 2, "out"),
    Into(1, 2, "staging", "orders.replay"),
)


def test_every_stage_comes_back_from_json_as_it_was() -> None:
    """The ledger keeps plans as JSON values; each stage says in a line what it does."""
    assert {type(stage) for stage in EVERY_STAGE} == set(STAGES.values())
    assert plan_from_json(plan_to_json(EVERY_STAGE)) == EVERY_STAGE
    assert all(stage.text() for stage in EVERY_STAGE)


def test_a_plan_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    """Unknown fields are passed over; an unknown stage is an error, because nobody could carry it out."""
    assert plan_from_json([{"stage": "watch", "seconds": 5.0, "moon": "full"}]) == (Watch(5.0),)
    with pytest.raises(LedgerError, match="'teleport'"):
        plan_from_json([{"stage": "teleport"}])
