"""Looking at all rules of an environment now and then, keeping what is known in the ledger, and telling who is to know.

Whoever looks next, after a restart or on another machine, goes on from what was kept. What was told is kept after it
was told: it may be told twice, and is never forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.clock import Clock
from penstock.control.alerting.asking import LogQueries, findings
from penstock.control.alerting.planning import AlertPlan
from penstock.errors import ConnectorError, PenstockError
from penstock.ledger import Document, Event, Ledger
from penstock.observe import (
    Alert,
    Circumstance,
    Group,
    Message,
    Notice,
    Route,
    SeriesStore,
    Silence,
    State,
    advance,
    due,
    message_of,
    quieted,
)

__all__ = ["ALERT", "GROUP", "SILENCE", "Alerting", "Looked"]

ALERT, GROUP, SILENCE = "alert", "alert-group", "alert-silence"
"""The kinds of documents."""

_RESOLVED_KEPT_US = 86_400_000_000
_KEEP_EVERY_US = 60_000_000
_RETRY_FIRST_US, _RETRY_LONGEST_US = 10_000_000, 600_000_000

Deliver = Callable[[Message, Route], None]


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look came to. `quiet`: why, by id. `faults`: by rule or route, what went wrong."""

    alerts: tuple[Alert, ...]
    quiet: Mapping[str, str]
    told: tuple[str, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)


class Alerting:
    """Looks at the rules of one environment. For one thread.

    `circumstance`: version, last change and link of a flow. `deliver`: sends a message by a route, or raises
    ConnectorError.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        plan: AlertPlan,
        store: SeriesStore,
        logs: LogQueries | None,
        *,
        circumstance: Callable[[str], Circumstance],
        deliver: Deliver,
    ) -> None:
        self._ledger = ledger
        self._documents = ledger.operations.documents
        self._clock = clock
        self._plan = plan
        self._store = store
        self._logs = logs
        self._circumstance = circumstance
        self._deliver = deliver
        self._alerts = {one.id: Alert.from_dict(one.body) for one in self._documents.documents(ALERT)}
        self._kept_us = {one.id: one.changed_us for one in self._documents.documents(ALERT)}
        self._groups = {one.id: Group.from_dict(one.body) for one in self._documents.documents(GROUP)}
        self._failed: dict[str, tuple[int, int]] = {}
        """By the key of a notice: how often it could not be told, and when it is tried again."""

    def look(self) -> Looked:
        """Ask all rules, keep what changed, tell what is due. Raises LedgerError; other faults are in what it gives."""
        now_us = self._clock.now_us()
        faults: dict[str, str] = {}
        for rule in self._plan.rules.values():
            before = [one for one in self._alerts.values() if one.rule == rule.name]
            try:
                found = findings(rule, self._store, self._logs, now_us)
            except PenstockError as error:  # one rule that can't be asked hides no other
                faults[rule.name] = error.message
                continue
            for alert in advance(rule, before, found, now_us):
                self._become(alert)
            self._let_go({one.id for one in before}, rule.name, now_us)
        self._forget(now_us)
        alerts = tuple(sorted(self._alerts.values(), key=lambda one: (one.rule, one.id)))
        quiet = quieted(alerts, self._plan.rules, self.silences(), now_us)
        told = self._tell(alerts, quiet, now_us, faults)
        return Looked(alerts, quiet, told, faults)

    def silences(self) -> Sequence[Silence]:
        """Those that stand; one that is over is forgotten."""
        now_us, found = self._clock.now_us(), []
        for document in self._documents.documents(SILENCE):
            silence = Silence(**document.body)
            if silence.until_us > now_us:
                found.append(silence)
            else:
                self._documents.drop(SILENCE, document.id)
        return found

    # --- alerts -------------------------------------------------------------------------------------------------------

    def _become(self, alert: Alert) -> None:
        """Note what became of an alert. A value that moves is written now and then, a state at once."""
        before = self._alerts.get(alert.id)
        self._alerts[alert.id] = alert
        changed = before is None or (before.state, before.severity) != (alert.state, alert.severity)
        if not changed and alert.seen_us - self._kept_us.get(alert.id, 0) < _KEEP_EVERY_US:
            return
        kept_us = self._documents.keep(Document(ALERT, alert.id, alert.as_dict()))
        self._kept_us[alert.id] = kept_us or alert.seen_us
        if changed and alert.state is not State.PENDING:
            body = {"rule": alert.rule, "severity": alert.severity.value, "value": alert.value, "id": alert.id}
            self._ledger.operations.note(
                Event(
                    f"alert-{alert.state.value}", alert.labels.get("flow", ""), {**body, "labels": dict(alert.labels)}
                )
            )

    def _let_go(self, before: set[str], rule: str, now_us: int) -> None:
        """Forget alerts that were pending and were not found; `advance` gave none for them."""
        for id_ in before:
            alert = self._alerts[id_]
            if alert.rule == rule and alert.state is State.PENDING and alert.seen_us < now_us:
                self._drop(id_)

    def _forget(self, now_us: int) -> None:
        """Forget what was over long ago, and end what belongs to a rule that is no more."""
        for id_, alert in list(self._alerts.items()):
            if alert.state is State.RESOLVED and now_us - (alert.resolved_us or 0) > _RESOLVED_KEPT_US:
                self._drop(id_)
            elif alert.rule not in self._plan.rules and alert.state is State.FIRING:
                self._become(_ended(alert, now_us))
            elif alert.rule not in self._plan.rules and alert.state is State.PENDING:
                self._drop(id_)

    def _drop(self, id_: str) -> None:
        self._documents.drop(ALERT, id_)
        self._alerts.pop(id_, None)
        self._kept_us.pop(id_, None)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell(
        self, alerts: Sequence[Alert], quiet: Mapping[str, str], now_us: int, faults: dict[str, str]
    ) -> tuple[str, ...]:
        notices, kept = due(self._plan.routes, alerts, quiet, self._groups, now_us)
        for group in kept.values():
            self._keep_group(group)
        told = []
        for notice in notices:
            tries, again_us = self._failed.get(notice.key, (0, 0))
            if now_us < again_us:
                continue
            try:
                self._deliver(self.message(notice, now_us), notice.route)
            except ConnectorError as error:
                faults[notice.route.name] = error.message
                if error.heals:
                    wait_us = min(_RETRY_FIRST_US * 2**tries, _RETRY_LONGEST_US)
                    self._failed[notice.key] = (tries + 1, now_us + wait_us)
                    continue
                self._note_failure(notice, error)
            self._failed.pop(notice.key, None)
            self._keep_group(notice.after)
            told.append(notice.key)
        return tuple(told)

    def message(self, notice: Notice, now_us: int) -> Message:
        """What is told."""
        flow = next((one.labels["flow"] for one in (*notice.firing, *notice.resolved) if "flow" in one.labels), "")
        return message_of(notice, self._plan.rules, self._circumstance(flow), now_us=now_us)

    def _keep_group(self, group: Group) -> None:
        if not group.sent and group.first_us is None:
            self._documents.drop(GROUP, group.key)
            self._groups.pop(group.key, None)
            return
        self._groups[group.key] = group
        self._documents.keep(Document(GROUP, group.key, group.as_dict()))

    def _note_failure(self, notice: Notice, error: ConnectorError) -> None:
        """A receiver that refuses what it is told refuses it the next time too: it is noted, once."""
        body = {"route": notice.route.name, "key": notice.key, "error": error.message}
        self._ledger.operations.note(Event("alert-undelivered", "", body))


def _ended(alert: Alert, now_us: int) -> Alert:
    return Alert.from_dict({**alert.as_dict(), "state": State.RESOLVED.value, "resolved_us": now_us})
