"""`run --reset`: let a flow begin again. A plan of small values first, which is shown, then carried out or not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from penstock.clock import Clock, SystemClock
from penstock.control.databases import DROPS, drop_table
from penstock.control.environment import shown_path
from penstock.control.ledgers import has_ledger, opened_ledger
from penstock.control.locks import flow_lock
from penstock.control.running import PreparedRun
from penstock.control.tables import noted_tables
from penstock.errors import ConfigError
from penstock.flow import Dataset

__all__ = ["Removal", "plan_reset", "reset_here"]

What: TypeAlias = Literal["folder", "table", "ledger", "kept"]

_FOLDERS = ("delta", "parquet", "files")
_OWN_MARKS = ("_delta_log", ".penstock.json")


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that a reset takes away (or, `kept`, can't). `place` is shown; `path` or `table` is what goes."""

    what: What
    place: str
    path: Path | None = None
    table: Dataset | None = None

    def __str__(self) -> str:
        words = {
            "folder": f"remove the folder {self.place}",
            "table": f"drop the table {self.place}",
            "ledger": f"forget the epochs, dead letters and state of {self.place}",
            "kept": f"keep {self.place}: what was sent there can't be taken back",
        }
        return words[self.what]


def plan_reset(prepared: PreparedRun) -> tuple[Removal, ...]:
    """What a reset would do, in the order in which it does it. Raises ConfigError in a production environment."""
    environment = prepared.environment
    if environment.production:
        raise ConfigError(
            f"the environment {environment.name!r} is production: a flow is not reset there",
            flow=prepared.flow,
            state_left="nothing was changed",
            hint="reset it elsewhere with --env, or set production = false in penstock.toml if it is none",
        )
    removals: list[Removal] = []
    for dataset, place in _written(prepared):
        removals += _outputs(dataset, place, environment.root)
    for name in ("state", "steps"):
        folder = prepared.folder / name
        if folder.is_dir():
            removals.append(Removal("folder", shown_path(folder, environment.root), folder))
    if has_ledger(environment):
        removals.append(Removal("ledger", f"flow {prepared.flow} in environment {environment.name}"))
    return tuple(removals)


def reset_here(prepared: PreparedRun, removals: tuple[Removal, ...], clock: Clock | None = None) -> None:
    """Carry out a plan. Raises FlowBusy where the flow runs, ConnectorError where a table can't be dropped.

    Outputs go first and the ledger last: a reset that was interrupted is simply done again.
    """
    clock = clock or SystemClock()
    environment = prepared.environment
    with flow_lock(prepared.folder, prepared.flow, environment.name), opened_ledger(environment, clock) as ledger:
        for removal in removals:
            if removal.what == "table" and removal.table is not None:
                drop_table(removal.table.kind, removal.table.options, environment.root)
            elif removal.what == "folder" and removal.path is not None:
                _remove(removal.path, prepared.flow)
        ledger.forget_flow(prepared.flow)


def _written(prepared: PreparedRun) -> list[tuple[Dataset, str]]:
    """What the flow writes to now, and what its last run wrote to besides, each with the words to show for it."""
    found = [(bound.dataset, bound.place) for bound in prepared.bound if bound.writes]
    places = {place for _, place in found}
    for table in noted_tables(prepared.folder):
        place = f"{table.kind} {table.place}"
        if place not in places:
            found.append((Dataset(table.kind, table.name, None, table.key, table.options), place))
    return found


def _outputs(dataset: Dataset, place: str, root: Path) -> list[Removal]:
    if dataset.kind in DROPS:
        return [Removal("table", place, table=dataset)]
    if dataset.kind not in _FOLDERS:
        return [] if dataset.kind in ("console", "memory") else [Removal("kept", place)]
    folder = root / str(dataset.options["path"])
    if not folder.is_dir():
        return []
    ours = any((folder / mark).exists() for mark in _OWN_MARKS)
    if not ours or folder in (root, *root.parents):
        return [Removal("kept", f"{place} (no table of Penstock's)")]
    return [Removal("folder", shown_path(folder, root), folder)]


def _remove(folder: Path, flow: str) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} can't be removed: {error.strerror}",
            flow=flow,
            state_left="some of the flow's outputs are gone, its ledger is as it was",
            hint="correct the permissions and reset again",
        ) from error
