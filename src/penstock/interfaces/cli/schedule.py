"""`penstock schedule`: let a flow run by the clock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.control import CatchUp, Schedule, living_server, next_us
from penstock.errors import ConfigError
from penstock.interfaces.cli.options import EnvironmentName, FlowName, ProjectFolder, given_params
from penstock.interfaces.cli.screen import screen, time_text
from penstock.interfaces.cli.start import version_for
from penstock.interfaces.cli.steering import Why, steering

__all__ = ["command"]


def command(
    flow: FlowName,
    cron: Annotated[
        str | None, typer.Argument(metavar="CRON", help='Five fields, as in crontab: "30 3 * * *", "*/15 * * * *".')
    ] = None,
    *,
    env: EnvironmentName = "dev",
    catch_up: Annotated[
        CatchUp,
        typer.Option("--catch-up", help="Times that were missed: forget them, run once for all, or once for each."),
    ] = CatchUp.LAST,
    zone: Annotated[str, typer.Option("--zone", metavar="NAME", help="The time zone, such as Europe/Prague.")] = "UTC",
    off: Annotated[bool, typer.Option("--off", help="Run by the clock no more.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set a parameter of the flow, where it never ran yet."),
    ] = None,
    why: Why = "",
    project: ProjectFolder = Path(),
) -> int:
    """Let a flow run by the clock.

    There is never more than one run: a time that comes while one is under way counts as missed.
    """
    if (cron is None) == (not off):
        raise ConfigError("a schedule takes a cron expression, or --off", hint=f'penstock schedule {flow} "30 3 * * *"')
    out = screen()
    with steering(flow, project, env, why=why, new=not off) as steered:
        if cron is None:
            steered.wisher.schedule(steered.flow, None)
            out.print(f"{steered.flow} in {env}: runs by the clock no more; it is stopped")
            return 0
        schedule = Schedule(cron, catch_up, zone)
        chosen = version_for(steered, flow, project, None, given_params(set_ or []))
        steered.wisher.schedule(steered.flow, schedule, version=chosen)
        at = time_text(next_us(schedule, steered.clock.now_us()))
        out.print(f"{steered.flow} in {env}: runs next at {at} UTC", markup=False)
        if living_server(steered.environment) is None:
            option = "" if env == "dev" else f" --env {env}"
            out.print(f"no server runs there, so nothing happens yet; start one: penstock up{option}")
    return 0
