"""Looking at rules with a real ledger: what is kept, told, told again, and survives a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.clock import ManualClock
from penstock.control.alerting.looking import SILENCE, Alerting, Looked
from penstock.control.alerting.planning import AlertPlan, alert_plan
from penstock.control.alerting.tables import AlertsTable
from penstock.errors import ConfigError, ConnectorError, QueryError
from penstock.ledger import Document, Ledger, open_ledger
from penstock.observe import (
    DEFAULT_RULES,
    Basis,
    Circumstance,
    Matcher,
    Message,
    Route,
    Rule,
    Series,
    Severity,
    Silence,
)

_S = 1_000_000
LABELS = {"project": "p", "env": "dev", "flow": "orders"}


class Now:
    """A store in which each series has one value, now."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.values: dict[str, float] = {}

    def select(self, matchers: Sequence[Matcher], _start_us: int, _end_us: int) -> list[Series]:
        """As `SeriesStore.select`."""
        found = []
        for name, value in self.values.items():
            labels = {"__name__": name, **LABELS}
            if all(matcher.fits(labels.get(matcher.label, "")) for matcher in matchers):
                found.append(Series(labels, np.array([self._clock.now_us()], dtype=np.int64), np.array([value])))
        return found


class Logs:
    """Entries and rows as they are said to be."""

    def __init__(self) -> None:
        self.counts: list[tuple[Mapping[str, str], int, Sequence[str]]] = []
        self.table: list[Mapping[str, Any]] = []

    def by_flow(self, _text: str, _start_us: int, _end_us: int) -> list[tuple[Mapping[str, str], int, Sequence[str]]]:
        """As `LogQueries.by_flow`."""
        return self.counts

    def rows(self, _query: str) -> list[Mapping[str, Any]]:
        """As `LogQueries.rows`."""
        return self.table


class Desk:
    """All that looking needs, and what was told."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self.store = Now(self.clock)
        self.logs = Logs()
        self.told: list[Message] = []
        self.fails: list[ConnectorError] = []
        self.ledger = self.opened()

    def opened(self) -> Ledger:
        """The ledger."""
        return open_ledger(self.folder / "ledger", env="dev", clock=self.clock, folder=self.folder / "rolled")

    def _deliver(self, message: Message, _route: Route) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.told.append(message)

    def alerting(self, *rules: Rule, route: Route | None = None) -> Alerting:
        """Looking at these rules, as after a start."""
        plan = AlertPlan({rule.name: rule for rule in rules}, (route or Route("ops", "slack", wait_s=0),))
        return Alerting(
            self.ledger,
            self.clock,
            plan,
            self.store,
            self.logs,
            circumstance=lambda flow: Circumstance("v1", "", f"/flows/{flow}"),
            deliver=self._deliver,
        )

    def look(self, alerting: Alerting, seconds: float = 10) -> Looked:
        """Some seconds later."""
        self.clock.sleep(seconds)
        return alerting.look()

    def events(self) -> list[tuple[str, str]]:
        """What the ledger notes of alerts."""
        found = self.ledger.operations.events()
        return [(one.kind, str(one.body.get("rule", ""))) for one in reversed(found) if one.kind.startswith("alert")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An empty environment."""
    made = Desk(tmp_path)
    yield made
    made.ledger.close()


LATE = Rule("Late", Severity.PAGE, "lag > 60", "{flow} is {value} late", unit="s", target="vector(60)", for_s=20)


def test_an_alert_is_kept_told_and_over(desk: Desk) -> None:
    """Pending, firing, over: events in the ledger, two messages, with value and target."""
    alerting = desk.alerting(LATE)
    desk.store.values["lag"] = 90
    states = []
    for _ in range(4):
        states += [one.state.value for one in desk.look(alerting).alerts]
    desk.store.values["lag"] = 5
    states += [one.state.value for one in desk.look(alerting).alerts]
    assert states == ["pending", "pending", "firing", "firing", "resolved"]
    assert desk.events() == [("alert-firing", "Late"), ("alert-resolved", "Late")]
    assert [message.title for message in desk.told] == ["orders is 90 s late", "over: orders is 90 s late"]
    assert "(it should be at most 60 s)" in desk.told[0].text


def test_a_restart_goes_on_from_what_was_kept(desk: Desk) -> None:
    """What fires is not told again, its wait does not begin anew, and its end is told by whoever looks then."""
    desk.store.values["lag"] = 90
    first = desk.alerting(LATE)
    desk.look(first)
    second = desk.alerting(LATE)
    desk.look(second)
    assert [one.state.value for one in desk.look(second).alerts] == ["firing"]
    third = desk.alerting(LATE)
    desk.look(third)
    assert len(desk.told) == 1
    del desk.store.values["lag"]
    desk.look(desk.alerting(LATE))
    assert [message.firing for message in desk.told] == [True, False]


def test_what_could_not_be_told_is_told_later(desk: Desk) -> None:
    """A receiver that is away is tried again, less often each time; nothing is lost."""
    alerting = desk.alerting(Rule("Late", Severity.PAGE, "lag > 60", "late"))
    desk.store.values["lag"] = 90
    away = ConnectorError("away")
    desk.fails = [away, away]
    faults = [bool(desk.look(alerting).faults) for _ in range(5)]
    assert faults == [True, True, False, False, False]
    assert len(desk.told) == 1


def test_a_receiver_that_refuses_is_noted_and_not_asked_again(desk: Desk) -> None:
    """Its fault does not go away by itself."""
    alerting = desk.alerting(Rule("Late", Severity.PAGE, "lag > 60", "late"))
    desk.store.values["lag"] = 90
    refusal = ConnectorError("it answered 400")
    refusal.heals = False
    desk.fails = [refusal]
    for _ in range(3):
        desk.look(alerting)
    assert desk.told == []
    assert ("alert-undelivered", "") in desk.events()


def test_a_rule_that_cannot_be_asked_hides_no_other(desk: Desk) -> None:
    """Its fault is told by its name."""
    both = desk.alerting(Rule("Bad", Severity.PAGE, "x", "", basis=Basis.SQL), LATE)
    desk.logs.table = [{"flow": "orders", "value": "many"}]
    desk.store.values["lag"] = 90
    looked = desk.look(both)
    assert [one.rule for one in looked.alerts] == ["Late"]
    assert looked.faults == {
        "Bad": "the alert rule 'Bad' needs a column `value` with a number, and got 'many'",
    }


def test_logs_and_sql_raise_alerts_too(desk: Desk) -> None:
    """More entries than allowed, with the newest lines; each row of a query."""
    rate = Rule("Errors", Severity.TICKET, "severity>=ERROR", "{value} errors", basis=Basis.LOG_RATE, above=10)
    rows = Rule("Rows", Severity.TICKET, "select", "{value} in {region}", basis=Basis.SQL)
    desk.logs.counts = [(LABELS, 11, ("a", "b")), ({**LABELS, "flow": "other"}, 10, ("c",))]
    desk.logs.table = [{"region": "eu", "value": 3}, {"region": "us", "value": 4}]
    desk.look(desk.alerting(rate, rows))
    found = sorted((line.text, line.alert.samples) for message in desk.told for line in message.lines)
    assert found == [("11 errors", ("a", "b")), ("3 in eu", ()), ("4 in us", ())]


def test_a_silence_in_the_ledger_holds_until_it_ends(desk: Desk) -> None:
    """What was silenced is told when it fires still."""
    alerting = desk.alerting(Rule("Late", Severity.PAGE, "lag > 60", "late"))
    desk.store.values["lag"] = 90
    now_us = desk.clock.now_us()
    silence = Silence.made("s", "flow=orders", now_us, now_us + 25 * _S, who="ann", why="")
    desk.ledger.operations.documents.keep(Document(SILENCE, "s", silence.as_dict()))
    assert list(desk.look(alerting).quiet.values()) == ["silenced by ann"]
    assert desk.told == []
    desk.look(alerting)
    desk.look(alerting)
    assert len(desk.told) == 1
    assert desk.ledger.operations.documents.documents(SILENCE) == []


def test_an_alert_of_a_rule_that_is_gone_is_over(desk: Desk) -> None:
    """Whoever took the rule out is not woken by it for ever."""
    desk.store.values["lag"] = 90
    desk.look(desk.alerting(Rule("Late", Severity.PAGE, "lag > 60", "late")))
    looked = desk.look(desk.alerting(Rule("Other", Severity.PAGE, "nothing", "")))
    assert [(one.rule, one.state.value) for one in looked.alerts] == [("Late", "resolved")]
    assert [message.firing for message in desk.told] == [True, False]


def test_what_is_written_changes_what_comes_with_penstock() -> None:
    """A rule of the same name keeps what it does not say; `off` leaves one out; a route has its kind's settings."""
    plan = alert_plan(
        AlertsTable.model_validate(
            {
                "off": ["DeadLettersNew"],
                "link": "https://penstock.example/",
                "rule": {
                    "FlowDown": {"for": "5m", "severity": "ticket"},
                    "Backlog": {"expr": "penstock_source_backlog_records > 5", "unit": "rows"},
                    "Timeouts": {"logs": '"timed out"', "more_than": 3, "over": "1h"},
                },
                "route": {"ops": {"kind": "slack", "url": "env:SLACK", "severities": ["page"], "repeat": "1h"}},
            }
        )
    )
    comes = {rule.name for rule in DEFAULT_RULES}
    assert set(plan.rules) == (comes - {"DeadLettersNew"}) | {"Backlog", "Timeouts"}
    down = plan.rules["FlowDown"]
    assert (down.for_s, down.severity, down.summary) == (300, Severity.TICKET, "{flow} should run and has no process")
    assert (plan.rules["Timeouts"].basis, plan.rules["Timeouts"].over_s) == (Basis.LOG_RATE, 3600)
    assert plan.routes == (Route("ops", "slack", {"url": "env:SLACK"}, (Severity.PAGE,), repeat_s=3600),)
    assert plan.link == "https://penstock.example"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"off": ["FlowDwn"]}, "no rule 'FlowDwn'. Did you mean 'FlowDown'"),
        ({"rule": {"X": {}}}, "takes one of expr, logs and sql"),
        ({"rule": {"X": {"expr": "a", "sql": "b"}}}, "takes one of expr, logs and sql"),
        ({"rule": {"X": {"expr": "sum("}}}, "alert rule 'X': 'sum(' is no PromQL query"),
        ({"rule": {"X": {"logs": "severity>="}}}, "alert rule 'X':"),
        ({"rule": {"a b": {"expr": "x"}}}, "letters, digits and underscores"),
        ({"route": {"r": {"kind": "slack"}}}, "url is missing"),
    ],
)
def test_a_wrong_table_is_refused_with_the_rule_or_route(table: dict[str, Any], says: str) -> None:
    """Before anything is looked at."""
    with pytest.raises((ConfigError, QueryError)) as caught:
        alert_plan(AlertsTable.model_validate(table))
    assert says in str(caught.value)
