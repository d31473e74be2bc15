"""How one version did over some epochs: rows, expectations, errors, speed, freshness. A plain value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from penstock.ledger import EpochRecord
from penstock.observe import freshness_at_commit_us, freshness_us

__all__ = ["Conduct", "conduct_of_facts", "conduct_of_records"]


@dataclass(frozen=True, slots=True)
class Conduct:
    """How one version did.

    `checks_failed`, `checks_passed`: rows by expectation; one that is in neither was not looked at, and how many passed
    is not always known. `run_ms_p50`: what the steps of an epoch took, at the median. `backlog_rows`: what waits at the
    end, `backlog_before_rows` at the beginning. `result_age_s`: how fresh results are (`penstock.observe.freshness_us`)
    now, or were at the median commit, whichever is more. None: not known. `error`: what it ended with, as
    `PenstockError.as_dict`; `failures`: how often it ended.
    """

    version: str = ""
    epochs: int = 0
    rows_in: int = 0
    rows_out: int = 0
    rows_late: int = 0
    rows_dead: int = 0
    checks_failed: Mapping[str, int] = field(default_factory=dict)
    checks_passed: Mapping[str, int] = field(default_factory=dict)
    run_ms_p50: float | None = None
    rows_per_s: float | None = None
    backlog_rows: int | None = None
    backlog_before_rows: int | None = None
    result_age_s: float | None = None
    error: Mapping[str, Any] | None = None
    failures: int = 0

    def failed_share(self, check: str) -> float:
        """Which share of the rows does not meet an expectation: of those it was held against, else of the input."""
        failed = self.checks_failed.get(check, 0)
        held = failed + self.checks_passed[check] if check in self.checks_passed else self.rows_in
        return failed / max(held, failed, 1)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in asdict(self).items()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Conduct:
        """Back from `as_json`."""
        known = {field.name for field in fields(Conduct)}
        return Conduct(**{name: value for name, value in values.items() if name in known})


def conduct_of_records(
    version: str,
    records: Sequence[EpochRecord],
    *,
    tables: Sequence[str] = (),
    backlog_rows: int | None = None,
    backlog_before_rows: int | None = None,
    now_us: int | None = None,
    caught_up_us: int | None = None,
    waits: bool | None = None,
) -> Conduct:
    """How a version did in the epochs of these records. `tables`: lookup tables, whose rows are no rows of the stream.

    `now_us`: the time, where the age of the newest result is asked for. `caught_up_us`, `waits`: what the leader told
    of its input; None: what the records and the backlog say.
    """
    failed: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for record in records:
        for name, counts in record.checks.items():
            failed[name] += int(counts.get("failed", 0))
            passed[name] += int(counts.get("passed", 0))
    rows_in = sum(rows for record in records for name, rows in record.rows_in.items() if name not in tables)
    age_us: float | None = None
    if records and now_us is not None:
        last = records[-1]
        found_us = freshness_us(
            now_us=now_us,
            committed_us=last.committed_us,
            watermark_us=last.watermark_us,
            caught_up_us=last.committed_us if caught_up_us is None else max(caught_up_us, last.plan.now_us),
            waits=backlog_rows != 0 if waits is None else waits,
        )
        age_us = max(found_us or 0, median(map(freshness_at_commit_us, records)))
    run_ms = [record.timings_ms["run"] for record in records if "run" in record.timings_ms]
    lasted_us = records[-1].committed_us - records[0].plan.now_us if records else 0
    return Conduct(
        version=version,
        epochs=len(records),
        rows_in=rows_in,
        rows_out=sum(sum(record.rows_out.values()) for record in records),
        rows_late=sum(record.rows_late for record in records),
        rows_dead=sum(record.rows_dead for record in records),
        checks_failed=dict(failed),
        checks_passed=dict(passed),
        run_ms_p50=median(run_ms) if run_ms else None,
        rows_per_s=rows_in / (lasted_us / 1e6) if lasted_us > 0 else None,
        backlog_rows=backlog_rows,
        backlog_before_rows=backlog_before_rows,
        result_age_s=None if age_us is None else age_us / 1e6,
    )


def conduct_of_facts(version: str, facts: Mapping[str, Any]) -> Conduct:
    """How a member did since it began, as its facts tell."""
    epoch, first = facts.get("epoch"), facts.get("start_epoch")
    return Conduct(
        version=version,
        epochs=max(0, int(epoch) - int(first)) if epoch is not None and first is not None else 0,
        rows_in=int(facts.get("rows_in") or 0),
        rows_out=int(facts.get("rows_out") or 0),
        rows_late=int(facts.get("rows_late") or 0),
        rows_dead=int(facts.get("rows_dead") or 0),
        checks_failed=dict(facts.get("checks_failed") or {}),
        run_ms_p50=facts.get("run_ms_p50"),
        backlog_rows=facts.get("backlog_rows"),
        error=facts.get("error"),
        failures=1 if facts.get("error") else 0,
    )
