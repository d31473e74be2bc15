"""What speaks against a new version after the cut: then the old one, which is still warm, leads again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from penstock.control.gate.allowances import row_reasons
from penstock.control.gate.conduct import Conduct
from penstock.control.gate.judgement import Reason
from penstock.control.gate.row_diff import RowDiff
from penstock.control.gate.verdict import check_reasons, speed_reason
from penstock.control.policies import DeployPolicy

__all__ = ["watch_judge"]

_EPOCHS_LEAST = 5
"""Fewer say nothing about speed: the first epochs of a process are slow."""
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
) -> tuple[Reason, ...]:
    """Why the new version is to be rolled back; empty where it is not.

    `before`: the old version until the cut; `after`: the new one since. `hidden`: the old version since, which runs the
    same epochs and writes nowhere; it is the better one to compare with. `rows`: what it would have written beside
    what was, by sink; `approved`: the differences that were let through at the gate. `freshness_s`: what the author
    promised (`Definition.freshness_us`).
    """
    # Where the hidden version has done what the new one has, each row counts.
    same = hidden is not None and hidden.error is None and hidden.epochs == after.epochs > 0
    beside = hidden if hidden is not None and same else before
    return (
        *_errors(after),
        *check_reasons(beside, after, policy, same_epochs=same),
        *_dead_letters(beside, after, policy, same_epochs=same),
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


def _dead_letters(beside: Conduct, after: Conduct, policy: DeployPolicy, *, same_epochs: bool) -> Iterator[Reason]:
    """More dead letters than the old version has of the same rows, or had of as many before."""
    expected = beside.rows_dead if same_epochs else beside.rows_dead / max(beside.rows_in, 1) * after.rows_in
    # Other rows are not all alike: chance is allowed for.
    chance = 0.0 if same_epochs else 3 * expected**0.5
    more = after.rows_dead - expected
    if more > chance and not policy.dead_letters_max.covers(math.ceil(more), after.rows_in):
        who = "the old version has" if same_epochs else "as before the cut it would be"
        yield Reason("dead-letters", f"{after.rows_dead:,} rows became dead letters, {who} {expected:,.0f}")


def _freshness(before: Conduct, after: Conduct, freshness_s: float | None) -> Iterator[Reason]:
    """Results are older than was promised, and were not before."""
    if freshness_s is None or after.result_age_s is None or after.result_age_s <= freshness_s:
        return
    if before.result_age_s is None or before.result_age_s <= freshness_s:
        yield Reason(
            "freshness", f"the newest result is {after.result_age_s:,.1f} s old, promised are {freshness_s:,.1f} s"
        )


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
