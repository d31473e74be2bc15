"""How a handover looks: its plan, its stages while they go on, what it came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from penstock.control import Gate, Judgement, Stage, UndoPreview, plan_from_json, short
from penstock.interfaces.cli.gate_screen import print_gate
from penstock.interfaces.cli.screen import NUMBER, TEXT, age_text, count_text, counted, table, time_text
from penstock.ledger import Deployment, DeploymentStatus

__all__ = [
    "StageLine",
    "StagesPanel",
    "closing_lines",
    "comparison_table",
    "is_asking",
    "plan_lines",
    "preview_parts",
    "print_deployment",
    "print_gate_of",
    "stage_lines",
]

_EXTRA = {
    "roll-back": "the old version leads again",
    "release": "stop what is not needed, release what was held",
}
_ENDS = {
    DeploymentStatus.DONE: ("done", "green"),
    DeploymentStatus.REFUSED: ("refused", "yellow"),
    DeploymentStatus.FAILED: ("failed", "red"),
    DeploymentStatus.ROLLED_BACK: ("rolled back", "yellow"),
}


def plan_lines(plan: Sequence[Stage]) -> list[str]:
    """A plan for people, a line a stage."""
    width = max((len(stage.name) for stage in plan), default=0)
    return [f"  {number:>2}  {stage.name:<{width}}  {stage.text()}" for number, stage in enumerate(plan, 1)]


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage: `state` is done, now, waiting, skipped or failed; `seconds` since its begin, or until its end."""

    name: str
    state: str
    seconds: float | None
    detail: str


def stage_lines(deployment: Deployment, now_us: int) -> list[StageLine]:
    """All stages of the plan, and those that no plan has where they came to it."""
    plan = plan_from_json(deployment.plan)
    names = [stage.name for stage in plan]
    facts = deployment.facts
    running = deployment.status is DeploymentStatus.RUNNING
    current = deployment.stage or (names[0] if names else "")
    bad = str((facts.get("ending") or {}).get("at") or "")
    found = []
    for name in (*names, *(extra for extra in _EXTRA if extra in facts)):
        fact: Mapping[str, Any] = facts.get(name) or {}
        begun_us, ended_us = fact.get("began_us"), fact.get("ended_us")
        seconds = None if begun_us is None else ((ended_us or deployment.ended_us or now_us) - begun_us) / 1e6
        if name == bad and name not in _EXTRA:
            state = "failed"
        elif running and name == current:
            state = "now"
        else:
            state = "done" if begun_us is not None else "waiting" if running else "skipped"
        found.append(StageLine(name, state, seconds, detail_of(name, facts, deployment, now_us)))
    return found


def detail_of(name: str, facts: Mapping[str, Any], deployment: Deployment, now_us: int) -> str:
    """What there is to say of a stage now."""
    fact: Mapping[str, Any] = facts.get(name) or {}
    match name:
        case "approve":
            return _approval(facts, deployment)
        case "watch":
            return _watch(fact, deployment, now_us)
    return _DETAILS[name](fact) if name in _DETAILS else ""


def _verdict(fact: Mapping[str, Any]) -> str:
    if "compatible" not in fact:
        return ""
    return "the state fits" if fact["compatible"] else "; ".join(fact.get("reasons", ()))


def _follow(fact: Mapping[str, Any]) -> str:
    rows = sum(int(count) for count in (fact.get("migrated") or {}).values())
    return f"{counted(rows, 'row')} of state migrated" if rows else str(fact.get("state") or "")


def _gate(fact: Mapping[str, Any]) -> str:
    if "passed" not in fact:
        return ""
    if fact["passed"]:
        return "passed"
    return f"{'forced through: ' if fact.get('forced') else ''}{'; '.join(fact.get('reasons', ()))}"


def is_asking(deployment: Deployment) -> bool:
    """Whether a person is to say yes or no now: not where the policy alone decides, nor where it has let it pass."""
    facts = deployment.facts
    fact: Mapping[str, Any] = facts.get("approve") or {}
    if deployment.status is not DeploymentStatus.RUNNING or deployment.stage != "approve" or "approval" in facts:
        return False
    if "began_us" not in fact or "ended_us" in fact:
        return False
    by = next((stage.get("by") for stage in deployment.plan if stage.get("stage") == "approve"), "person")
    judged: Mapping[str, Any] = facts.get("gate") or {}
    if by == "policy" or any(detail.get("final") for detail in judged.get("details", ())):
        return False
    return by == "person" or not (judged.get("passed", True) or judged.get("forced"))


def _approval(facts: Mapping[str, Any], deployment: Deployment) -> str:
    answer: Mapping[str, Any] = facts.get("approval") or {}
    if answer:
        return f"{'yes' if answer.get('yes') else 'no'} by {answer.get('who')}"
    return f"waits for somebody: penstock approve {deployment.id}" if is_asking(deployment) else ""


def _cut(fact: Mapping[str, Any]) -> str:
    takeover: Mapping[str, Any] = fact.get("takeover") or {}
    if takeover.get("first_commit_us"):
        spent_ms = (takeover["first_commit_us"] - takeover["asked_us"]) / 1000
        return f"epoch {takeover.get('epoch', 0):,}, {spent_ms:,.0f} ms from the wish to the first commit"
    if fact.get("rewriting"):
        return "writing anew"
    return f"{short(str(fact['version']))} was asked to lead" if "version" in fact else ""


def _watch(fact: Mapping[str, Any], deployment: Deployment, now_us: int) -> str:
    if "began_us" not in fact:
        return ""
    length = next((stage.get("seconds") for stage in deployment.plan if stage.get("stage") == "watch"), 0)
    left_s = float(length or 0) - (now_us - int(fact["began_us"])) / 1e6
    parts = [counted(int(fact["compared"]), "epoch") + " compared"] if "compared" in fact else []
    if "ended_us" not in fact and deployment.status is DeploymentStatus.RUNNING:
        parts.insert(0, f"{age_text(max(0.0, left_s))} left")
    deaths = len(fact.get("deaths") or ())
    return ", ".join([*parts, *([f"died {counted(deaths, 'time')}"] if deaths else [])])


_DETAILS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "check": lambda fact: counted(int(fact["steps"]), "step") if "steps" in fact else "",
    "verdict": _verdict,
    "hold": lambda fact: f"from epoch {fact['from']:,}" if "from" in fact else "",
    "savepoint": lambda fact: f"epoch {fact['epoch']:,}" if "epoch" in fact else "",
    "follow": _follow,
    "catch-up": lambda fact: f"{counted(int(fact['lag']), 'epoch')} behind" if "lag" in fact else "",
    "shadow": lambda fact: f"{counted(int(fact['compared']), 'epoch')} compared" if "compared" in fact else "",
    "gate": _gate,
    "cut": _cut,
    "roll-back": lambda fact: str(fact.get("why") or ""),
    "compare": lambda fact: f"epoch {fact['epoch']:,}" if fact.get("epoch") is not None else "",
    "into": lambda fact: f"{fact['flow']}: {counted(int(fact['epochs']), 'epoch')}" if "flow" in fact else "",
    "keep": lambda fact: ", ".join(str(one["file"]) for one in (fact.get("files") or {}).values()),
}


class StagesPanel:
    """The live list of stages; the spinner turns beside the one that is under way."""

    _MARKS: Mapping[str, tuple[str, str]] = {
        "done": ("+", "green"),
        "waiting": ("-", "dim"),
        "skipped": ("-", "dim"),
        "failed": ("x", "red"),
    }

    def __init__(self, title: str) -> None:
        self._title = title
        self._spinner = Spinner("dots")

    def show(self, deployment: Deployment, now_us: int, *, note: str = "") -> RenderableType:
        """What to draw now."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column()
        grid.add_column(justify="right", width=7)
        grid.add_column(overflow="fold")
        for line in stage_lines(deployment, now_us):
            mark: RenderableType = self._spinner
            style = "bold"
            if line.state != "now":
                text, style = self._MARKS[line.state]
                mark = Text(text, style)
            seconds = "" if line.seconds is None else age_text(line.seconds)
            grid.add_row(
                mark, Text(line.name, "dim" if style == "dim" else ""), Text(seconds, "dim"), Text(line.detail)
            )
        parts: list[RenderableType] = [Text(self._title, "bold"), grid]
        return Group(*parts, *([Text(note, "yellow")] if note else []))


def closing_lines(deployment: Deployment, *, environment: str) -> Iterator[Text]:
    """What it came to, in a few lines."""
    word, style = _ENDS.get(deployment.status, ("under way", ""))
    receipt = deployment.receipt
    why = str(receipt.get("why") or "")
    head = f"{deployment.flow} in {environment}: {deployment.kind} "
    yield Text.assemble(head, (word, f"bold {style}".strip()), f": {why}" if why else "")
    if receipt.get("leads"):
        yield Text(f"  leads    {short(str(receipt['leads']))}, generation {receipt.get('generation')}")
    for key, what in (("cut", "cut"), ("back", "back")):
        cut: Mapping[str, Any] = receipt.get(key) or {}
        if cut.get("rewritten_from") is not None:
            yield Text(f"  {what:<8} {_rewritten(cut)}")
        elif cut.get("pause_ms") is not None:
            lost, twice = (count_text(cut.get(name)) or "?" for name in ("rows_lost", "rows_duplicated"))
            pause = f"pause {cut['pause_ms']:,.0f} ms (usual gap {cut['usual_gap_ms']:,.0f} ms)"
            yield Text(f"  {what:<8} epoch {cut['from_epoch']:,}, {pause}, {lost} rows lost, {twice} twice")
        elif cut and cut.get("from_epoch") is None:
            yield Text(f"  {what:<8} no input since: there is no epoch yet to measure the pause by")
    if receipt.get("state_rows_migrated"):
        yield Text(f"  state    {counted(int(receipt['state_rows_migrated']), 'row')} migrated")
    hidden: Mapping[str, Any] = receipt.get("hidden") or {}
    if hidden.get("gone"):
        yield Text(f"  hidden   the old version died in the watch: {hidden['gone']}", "yellow")
    corrections: Mapping[str, Any] = receipt.get("corrections") or {}
    for step, problem in (corrections.get("failed") or {}).items():
        yield Text(f"  left     {step}: {problem}", "yellow")
    if corrections.get("left"):
        yield Text(f"  left     {', '.join(corrections['left'])}: wrong rows stay there", "yellow")
    yield from _next_lines(deployment, environment)


def _rewritten(cut: Mapping[str, Any]) -> str:
    """What an undo came to."""
    if cut.get("rewritten_upto") is None:
        return f"epochs from {cut['rewritten_from']:,} on were written anew"
    rows = sum(int(counts["now"]) for counts in cut["rewritten_rows"].values())
    pause = "" if cut.get("pause_ms") is None else f", pause {cut['pause_ms']:,.0f} ms"
    epochs = f"{counted(cut['rewritten_epochs'], 'epoch')}, {cut['rewritten_from']:,}..{cut['rewritten_upto']:,}"
    return f"{epochs}, written anew: {counted(rows, 'row')} in {counted(len(cut['rewritten_rows']), 'sink')}{pause}"


def _next_lines(deployment: Deployment, environment: str) -> Iterator[Text]:
    option = "" if environment == "dev" else f" --env {environment}"
    epoch = (deployment.receipt.get("cut") or {}).get("from_epoch")
    if deployment.status is DeploymentStatus.ROLLED_BACK and epoch:
        back = f"penstock undo {deployment.flow}{option} --to {epoch - 1}"
        yield Text(f"  next     what the new version wrote is still there; take it back: {back}")
    yield Text(f"  receipt  penstock deployments {deployment.id}{option}")


def preview_parts(preview: UndoPreview) -> Iterator[RenderableType]:
    """What an undo would do, sink by sink."""
    losses = preview.losses
    yield Text(f"back to {preview.target.why}")
    versions = ", ".join(f"{counted(count, 'epoch')} by {short(name)}" for name, count in losses.versions.items())
    yield Text(f"taken back: epochs {losses.first:,}..{losses.last:,} ({versions or 'none'})")
    yield Text(_again(preview))
    rows = []
    for step in (*preview.sinks, *(name for name in losses.sinks if name not in preview.sinks)):
        found = preview.sinks.get(step) or {}
        loss = losses.sinks.get(step)
        can = (
            "taken back"
            if found.get("undoable")
            else "gets corrections"
            if found.get("corrects")
            else "can't be undone"
        )
        rows.append(
            (
                step,
                str(found.get("place") or ""),
                count_text(loss.epochs if loss else 0),
                count_text(loss.rows if loss else 0),
                can if found else "not a sink of this version",
            )
        )
    yield Text("")
    yield table((("sink", TEXT), ("which is", TEXT), ("epochs", NUMBER), ("rows", NUMBER), ("", TEXT)), rows)
    for step, there in preview.input.items():
        if not there.get("there"):
            yield Text(f"the input of {step} is not there any more: {there.get('message')}", "red")
    if preview.error is not None:
        yield Text(f"{short(preview.version)} can't be used: {preview.error.get('message')}", "red")


def _again(preview: UndoPreview) -> str:
    if preview.hidden:
        return f"by {short(preview.version)}, which is there, hidden and warm: nothing is run again"
    again = max(0, preview.losses.last - preview.start_epoch)
    begin = "nothing" if preview.start_epoch == 0 else f"the restore point of epoch {preview.start_epoch:,}"
    return f"by {short(preview.version)}, from {begin}: {counted(again, 'epoch')} are run again"


def comparison_table(compared: Mapping[str, Any]) -> RenderableType:
    """Rows of a replay beside those of then, by sink; where both could be compared, how they differ."""
    diff: Mapping[str, Any] = compared.get("diff") or {}
    columns: list[tuple[str, str]] = [("sink", TEXT), ("rows then", NUMBER), ("rows now", NUMBER)]
    if diff:
        columns += [("equal", NUMBER), ("changed", NUMBER), ("only then", NUMBER), ("only now", NUMBER)]
    rows = []
    for sink, counts in (compared.get("sinks") or {}).items():
        row = [sink, count_text(counts.get("then")), count_text(counts.get("now"))]
        if diff:
            found = diff.get(sink) or {}
            row += [count_text(found.get(name, 0)) for name in ("equal", "changed", "only_old", "only_new")]
        rows.append(row)
    return table(columns, rows)


def print_gate_of(out: Console, deployment: Deployment) -> None:
    """The gate of a deployment as it was judged; nothing where it did not come to that."""
    fact: Mapping[str, Any] = deployment.facts.get("gate") or {}
    if "passed" not in fact:
        return
    gate = Gate.from_json({"flow": deployment.flow, **fact, "rows": fact.get("diff") or {}})
    print_gate(out, gate, Judgement.from_json(fact))


def print_deployment(out: Console, deployment: Deployment, *, environment: str, now_us: int) -> None:
    """All of one deployment: its stages, its gate, its receipt."""
    why = f": {deployment.why}" if deployment.why else ""
    begun = f"by {deployment.who} at {time_text(deployment.made_us)} UTC{why}"
    out.print(Text(f"{deployment.kind} {deployment.id} of {deployment.flow} in {environment}, {begun}"), soft_wrap=True)
    out.print()
    rows = [
        (line.name, line.state, "" if line.seconds is None else age_text(line.seconds), line.detail)
        for line in stage_lines(deployment, now_us)
    ]
    out.print(table((("stage", TEXT), ("", TEXT), ("took", NUMBER), ("", TEXT)), rows))
    out.print()
    if "passed" in (deployment.facts.get("gate") or {}):
        print_gate_of(out, deployment)
        out.print()
    if deployment.receipt.get("compare"):
        out.print(comparison_table(deployment.receipt["compare"]))
        out.print()
    for line in closing_lines(deployment, environment=environment):
        out.print(line, soft_wrap=True)
