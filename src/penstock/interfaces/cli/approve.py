"""`penstock approve`: say yes or no to a cut that waits for somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.clock import SystemClock
from penstock.control import Asker, opened_ledger, short
from penstock.interfaces.cli.handing import values
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.rollout_screen import print_gate_of
from penstock.interfaces.cli.screen import print_json, screen
from penstock.interfaces.cli.steering import Why

__all__ = ["command"]


def command(
    deployment: Annotated[str, typer.Argument(metavar="ID", help="The deployment, or a beginning of its id.")],
    *,
    env: EnvironmentName = "dev",
    reject: Annotated[bool, typer.Option("--reject", help="Say no: the old version goes on.")] = False,
    why: Why = "",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Say yes or no to a cut that waits for somebody.

    Where the gate did not pass, a yes needs a reason, which the receipt keeps.
    """
    _, environment = environment_of(project, env)
    clock = SystemClock()
    with opened_ledger(environment, clock) as ledger:
        asker = Asker(ledger, environment, clock, why=why)
        waits = asker.known(deployment)
        if not as_json:
            print_gate_of(screen(), waits)
        known = asker.approve(waits.id, yes=not reject)
        if as_json:
            print_json(values(known))
            return
        said = "refused" if reject else "approved"
        screen().print(
            f"{known.flow} in {env}: {known.kind} {known.id} to {short(known.new_version)} {said}", markup=False
        )
