"""What is counted beside the epochs: ends of processes, their processor time, and how often objectives were met."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from penstock.control.supervising.standing import is_leader
from penstock.ledger import Event, Ledger, Member
from penstock.observe import FreshnessCount

__all__ = ["FACT", "FlowCounts", "SideCounts"]

FACT = "side-counts"
"""The name by which they are kept in the store of metrics."""
_EVENTS_MOST = 10_000


@dataclass(slots=True)
class FlowCounts:
    """Of one flow: restarts by cause, processor seconds by role, samples against the objective; the last bad end."""

    restarts: Counter[str] = field(default_factory=Counter)
    cpu_s: dict[str, float] = field(default_factory=dict)
    objective: FreshnessCount = field(default_factory=FreshnessCount)
    ended_us: int | None = None


class SideCounts:
    """Those of all flows. What was counted goes on over the server's restarts, where it was kept."""

    def __init__(self, text: str | None = None) -> None:
        self._flows: dict[str, FlowCounts] = {}
        self._last_event = 0
        self._seen_s: dict[str, float] = {}
        with suppress(ValueError, KeyError, TypeError):
            if text is not None:
                self._load(json.loads(text))

    def of(self, flow: str) -> FlowCounts:
        """Of one flow."""
        return self._flows.setdefault(flow, FlowCounts())

    def look(self, ledger: Ledger) -> None:
        """Count what came since the last look. Raises LedgerError."""
        self._take_events(ledger.operations.events(kind="member-ended", limit=_EVENTS_MOST))
        self._take_members(ledger.members(ended=True))

    def _take_events(self, events: Sequence[Event]) -> None:
        for event in reversed(events):
            if event.id is None or event.id <= self._last_event:
                continue
            self._last_event = event.id
            if event.body.get("led"):
                counts = self.of(event.flow)
                counts.restarts[str(event.body.get("outcome") or "unknown")] += 1
                counts.ended_us = int(event.body.get("at_us") or event.at_us)

    def _take_members(self, members: Sequence[Member]) -> None:
        """A process tells what it used since it began, and is there with its last word for a while after its end."""
        for member in members:
            used_s = member.facts.get("cpu_s")
            if used_s is None:
                continue
            more_s = float(used_s) - self._seen_s.get(member.id, 0.0)
            if more_s > 0:
                role = "leader" if is_leader(member) or member.facts.get("generation") is not None else "follower"
                spent = self.of(member.flow).cpu_s
                spent[role] = spent.get(role, 0.0) + more_s
                self._seen_s[member.id] = float(used_s)
        there = {member.id for member in members}
        self._seen_s = {member: used_s for member, used_s in self._seen_s.items() if member in there}

    def kept(self) -> str:
        """All of it as text."""
        flows = {
            name: {
                "restarts": one.restarts,
                "cpu_s": one.cpu_s,
                "met": one.objective.met,
                "missed": one.objective.missed,
                "ended_us": one.ended_us,
            }
            for name, one in self._flows.items()
        }
        return json.dumps({"flows": flows, "last_event": self._last_event, "seen_s": self._seen_s})

    def _load(self, values: Mapping[str, object]) -> None:
        flows, seen_s = values["flows"], values["seen_s"]
        assert isinstance(flows, dict)
        assert isinstance(seen_s, dict)
        for name, one in flows.items():
            counted = FreshnessCount(int(one["met"]), int(one["missed"]))
            self._flows[name] = FlowCounts(Counter(one["restarts"]), dict(one["cpu_s"]), counted, one["ended_us"])
        self._last_event = int(str(values["last_event"]))
        self._seen_s = {str(member): float(used_s) for member, used_s in seen_s.items()}
