"""Questions of people that only a version's own code can answer: what would another try of a dead letter give, and
which rows did an epoch read. A process is started for each, by the version's own packages, and thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from penstock.clock import SystemClock
from penstock.connect import Change
from penstock.control.bundles import version_environment
from penstock.control.ledgers import opened_ledger
from penstock.control.letters import Tried, chosen_letters, letters_of, try_letters
from penstock.control.rollouts.checking import assembled, load_version, place_of
from penstock.control.running import prepare
from penstock.errors import ConfigError, ConnectorError

__all__ = ["input_rows", "tried_letters"]

_ROWS_SHOWN = 20


def tried_letters(job: Mapping[str, Any]) -> dict[str, Any]:
    """What another try of the letters `ids` would give: `state_epoch`, and for each its verdict and rows."""
    environment = place_of(job)
    loaded = load_version(job, environment)
    prepared = prepare(loaded, version_environment(loaded, environment))
    edited = {int(number): str(text) for number, text in (job.get("edited") or {}).items()}
    with opened_ledger(environment, SystemClock()) as ledger:
        letters = chosen_letters(letters_of(ledger, prepared.flow), ids=[int(one) for one in job["ids"]])
        epoch, tried = try_letters(prepared, ledger, letters, edited)
    return {"version": loaded.version, "state_epoch": epoch, "letters": [_tried(one) for one in tried]}


def _tried(one: Tried) -> dict[str, Any]:
    result = one.result
    facts: dict[str, Any] = {"id": one.letter.id, "step": one.letter.fact.step, "verdict": one.verdict}
    if result is None:
        return {**facts, "error": one.error, "notes": list(one.notes)}
    return {
        **facts,
        "written": {step: _change(change) for step, change in result.changes.items()},
        "late": result.rows_late,
        "dead": [{"step": dead.step, "error": dead.error, "message": dead.message} for dead in result.dead],
        "remembered_by": list(result.tables),
    }


def _change(change: Change) -> dict[str, Any]:
    gone = change.deleted
    return {
        "rows": change.rows.height,
        "deleted": 0 if gone is None else gone.height,
        "shown": _values(change.rows.head(_ROWS_SHOWN)),
        "deleted_shown": [] if gone is None else _values(gone.head(_ROWS_SHOWN)),
    }


def input_rows(job: Mapping[str, Any]) -> dict[str, Any]:
    """What an epoch read, from its sources again: by source step the ranges, how many rows, and some of them.

    `match`: column -> text; where a source has such columns, its rows that read so are told, `matched_on` names them.
    """
    environment = place_of(job)
    loaded = load_version(job, environment)
    prepared = prepare(loaded, version_environment(loaded, environment))
    epoch, limit = int(job["epoch"]), int(job.get("limit") or _ROWS_SHOWN)
    with opened_ledger(environment, SystemClock()) as ledger:
        records = ledger.epochs(prepared.flow, first=epoch, last=epoch)
    if not records:
        raise ConfigError(f"there is no epoch {epoch:,}", flow=prepared.flow)
    found: dict[str, Any] = {}
    with assembled(prepared) as assembly:
        for step, taken in records[0].plan.ranges.items():
            source = assembly.sources.get(step)
            told = {"start": taken["start"], "end": taken["end"]}
            if source is None:
                found[step] = {**told, "there": False, "message": "this version has no such source"}
                continue
            try:
                parts = [] if taken["start"] == taken["end"] else source.read(taken["start"], taken["end"])
            except ConnectorError as error:
                found[step] = {**told, "there": False, "message": error.message}
                continue
            frames = [(part.partition, part.frame) for part in parts if part.frame.height]
            found[step] = {**told, "there": True, **_input(frames, job.get("match") or {}, limit)}
    return {"version": loaded.version, "epoch": epoch, "sources": found}


def _input(frames: Sequence[tuple[str, pl.DataFrame]], match: Mapping[str, str], limit: int) -> dict[str, Any]:
    total = sum(frame.height for _, frame in frames)
    columns = frames[0][1].columns if frames else []
    on = [name for name in match if name in columns]
    rows: list[dict[str, Any]] = []
    matching = 0
    for partition, frame in frames:
        kept = (
            frame.filter(*[pl.col(name).cast(pl.String, strict=False) == match[name] for name in on]) if on else frame
        )
        matching += kept.height
        rows += [{"partition": partition, "row": row} for row in _values(kept.head(max(0, limit - len(rows))))]
    return {"rows": total, "matched_on": on, "matching": matching, "shown": rows}


def _values(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: what JSON has no word for is told as text."""
    found: list[dict[str, Any]] = json.loads(json.dumps(frame.to_dicts(), default=str))
    return found
