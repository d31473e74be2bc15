"""Entries of logs as people read them: one line each, by colour; tracebacks below, set in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from penstock.interfaces.cli.screen import counted
from penstock.observe import SEVERITIES, Signature, severity_name

__all__ = ["entry_text", "print_entries", "print_signatures"]

_STYLES = {
    "DEFAULT": "dim",
    "DEBUG": "dim",
    "INFO": "",
    "NOTICE": "cyan",
    "WARNING": "yellow",
    "ERROR": "red",
    "CRITICAL": "bold red",
    "ALERT": "bold red",
    "EMERGENCY": "bold red",
}
_WIDTH = 8
_SAMPLE_CHARS = 160


def entry_text(row: Mapping[str, Any], *, with_flow: bool, marked: bool = False) -> Text:
    """One entry. `with_flow`: where entries of several flows stand together. `marked`: one that was asked for."""
    name = severity_name(row["severity"])
    style = _STYLES[name]
    line = Text(overflow="fold")
    line.append(_time(row["timestamp"]), "dim")
    line.append(f" {name:<{_WIDTH}} ", style)
    if with_flow:
        line.append(f"{row['flow']} ", "bold")
    if row["step"]:
        line.append(f"{row['step']} ", "cyan")
    first, *rest = str(row["message"]).splitlines() or [""]
    body = style if row["severity"] >= SEVERITIES["WARNING"] else ""
    line.append(_plain(first), f"{body} reverse" if marked else body)
    for more in rest:
        line.append(
            f"\n    {_plain(more)}", "" if more.startswith("    ") or more.lstrip().startswith("File ") else body
        )
    return line


def print_entries(out: Console, rows: Iterable[Mapping[str, Any]], *, with_flow: bool) -> None:
    """One entry a line, in the order given."""
    for row in rows:
        out.print(entry_text(row, with_flow=with_flow), soft_wrap=True)


def print_signatures(out: Console, found: Sequence[Signature], *, with_flow: bool) -> None:
    """Each kind of entry: how often, since when, in which versions."""
    for one in found:
        head = Text()
        head.append(f"{one.count:>9,}x ", "bold")
        head.append(f"{one.severity:<{_WIDTH}} ", _STYLES[one.severity])
        head.append(f"{one.hash} ", "dim")
        if with_flow:
            head.append(f"{one.flow} ", "bold")
        head.append(_plain(one.signature))
        if one.new_in is not None:
            head.append(f"  new in {one.new_in}", "bold yellow")
        out.print(head, soft_wrap=True)
        told = [f"first {one.first[:19].replace('T', ' ')}, last {one.last[:19].replace('T', ' ')}"]
        told += [f"in {', '.join(one.versions)}"] if one.versions else []
        told += [f"step {one.step}"] if one.step else []
        out.print(Text("           " + "; ".join(told), "dim"), soft_wrap=True)
        sample = one.sample.splitlines()[-1] if one.sample else ""
        out.print(Text(f"           e.g. {_plain(sample[:_SAMPLE_CHARS])}"), soft_wrap=True)
    out.print(f"{counted(len(found), 'kind')} of entries" if found else "nothing of WARNING and above went wrong here")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1_000:03d}"


def _plain(text: str) -> str:
    """Without what would move the cursor or change colours: what a flow logs must not rule a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\t" else "\ufffd" for letter in text)
