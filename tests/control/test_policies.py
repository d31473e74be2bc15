"""`[deploy]`, `[undo]` and `[supervise]` of `penstock.toml`: defaults, what overrides what, and every wrong value."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.control.policies import Allowance, DeployPolicy, Extent, SupervisePolicy, UndoPolicy
from penstock.errors import ConfigError
from tests.control.places import project


def test_nothing_said_is_strict(tmp_path: Path) -> None:
    """By default no row may differ, and what nothing is said of is as documented."""
    found = project(tmp_path, "[env.staging]")

    assert found.deploy_policy("staging") == found.deploy_policy("dev") == DeployPolicy()
    assert found.deploy_policy("dev").allowed("changed", "out") == Allowance(0)
    assert (found.undo, found.supervise) == (UndoPolicy(), SupervisePolicy())


def test_an_environment_comes_first_key_by_key(tmp_path: Path) -> None:
    """What `[env.NAME.deploy]` says holds there; for all else `[deploy]` does."""
    text = """
    [deploy]
    approve = "never"
    allow_changed = "1%"
    watch = "5m"

    [env.production.deploy]
    approve = "always"
    allow_changed = { revenue = 3, "*" = "0.5%" }
    shadow = "100 epochs or 1m30s"
    """
    found = project(tmp_path, text)
    here, there = found.deploy_policy("dev"), found.environment("production").deploy

    assert (here.approve, here.allowed("changed", "revenue"), here.shadow) == (
        "never",
        Allowance(share=0.01),
        Extent(seconds_s=30.0),
    )
    assert (there.approve, there.watch_s, there.shadow) == ("always", 300.0, Extent(100, 90.0))
    assert there.allowed("changed", "revenue") == Allowance(rows=3)
    assert there.allowed("changed", "orders") == Allowance(share=0.005)
    assert there.allowed("only_new", "orders") == Allowance()


def test_times_are_seconds_and_sizes_bytes(tmp_path: Path) -> None:
    """Durations and sizes as people write them."""
    text = """
    [undo]
    keep = "2d"
    hold_input = "0s"
    savepoint_every = "90s"

    [supervise]
    restarts = 5
    backoff = "2s"
    hang_after = "1h30m"
    memory_max = "4 GB"
    spares = 0
    """
    found = project(tmp_path, text)

    assert found.undo == UndoPolicy(keep_s=172_800.0, hold_input_s=0.0, savepoint_every_s=90.0)
    assert found.supervise == SupervisePolicy(5, 2.0, 5400.0, 4_000_000_000, 0)


@pytest.mark.parametrize(
    ("allowance", "rows", "of", "covered"),
    [
        (Allowance(), 0, 0, True),
        (Allowance(), 1, 100, False),
        (Allowance(rows=2), 2, 0, True),
        (Allowance(share=0.01), 1, 100, True),
        (Allowance(share=0.01), 2, 199, False),
        (Allowance(share=0.01), 1, 0, False),
    ],
)
def test_what_an_allowance_covers(allowance: Allowance, rows: int, of: int, covered: bool) -> None:  # noqa: FBT001 - a parameter
    """So many rows, or a share of those that were compared."""
    assert allowance.covers(rows, of) is covered


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[deploy]\napprove = "maybe"', ["penstock.toml:2: [deploy] approve", "'always', 'differences' or 'never'"]),
        ("[deploy]\naprove = 1", ["penstock.toml:2:", "Did you mean 'approve'?"]),
        ('[env.prod.deploy]\nwach = "1s"', ["penstock.toml:2: [env.prod.deploy] wach", "Did you mean 'watch'?"]),
        (
            '[deploy]\nallow_changed = "lots"',
            ["[deploy] allow_changed: a number of rows or a share", "\"1%\", not 'lots'"],
        ),
        ('[deploy]\nallow_changed = "101%"', ["not '101%'"]),
        ("[deploy]\nallow_changed = -1", ["not -1"]),
        ("[deploy]\nallow_changed = true", ["not True"]),
        ('[deploy.allow_only_new]\nout = "x"', ["penstock.toml:1: [deploy] allow_only_new: for out: a number of rows"]),
        ('[deploy]\nallow_columns = "at"', ["allow_columns: a list of names, not 'at'"]),
        ("[deploy]\ntolerance = 2", ["tolerance: 0, or a number from 1e-12 to 1, not 2"]),
        ("[deploy]\nslower_max = 0.5", ["slower_max: input should be greater than or equal to 1, not 0.5"]),
        ('[deploy]\nshadow = "soon"', ['shadow: "100 epochs", "30s", "100 epochs or 30s" or "none", not \'soon\'']),
        ('[deploy]\nshadow = "0s"', ["not '0s'"]),
        ('[deploy]\nshadow = "1s or 2s"', ["not '1s or 2s'"]),
        ("[deploy]\nshadow = 30", ["not 30"]),
        ("[deploy]\nwatch = 60", ['watch: a duration of some length, e.g. "10s" or "1h30m", not 60']),
        ('[undo]\nkeep = "-1h"', ["penstock.toml:2: [undo] keep", "not '-1h'"]),
        ('[undo]\nkeep_s = "1h"', ["unknown key 'keep_s'. Did you mean 'keep'?", "hold_input, keep, savepoint_every"]),
        (
            '[supervise]\nmemory_max = "4GB"\nspares = 20',
            ["penstock.toml:3: [supervise] spares", "less than or equal to 16"],
        ),
        ('[supervise]\nmemory_max = "4"', ["memory_max: a size with its unit, e.g. \"2GB\", not '4'"]),
        ("[supervise]\nrestarts = 0", ["[supervise] restarts", "not 0"]),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, text: str, expected: list[str]) -> None:
    """File, line and key, and the form that is meant."""
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, text)

    assert [part for part in expected if part not in str(caught.value)] == [], str(caught.value)
