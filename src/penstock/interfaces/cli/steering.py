"""What the verbs that say what a flow should do have in common: they write a wish, and watch the facts follow."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console

from penstock.clock import Clock, SystemClock
from penstock.control import (
    Environment,
    FlowStatus,
    Wisher,
    find_flow,
    flow_statuses,
    known_flows,
    living_server,
    opened_ledger,
    project_for,
    read_ledger,
)
from penstock.errors import ConfigError, PenstockError, did_you_mean
from penstock.interfaces.cli.screen import screen
from penstock.ledger import Ledger

__all__ = ["NoWait", "Steering", "Timeout", "Why", "flow_named", "follow", "known_here", "ran_here", "steering"]

Timeout: TypeAlias = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long to wait until it is so.")
]
NoWait: TypeAlias = Annotated[bool, typer.Option("--no-wait", help="Say what should be, and end.")]
Why: TypeAlias = Annotated[str, typer.Option("--why", "-m", metavar="TEXT", help="Kept with the wish.")]

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Steering:
    """A flow and what it takes to steer it."""

    flow: str
    environment: Environment
    ledger: Ledger
    clock: Clock
    wisher: Wisher


def flow_named(asked: str, folder: Path, environment_name: str) -> tuple[str, Environment]:
    """The name of a flow and its environment, without loading any author's code. Raises ConfigError."""
    if not (asked.partition(":")[0].endswith(".py") or "/" in asked):
        return asked, project_for(folder).environment(environment_name)
    target = find_flow(asked, folder)
    names = [flow.name for flow in known_flows(target.project) if flow.file == target.file] or [target.file.stem]
    if len(names) > 1:
        raise ConfigError(f"{asked} holds several flows: {', '.join(names)}", hint="give the name of one")
    return names[0], target.project.environment(environment_name)


def ran_here(asked: str | None, folder: Path, environment_name: str) -> tuple[str | None, Environment]:
    """The flow that a person named, if any, and the environment. Raises ConfigError where it never ran there."""
    flow, environment = flow_named(asked or "", folder, environment_name)
    if asked is None:
        return None, environment
    known = known_here(environment)
    if flow not in known:
        raise ConfigError(
            f"the flow {flow!r} never ran in environment {environment_name!r}.{did_you_mean(flow, known)}",
            state_left="nothing was changed",
            hint=f"flows that did: {', '.join(known)}" if known else f"penstock start {flow}",
        )
    return flow, environment


def known_here(environment: Environment) -> list[str]:
    """The names of the flows that ran in an environment or are wished to."""
    with read_ledger(environment) as ledger:
        if ledger is None:
            return []
        return sorted({*(one.flow for one in ledger.flows()), *(one.flow for one in ledger.operations.all_desired())})


@contextmanager
def steering(asked: str, folder: Path, env: str, *, why: str = "", new: bool = False) -> Iterator[Steering]:
    """Open the ledger for a flow. Raises ConfigError where nobody knows it, unless it may be `new`."""
    flow, environment = flow_named(asked, folder, env)
    if not new:
        ran_here(asked, folder, env)
    clock = SystemClock()
    with opened_ledger(environment, clock) as ledger:
        yield Steering(flow, environment, ledger, clock, Wisher(ledger, environment, clock, why=why))


def follow(steered: Steering, states: Collection[str], *, doing: str, timeout_s: float, wait: bool) -> int:
    """Wait until the flow is in one of `states` and say so; gives the exit code.

    Where no server runs, says what to type instead. Raises PenstockError where the flow is held, or time is up.
    """
    out, flow, env = screen(), steered.flow, steered.environment.name
    option = "" if env == "dev" else f" --env {env}"
    if living_server(steered.environment) is None and _status(steered) not in states:
        out.print(
            f"{flow} in {env}: noted. No server runs there, so nothing happens yet; start one: penstock up{option}"
        )
        return 0
    if not wait:
        out.print(f"{flow} in {env}: noted; watch it: penstock status {flow}{option}")
        return 0
    deadline_s = steered.clock.stopwatch_s() + timeout_s
    console = Console(highlight=False)
    with console.status(f"{flow}: {doing}") if sys.stdout.isatty() else _nothing() as spinner:
        while True:
            now = _now(steered)
            if now is not None and now.state in states:
                break
            if now is not None and now.state == "held":
                raise PenstockError(now.note, flow=flow, state_left="nothing is lost", hint="\n".join(now.choices))
            if steered.clock.stopwatch_s() > deadline_s:
                raise _too_late(now, steered, doing, timeout_s, option)
            if spinner is not None and now is not None:
                spinner.update(f"{flow}: {doing} ({now.state}{': ' + now.note if now.note else ''})")
            steered.clock.sleep(_LOOK_EVERY_S)
    out.print(f"{flow} in {env}: {describe(now)}", markup=False)
    return 0


def describe(now: FlowStatus) -> str:
    """A state with what there is to know of it."""
    parts = [now.state]
    leader = now.leader
    if leader is not None:
        parts.append(f"process {leader.pid}")
    if now.version:
        parts.append(f"version {now.version}")
    if now.epoch:
        parts.append(f"epoch {now.epoch:,}")
    return ", ".join(parts) + (f": {now.note}" if now.note else "")


def _too_late(now: FlowStatus | None, steered: Steering, doing: str, timeout_s: float, option: str) -> PenstockError:
    state = "not there" if now is None else now.state
    note = f": {now.note}" if now is not None and now.note else ""
    leader = None if now is None else now.leader
    log = "" if leader is None else f"; its log is flows/{steered.flow}/members/{leader.id}/log.txt"
    error = PenstockError(
        f"{doing} takes longer than {timeout_s:g} s: it is {state}{note}",
        flow=steered.flow,
        state_left="the wish stays: the server goes on trying",
        hint=f"penstock status {steered.flow}{option}{log}",
    )
    error.heals = True
    return error


def _now(steered: Steering) -> FlowStatus | None:
    return next(iter(flow_statuses(steered.ledger, steered.environment, steered.clock, flow=steered.flow)), None)


def _status(steered: Steering) -> str:
    now = _now(steered)
    return "" if now is None else now.state


@contextmanager
def _nothing() -> Iterator[None]:
    yield None
