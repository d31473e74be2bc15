"""How a run looks while it goes on: a live panel on a terminal, a line a second elsewhere."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from penstock.engine import Progress
from penstock.interfaces.cli.screen import age_text, count_text, time_text

__all__ = ["Panel", "plain_line"]

STOPPING = "finishing this epoch, then it stops; press Ctrl-C again to stop at once (nothing is lost either way)"
_BYTES = 1024.0
_OLD_S = 86_400.0


class Panel:
    """The live panel. `show` gives what to draw now; the spinner turns as long as the process lives."""

    def __init__(self, flow: str, environment: str) -> None:
        self._spinner = Spinner("dots")
        self._title = f"{flow} in {environment}"

    def show(self, progress: Progress | None, *, now_us: int, seconds: float, stopping: bool) -> RenderableType:
        """The panel for the newest progress; None before the first."""
        phase = "starting" if progress is None else _phase(progress)
        self._spinner.update(text=Text.assemble(" ", (self._title, "bold"), f"  {phase}  {age_text(seconds)}"))
        parts: list[RenderableType] = [self._spinner]
        if progress is not None:
            grid = Table.grid(padding=(0, 3))
            for name, value, style in _facts(progress, now_us):
                grid.add_row(f"  [dim]{name}[/]", Text(value, style))
            parts.append(grid)
        if stopping:
            parts.append(Text(f"  {STOPPING}", "yellow"))
        return Group(*parts)


def plain_line(progress: Progress, *, now_us: int) -> str:
    """One line for a log."""
    parts = [f"{time_text(now_us)} {progress.flow} {_phase(progress)}"]
    if progress.phase == "loading":
        return parts[0]
    parts += [f"{name} {value}" for name, value, _ in _facts(progress, now_us)]
    return "  ".join(parts)


def _facts(progress: Progress, now_us: int) -> list[tuple[str, str, str]]:
    """Name, value and style of each number that is known; those that are bad news only when they are not zero."""
    facts = [
        ("rows", f"{count_text(progress.rows_in)} in, {count_text(progress.rows_out)} out", ""),
        ("rows/s", count_text(progress.rows_per_s), "bold"),
        ("lag", lag_text(progress, now_us), ""),
        ("watermark", time_text(progress.watermark_us), ""),
        ("epoch", f"{count_text(progress.epoch)} ({progress.epoch_ms:,.0f} ms)", ""),
    ]
    for name, count in (("late", progress.rows_late), ("dead letters", progress.rows_dead)):
        if count:
            facts.append((name, count_text(count), "yellow"))
    failed = {name: count for name, count in progress.checks_failed.items() if count}
    if progress.message:
        facts.append((progress.phase, progress.message, "yellow"))
    if failed:
        facts.append(("failed checks", ", ".join(f"{name} {count:,}" for name, count in failed.items()), "yellow"))
    return facts


def _phase(progress: Progress) -> str:
    """The engine is also idle while it gathers rows for a sink that wants longer epochs; a person would not say so."""
    return "running" if progress.phase == "idle" and progress.backlog_rows else progress.phase


def lag_text(progress: Progress, now_us: int) -> str:
    """How far behind: what waits, where the source knows, and how old the event time is where it is recent.

    Old data that is read again is years behind the clock, which says nothing about the flow; then what waits counts.
    """
    parts = []
    if progress.backlog_rows is not None:
        parts.append(f"{count_text(progress.backlog_rows)} rows wait" if progress.backlog_rows else "nothing waits")
    elif progress.backlog_bytes is not None:
        parts.append(f"{bytes_text(progress.backlog_bytes)} wait" if progress.backlog_bytes else "nothing waits")
    if progress.watermark_us is not None and 0 < (behind_s := (now_us - progress.watermark_us) / 1e6) < _OLD_S:
        parts.insert(0, age_text(behind_s))
    return ", ".join(parts) or "-"


def bytes_text(size: float) -> str:
    """A size with the unit that keeps it short."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < _BYTES:
            return f"{size:.0f} {unit}"
        size /= _BYTES
    return f"{size:.1f} TB"
