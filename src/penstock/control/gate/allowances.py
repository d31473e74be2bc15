"""What a policy says of differences between the rows of two versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from penstock.control.gate.judgement import Reason
from penstock.control.gate.row_diff import RowDiff
from penstock.control.policies import Allowance, DeployPolicy

__all__ = ["row_notes", "row_reasons", "rows_text", "share_text"]

_APPROVED_FACTOR = 2.0
_NAMED_MAX = 4


def row_reasons(
    rows: Mapping[str, RowDiff],
    policy: DeployPolicy,
    *,
    approved: Mapping[str, RowDiff] | None = None,
    goes_on: bool = False,
) -> Iterator[Reason]:
    """What differs more than the policy allows, sink by sink.

    `approved`: differences that somebody saw and let through. The same again is no news: columns that changed then may
    change now, in up to twice the share of the rows. `goes_on`: the window is still open, so rows of its first and last
    epoch that only one version has say nothing yet.
    """
    for sink, diff in rows.items():
        if sink in policy.ignore_sinks:
            continue
        known = (approved or {}).get(sink, RowDiff(sink))
        if diff.in_old and not diff.in_new and known.in_new:
            yield Reason("sink", f"{sink}: the new version does not write it any more", sink)
        if not (diff.in_old and diff.in_new):
            continue
        yield from _column_reasons(sink, diff, known, policy)
        if not diff.complete:
            yield Reason("rows", f"{sink}: not all rows were compared: {diff.limits[-1]}", sink)
        yield from _changed_reasons(sink, diff, known, policy)
        for kind, text, edge in (
            ("only_old", "only in old", diff.edge_old),
            ("only_new", "only in new", diff.edge_new),
        ):
            found = getattr(diff, kind) - (edge if goes_on else 0)
            allowed = _wider(policy.allowed(kind, sink), known, kind)
            if not allowed.covers(found, diff.rows):
                more = f"; {edge:,} at an edge of the window, perhaps only early or late" if edge else ""
                yield Reason("rows", f"{_too_many(sink, diff, text, found, allowed)}{more}", sink)


def _changed_reasons(sink: str, diff: RowDiff, known: RowDiff, policy: DeployPolicy) -> Iterator[Reason]:
    by_policy = policy.allowed("changed", sink)
    calm = {*policy.allow_columns, *known.changed_by_column}
    for columns, allowed in ((calm, by_policy), ({*policy.allow_columns}, _wider(by_policy, known, "changed"))):
        found = diff.changed_outside(columns)
        if allowed.covers(found, diff.rows):
            continue
        names = [name for name in diff.changed_by_column if name not in columns]
        further = f" and {len(names) - _NAMED_MAX} more columns" if len(names) > _NAMED_MAX else ""
        where = f"; in {', '.join(names[:_NAMED_MAX])}{further}"
        yield Reason("rows", f"{_too_many(sink, diff, 'changed', found, allowed)}{where}", sink)
        return


def _column_reasons(sink: str, diff: RowDiff, known: RowDiff, policy: DeployPolicy) -> Iterator[Reason]:
    news = [name for name in diff.columns.names if name not in policy.allow_columns and name not in known.columns.names]
    if news:
        told = []
        for label, columns in (("added", diff.columns.added), ("removed", diff.columns.removed)):
            told += [f"{name} ({dtype}) is {label}" for name, dtype in columns.items() if name in news]
        told += [f"{name} is {new}, was {old}" for name, (old, new) in diff.columns.retyped.items() if name in news]
        yield Reason("columns", f"{sink}: its columns differ: {', '.join(told)}", sink)


def _wider(allowed: Allowance, known: RowDiff, kind: str) -> Allowance:
    """What is allowed, or twice what was approved, whichever is more."""
    if not known.rows:
        return allowed
    share = getattr(known, kind) / known.rows * _APPROVED_FACTOR
    return Allowance(allowed.rows, max(allowed.share, min(1.0, share)))


def _too_many(sink: str, diff: RowDiff, text: str, found: int, allowed: Allowance) -> str:
    share = f" ({share_text(found / diff.rows)})" if diff.rows else ""
    return f"{sink}: {found:,} of {diff.rows:,} rows {text}{share}, allowed: {allowed}"


def share_text(share: float) -> str:
    """`12%`, `0.31%`, `under 0.01%`; never `0%` of something, nor `100%` of not all."""
    percent = 100 * share
    if 0 < percent < 0.01:  # noqa: PLR2004 - per cent
        return "under 0.01%"
    if 99.99 < percent < 100:  # noqa: PLR2004 - per cent
        return "over 99.99%"
    return f"{percent:.2f}".rstrip("0").rstrip(".") + "%"


def rows_text(rows: int) -> str:
    """`1 row`, `2,000 rows`."""
    return "1 row" if rows == 1 else f"{rows:,} rows"


def row_notes(rows: Mapping[str, RowDiff], policy: DeployPolicy) -> Iterator[str]:
    """What is worth knowing of the comparison itself."""
    for sink, diff in rows.items():
        if sink in policy.ignore_sinks:
            yield f"{sink}: not looked at, the policy says so"
            continue
        if not diff.in_old and diff.in_new:
            yield f"{sink}: new, with {rows_text(diff.rows_new)} so far"
        limits = diff.limits if diff.complete else diff.limits[:-1]
        yield from (f"{sink}: {limit}" for limit in limits)
        by_policy = [name for name in diff.changed_by_column if name in policy.allow_columns]
        if by_policy:
            allowed = diff.changed - diff.changed_outside(policy.allow_columns)
            if allowed:
                yield f"{sink}: {rows_text(allowed)} changed only in {', '.join(by_policy)}, which the policy allows"
