"""The life of an alert, and who is told of it when: pure functions, so time is a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from penstock.errors import ConfigError
from penstock.observe.alerts import (
    Alert,
    Finding,
    Group,
    Notice,
    Route,
    Rule,
    Severity,
    Silence,
    State,
    advance,
    due,
    parse_matchers,
    quieted,
)

_S = 1_000_000
FLOW = {"project": "p", "env": "dev", "flow": "orders"}
RULE = Rule("Late", Severity.PAGE, "x > 1", "{flow} is late by {value}", for_s=30, keep_s=20)


def finding(value: float = 5, **labels: str) -> Finding:
    """Something found for the flow."""
    return Finding({**FLOW, **labels}, value)


def lives(rule: Rule, found: Sequence[bool], step_s: int = 10) -> list[str]:
    """The state at each step, where the rule found its alert or not."""
    known: list[Alert] = []
    states = []
    for at, there in enumerate(found):
        known = advance(rule, known, [finding()] if there else [], at * step_s * _S)
        states.append(known[0].state.value if known else "-")
    return states


@pytest.mark.parametrize(
    ("found", "states"),
    [
        ("1", "p"),
        ("111", "ppp"),
        ("1111", "pppf"),
        ("1110", "ppp-"),
        ("1101111", "pp-pppf"),
        ("111100", "pppffr"),
        ("1111000", "pppffr-"),
        ("1111011", "pppffff"),
        ("11110011", "pppffrpp"),
        ("000", "---"),
    ],
)
def test_an_alert_waits_fires_stays_and_is_over(found: str, states: str) -> None:
    """It fires once it held for 30 s, stays while it is gone for less than 20 s, is over once, then is a new one."""
    names = {"p": "pending", "f": "firing", "r": "resolved", "-": "-"}
    assert lives(RULE, [one == "1" for one in found]) == [names[one] for one in states]


def test_each_set_of_labels_is_an_alert_of_its_own() -> None:
    """Two flows fire apart; the name of the metric is no label of an alert, those of the rule are."""
    rule = replace(RULE, for_s=0, labels={"team": "ops"})
    found = [finding(flow="a", __name__="x"), finding(flow="b", __name__="y")]
    first = advance(rule, [], found, 0)
    second = advance(rule, first, found[:1], 60 * _S)
    assert sorted((one.labels["flow"], one.labels["team"], one.state) for one in second) == [
        ("a", "ops", State.FIRING),
        ("b", "ops", State.RESOLVED),
    ]
    assert all("__name__" not in one.labels for one in first)


def test_an_alert_is_the_same_after_it_was_kept_as_json() -> None:
    """What a restart reads is what was written."""
    alert = advance(RULE, [], [Finding(FLOW, 5, 1.0, ("a line",))], 7)[0]
    assert Alert.from_dict({**alert.as_dict(), "of a later version": 1}) == alert


@dataclass
class Desk:
    """One route that is looked at second by second, and what it was told."""

    route: Route
    groups: dict[str, Group] = field(default_factory=dict)
    told: list[tuple[int, list[str], list[str]]] = field(default_factory=list)

    def look(self, now_s: int, alerts: Sequence[Alert], quiet: Mapping[str, str] | None = None) -> list[Notice]:
        """What is due; it is delivered."""
        notices, kept = due([self.route], alerts, quiet or {}, self.groups, now_s * _S)
        self.groups.update(kept)
        for notice in notices:
            self.groups[notice.key] = notice.after
            fires = sorted(one.labels["flow"] + one.rule for one in notice.firing)
            self.told.append((now_s, fires, sorted(one.labels["flow"] + one.rule for one in notice.resolved)))
        return notices


def firing(rule: str, flow: str = "a", severity: Severity = Severity.PAGE) -> Alert:
    """An alert that fires."""
    found = advance(Rule(rule, severity, "x", ""), [], [finding(flow=flow)], 0)
    return found[0]


def over(alert: Alert) -> Alert:
    """The same, over."""
    return replace(alert, state=State.RESOLVED, resolved_us=1)


ROUTE = Route("ops", "slack", wait_s=10, interval_s=60, repeat_s=600)


def test_what_comes_together_is_told_together() -> None:
    """The first waits ten seconds for others of its flow; another flow is told by itself."""
    desk = Desk(ROUTE)
    one, two, other = firing("One"), firing("Two"), firing("One", "b")
    desk.look(0, [one])
    desk.look(5, [one, two, other])
    desk.look(10, [one, two, other])
    desk.look(15, [one, two, other])
    assert desk.told == [(10, ["aOne", "aTwo"], []), (15, ["bOne"], [])]


def test_news_of_a_group_come_at_most_once_an_interval_and_reminders_now_and_then() -> None:
    """A second alert waits for the interval; nothing new is told again after the repeat."""
    desk = Desk(ROUTE)
    one, two = firing("One"), firing("Two")
    for now_s in range(0, 20, 5):
        desk.look(now_s, [one])
    for now_s in range(20, 1400, 5):
        desk.look(now_s, [one, two])
    assert desk.told == [
        (10, ["aOne"], []),
        (70, ["aOne", "aTwo"], []),
        (670, ["aOne", "aTwo"], []),
        (1270, ["aOne", "aTwo"], []),
    ]


def test_the_end_is_told_at_once_and_once() -> None:
    """When all of a group is over there is nothing to wait for; afterwards it begins anew."""
    desk = Desk(ROUTE)
    one = firing("One")
    desk.look(0, [one])
    desk.look(10, [one])
    desk.look(15, [over(one)])
    desk.look(20, [])
    desk.look(25, [one])
    desk.look(35, [one])
    assert desk.told == [(10, ["aOne"], []), (15, [], ["aOne"]), (35, ["aOne"], [])]


def test_what_passed_before_it_was_told_is_not_told() -> None:
    """Neither its beginning nor its end."""
    desk = Desk(ROUTE)
    one = firing("One")
    desk.look(0, [one])
    desk.look(5, [over(one)])
    desk.look(20, [])
    assert desk.told == []


def test_a_notice_that_was_not_delivered_is_due_again() -> None:
    """What is kept of a group changes with the delivery only."""
    one = firing("One")
    groups: dict[str, Group] = {}
    _, kept = due([ROUTE], [one], {}, groups, 0)
    groups.update(kept)
    for now_s in (10, 11):
        notices, _ = due([ROUTE], [one], {}, groups, now_s * _S)
        assert [notice.key for notice in notices] == ["ops/p/dev/a"]


def test_a_silence_keeps_alerts_quiet_and_lets_them_speak_afterwards() -> None:
    """While it lasts nothing is told; when it ends and the alert still fires, it is told."""
    desk = Desk(ROUTE)
    one = firing("One")
    silence = Silence.made("s", 'flow="a", rule=~"O.*"', 0, 100 * _S, who="ann", why="moving the disk")
    for now_s in range(0, 130, 5):
        quiet = quieted([one], {}, [silence], now_s * _S)
        assert quiet == ({one.id: "silenced by ann: moving the disk"} if now_s < 100 else {})
        desk.look(now_s, [one], quiet)
    assert desk.told == [(110, ["aOne"], [])]


def test_an_alert_that_explains_others_speaks_alone() -> None:
    """A flow that is held is late too; another flow's lateness is told."""
    held = Rule("Held", Severity.PAGE, "x", "", quiets=("Late",))
    alerts = [firing("Held"), firing("Late"), firing("Late", "b")]
    assert quieted(alerts, {"Held": held}, [], 0) == {alerts[1].id: "explained by Held"}
    assert quieted(alerts[1:], {"Held": held}, [], 0) == {}


def test_a_route_takes_what_it_is_for() -> None:
    """By severity, and by labels."""
    route = replace(ROUTE, severities=(Severity.PAGE,), matchers='flow=~"a|b", env!="prod"')
    assert route.takes(firing("One"))
    assert not route.takes(firing("One", "c"))
    assert not route.takes(firing("One", severity=Severity.TICKET))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("flow=orders", [("flow", "=", "orders")]),
        ('flow="a,b" , env!~"x.*"', [("flow", "=", "a,b"), ("env", "!~", "x.*")]),
        (r'step="say \"hi\""', [("step", "=", 'say "hi"')]),
    ],
)
def test_labels_are_written_as_alertmanager_writes_them(text: str, found: list[tuple[str, str, str]]) -> None:
    """Names, operators, and values in quotes or plain."""
    assert [(one.label, one.kind.value, one.value) for one in parse_matchers(text)] == found


@pytest.mark.parametrize("text", ["flow", "flow=", 'flow="a', "=a", 'flow=~"("', "flow==a b", "a=b c=d"])
def test_what_is_no_list_of_labels_is_refused(text: str) -> None:
    """With the text that was not understood."""
    with pytest.raises(ConfigError):
        parse_matchers(text)


@pytest.mark.parametrize(("matchers", "until_us"), [("", 5), ("flow=a", 0)])
def test_a_silence_of_everything_or_of_no_time_is_refused(matchers: str, until_us: int) -> None:
    """Nobody means it."""
    with pytest.raises(ConfigError):
        Silence.made("s", matchers, 0, until_us, who="", why="")
