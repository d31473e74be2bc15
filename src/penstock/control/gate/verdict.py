"""The gate: everything that is known of a new version beside the old one, before the cut; and what a policy says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.control.gate.allowances import row_notes, row_reasons, rows_text, share_text
from penstock.control.gate.conduct import Conduct
from penstock.control.gate.judgement import Judgement, Reason
from penstock.control.gate.row_diff import RowDiff
from penstock.control.policies import DeployPolicy, Extent

__all__ = ["Determinism", "Gate", "check_reasons", "dead_letter_reasons", "judge", "speed_reason"]

_NOISE_MS = 2.0
"""A difference of less is no difference of speed."""


@dataclass(frozen=True, slots=True)
class Determinism:
    """Epochs of the new version that were run twice; the steps whose rows were not the same both times."""

    epochs: int = 0
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """What is known. `old` and `new` did the same epochs, where they did as many: then each row counts.

    `changes`: what differs in the definition, as `penstock.analysis.VersionDiff.as_json`. `state`: whether the state
    fits, as `penstock.analysis.Verdict.as_json` (`is_compatible`, or `compatible`; `tables`, or `reasons`).
    `migrated`: rows of state that were moved on the copy, by table. `rows`: by sink.
    """

    flow: str
    env: str = "dev"
    old_version: str = ""
    new_version: str = ""
    epochs: tuple[int, int] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    migrated: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, RowDiff] = field(default_factory=dict)
    old: Conduct = field(default_factory=Conduct)
    new: Conduct = field(default_factory=Conduct)
    determinism: Determinism | None = None

    @property
    def rows_compared(self) -> int:
        """How many rows were compared, over all sinks."""
        return sum(diff.rows for diff in self.rows.values())

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        checked = self.determinism
        return {
            "flow": self.flow,
            "env": self.env,
            "old_version": self.old_version,
            "new_version": self.new_version,
            "epochs": None if self.epochs is None else list(self.epochs),
            "changes": dict(self.changes),
            "state": dict(self.state),
            "migrated": dict(self.migrated),
            "rows": {sink: diff.as_json() for sink, diff in self.rows.items()},
            "old": self.old.as_json(),
            "new": self.new.as_json(),
            "determinism": None if checked is None else {"epochs": checked.epochs, "steps": list(checked.steps)},
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Gate:
        """Back from `as_json`; `rows` may be called `diff`, as a deployment's facts do."""
        checked, epochs = values.get("determinism"), values.get("epochs")
        rows = values.get("rows") or values.get("diff") or {}
        return Gate(
            flow=values["flow"],
            env=values.get("env", "dev"),
            old_version=values.get("old_version", ""),
            new_version=values.get("new_version", ""),
            epochs=None if epochs is None else (epochs[0], epochs[1]),
            changes=dict(values.get("changes", {})),
            state=dict(values.get("state", {})),
            migrated=dict(values.get("migrated", {})),
            rows={sink: RowDiff.from_json(diff) for sink, diff in rows.items()},
            old=Conduct.from_json(values.get("old", {})),
            new=Conduct.from_json(values.get("new", {})),
            determinism=None if checked is None else Determinism(checked["epochs"], tuple(checked["steps"])),
        )


def judge(gate: Gate, policy: DeployPolicy) -> Judgement:
    """Whether the new version may be cut to by this policy."""
    same_epochs = gate.old.epochs == gate.new.epochs
    reasons = (
        *_state_reasons(gate),
        *_error_reasons(gate),
        *row_reasons(gate.rows, policy),
        *_emptiness(gate, policy),
        *check_reasons(gate.old, gate.new, policy, same_epochs=same_epochs),
        *dead_letter_reasons(gate.old, gate.new, policy, same_epochs=same_epochs),
        *speed_reason(gate.old, gate.new, policy),
        *_determinism_reasons(gate),
    )
    passed, final = not reasons, any(reason.final for reason in reasons)
    asked = policy.approve == "always" or (policy.approve == "differences" and not passed)
    return Judgement(passed, reasons, asked and not final, tuple(_notes(gate, policy)))


def _state_reasons(gate: Gate) -> Iterator[Reason]:
    state = gate.state
    if state.get("is_compatible", state.get("compatible", True)):
        return
    told = [str(reason) for reason in state.get("reasons", ())]
    for table in state.get("tables", ()):
        if table.get("outcome") == "refused":
            why = "; ".join(table.get("reasons", ())) or "it does not fit"
            told.append(f"{table.get('step')}: {why}")
    yield Reason("state", f"the state can't be taken over: {'; '.join(told) or 'it does not fit'}", final=True)


def _error_reasons(gate: Gate) -> Iterator[Reason]:
    error = gate.new.error
    if error is None:
        return
    where = f" in step {error['step']}" if error.get("step") else ""
    where += f", epoch {error['epoch']:,}" if error.get("epoch") is not None else ""
    told = str(error.get("message") or "nobody knows why")
    also = "; the old version failed too" if gate.old.error is not None else ""
    yield Reason("error", f"the new version failed{where}: {told}{also}", final=True)


def _emptiness(gate: Gate, policy: DeployPolicy) -> Iterator[Reason]:
    if policy.shadow == Extent() and not gate.rows:
        return
    looked_at = sum(diff.rows for sink, diff in gate.rows.items() if sink not in policy.ignore_sinks)
    if looked_at >= policy.rows_min:
        return
    if gate.epochs is None:
        text = "no epoch ran in both versions, so nothing is proven"
    elif looked_at == 0:
        text = f"neither version wrote a row in epochs {gate.epochs[0]:,}..{gate.epochs[1]:,}, so nothing is proven"
    else:
        text = f"only {rows_text(looked_at)} could be compared, the policy wants {policy.rows_min:,}"
    yield Reason("nothing-compared", text)


def check_reasons(old: Conduct, new: Conduct, policy: DeployPolicy, *, same_epochs: bool = True) -> Iterator[Reason]:
    """Expectations that the new version meets less well than the policy wants.

    `same_epochs`: both had the same input, so that one row more counts. Else an expectation is worse that was met
    before, or that fails for more than twice the share of the rows.
    """
    if policy.checks == "ignore":
        return
    for name, failed in new.checks_failed.items():
        before = old.checks_failed.get(name, 0)
        if not failed:
            continue
        told, share = f"expectation {name} fails for {rows_text(failed)}", new.failed_share(name)
        if policy.checks == "pass":
            yield Reason("checks", f"{told}; none may fail")
        elif same_epochs and failed > before:
            known = name in old.checks_failed or name in old.checks_passed
            was = f"{before:,} with the old version" if known else "the old version did not have it"
            yield Reason("checks", f"{told}, {was}")
        elif not same_epochs and share > 2 * old.failed_share(name):
            was = f"{share_text(old.failed_share(name))} before" if before else "it was met before"
            yield Reason("checks", f"{told} ({share_text(share)}), {was}")


def dead_letter_reasons(
    old: Conduct, new: Conduct, policy: DeployPolicy, *, same_epochs: bool = True
) -> Iterator[Reason]:
    """More dead letters than the old version has of the same rows, or had of as many others."""
    expected = old.rows_dead if same_epochs else old.rows_dead / max(old.rows_in, 1) * new.rows_in
    # Other rows are not all alike: chance is allowed for, also where there was none among those before.
    chance = 0.0 if same_epochs else 3 * max(expected, 1.0) ** 0.5
    more = new.rows_dead - expected
    if more > chance and not policy.dead_letters_max.covers(math.ceil(more), new.rows_in):
        who = "with the old version" if same_epochs else "as before it would be"
        yield Reason(
            "dead-letters",
            f"{rows_text(new.rows_dead)} became dead letters, {who} {expected:,.0f}; "
            f"allowed are {policy.dead_letters_max} more",
        )


def speed_reason(old: Conduct, new: Conduct, policy: DeployPolicy) -> Iterator[Reason]:
    """Whether an epoch takes too much longer, at the median; where either is not known, nothing is said."""
    if old.run_ms_p50 is None or new.run_ms_p50 is None or new.run_ms_p50 - old.run_ms_p50 < _NOISE_MS:
        return
    factor = new.run_ms_p50 / max(old.run_ms_p50, 0.001)
    if factor > policy.slower_max:
        yield Reason(
            "speed",
            f"an epoch takes {new.run_ms_p50:,.1f} ms, {old.run_ms_p50:,.1f} ms with the old version: "
            f"{factor:.1f} times as long, allowed: {policy.slower_max:g}",
        )


def _determinism_reasons(gate: Gate) -> Iterator[Reason]:
    if gate.determinism is None or not gate.determinism.steps:
        return
    steps: Sequence[str] = gate.determinism.steps
    verb = "gives" if len(steps) == 1 else "give"
    yield Reason(
        "determinism",
        f"{', '.join(steps)} {verb} other rows when an epoch runs again: differences may come from that, and so may a "
        "recovery",
    )


def _notes(gate: Gate, policy: DeployPolicy) -> Iterator[str]:
    if policy.shadow == Extent() and not gate.rows:
        yield "no shadow run: the policy says so, so no rows were compared"
    yield from row_notes(gate.rows, policy)
    gone = [name for name in (*gate.old.checks_failed, *gate.old.checks_passed) if not _has(gate.new, name)]
    if gone and gate.new.checks_passed:
        yield f"expectations that are gone: {', '.join(dict.fromkeys(gone))}"
    if gate.determinism is not None and gate.determinism.epochs and not gate.determinism.steps:
        yield f"{gate.determinism.epochs:,} epochs were run twice, with the same rows"


def _has(conduct: Conduct, check: str) -> bool:
    return check in conduct.checks_failed or check in conduct.checks_passed
