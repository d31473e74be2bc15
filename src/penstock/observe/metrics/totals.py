"""What the epochs of a flow come to, as sums that are added to epoch by epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.ledger import EpochRecord
from penstock.observe.metrics.user_totals import UserMetric, add_user_metrics
from penstock.observe.metrics.vocabulary import EPOCH_BUCKETS_S

__all__ = ["LABELS_MAX", "FlowTotals", "Seen"]

LABELS_MAX = 1_000
"""So many values of a label are told apart in one metric of a flow; what comes beyond is counted under `other`."""
_FIRSTS = 50


@dataclass(frozen=True, slots=True)
class Seen:
    """Which record it was: enough to see whether the ledger still has it."""

    epoch: int
    generation: int
    committed_us: int

    @classmethod
    def of(cls, record: EpochRecord) -> Seen:
        """Of a record."""
        return cls(record.epoch, record.generation, record.committed_us)


@dataclass(slots=True)
class FlowTotals:
    """What the epochs of a flow come to. `checks`: by (expectation, passed or failed). `buckets`: epochs by the place
    of their duration in `EPOCH_BUCKETS_S`, one more for all that took longer. `steps_since`: step -> `worked_s` and
    `idle_s` when it was first seen. `firsts`: [generation, time of its first commit, time of that epoch's plan] of the
    newest generations. `origin`, `last`: the first and the newest record that was counted; `undone`: the undos whose
    epochs were.
    """

    rows_in: Counter[str] = field(default_factory=Counter)
    rows_out: Counter[str] = field(default_factory=Counter)
    bytes_in: Counter[str] = field(default_factory=Counter)
    bytes_out: Counter[str] = field(default_factory=Counter)
    step_rows_in: Counter[str] = field(default_factory=Counter)
    step_rows_out: Counter[str] = field(default_factory=Counter)
    rows_late: int = 0
    rows_dead: int = 0
    checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    phases_s: dict[str, float] = field(default_factory=dict)
    steps_s: dict[str, float] = field(default_factory=dict)
    steps_since: dict[str, tuple[float, float]] = field(default_factory=dict)
    worked_s: float = 0.0
    idle_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(EPOCH_BUCKETS_S) + 1))
    user: dict[str, UserMetric] = field(default_factory=dict)
    epochs: int = 0
    epochs_undone: int = 0
    undone: list[str] = field(default_factory=list)
    origin: Seen | None = None
    last: Seen | None = None
    last_output_us: int | None = None
    firsts: list[tuple[int, int, int]] = field(default_factory=list)
    run_ended_us: int | None = None
    run_s: float | None = None

    def add(self, record: EpochRecord, *, undone: bool = False) -> None:
        """Count one epoch; one that was undone is work that was done, and says nothing of now."""
        _bounded(self.rows_in, record.rows_in)
        _bounded(self.rows_out, record.rows_out)
        _bounded(self.bytes_in, record.bytes_in)
        _bounded(self.bytes_out, record.bytes_out)
        self.rows_late += record.rows_late
        self.rows_dead += record.rows_dead
        for check, results in record.checks.items():
            known = (check, "passed") in self.checks or len(self.checks) < 2 * LABELS_MAX
            for result in ("passed", "failed"):
                self.checks[check if known else "other", result] += int(results.get(result) or 0)
        took_s = sum(record.timings_ms.values()) / 1e3
        for phase, took_ms in record.timings_ms.items():
            self.phases_s[phase] = self.phases_s.get(phase, 0.0) + took_ms / 1e3
        self._count_time(record, took_s, undone=undone)
        place = next((at for at, most_s in enumerate(EPOCH_BUCKETS_S) if took_s <= most_s), len(EPOCH_BUCKETS_S))
        self.buckets[place] += 1
        self.epochs += 1
        if record.metrics:
            add_user_metrics(self.user, record.metrics)
        if undone:
            self.epochs_undone += 1
            return
        self._note(record)

    def _count_time(self, record: EpochRecord, took_s: float, *, undone: bool) -> None:
        """Steps are busy for their part of an epoch and wait in the rest of it; between epochs all are idle."""
        before = self.last
        if before is not None and before.generation == record.generation and not undone:
            self.idle_s += max((record.committed_us - before.committed_us) / 1e6 - took_s, 0.0)
        for step, told in record.steps.items():
            if step not in self.steps_since:
                if len(self.steps_since) >= LABELS_MAX:
                    continue
                self.steps_since[step] = (self.worked_s, self.idle_s)
            self.steps_s[step] = self.steps_s.get(step, 0.0) + told.get("ms", 0.0) / 1e3
            for counts, name in ((self.step_rows_in, "in"), (self.step_rows_out, "out")):
                if name in told:
                    counts[step] += int(told[name])
        self.worked_s += took_s

    def _note(self, record: EpochRecord) -> None:
        if self.origin is None:
            self.origin = Seen.of(record)
        if not self.firsts or self.firsts[-1][0] != record.generation:
            self.firsts = [*self.firsts[-_FIRSTS:], (record.generation, record.committed_us, record.plan.now_us)]
        if record.plan.final:
            self.run_ended_us = record.committed_us
            self.run_s = (record.committed_us - self.firsts[-1][2]) / 1e6
        self.last = Seen.of(record)
        if any(record.rows_out.values()):
            self.last_output_us = record.committed_us

    def step_times_s(self) -> dict[tuple[str, str], float]:
        """By step and `busy`, `blocked` or `idle`: for each step the three grow by the time that passes."""
        found: dict[tuple[str, str], float] = {}
        for step, (worked_s, idle_s) in self.steps_since.items():
            busy_s = self.steps_s.get(step, 0.0)
            found[step, "busy"] = busy_s
            found[step, "blocked"] = max(self.worked_s - worked_s - busy_s, 0.0)
            found[step, "idle"] = max(self.idle_s - idle_s, 0.0)
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["checks"] = [[*key, count] for key, count in self.checks.items()]
        values["user"] = {name: one.as_json() for name, one in self.user.items()}
        for name in ("origin", "last"):
            seen: Seen | None = values[name]
            values[name] = None if seen is None else [seen.epoch, seen.generation, seen.committed_us]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FlowTotals:
        """Back from `as_json`. Raises ValueError, KeyError, TypeError for what is something else."""
        if set(values) != set(cls.__dataclass_fields__) or len(values["buckets"]) != len(EPOCH_BUCKETS_S) + 1:
            raise ValueError("totals of another version")
        known = dict(values)
        for name in ("rows_in", "rows_out", "bytes_in", "bytes_out", "step_rows_in", "step_rows_out"):
            known[name] = Counter(known[name])
        known["checks"] = Counter({(check, result): count for check, result, count in known["checks"]})
        known["user"] = {}
        add_user_metrics(known["user"], values["user"])
        known["steps_since"] = {step: (since[0], since[1]) for step, since in values["steps_since"].items()}
        known["firsts"] = [(first[0], first[1], first[2]) for first in values["firsts"]]
        for name in ("origin", "last"):
            known[name] = None if values[name] is None else Seen(*values[name])
        return cls(**known)


def _bounded(counts: Counter[str], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        counts[name if name in counts or len(counts) < LABELS_MAX else "other"] += count
