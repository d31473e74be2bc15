"""`penstock status`: what flows should do, and what they do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from penstock.clock import Clock, SystemClock
from penstock.control import Environment, FlowStatus, flow_statuses, living_server, read_ledger
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder
from penstock.interfaces.cli.screen import NUMBER, TEXT, age_text, count_text, print_json, screen, table, time_text
from penstock.interfaces.cli.steering import ran_here
from penstock.observe import freshness_words

__all__ = ["command"]

_WATCH_EVERY_S = 1.0
_BAD = ("held", "down", "waiting")


def command(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="One flow; all where none is named.")] = None,
    *,
    env: EnvironmentName = "dev",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every second, until Ctrl-C.")] = False,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Tell what flows should do, what they do, and what is wrong."""
    name, environment = ran_here(flow, project, env)
    look = _Look(environment, name)
    if as_json:
        look.print_json(every_s=_WATCH_EVERY_S if watch else None)
    elif not watch:
        screen().print(look.shown())
    elif sys.stdout.isatty():
        with Live(look.shown(), auto_refresh=False, console=screen()) as live:
            while True:
                look.clock.sleep(_WATCH_EVERY_S)
                live.update(look.shown(), refresh=True)
    else:
        while True:
            screen().print(look.shown())
            sys.stdout.flush()
            look.clock.sleep(_WATCH_EVERY_S)


class _Look:
    """Looks at an environment, again and again."""

    def __init__(self, environment: Environment, flow: str | None) -> None:
        self.environment = environment
        self.clock: Clock = SystemClock()
        self._flow = flow

    def statuses(self) -> list[FlowStatus]:
        """How the flows are now."""
        with read_ledger(self.environment) as ledger:
            return [] if ledger is None else flow_statuses(ledger, self.environment, self.clock, flow=self._flow)

    def print_json(self, *, every_s: float | None) -> None:
        """A document on a line, once or again and again."""
        while True:
            server = living_server(self.environment)
            found = [status.as_dict(now_us=self.clock.now_us()) for status in self.statuses()]
            about = None if server is None else server.as_dict()
            print_json({"env": self.environment.name, "server": about, "flows": found})
            sys.stdout.flush()
            if every_s is None:
                return
            self.clock.sleep(every_s)

    def shown(self) -> RenderableType:
        """A table of the flows, and what there is to say about those that are not well."""
        env, server, found = self.environment.name, living_server(self.environment), self.statuses()
        option = "" if env == "dev" else f" --env {env}"
        head = f"server: {server}" if server is not None else f"no server runs in {env}: penstock up{option}"
        if not found:
            return Group(Text(head), Text(f"no flow ran in {env} yet; penstock start FLOW lets the server run one"))
        now_us = self.clock.now_us()
        columns = (
            ("flow", TEXT),
            ("state", TEXT),
            ("version", TEXT),
            ("epoch", NUMBER),
            ("committed", TEXT),
            ("freshness", TEXT),
            ("watermark", TEXT),
            ("process", TEXT),
            ("standby", TEXT),
        )
        parts: list[RenderableType] = [Text(head), Text(""), table(columns, [_row(one, now_us) for one in found])]
        for one in found:
            parts += [Text(""), *_notes(one, now_us)] if one.note or one.failures or one.next_us else []
        return Group(*parts)


def _row(status: FlowStatus, now_us: int) -> tuple[str, ...]:
    leader = status.leader
    others = [member for member in status.members if member is not leader]
    committed = "" if status.committed_us is None else f"{age_text((now_us - status.committed_us) / 1e6)} ago"
    return (
        status.flow,
        status.state,
        status.version,
        count_text(status.epoch),
        committed,
        freshness_words(status.fresh_s(now_us), status.objective_s),
        time_text(status.watermark_us),
        "" if leader is None else str(leader.pid),
        ", ".join(f"{member.pid} {member.facts.get('state', '')}" for member in others),
    )


def _notes(status: FlowStatus, now_us: int) -> Sequence[Text]:
    style = "yellow" if status.state in _BAD else ""
    lines = [Text(f"{status.flow}: {status.note}", style)] if status.note else []
    if status.failures and status.state != "held":
        lines.append(Text(f"  failed {status.failures} times in a row"))
    if status.next_us is not None:
        what = "runs next" if status.state == "scheduled" else "tried again"
        lines.append(
            Text(f"  {what} at {time_text(status.next_us)} UTC, in {age_text((status.next_us - now_us) / 1e6)}")
        )
    return [*lines, *(Text(f"  {choice}") for choice in status.choices)]
