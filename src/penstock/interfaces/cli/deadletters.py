"""`penstock deadletters`: the rows that a flow could not process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.control import read_ledger
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder, flow_in_ledger
from penstock.interfaces.cli.screen import NUMBER, TEXT, count_text, counted, print_json, screen, table
from penstock.ledger import DeadLetter

__all__ = ["command"]

_SHOWN = 120


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    group: Annotated[
        bool, typer.Option("--group", "-g", help="One line a cause, with a count and an example.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 1000,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """List the rows that a flow could not process, and why."""
    name, environment = flow_in_ledger(flow, project, env)
    with read_ledger(environment) as ledger:
        total = 0 if ledger is None else ledger.count_dead_letters(name)
        letters = () if ledger is None else ledger.dead_letters(name, limit=limit)
    groups = _groups(letters)
    if as_json:
        shown: list[Any] = groups if group else [dataclasses.asdict(letter) for letter in letters]
        print_json({"flow": name, "env": env, "count": total, "groups" if group else "dead_letters": shown})
        return
    out = screen()
    if not letters:
        out.print(f"{name} in {env}: no dead letters")
        return
    if group:
        columns = (("rows", NUMBER), ("step", TEXT), ("epochs", TEXT), ("error", TEXT), ("example", TEXT))
        rows: list[tuple[str, ...]] = [
            (
                count_text(one["count"]),
                one["step"],
                f"{one['first_epoch']}..{one['last_epoch']}",
                _short(f"{one['error']}: {one['message']}"),
                _short(one["example"]),
            )
            for one in groups
        ]
    else:
        columns = (("epoch", NUMBER), ("step", TEXT), ("where", TEXT), ("error", TEXT), ("row", TEXT))
        rows = [_row(letter) for letter in letters]
    out.print(table(columns, rows))
    out.print()
    out.print(
        f"{name} in {env}: {counted(total, 'dead letter')}"
        + (f", the first {limit:,} are shown" if total > limit else "")
    )


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return (
        count_text(letter.epoch),
        letter.step,
        _short(_position(letter)),
        _short(f"{letter.error}: {letter.message}"),
        _short(letter.payload),
    )


def _position(letter: DeadLetter) -> str:
    offset = letter.offset
    if "partition" in offset:
        return f"{offset['partition']} @ {_plain(offset.get('offset'))}"
    return _plain(dict(offset)) if offset else ""


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _groups(letters: Sequence[DeadLetter]) -> list[dict[str, Any]]:
    """One entry a step and signature, the largest first."""
    found: dict[tuple[str, str], list[DeadLetter]] = {}
    for letter in letters:
        found.setdefault((letter.step, letter.signature), []).append(letter)
    groups = [
        {
            "count": len(alike),
            "step": step,
            "signature": signature,
            "error": alike[0].error,
            "message": alike[0].message,
            "first_epoch": min(letter.epoch for letter in alike),
            "last_epoch": max(letter.epoch for letter in alike),
            "example": alike[0].payload,
        }
        for (step, signature), alike in found.items()
    ]
    return sorted(groups, key=lambda one: -len(found[one["step"], one["signature"]]))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
