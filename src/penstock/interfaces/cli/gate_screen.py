"""How a gate, its judgement and a receipt look in a terminal and in a pipe; and the same as JSON values.

The verdict comes first, in one sentence; then what speaks against it, and what it rests on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from penstock.control import Conduct, Gate, Judgement, Receipt, RowDiff, epochs_compared, share_text
from penstock.interfaces.cli.screen import NUMBER, TEXT, age_text, count_text, counted, fitting_table, table, time_text

__all__ = [
    "gate_json",
    "print_gate",
    "print_judgement",
    "print_receipt",
    "print_row_diffs",
    "receipt_json",
    "value_text",
    "verdict_sentence",
]

_VALUE_SIZE = 48
_BEFORE_SIZE = 10
_SHORT = 12
_COLUMNS_NAMED = 6
_MARKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow"), "renamed": (">", "cyan")}
_OUTCOMES = {
    "passed": ("passed", "bold green"),
    "passed, somebody has to say yes": ("passed, and somebody has to say yes", "bold green"),
    "somebody has to decide": ("somebody has to decide", "bold yellow"),
    "refused": ("refused", "bold red"),
}


def gate_json(gate: Gate, judged: Judgement) -> dict[str, Any]:
    """What `--json` prints of a gate."""
    return {"verdict": verdict_sentence(gate, judged), "judgement": judged.as_json(), "gate": gate.as_json()}


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """What `--json` prints of a receipt."""
    return {"summary": _receipt_sentence(receipt).plain, **receipt.as_json()}


def print_gate(out: Console, gate: Gate, judged: Judgement, *, samples: bool = True) -> None:
    """Print all of it. Without `samples` no value of any row is shown."""
    print_judgement(out, judged, verdict=verdict_sentence(gate, judged))
    changes = list(_changes(gate.changes))
    if changes:
        out.print()
        out.print(Text(f"what {_short(gate.new_version)} changes", "bold"))
        _print_lines(out, changes)
    _print_state(out, gate)
    if gate.rows:
        out.print()
        span = epochs_compared(gate.rows) or gate.epochs
        out.print(Text(f"rows{'' if span is None else f', epochs {span[0]:,}..{span[1]:,}'}", "bold"))
        print_row_diffs(out, gate.rows, samples=samples)
    _print_conduct(out, gate)


def verdict_sentence(gate: Gate, judged: Judgement) -> str:
    """The verdict in one sentence."""
    versions = f"{_short(gate.old_version)} -> {_short(gate.new_version)}"
    return f"{gate.flow} in {gate.env}, {versions}: {_OUTCOMES[judged.outcome][0]}; {_found(gate)}"


def _found(gate: Gate) -> str:
    """What the comparison of rows found, in a few words."""
    if not gate.rows_compared:
        return "no rows were compared"
    totals = {
        "changed": sum(diff.changed for diff in gate.rows.values()),
        "only in old": sum(diff.only_old for diff in gate.rows.values()),
        "only in new": sum(diff.only_new for diff in gate.rows.values()),
    }
    rows = counted(gate.rows_compared, "row")
    where = rows if len(gate.rows) == 1 else f"{rows} in {counted(len(gate.rows), 'sink')}"
    if not any(totals.values()):
        return f"{where} {'is' if gate.rows_compared == 1 else 'are'} equal"
    told = ", ".join(f"{count:,} {what}" for what, count in totals.items() if count)
    return f"{told}, of {where}"


def print_judgement(out: Console, judged: Judgement, *, verdict: str = "") -> None:
    """The verdict, then the reasons against going on, then what is worth knowing."""
    outcome, style = _OUTCOMES[judged.outcome]
    sentence = Text(verdict or outcome, no_wrap=False)
    sentence.highlight_words([outcome], style)
    out.print(sentence)
    _print_lines(out, (Text.assemble(("against it  ", "bold"), reason.text) for reason in judged.reasons), 12)
    _print_lines(out, (Text.assemble(("note        ", "dim"), note) for note in judged.notes), 12)


def _print_lines(out: Console, lines: Iterator[Text] | Sequence[Text], hang: int = 2) -> None:
    """Lines two columns in; one that is too long goes on `hang` columns further in."""
    for line in lines:
        if out.is_terminal and 2 + line.cell_len > out.width:
            first, *rest = line.wrap(out, max(20, out.width - 2 - hang))
            for part in (first, *rest):
                part.rstrip()
            out.print(Padding(first, (0, 0, 0, 2), expand=False))
            out.print(*(Padding(part, (0, 0, 0, 2 + hang), expand=False) for part in rest), sep="\n", end="")
        else:
            out.print(Text("  ") + line, soft_wrap=True)


def _changes(changes: Mapping[str, Any]) -> Iterator[Text]:
    """A line for each step that is not the same, with the code that is to blame."""
    for step in changes.get("steps", ()):
        mark, style = _MARKS[step["change"]]
        line = Text.assemble((f"{mark} ", style), step["name"])
        if step.get("old_name"):
            line.append(f", was {step['old_name']}")
        blamed = [part["name"] for part in step.get("code", ()) if part["name"] != step["name"]]
        if blamed:
            line.append(f"  {', '.join(blamed)}", "dim")
        yield line
    for end in changes.get("ends", ()):
        mark, style = _MARKS[end["change"]]
        yield Text.assemble(
            (f"{mark} ", style), f"{'to' if end.get('writes') else 'from'} {end['after'] or end['before']}"
        )
    for name, (before, after) in changes.get("settings", {}).items():
        yield Text.assemble(("~ ", "yellow"), f"{name}: {before} -> {after}")


def _print_state(out: Console, gate: Gate) -> None:
    if gate.migrated:
        moved = ", ".join(f"{name} {count_text(rows)}" for name, rows in gate.migrated.items())
        out.print()
        out.print(Text.assemble(("state", "bold"), f"  moved on a copy, rows by table: {moved}"), soft_wrap=True)


# --- rows -------------------------------------------------------------------------------------------------------------


def print_row_diffs(out: Console, rows: Mapping[str, RowDiff], *, samples: bool = True) -> None:
    """The counts of every sink, then what differs in each, with samples."""
    columns = [("sink", TEXT), ("key", TEXT), ("old", NUMBER), ("new", NUMBER), ("equal", NUMBER)]
    columns += [("changed", NUMBER), ("only old", NUMBER), ("only new", NUMBER)]
    cells = [
        (
            sink,
            ", ".join(diff.key) or "-",
            *(count_text(count) for count in (diff.rows_old, diff.rows_new, diff.equal)),
            *(count_text(count) for count in (diff.changed, diff.only_old, diff.only_new)),
        )
        for sink, diff in rows.items()
    ]
    out.print(Padding(fitting_table(out, columns, cells, expendable=("key", "old", "new")), (0, 0, 0, 2), expand=False))
    for sink, diff in rows.items():
        lines = [*_differences(diff), *(_samples(diff) if samples else ())]
        if lines:
            out.print()
            out.print(Text(f"  {sink}", "bold"))
            _print_lines(out, [Text("  ") + line for line in lines], 4)


def _differences(diff: RowDiff) -> Iterator[Text]:
    """What is to be said of one sink beside its counts."""
    for label, style, found in (("+", "green", diff.columns.added), ("-", "red", diff.columns.removed)):
        for name, dtype in found.items():
            yield Text.assemble((f"{label} ", style), f"column {name} ({dtype})")
    for name, (before, after) in diff.columns.retyped.items():
        note = ", values can't be compared" if name in diff.columns.uncompared else ""
        yield Text.assemble(("~ ", "yellow"), f"column {name}: ", *_arrow(before, after), note)
    by_column = list(diff.changed_by_column.items())
    if by_column:
        told = ", ".join(f"{name} {count:,}" for name, count in by_column[:_COLUMNS_NAMED])
        more = f" and {len(by_column) - _COLUMNS_NAMED} more" if len(by_column) > _COLUMNS_NAMED else ""
        share = share_text(diff.changed / max(diff.rows, 1))
        yield Text(f"{count_text(diff.changed)} changed ({share}), by column: {told}{more}")
    for count, edge, what in ((diff.only_old, diff.edge_old, "old"), (diff.only_new, diff.edge_new, "new")):
        if edge:
            yield Text(f"only in {what}: {edge:,} of {count:,} at an edge of the window, perhaps only early or late")
    if diff.deleted_old or diff.deleted_new:
        yield Text(f"deletes: {diff.deleted_old:,} by old, {diff.deleted_new:,} by new")
    for limit in diff.limits:
        yield Text(limit, "yellow")


def _samples(diff: RowDiff) -> Iterator[Text]:
    """A line a sample: what names the row, then its changed cells, old -> new."""
    for sample in diff.samples.get("changed", ()):
        line = Text.assemble(("~ ", "yellow"), (_epoch(sample.get("epoch_new")), "dim"))
        named = _named(sample, diff)
        line.append(named)
        old, new = sample.get("old"), sample.get("new")
        if old is None or new is None:
            line.append(" deleted by old, written by new" if old is None else " written by old, deleted by new")
            yield line
            continue
        for position, name in enumerate(sample["columns"]):
            line.append(", " if position else ": " if named else "").append(f"{name} ", "bold")
            line.append_tokens(_arrow(old.get(name), new.get(name)))
        yield line
    for kind, mark, style in (("only_old", "-", "red"), ("only_new", "+", "green")):
        for sample in diff.samples.get(kind, ()):
            row = sample.get("row")
            told = f"{_pairs(sample['key'])} deleted" if row is None else _pairs(row)
            times = f" ({sample['rows']:,} times)" if sample.get("rows", 1) > 1 else ""
            yield Text.assemble((f"{mark} ", style), (_epoch(sample.get("epoch")), "dim"), (told, style), times)


def _epoch(epoch: int | None) -> str:
    return "" if epoch is None else f"epoch {epoch:,} "


def _named(sample: Mapping[str, Any], diff: RowDiff) -> str:
    """What names a changed row: its key, or the first columns that did not change."""
    if diff.key:
        return _pairs(sample["key"])
    row = sample.get("new") or {}
    same = {name: value for name, value in row.items() if name not in sample["columns"]}
    return _pairs(dict(list(same.items())[:3]))


def _pairs(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value_text(value)}" for name, value in row.items())


def _arrow(old: Any, new: Any) -> list[tuple[str, str]]:
    """`old -> new`, in colours; of long texts the part in which they begin to differ."""
    before, after = value_text(old, size=None), value_text(new, size=None)
    if before == after:
        before, after = (json.dumps(value, ensure_ascii=False) for value in (old, new))
    start = 0
    if max(len(before), len(after)) > _VALUE_SIZE:
        before, after = (value if isinstance(value, str) else text for value, text in ((old, before), (new, after)))
        alike = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
        start = max(0, alike - _BEFORE_SIZE)
    return [(_cut(before, start), "red"), (" -> ", "dim"), (_cut(after, start), "green")]


def value_text(value: Any, *, size: int | None = _VALUE_SIZE) -> str:
    """A value in a line: text as it is, quoted where it would be taken for something else."""
    if isinstance(value, str):
        plain = value.strip() == value and value and not any(part in value for part in (", ", "=", "->", "\n", '"'))
        text = value if plain and not _looks_other(value) else json.dumps(value, ensure_ascii=False)
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if size is None else _cut(text, 0, size)


def _looks_other(text: str) -> bool:
    """Whether a text reads like a number, a truth or nothing."""
    if text in ("null", "true", "false"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cut(text: str, start: int, size: int = _VALUE_SIZE) -> str:
    head = "..." if start else ""
    rest = text[start:]
    return head + (rest if len(rest) <= size else rest[: size - 3] + "...")


# --- how both did -----------------------------------------------------------------------------------------------------


def _print_conduct(out: Console, gate: Gate) -> None:
    """Both versions side by side; lines in which nothing is known of either are left out."""
    lines = [line for line in _conduct_lines(gate.old, gate.new) if any(told not in ("", "-") for told in line[1:])]
    if not lines or not (gate.old.epochs or gate.new.epochs):
        return
    out.print()
    out.print(Text("how both did", "bold"))
    columns = (("", TEXT), (_short(gate.old_version) or "old", NUMBER), (_short(gate.new_version) or "new", NUMBER))
    out.print(Padding(table(columns, lines), (0, 0, 0, 2), expand=False))


def _conduct_lines(old: Conduct, new: Conduct) -> Iterator[tuple[str, str, str]]:
    for label, name in (
        ("epochs", "epochs"),
        ("rows in", "rows_in"),
        ("rows out", "rows_out"),
        ("late rows", "rows_late"),
        ("dead letters", "rows_dead"),
    ):
        before, after = getattr(old, name), getattr(new, name)
        if before or after:
            yield label, count_text(before), count_text(after)
    for check in dict.fromkeys((*old.checks_failed, *old.checks_passed, *new.checks_failed, *new.checks_passed)):
        yield f"fail {check}", _failed(old, check), _failed(new, check)
    yield "ms an epoch (median)", _number(old.run_ms_p50), _number(new.run_ms_p50)


def _failed(conduct: Conduct, check: str) -> str:
    known = check in conduct.checks_failed or check in conduct.checks_passed
    return count_text(conduct.checks_failed.get(check, 0)) if known else "-"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


# --- receipts ---------------------------------------------------------------------------------------------------------


def print_receipt(out: Console, receipt: Receipt) -> None:
    """What a handover came to: one sentence, then what there is to know of it."""
    out.print(_receipt_sentence(receipt))
    _print_lines(out, (Text.assemble(("because     ", "bold"), reason) for reason in receipt.reasons), 12)
    lines = [line for line in _receipt_lines(receipt) if line[1]]
    if lines:
        width = max(len(label) for label, _ in lines)
        _print_lines(out, [Text.assemble((f"{label:<{width}}  ", "dim"), told) for label, told in lines], width + 2)
    if receipt.differences:
        out.print()
        columns = [("sink", TEXT), ("old", NUMBER), ("new", NUMBER), ("equal", NUMBER), ("changed", NUMBER)]
        columns += [("only old", NUMBER), ("only new", NUMBER)]
        names = ("rows_old", "rows_new", "equal", "changed", "only_old", "only_new")
        cells = [
            (sink, *(count_text(counts.get(name)) for name in names)) for sink, counts in receipt.differences.items()
        ]
        out.print(Padding(fitting_table(out, columns, cells, expendable=("old", "new")), (0, 0, 0, 2), expand=False))


def _receipt_sentence(receipt: Receipt) -> Text:
    good = receipt.status in ("done", "running")
    found = Text(f"{receipt.flow} in {receipt.env}: {receipt.kind} ")
    found.append(receipt.status, "bold green" if good else "bold red")
    if receipt.leads:
        found.append(f", {_short(receipt.leads)} leads")
    if receipt.pause_ms is not None:
        found.append(f"; a pause of {_ms(receipt.pause_ms)}")
    if receipt.cut_epoch is not None:
        for what, rows in (("lost", receipt.rows_lost), ("twice", receipt.rows_duplicated)):
            told = f"{counted(rows, 'row')} {what}" if rows is not None else f"rows {what}, nobody knows how many"
            found.append(", ").append(told, "" if rows == 0 else "bold red")
    return found


def _receipt_lines(receipt: Receipt) -> Iterator[tuple[str, str]]:
    yield "versions", f"{_short(receipt.old_version)} -> {_short(receipt.new_version)}"
    if receipt.pause_ms is not None and receipt.gap_ms is not None and receipt.usual_gap_ms is not None:
        usual = f"{_ms(receipt.gap_ms)} between two commits, {_ms(receipt.usual_gap_ms)} is usual"
        yield "pause", f"{_ms(receipt.pause_ms)} ({usual})"
    if receipt.back_pause_ms is not None:
        yield "way back", f"a pause of {_ms(receipt.back_pause_ms)}"
    spans = [("shadowed", receipt.shadowed), ("watched", receipt.watched)]
    told = [f"{what} {span[0]:,}..{span[1]:,}" for what, span in spans if span is not None]
    if receipt.cut_epoch is not None:
        told.insert(1 if receipt.shadowed else 0, f"cut at {receipt.cut_epoch:,}")
    yield "epochs", ", ".join(told)
    yield "input", "; ".join(receipt.faults)
    yield "state", f"{counted(receipt.state_rows_migrated, 'row')} moved" if receipt.state_rows_migrated else ""
    yield "checks", ", ".join(f"{name} fails {count:,} rows" for name, count in receipt.checks_failed.items() if count)
    yield "asked", f"{receipt.who}{f': {receipt.why}' if receipt.why else ''}" if receipt.who else receipt.why
    forced = "forced through" if receipt.forced else ""
    yield "approved", ", ".join(part for part in (receipt.approved_by, forced) if part)
    yield "when", _when(receipt)
    yield "id", receipt.id


def _when(receipt: Receipt) -> str:
    if receipt.began_us is None:
        return ""
    lasted = "" if receipt.ended_us is None else f", {age_text((receipt.ended_us - receipt.began_us) / 1e6)} in all"
    return f"{time_text(receipt.began_us)} UTC{lasted}"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"  # noqa: PLR2004 - tenths matter only below


def _short(version: str) -> str:
    return version[:_SHORT]
