"""What `penstock deadletters` does with letters: try them in memory, try them again for good, give them up."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.text import Text

from penstock.clock import SystemClock
from penstock.connect import Change
from penstock.control import (
    RUNNING,
    WORKING,
    Environment,
    FlowStatus,
    Letter,
    LoadedFlow,
    Tried,
    drop_letters,
    edited_payload,
    find_flow,
    flow_statuses,
    letters_of,
    load_bundle,
    load_flow,
    prepare,
    replay_letters,
    try_letters,
    version_environment,
    version_manifest,
)
from penstock.errors import ConfigError
from penstock.interfaces.cli.screen import counted, print_json, screen
from penstock.ledger import Ledger

__all__ = ["Choice", "drop", "dry_run", "edited", "replay"]

_LOOK_EVERY_S = 0.2
_ROWS_SHOWN = 3
_LETTERS_SHOWN = 20
_TAKEN_BY = ("running", "busy", "starting", "draining", "taking-over")
_STYLES = {"written": "green", "remembered": "green", "nothing": "yellow", "late": "yellow", "dead": "red"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The letters of a flow that are meant. `asked`: what the person called the flow."""

    flow: str
    asked: str
    environment: Environment
    project: Path
    ledger: Ledger
    letters: tuple[Letter, ...]
    as_json: bool = False

    def say(self, facts: Mapping[str, Any], *lines: str) -> None:
        """The facts as JSON where that is wanted, else the lines."""
        if self.as_json:
            print_json({"flow": self.flow, "env": self.environment.name, **facts})
            return
        for line in lines:
            screen().print(line, markup=False)

    @property
    def option(self) -> str:
        """What a command line needs to mean this environment."""
        return "" if self.environment.name == "dev" else f" --env {self.environment.name}"


def edited(letter: Letter, payload: str | None) -> str:
    """The row that a letter is to be tried again with: what was given, or what a person makes of it in an editor.

    Raises ConfigError where it is no JSON object, and where nobody is there to edit it.
    """
    if payload is not None:
        return edited_payload(payload)
    if not sys.stdin.isatty():
        raise ConfigError(
            "nobody is there to edit the row",
            state_left="nothing was changed",
            hint=f"""give it: --edit {letter.id} --payload '{{"id": 1}}'""",
        )
    return edited_payload(_in_editor(_pretty(letter.fact.payload)))


def _in_editor(text: str) -> str:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="penstock-letter-") as folder:
        file = Path(folder) / "row.json"
        file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*shlex.split(editor), str(file)], check=False)
        except OSError as error:
            raise ConfigError(f"{editor}: {error.strerror}", hint="set EDITOR, or give the row by --payload") from error
        found = file.read_text(encoding="utf-8")
    if done.returncode or found == text:
        raise ConfigError("the row was not edited", state_left="nothing was changed", hint="save it to go on")
    return found


def _pretty(payload: str) -> str:
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False) + "\n"
    except ValueError:
        return payload


# --- giving up --------------------------------------------------------------------------------------------------------


def drop(choice: Choice, *, why: str, only_say: bool) -> int:
    """Give letters up; with `only_say`, tell which those are."""
    ids = [letter.id for letter in choice.letters if letter.fact.status == "open" and not letter.planned]
    where = f"{choice.flow} in {choice.environment.name}"
    if only_say:
        choice.say({"would_drop": ids}, f"{where}: {counted(len(ids), 'dead letter')} would be dropped: {_ids(ids)}")
        return 0
    if not why:
        raise ConfigError("--drop gives rows up for good", state_left="nothing was changed", hint="say why: --why TEXT")
    dropped = drop_letters(choice.ledger, choice.flow, choice.letters, who=getpass.getuser(), why=why)
    left = len(choice.letters) - dropped
    more = f"; {left:,} were not open" if left else ""
    choice.say({"dropped": dropped, "not_open": left}, f"{where}: {counted(dropped, 'dead letter')} dropped{more}")
    return 0


# --- another try ------------------------------------------------------------------------------------------------------


def replay(choice: Choice, payloads: Mapping[int, str], *, wait_s: float | None) -> int:
    """Ask for another try, and tell what came of it where a process is there to do it. 1 where rows fell again."""
    replay_letters(choice.ledger, choice.flow, choice.letters, who=getpass.getuser(), edited=payloads)
    ids = [letter.id for letter in choice.letters]
    where = f"{choice.flow} in {choice.environment.name}"
    status = _status(choice)
    state = "" if status is None else status.state
    if wait_s is None or state not in _TAKEN_BY:
        told = f"{where}: {counted(len(ids), 'dead letter')} {'waits' if len(ids) == 1 else 'wait'} for another try"
        choice.say({"asked": ids, "state": state}, told, "" if state in _TAKEN_BY else _who_takes(choice, state))
        return 0
    clock = SystemClock()
    until_s = clock.stopwatch_s() + wait_s
    while True:
        now = letters_of(choice.ledger, choice.flow)
        mine = [letter for letter in now if letter.id in set(ids)]
        done = not any(letter.waiting or letter.planned for letter in mine)
        if done or clock.stopwatch_s() > until_s:
            return _tell_outcome(choice, mine, now, done=done)
        clock.sleep(_LOOK_EVERY_S)


def _status(choice: Choice) -> FlowStatus | None:
    return next(iter(flow_statuses(choice.ledger, choice.environment, SystemClock(), flow=choice.flow)), None)


def _who_takes(choice: Choice, state: str) -> str:
    """What has to happen before the letters are tried."""
    if state == "paused":
        return f"the flow is paused; it takes them when it goes on: penstock resume {choice.flow}{choice.option}"
    known = choice.ledger.operations.desired(choice.flow) is not None
    start = f", or: penstock start {choice.flow}{choice.option}" if known else ""
    return f"no process runs the flow; the next one takes them: penstock run {choice.asked}{choice.option}{start}"


def _tell_outcome(choice: Choice, mine: Sequence[Letter], now: Sequence[Letter], *, done: bool) -> int:
    ids = {letter.id for letter in mine}
    epochs = {int(letter.fact.detail["epoch"]) for letter in mine if letter.fact.status == "redriven"}
    # Whether a row that fell again is one of these is known of most; of others, that it fell in the same epoch.
    again = [
        letter
        for letter in now
        if letter.fact.epoch in epochs and letter.fact.offset.get("letter", next(iter(ids), None)) in ids
    ]
    lines = [f"{choice.flow} in {choice.environment.name}:"]
    for state in dict.fromkeys(letter.state for letter in mine):
        alike = [letter.id for letter in mine if letter.state == state]
        lines.append(f"  {counted(len(alike), 'dead letter')} {state}: {_ids(alike)}")
    if again:
        lines.append(f"  {counted(len(again), 'row')} fell again, as {_ids([letter.id for letter in again])}:")
        lines += [
            f"    {message}" for message in dict.fromkeys(f"{one.fact.step}: {one.fact.message}" for one in again)
        ]
    records = [record for epoch in epochs for record in choice.ledger.epochs(choice.flow, first=epoch, last=epoch)]
    late = sum(record.rows_late for record in records)
    if late:
        lines.append(f"  {counted(late, 'row')} came too late by now: the windows are closed")
    if not done:
        lines.append("  it takes longer than --timeout; they stay asked for")
    facts = {
        "letters": [letter.as_json() for letter in mine],
        "fell_again": [letter.as_json() for letter in again],
        "late": late,
        "done": done,
    }
    choice.say(facts, *lines)
    return 1 if again else 0


def _ids(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:_LETTERS_SHOWN]))
    return shown + (f" and {len(ids) - _LETTERS_SHOWN:,} more" if len(ids) > _LETTERS_SHOWN else "")


# --- in memory --------------------------------------------------------------------------------------------------------


def dry_run(choice: Choice, payloads: Mapping[int, str], *, version: str | None, params: Mapping[str, str]) -> int:
    """Tell what another try of each letter would give. 1 where one would fall again, or stop the flow."""
    loaded = _loaded(choice, version, params)
    prepared = prepare(loaded, version_environment(loaded, choice.environment))
    epoch, tried = try_letters(prepared, choice.ledger, choice.letters, payloads)
    by = f"version {loaded.version}" if loaded.version else "the files here"
    if choice.as_json:
        facts = {
            "version": loaded.version or WORKING,
            "state_epoch": epoch,
            "letters": [_tried_json(one) for one in tried],
        }
        choice.say(facts)
    else:
        out = screen()
        out.print(f"{choice.flow} in {choice.environment.name}: by {by}, from the state after epoch {epoch:,}")
        for one in tried:
            for line in _tried_lines(one):
                out.print(line, soft_wrap=True)
        out.print("nothing was written (--dry-run)")
    return 1 if any(one.verdict in ("dead", "stops") for one in tried) else 0


def _loaded(choice: Choice, version: str | None, params: Mapping[str, str]) -> LoadedFlow:
    if version in (None, WORKING):
        return load_flow(find_flow(choice.asked, choice.project), choice.environment, params)
    if version == RUNNING:
        version = version_manifest(RUNNING, choice.flow, choice.environment, choice.project)["id"]
    return load_bundle(choice.environment, choice.flow, str(version))


def _tried_lines(one: Tried) -> list[Text]:
    verdict = one.verdict
    lines = [Text.assemble(f"  letter {one.letter.id} ", (f"{_told(one)}", _STYLES.get(verdict, "red")))]
    if one.result is None:
        return [*lines, *(Text(f"    {note}") for note in one.notes)]
    for step, change in one.result.changes.items():
        lines += [Text(f"    {step}: + {row}") for row in _some(change.rows)]
        if change.deleted is not None:
            lines += [Text(f"    {step}: - {row}") for row in _some(change.deleted)]
    return lines


def _told(one: Tried) -> str:
    result = one.result
    if result is None:
        return f"stops the flow: {(one.error or {}).get('message', '')}"
    if one.verdict == "dead":
        return "falls again: " + "; ".join(f"{letter.step}: {letter.message}" for letter in result.dead)
    if one.verdict == "written":
        return "comes out: " + ", ".join(f"{_size(change)} for {step}" for step, change in result.changes.items())
    if one.verdict == "late":
        return "comes too late by now: its windows are closed"
    if one.verdict == "remembered":
        return f"is remembered by {', '.join(result.tables)}; nothing comes out yet"
    return "gives nothing: a step leaves it out"


def _size(change: Change) -> str:
    gone = 0 if change.deleted is None else change.deleted.height
    return counted(change.rows.height, "row") + (f", {gone:,} deleted" if gone else "")


def _some(rows: pl.DataFrame) -> list[str]:
    shown = [json.dumps(row, default=str, ensure_ascii=False) for row in rows.head(_ROWS_SHOWN).iter_rows(named=True)]
    return shown + ([f"... {rows.height - _ROWS_SHOWN:,} more"] if rows.height > _ROWS_SHOWN else [])


def _tried_json(one: Tried) -> dict[str, Any]:
    result = one.result
    facts: dict[str, Any] = {"id": one.letter.id, "step": one.letter.fact.step, "verdict": one.verdict}
    if result is None:
        return {**facts, "error": one.error}
    return {
        **facts,
        "rows": {step: change.rows.to_dicts() for step, change in result.changes.items()},
        "deleted": {
            step: change.deleted.to_dicts() for step, change in result.changes.items() if change.deleted is not None
        },
        "late": result.rows_late,
        "dead": [{"step": letter.step, "error": letter.error, "message": letter.message} for letter in result.dead],
        "remembered_by": list(result.tables),
    }
