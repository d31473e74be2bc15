"""Alerts, rules, silences and backtests, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.control import AlertPlan, ShownAlert
from penstock.interfaces.cli.screen import (
    NUMBER,
    TEXT,
    age_text,
    counted,
    fitting_table,
    print_json,
    screen,
    time_text,
)
from penstock.observe import Episode, Rule, Silence, told

__all__ = ["show_alerts", "show_episodes", "show_rules", "show_silences"]

_SHOWN = 50


def show_alerts(found: Sequence[ShownAlert], env: str, now_us: int, *, as_json: bool) -> None:
    """What fires, with its sentence."""
    if as_json:
        print_json({"env": env, "alerts": [one.as_dict() for one in found]})
        return
    out = screen()
    loud = [one for one in found if one.alert.rule != "Watchdog"]
    if not loud:
        out.print(f"no alert fires in {env}", markup=False)
        return
    rows = [
        (
            one.alert.state.value,
            one.alert.severity.value,
            one.alert.rule,
            age_text((now_us - (one.alert.fired_us or one.alert.since_us)) / 1e6),
            f"{one.text}{f' ({one.quiet})' if one.quiet else ''}",
        )
        for one in loud
    ]
    columns = (("state", TEXT), ("severity", TEXT), ("rule", TEXT), ("for", NUMBER), ("what", TEXT))
    out.print(fitting_table(out, columns, rows, expendable=["state"]))


def show_rules(plan: AlertPlan, *, as_json: bool) -> None:
    """All rules that are looked at, and the routes."""
    if as_json:
        rules = [{name: getattr(rule, name) for name in rule.__dataclass_fields__} for rule in plan.rules.values()]
        routes = [{"name": route.name, "kind": route.kind, "severities": route.severities} for route in plan.routes]
        print_json({"rules": rules, "routes": routes, "every_s": plan.every_s, "on": plan.on})
        return
    out = screen()
    rows = [
        (rule.name, rule.severity.value, rule.basis.value, age_text(rule.for_s) if rule.for_s else "-", rule.summary)
        for rule in plan.rules.values()
    ]
    columns = (("rule", TEXT), ("severity", TEXT), ("asks", TEXT), ("after", NUMBER), ("what it says", TEXT))
    out.print(fitting_table(out, columns, rows, expendable=["asks", "after"]))
    names = ", ".join(f"{route.name} ({route.kind})" for route in plan.routes)
    told_to = (
        f"routes: {names}" if names else "nobody is told: add [alerts.route.NAME] to penstock.toml, see docs/alerts.md"
    )
    out.print(told_to if plan.on else "alerts are off: [alerts] on = false", markup=False, soft_wrap=True)


def show_silences(found: Sequence[Silence], now_us: int, *, as_json: bool) -> None:
    """Those that stand."""
    if as_json:
        print_json({"silences": [one.as_dict() for one in found]})
        return
    out = screen()
    if not found:
        out.print("nothing is silenced")
        return
    rows = [(one.id, one.matchers, age_text((one.until_us - now_us) / 1e6), one.who, one.why) for one in found]
    columns = (("silence", TEXT), ("alerts with", TEXT), ("still", NUMBER), ("who", TEXT), ("why", TEXT))
    out.print(fitting_table(out, columns, rows, expendable=["why"]))


def show_episodes(
    rule: Rule, episodes: Sequence[Episode], over: str, *, start_us: int, known_us: int | None, as_json: bool
) -> None:
    """When a rule would have fired. `known_us`: the oldest sample that is kept."""
    if as_json:
        body = [one.as_dict() for one in episodes]
        print_json({"rule": rule.name, "start_us": start_us, "known_us": known_us, "episodes": body})
        return
    out = screen()
    out.print(f"{rule.name} would have fired {counted(len(episodes), 'time')} over {over}", markup=False)
    if known_us is None:
        out.print("no sample is kept: metrics are kept by penstock up")
    elif known_us > start_us:
        out.print(f"samples are kept since {time_text(known_us)} only", markup=False)
    rows = [
        (
            time_text(one.fired_us),
            "still" if one.end_us is None else age_text((one.end_us - one.fired_us) / 1e6),
            told(one.worst, rule.unit),
            ", ".join(f"{name}={value}" for name, value in sorted(one.labels.items())),
        )
        for one in episodes[-_SHOWN:]
    ]
    if rows:
        columns = (("fired", TEXT), ("lasted", NUMBER), ("worst", NUMBER), ("of", TEXT))
        out.print(fitting_table(out, columns, rows, expendable=["of"]))
