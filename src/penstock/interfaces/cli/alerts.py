"""`penstock alerts`: what fires, the rules, silences; a test of a route, and what a rule would have told."""

from __future__ import annotations

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from penstock.clock import SystemClock
from penstock.control import (
    AlertDesk,
    AlertPlan,
    Environment,
    alert_plan,
    opened_history,
    opened_ledger,
    read_ledger,
    try_route,
)
from penstock.errors import ConfigError
from penstock.flow import duration_us
from penstock.interfaces.cli.alert_screen import show_alerts, show_episodes, show_rules, show_silences
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.screen import print_json, screen
from penstock.interfaces.cli.steering import Why
from penstock.observe import backtest

__all__ = ["Act", "command"]


class Act(StrEnum):
    """What is asked."""

    LIST = "list"
    RULES = "rules"
    SILENCES = "silences"
    SILENCE = "silence"
    UNSILENCE = "unsilence"
    TEST = "test"
    BACKTEST = "backtest"


_NEEDS = {
    Act.SILENCE: 'the labels of alerts: penstock alerts silence \'flow="orders"\' --for 2h --why "..."',
    Act.UNSILENCE: "a silence: penstock alerts unsilence ID (penstock alerts silences lists them)",
    Act.BACKTEST: "a rule: penstock alerts backtest RunningButSilent --over 7d",
}


def command(
    act: Annotated[Act, typer.Argument(metavar="[ACT]", help="|".join(Act))] = Act.LIST,
    what: Annotated[
        str | None, typer.Argument(metavar="[WHAT]", help="A flow, labels, a silence, a route, or a rule.")
    ] = None,
    *,
    env: EnvironmentName = "dev",
    every: Annotated[bool, typer.Option("--all", help="With list: those that wait or are over, too.")] = False,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="With silence: how long.")] = "1h",
    over: Annotated[str, typer.Option("--over", metavar="TIME", help="With backtest: how far back.")] = "1d",
    why: Why = "",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> int:
    """Tell which alerts fire; rules, silences, tests, backtests.

    list [FLOW]   rules   silences   silence LABELS   unsilence ID   test [ROUTE]   backtest RULE

    Alerts are looked at by `penstock up`. Exit code 1 where a route can't be told.
    """
    found, environment = environment_of(project, env)
    plan = alert_plan(found.alerts)
    if act in _NEEDS and not what:
        raise ConfigError(f"penstock alerts {act} needs {_NEEDS[act]}")
    if act is Act.RULES:
        show_rules(plan, as_json=as_json)
    elif act is Act.TEST:
        return _test(plan, environment, what, as_json=as_json)
    elif act is Act.BACKTEST:
        _backtest(plan, environment, str(what), over, as_json=as_json)
    elif act in (Act.SILENCE, Act.UNSILENCE):
        _say(act, plan, environment, str(what), for_, why, as_json=as_json)
    else:
        _list(act, plan, environment, what, every=every, as_json=as_json)
    return 0


def _list(act: Act, plan: AlertPlan, environment: Environment, flow: str | None, *, every: bool, as_json: bool) -> None:
    clock = SystemClock()
    with read_ledger(environment) as ledger:
        desk = None if ledger is None else AlertDesk(ledger, clock, plan)
        if act is Act.SILENCES:
            show_silences([] if desk is None else desk.silences(), clock.now_us(), as_json=as_json)
            return
        found = [] if desk is None else desk.alerts(flow, every=every)
    show_alerts(found, environment.name, clock.now_us(), as_json=as_json)


def _say(act: Act, plan: AlertPlan, environment: Environment, what: str, for_: str, why: str, *, as_json: bool) -> None:
    clock = SystemClock()
    with opened_ledger(environment, clock) as ledger:
        desk = AlertDesk(ledger, clock, plan)
        if act is Act.SILENCE:
            made = desk.silence(what, for_s=duration_us(for_, what="--for") / 1e6, who=getpass.getuser(), why=why)
        else:
            made = desk.unsilence(what, who=getpass.getuser())
    if as_json:
        print_json(made.as_dict())
    elif act is Act.SILENCE:
        screen().print(f"silence {made.id}: alerts with {made.matchers} say nothing for {for_}", markup=False)
    else:
        screen().print(f"silence {made.id} is over: alerts with {made.matchers} speak again", markup=False)


def _test(plan: AlertPlan, environment: Environment, name: str | None, *, as_json: bool) -> int:
    """Send a message by one route, or all. 1 where one could not be told."""
    routes = [plan.route(name)] if name else list(plan.routes)
    if not routes:
        hint = "add [alerts.route.NAME] to penstock.toml, see docs/alerts.md"
        raise ConfigError("there is no alert route to test", hint=hint)
    faults = {route.name: try_route(route, environment, SystemClock(), link=plan.link) for route in routes}
    if as_json:
        print_json({"routes": [{"name": route, "ok": not fault, "fault": fault} for route, fault in faults.items()]})
    else:
        for route, fault in faults.items():
            screen().print(f"{route}: {fault or 'told'}", markup=False, soft_wrap=True)
    return 1 if any(faults.values()) else 0


def _backtest(plan: AlertPlan, environment: Environment, name: str, over: str, *, as_json: bool) -> None:
    rule, now_us = plan.rule(name), SystemClock().now_us()
    start_us = now_us - duration_us(over, what="--over")
    with opened_history(environment) as history:
        episodes = backtest(rule, history, start_us=start_us, end_us=now_us, step_s=plan.every_s)
        known_us = history.oldest_us()
    show_episodes(rule, episodes, over, start_us=start_us, known_us=known_us, as_json=as_json)
