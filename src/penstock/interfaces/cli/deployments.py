"""`penstock deployments`: the handovers of an environment, and the whole of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from penstock.clock import SystemClock
from penstock.control import Asker, Environment, Wisher, opened_ledger, short
from penstock.interfaces.cli.handing import Handing, followed, values
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.rollout_screen import print_deployment
from penstock.interfaces.cli.screen import NUMBER, TEXT, print_json, screen, table, time_text
from penstock.interfaces.cli.steering import Steering
from penstock.ledger import Deployment, DeploymentStatus, Ledger

__all__ = ["command"]

_SHOWN = 80


def command(
    asked: Annotated[
        str | None, typer.Argument(metavar="[FLOW|ID]", help="Those of one flow, or one, by a beginning of its id.")
    ] = None,
    *,
    env: EnvironmentName = "dev",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch one that is under way to its end.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> int:
    """List handovers; show one with its receipt."""
    _, environment = environment_of(project, env)
    clock = SystemClock()
    with opened_ledger(environment, clock) as ledger:
        flows = {facts.flow for facts in ledger.flows()} | {one.flow for one in ledger.operations.all_desired()}
        if asked is None or asked in flows:
            found = ledger.operations.deployments(asked, limit=limit)
            if as_json:
                print_json({"env": env, "deployments": [values(one) for one in found]})
                return 0
            if not (follow and found and found[0].status is DeploymentStatus.RUNNING):
                _list(found, env)
                return 0
            asked = found[0].id
        one = Asker(ledger, environment, clock).known(asked)
        if follow and one.status is DeploymentStatus.RUNNING:
            return followed(_handing(one, environment, ledger, clock), one.id, as_json=as_json)
        if as_json:
            print_json(values(one))
        else:
            print_deployment(screen(), one, environment=environment.name, now_us=clock.now_us())
    return 0


def _handing(one: Deployment, environment: Environment, ledger: Ledger, clock: SystemClock) -> Handing:
    wisher = Wisher(ledger, environment, clock)
    return Handing(Steering(one.flow, environment, ledger, clock, wisher), Asker(ledger, environment, clock))


def _list(deployments: Sequence[Deployment], env: str) -> None:
    out = screen()
    if not deployments:
        out.print(f"nothing was handed over in {env} yet: penstock deploy FLOW")
        return
    columns = (
        ("id", TEXT),
        ("flow", TEXT),
        ("kind", TEXT),
        ("from", TEXT),
        ("to", TEXT),
        ("status", TEXT),
        ("begun", TEXT),
        ("pause ms", NUMBER),
        ("by", TEXT),
        ("why", TEXT),
    )
    out.print(table(columns, [_row(one) for one in deployments]))


def _row(one: Deployment) -> tuple[str, ...]:
    pause_ms = (one.receipt.get("cut") or {}).get("pause_ms")
    status = f"{one.status.value}: {one.stage}" if one.status is DeploymentStatus.RUNNING else one.status.value
    return (
        one.id,
        one.flow,
        one.kind,
        short(one.old_version) if one.old_version else "",
        short(one.new_version),
        status,
        time_text(one.made_us),
        "" if pause_ms is None else f"{pause_ms:,.0f}",
        one.who,
        _short(str(one.receipt.get("why") or one.why)),
    )


def _short(text: str) -> str:
    line = next(iter(text.splitlines()), "")
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
