"""What people ask and say of alerts: which there are, keep them quiet, let them speak again. From the ledger alone, so
it is the same with or without a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.clock import Clock, new_id
from penstock.control.alerting.looking import ALERT, SILENCE
from penstock.control.alerting.planning import AlertPlan
from penstock.errors import ConfigError, did_you_mean
from penstock.ledger import Document, Event, Ledger
from penstock.observe import Alert, Severity, Silence, State, alert_text, quieted

__all__ = ["AlertDesk", "ShownAlert"]

_ID_LENGTH = 8
_STATES = (State.FIRING, State.PENDING, State.RESOLVED)


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert, its sentence, and why it is quiet (empty: it is not)."""

    alert: Alert
    text: str
    quiet: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**self.alert.as_dict(), "text": self.text, "quiet": self.quiet}


def _urgency(one: ShownAlert) -> tuple[int, int, int]:
    alert = one.alert
    return _STATES.index(alert.state), list(Severity).index(alert.severity), -(alert.fired_us or alert.since_us)


class AlertDesk:
    """Alerts and silences of one environment. Every method raises LedgerError."""

    def __init__(self, ledger: Ledger, clock: Clock, plan: AlertPlan) -> None:
        self._ledger = ledger
        self._documents = ledger.operations.documents
        self._clock = clock
        self._plan = plan

    def alerts(self, flow: str | None = None, *, every: bool = False) -> list[ShownAlert]:
        """Those that fire, worst first, or `every` one: pending, and over within a day, too."""
        found = [Alert.from_dict(one.body) for one in self._documents.documents(ALERT)]
        quiet = quieted(found, self._plan.rules, self.silences(), self._clock.now_us())
        shown = [
            ShownAlert(one, alert_text(one, self._plan.rules), quiet.get(one.id, ""))
            for one in found
            if (flow is None or one.labels.get("flow") == flow) and (every or one.state is State.FIRING)
        ]
        return sorted(shown, key=_urgency)

    def silences(self) -> Sequence[Silence]:
        """Those that stand or will."""
        now_us = self._clock.now_us()
        found = [Silence(**one.body) for one in self._documents.documents(SILENCE)]
        return [one for one in found if one.until_us > now_us]

    def silence(self, matchers: str, *, for_s: float, who: str, why: str) -> Silence:
        """Keep alerts quiet from now on. Raises ConfigError where it would be of everything, or of no time."""
        now_us = self._clock.now_us()
        made = Silence.made(new_id()[:_ID_LENGTH], matchers, now_us, now_us + round(for_s * 1e6), who=who, why=why)
        self._documents.keep(Document(SILENCE, made.id, made.as_dict(), who), over=0)
        self._ledger.operations.note(Event("silenced", "", made.as_dict(), who))
        return made

    def unsilence(self, id_: str, *, who: str) -> Silence:
        """Let them speak again. Raises ConfigError where there is no such silence."""
        found = {one.id: one for one in self.silences()}
        if id_ not in found:
            close = did_you_mean(id_, tuple(found))
            raise ConfigError(f"there is no silence {id_!r}.{close}", hint="penstock alerts silences lists them")
        self._documents.drop(SILENCE, id_)
        self._ledger.operations.note(Event("unsilenced", "", found[id_].as_dict(), who))
        return found[id_]
