"""How the story is told: headings, a few sentences, commands with what they print, small tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.clock import SystemClock

__all__ = ["Teller"]

CLOCK = SystemClock()


class Teller:
    """Tells it to a terminal or a pipe."""

    def __init__(self, out: Console) -> None:
        self.out = out
        self._began_s = CLOCK.stopwatch_s()
        self._acts = 0

    def heading(self, text: str) -> None:
        """A new act, with the time since the story began."""
        self._acts += 1
        since = f"{CLOCK.stopwatch_s() - self._began_s:.0f} s"
        self.out.print()
        title = f"[bold]{self._acts}  {text}[/]  [dim]{since}[/]"
        self.out.rule(title, align="left", characters="─", style="dim")

    def say(self, text: str, style: str = "") -> None:
        """A few sentences."""
        self.out.print(text, style=style, markup=False)

    def code(self, lines: Iterable[str]) -> None:
        """Lines that are added to the code."""
        for line in lines:
            self.out.print(Text(f"  + {line}", "green"), soft_wrap=True)

    def command(self, words: Sequence[str]) -> None:
        """What one would type."""
        shown = " ".join(f'"{word}"' if " " in word else word for word in words)
        self.out.print(Text(f"$ penstock {shown}", "bold"), soft_wrap=True)

    def printed(self, lines: Iterable[str]) -> None:
        """What a command prints, each line in one."""
        for line in lines:
            text = Text(f"  {line}", "dim", no_wrap=True, overflow="ellipsis")
            self.out.print(text, overflow="ellipsis", no_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A small table; what comes first is text, the others are numbers."""
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for place, name in enumerate(columns):
            table.add_column(name, justify="right" if place else "left")
        for row in rows:
            table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
        self.out.print(table)
