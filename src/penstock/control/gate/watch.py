"""What speaks against a new version after the cut: then the old one, which is still warm, leads again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from penstock.control.gate.allowances import row_reasons
from penstock.control.gate.conduct import Conduct
from penstock.control.gate.judgement import Reason
from penstock.control.gate.row_diff import RowDiff
from penstock.control.gate.verdict import check_reasons, dead_letter_reasons, speed_reason
from penstock.control.policies import DeployPolicy

__all__ = ["watch_judge"]

_EPOCHS_LEAST = 5
"""Fewer say nothing about speed: the first epochs of a process are slow."""
_STUCK_S = 30.0
_STUCK_FACTOR = 20
_BACKLOG_FACTOR = 2
_BACKLOG_EPOCHS = 20


def watch_judge(
    before: Conduct,
    after: Conduct,
    policy: DeployPolicy,
    *,
    hidden: Conduct | None = None,
    rows: Mapping[str, RowDiff] | None = None,
    approved: Mapping[str, RowDiff] | None = None,
    freshness_s: float | None = None,
    counts: bool = True,
) -> tuple[Reason, ...]:
    """Why the new version is to be rolled back; empty where it is not.

    `before`: the old version until the cut; `after`: the new one since. `hidden`: the old version since, which runs the
    same epochs and writes nowhere; it is the better one to compare with. `rows`: what it would have written beside
    what was, by sink; `approved`: the differences that were let through at the gate. `freshness_s`: what the author
    promised (`Definition.freshness_us`). `counts`: whether expectations and dead letters are judged, too.
    """
    # Where the hidden version has done what the new one has, each row counts.
    same = hidden is not None and hidden.error is None and hidden.epochs == after.epochs > 0
    beside = hidden if hidden is not None and same else before
    return (
        *_errors(after),
        *(check_reasons(beside, after, policy, same_epochs=same) if counts else ()),
        *(dead_letter_reasons(beside, after, policy, same_epochs=same) if counts else ()),
        *_freshness(before, after, freshness_s),
        *_backlog(after),
        *_speed(before, after, hidden, policy),
        *row_reasons(rows or {}, policy, approved=approved, goes_on=True),
    )


def _errors(after: Conduct) -> Iterator[Reason]:
    if after.error is not None or after.failures:
        error = after.error or {}
        where = f" in step {error['step']}" if error.get("step") else ""
        times = f" {after.failures} times" if after.failures > 1 else ""
        yield Reason("error", f"the new version failed{times}{where}: {error.get('message') or 'nobody knows why'}")


def _freshness(before: Conduct, after: Conduct, freshness_s: float | None) -> Iterator[Reason]:
    """Results are older than was promised, and were not before; without a promise, than anybody would call alive."""
    age_s, usual_s = after.result_age_s, before.result_age_s or 0.0
    most_s = freshness_s if freshness_s is not None else max(_STUCK_S, _STUCK_FACTOR * usual_s)
    if age_s is None or age_s <= most_s or usual_s > most_s:
        return
    why = f"promised are {freshness_s:,.1f} s" if freshness_s is not None else f"before it was {usual_s:,.1f} s"
    yield Reason("freshness", f"the newest result is {age_s:,.1f} s old while input waits, {why}")


def _backlog(after: Conduct) -> Iterator[Reason]:
    """More waits than did at the cut, and more than a burst: it does not keep up."""
    if after.backlog_rows is None or after.backlog_before_rows is None or not after.epochs:
        return
    usual = after.rows_in / after.epochs
    most = _BACKLOG_FACTOR * after.backlog_before_rows + _BACKLOG_EPOCHS * usual
    if after.epochs >= _EPOCHS_LEAST and after.backlog_rows > most:
        yield Reason(
            "freshness",
            f"it does not keep up: {after.backlog_rows:,} rows wait, {after.backlog_before_rows:,} did at the cut",
        )


def _speed(before: Conduct, after: Conduct, hidden: Conduct | None, policy: DeployPolicy) -> Iterator[Reason]:
    beside = hidden if hidden is not None and hidden.run_ms_p50 is not None else before
    if after.epochs >= _EPOCHS_LEAST:
        yield from speed_reason(beside, after, policy)
