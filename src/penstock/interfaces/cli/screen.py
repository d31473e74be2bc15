"""What verbs show: errors, tables, numbers and times in one style. Data goes to stdout, errors to stderr."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from penstock.clock import to_datetime
from penstock.errors import PenstockError

__all__ = [
    "NUMBER",
    "TEXT",
    "age_text",
    "count_text",
    "counted",
    "error_screen",
    "fitting_table",
    "natural_width",
    "print_bug",
    "print_error",
    "print_json",
    "screen",
    "table",
    "time_text",
]

NUMBER, TEXT = "right", "left"
_LATEST_US = 253_402_300_799_000_000
_PIPE_WIDTH = 10_000


def screen() -> Console:
    """Standard output. In a pipe lines are never broken."""
    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def error_screen() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(error: PenstockError, *, debug: bool) -> None:
    """An error as five questions: what, where, what is left, does it heal, what next."""
    lines = Text()
    lines.append("error", "bold red")
    lines.append(f" [{error.code}]", "dim")
    lines.append(f" {error.message}\n")
    where = [error.where] if error.where else []
    where += getattr(error, "__notes__", [])
    heals = "it may pass: trying again can help" if error.heals else ""
    for label, parts in (
        ("where", where),
        ("state", [error.state_left or ""]),
        ("heals", [heals]),
        ("next", [error.hint or ""]),
    ):
        shown = [line for part in parts if part for line in part.splitlines()]
        for position, line in enumerate(shown):
            lines.append(f"  {label if position == 0 else '':<6} ", "bold")
            lines.append(f"{line}\n")
    out = error_screen()
    if debug:
        out.print("".join(traceback.format_exception(error)), markup=False, end="")
    out.print(lines, end="")


def print_bug(error: BaseException, *, debug: bool) -> None:
    """Something that nobody foresaw. The traceback is for who reports it."""
    out = error_screen()
    told = "".join(traceback.format_exception_only(error)).strip()
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    if debug:
        out.print("".join(traceback.format_exception(error)), markup=False, end="")
    out.print(Text.assemble(("error", "bold red"), (" [bug]", "dim"), f" {told}"))
    for line in frame:
        out.print(f"  where  {line.filename}:{line.lineno} in {line.name}", markup=False)
    out.print("  state  what was committed is in the ledger and stays there", markup=False)
    out.print("  next   this is a bug in Penstock: repeat it with --debug and report what that prints", markup=False)


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> Table:
    """A table of texts; `columns` are names with NUMBER or TEXT."""
    found = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for name, justify in columns:
        found.add_column(name, justify="right" if justify == NUMBER else "left", overflow="fold")
    for row in rows:
        found.add_row(*(Text(cell) for cell in row))
    return found


def count_text(count: float | None) -> str:
    """1234567 -> `1,234,567`; nothing for None."""
    return "" if count is None else f"{count:,.0f}"


def fitting_table(
    out: Console, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, expendable: Sequence[str]
) -> Table:
    """A table without as many of the `expendable` columns, in this order, as it takes to fit on the screen."""
    names = [name for name, _ in columns]
    dropped: set[int] = set()
    for name in ("", *expendable):
        dropped |= {names.index(name)} if name else set()
        kept = [position for position in range(len(columns)) if position not in dropped]
        found = table([columns[position] for position in kept], ([row[position] for position in kept] for row in rows))
        if natural_width(out, found) <= out.width:
            break
    return found


def natural_width(out: Console, shown: Table) -> int:
    """How many columns a table would take if the screen had no limit."""
    return Measurement.get(out, out.options.update(max_width=_PIPE_WIDTH), shown).maximum


def counted(count: int, thing: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def time_text(time_us: int | None) -> str:
    """A time in UTC to the second; `-` where there is none, `end` after the last row of a finished input."""
    if time_us is None or time_us < -_LATEST_US // 100:
        return "-"
    return "end" if time_us > _LATEST_US else f"{to_datetime(time_us):%Y-%m-%d %H:%M:%S}"


def age_text(seconds: float) -> str:
    """A span in the two largest units that matter: `0.4s`, `3m20s`, `5d2h`."""
    if seconds < 10:  # noqa: PLR2004 - tenths matter only below
        return f"{max(seconds, 0):.1f}s"
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return "".join(part for part in parts[:2] if not part.startswith("0"))
