"""How far back an undo goes, read from the records of a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.control.rollouts.targets import Target, resolve_target, taken_back, version_runs
from penstock.errors import ConfigError
from penstock.ledger import EpochPlan, EpochRecord, Ledger, open_ledger

FLOW = "orders"
NOON_US = 1_785_585_600_000_000  # 2026-08-01 12:00:00 UTC
MINUTE_US = 60_000_000
RUNS = (("900d", 4), ("bad0", 3), ("900d", 2), ("f1f7", 3))
NOW_US = NOON_US + 12 * MINUTE_US


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Twelve epochs, one a minute from 12:01 on: good 1..4, bad 5..7, good again 8..9, another 10..12."""
    ledger = open_ledger(tmp_path, env="dev", clock=ManualClock(NOON_US))
    epoch = 0
    for version, count in RUNS:
        generation = ledger.claim(FLOW, version=version, holder="test").generation
        for _ in range(count):
            epoch += 1
            plan = EpochPlan(epoch, {"orders": {"start": epoch - 1, "end": epoch}}, epoch, epoch)
            ledger.plan(FLOW, generation, plan)
            rows_out = {"revenue": 3, "mail": epoch % 2}
            committed_us = NOON_US + epoch * MINUTE_US
            record = EpochRecord(
                epoch,
                generation,
                version,
                plan,
                rows_in={"orders": 10},
                rows_out=rows_out,
                rows_dead=1,
                committed_us=committed_us,
            )
            ledger.commit(FLOW, record)
    yield ledger
    ledger.close()


def resolved(ledger: Ledger, to: str) -> Target:
    """The target of `--to`."""
    return resolve_target(ledger, FLOW, to, now_us=NOW_US)


@pytest.mark.parametrize(
    ("to", "epoch", "version"),
    [
        ("3", 3, "900d"),
        ("0", 0, ""),
        ("12", 12, "f1f7"),
        ("2026-08-01T12:04:59", 4, "900d"),
        ("2026-08-01T12:05:00", 5, "bad0"),
        ("2026-08-01T14:05:00+02:00", 5, "bad0"),
        ("2026-07-31", 0, ""),
        ("2026-08-02", 12, "f1f7"),
        ("4m", 8, "900d"),
        ("4m ago", 8, "900d"),
        ("900d", 9, "900d"),
        ("900", 9, "900d"),
        ("bad0", 7, "bad0"),
    ],
)
def test_a_target_is_an_epoch_a_time_or_a_version(ledger: Ledger, to: str, epoch: int, version: str) -> None:
    """A version means the last epoch that it ran before another one followed."""
    found = resolved(ledger, to)
    assert (found.epoch, found.version) == (epoch, version)
    assert f"epoch {epoch}" in found.why


def test_a_target_says_how_it_was_found(ledger: Ledger) -> None:
    """A dry run shows the reason before anything is done."""
    assert resolved(ledger, "900d").why == "epoch 9 is the last that 900d ran before f1f7 followed"
    assert resolved(ledger, "2").why == "epoch 2, as asked; 900d ran it at 2026-08-01 12:02:00 UTC"


def test_the_version_that_leads_and_was_never_followed_is_no_target(ledger: Ledger) -> None:
    """Nothing bad came after it."""
    with pytest.raises(ConfigError, match="no other version ever followed it"):
        resolved(ledger, "f1f7")


@pytest.mark.parametrize("to", ["13", "yesterday", "abcd", "2026-13-45"])
def test_what_is_no_target_is_told_with_what_could_be(ledger: Ledger, to: str) -> None:
    """The hint lists the versions that ran."""
    with pytest.raises(ConfigError, match="no epoch up to 12") as raised:
        resolved(ledger, to)
    assert raised.value.hint is not None
    assert "f1f7, 900d, bad0" in raised.value.hint


def test_a_flow_without_epochs_has_nothing_to_undo(tmp_path: Path) -> None:
    """It says so."""
    ledger = open_ledger(tmp_path, env="dev", clock=ManualClock())
    with pytest.raises(ConfigError, match="no epochs"):
        resolved(ledger, "1")
    ledger.close()


def test_runs_of_versions_come_newest_first(ledger: Ledger) -> None:
    """A version that came back has two."""
    assert list(version_runs(ledger, FLOW)) == [("f1f7", 10, 12), ("900d", 8, 9), ("bad0", 5, 7), ("900d", 1, 4)]


def test_what_would_be_taken_back_is_added_up_by_sink(ledger: Ledger) -> None:
    """Epochs without a row for a sink don't count for it."""
    found = taken_back(ledger, FLOW, 5, 8)
    assert found.as_json() == {
        "first": 5,
        "last": 8,
        "epochs": 4,
        "rows_in": 40,
        "rows_dead": 4,
        "versions": {"bad0": 3, "900d": 1},
        "sinks": {"revenue": {"epochs": 4, "rows": 12}, "mail": {"epochs": 2, "rows": 2}},
    }
    assert taken_back(ledger, FLOW, 13, 12).epochs == 0
