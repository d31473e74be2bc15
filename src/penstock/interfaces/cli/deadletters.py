"""`penstock deadletters`: the rows that a flow could not process, and what is to become of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from penstock.control import Letter, chosen_letters, letters_of, opened_ledger, read_ledger
from penstock.errors import ConfigError
from penstock.interfaces.cli.letter_actions import Choice, drop, dry_run, edited, replay
from penstock.interfaces.cli.options import (
    AsJson,
    EnvironmentName,
    FlowName,
    ProjectFolder,
    flow_in_ledger,
    given_params,
)
from penstock.interfaces.cli.screen import NUMBER, TEXT, count_text, counted, print_json, screen, table
from penstock.interfaces.cli.steering import NoWait, Timeout, Why

__all__ = ["command"]

_SHOWN = 120

_Group: TypeAlias = Annotated[
    bool, typer.Option("--group", "-g", help="One line a cause, with its id, counts and an example.")
]
_Limit: TypeAlias = Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")]
_Replay: TypeAlias = Annotated[bool, typer.Option("--replay", help="Try letters again, each exactly once.")]
_Drop: TypeAlias = Annotated[bool, typer.Option("--drop", help="Give letters up; needs --why.")]
_Edit: TypeAlias = Annotated[
    int | None, typer.Option("--edit", metavar="ID", help="Try one letter again with another payload.")
]
_Payload: TypeAlias = Annotated[
    str | None, typer.Option("--payload", metavar="JSON", help="With --edit: the row; else $EDITOR opens.")
]
_Ids: TypeAlias = Annotated[list[int] | None, typer.Option("--id", metavar="ID", help="This letter; may be repeated.")]
_Cause: TypeAlias = Annotated[
    str | None, typer.Option("--cause", metavar="CAUSE", help="The open letters of a cause: its id, see --group.")
]
_All: TypeAlias = Annotated[bool, typer.Option("--all", help="All open letters.")]
_DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Say for each letter what would come out, and write nothing.")
]
_Version: TypeAlias = Annotated[
    str | None,
    typer.Option("--version", metavar="ID", help="With --dry-run: by a version or `running`; else by the files here."),
]
_Set: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="With --dry-run: a parameter of the flow."),
]


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    group: _Group = False,
    limit: _Limit = 1000,
    replay_: _Replay = False,
    drop_: _Drop = False,
    edit: _Edit = None,
    payload: _Payload = None,
    ids: _Ids = None,
    cause: _Cause = None,
    every: _All = False,
    dry_run_: _DryRun = False,
    version: _Version = None,
    set_: _Set = None,
    why: Why = "",
    no_wait: NoWait = False,
    timeout: Timeout = 30.0,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> int:
    """List the rows that a flow could not process, and why; try them again, or give them up.

    Look (--group), mend the flow or the row (--edit), see what would come out (--dry-run), then --replay. Letters are
    chosen by --id, --cause or --all.
    """
    acts = [word for word, given in (("--replay", replay_), ("--drop", drop_), ("--edit", edit is not None)) if given]
    asked = [word for word, given in (("--id", ids), ("--cause", cause), ("--all", every)) if given]
    _check(acts, asked, dry=dry_run_, edit=edit, payload=payload, version=version)
    name, environment = flow_in_ledger(flow, project, env)
    if not (acts or dry_run_):
        with read_ledger(environment) as ledger:
            assert ledger is not None, "the flow was found in it"
            total, found = ledger.count_dead_letters(name), letters_of(ledger, name, limit=limit)
        _show(name, env, found, total, group=group, as_json=as_json)
        return 0
    with opened_ledger(environment) as ledger:
        wanted = [edit] if edit is not None else ids or []
        chosen = chosen_letters(letters_of(ledger, name), ids=wanted, cause=cause, every=every)
        choice = Choice(name, flow, environment, project, ledger, tuple(chosen), as_json=as_json)
        if not chosen:
            choice.say({}, f"{name} in {env}: no dead letter is open")
            return 0
        payloads = {} if edit is None else {edit: edited(chosen[0], payload)}
        if drop_:
            return drop(choice, why=why, only_say=dry_run_)
        if dry_run_:
            return dry_run(choice, payloads, version=version, params=given_params(set_ or []))
        return replay(choice, payloads, wait_s=None if no_wait else timeout)


def _check(
    acts: Sequence[str],
    asked: Sequence[str],
    *,
    dry: bool,
    edit: int | None,
    payload: str | None,
    version: str | None,
) -> None:
    """Raise ConfigError for options that do not go together."""
    doing = [*acts] or (["--dry-run"] if dry else [])
    if len(doing) > 1:
        raise ConfigError(f"{' and '.join(doing)} are different things", hint="give one of them")
    if payload is not None and edit is None:
        raise ConfigError("--payload is the new row of one letter", hint="say which: --edit ID --payload JSON")
    if version is not None and not dry:
        raise ConfigError(
            "--version is for --dry-run: letters are tried again by the version that leads",
            hint="let that one take over first: penstock deploy FLOW",
        )
    if edit is None and doing and len(asked) != 1:
        raise ConfigError(f"{doing[0]} needs to know which letters", hint="give one of --id ID, --cause CAUSE, --all")
    if asked and (edit is not None or not doing):
        raise ConfigError(f"{asked[0]} says which letters, not what to do with them", hint="add --replay or --dry-run")


def _show(name: str, env: str, letters: Sequence[Letter], total: int, *, group: bool, as_json: bool) -> None:
    groups = _groups(letters)
    if as_json:
        shown = groups if group else [letter.as_json() for letter in letters]
        print_json({"flow": name, "env": env, "count": total, "groups" if group else "dead_letters": shown})
        return
    out = screen()
    if not letters:
        out.print(f"{name} in {env}: no dead letters")
        return
    if group:
        names = (("cause", TEXT), ("rows", NUMBER), ("open", NUMBER), ("step", TEXT), ("epochs", TEXT))
        out.print(table((*names, ("error", TEXT), ("example", TEXT)), [_group_row(one) for one in groups]))
    else:
        names = (("id", NUMBER), ("epoch", NUMBER), ("step", TEXT), ("state", TEXT), ("where", TEXT))
        out.print(table((*names, ("error", TEXT), ("row", TEXT)), [_row(letter) for letter in letters]))
    out.print()
    states = Counter(letter.state.partition(":")[0].partition(" ")[0] for letter in letters)
    told = ", ".join(f"{count:,} {state}" for state, count in states.items())
    cut = f", the first {len(letters):,} are shown" if total > len(letters) else ""
    out.print(f"{name} in {env}: {counted(total, 'dead letter')} ({told}){cut}", markup=False)


def _row(letter: Letter) -> tuple[str, ...]:
    fact = letter.fact
    return (
        str(letter.id),
        count_text(fact.epoch),
        fact.step,
        _short(letter.state),
        _short(_position(letter)),
        _short(f"{fact.error}: {fact.message}"),
        _short(fact.payload),
    )


def _group_row(group: dict[str, Any]) -> tuple[str, ...]:
    return (
        group["cause"],
        count_text(group["count"]),
        count_text(group["states"].get("open", 0)),
        group["step"],
        f"{group['first_epoch']}..{group['last_epoch']}",
        _short(f"{group['error']}: {group['message']}"),
        _short(group["example"]),
    )


def _position(letter: Letter) -> str:
    offset = letter.fact.offset
    if "letter" in offset:
        return f"letter {offset['letter']}"
    if "partition" in offset:
        return f"{offset['partition']} @ {_plain(offset.get('offset', offset.get('row')))}"
    return _plain(dict(offset)) if offset else ""


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _groups(letters: Sequence[Letter]) -> list[dict[str, Any]]:
    """One entry a step and signature, the largest first."""
    found: dict[tuple[str, str], list[Letter]] = {}
    for letter in letters:
        found.setdefault((letter.fact.step, letter.fact.signature), []).append(letter)
    groups = [
        {
            "count": len(alike),
            "cause": alike[0].cause,
            "states": dict(Counter(letter.state.partition(":")[0].partition(" ")[0] for letter in alike)),
            "step": step,
            "signature": signature,
            "error": alike[0].fact.error,
            "message": alike[0].fact.message,
            "first_epoch": min(letter.fact.epoch for letter in alike),
            "last_epoch": max(letter.fact.epoch for letter in alike),
            "example": alike[0].fact.payload,
        }
        for (step, signature), alike in found.items()
    ]
    return sorted(groups, key=lambda one: -len(found[one["step"], one["signature"]]))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
