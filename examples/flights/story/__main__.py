"""`python -m examples.flights.story`: a running flow, a change with a bug that nobody saw, and its undo.

Everything in it is real: the server, the processes of the flow, the stream, the wrong rows, the comparison at the end.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console

from examples.flights.batch import answer
from examples.flights.story.excerpts import (
    Excerpt,
    deploy_lines,
    lines_with,
    plan_lines,
    preview_lines,
    undo_lines,
)
from examples.flights.story.project import BUG, STORM, make_project
from examples.flights.story.stage import FLOW, Failed, Stage, end_all_with
from examples.flights.story.tables import ALL, WrongHours, letters, read_table, verdicts, wrong_hours, wrong_rows
from examples.flights.story.telling import Teller
from penstock import PenstockError
from penstock.control import living_server, load_project

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent
ROWS = 30_000
ROWS_LEAST = 6_000
RATE_PER_S = 400.0
WRONG_LEAST = 100
HOURS_SHOWN = 5
INTERRUPTED = 130
APPENDED = ("delays_by_carrier", "rough_days", "late_aircraft")
"""The tables whose rows stay as they are once they are written."""


def main() -> int:
    """Tell the story; the exit code: 0 the undo left no trace, 1 it did or something failed, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m examples.flights.story", description=__doc__)
    parser.add_argument("--rows", type=_rows, default=ROWS, help=f"how many flights it is about (default: {ROWS:,})")
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help=f"how many come a second ({RATE_PER_S:g})")
    parser.add_argument("--into", type=Path, default=DEMO / "out" / "story", help="its folder, which is made anew")
    given = parser.parse_args()
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    try:
        return _told(Teller(out), given.into.resolve(), rows=given.rows, rate_per_s=given.rate)
    except KeyboardInterrupt:
        out.print("\nstopped; all that the story started has ended", style="yellow")
        return INTERRUPTED
    except (Failed, PenstockError, OSError, ValueError) as error:
        out.print(f"\n{error}", style="red", markup=False)
        return 1


def _told(teller: Teller, folder: Path, *, rows: int, rate_per_s: float) -> int:
    settings = folder / "penstock.toml"
    if settings.is_file() and living_server(load_project(settings).environment("dev")) is not None:
        raise Failed(f"a server runs in {folder} already; end it: penstock down -C {folder}")
    project = make_project(folder, DEMO, rows=rows)
    with end_all_with(Stage(project, teller.out.width - 4, rate_per_s)) as stage:
        return _Story(teller, stage, answer(project.records)).told()


@dataclass
class _Story:
    """The acts, in order. `right`: what the tables come to, by a plain query over all flights."""

    teller: Teller
    stage: Stage
    right: Mapping[str, pl.DataFrame]
    good: str = ""

    def told(self) -> int:
        """Tell all of it; gives the exit code."""
        self._a_flow_runs()
        self._a_change()
        self._forced_through()
        self._wrong_rows()
        self._undo()
        return self._compare()

    def _a_flow_runs(self) -> None:
        stage, part = self.stage, self.stage.project.part
        self.teller.heading("A flow is running")
        self.teller.say(
            f"{part.end:,} real flights from New York, before and after the snowstorm of February 2013. "
            f"{part.stream:,} are there, the others come as a stream, {stage.rate_per_s:g} a second. The flow joins "
            f"them with weather, airlines and aircraft, and keeps {len(ALL)} tables: carriers by hour, the effect of "
            "weather, rough days, aircraft, alerts."
        )
        self.teller.command(["up"])
        stage.start_server()
        self._penstock("start", FLOW)
        stage.start_feeder()
        stage.wait("the first flights of the stream", lambda: stage.flights_in() > part.stream)
        self.good = stage.leader()

    def _a_change(self) -> None:
        stage = self.stage
        self.teller.heading("A small change")
        self.teller.say("An engineer adds a line to the flow. It looks harmless, and the review says so too:")
        self.teller.code(BUG.strip().splitlines())
        stage.project.make_mistake()
        self._penstock("plan", FLOW, shown=plan_lines)
        self._penstock("deploy", FLOW, "--auto-approve", shown=lambda lines: deploy_lines(self._snowing(lines)), code=5)
        self.teller.say(
            "The new version ran hidden on the same flights, and its rows were compared with those of the old one. "
            "The gate says no. Nothing has stopped."
        )

    def _snowing(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines of the deploy. The snow comes once the check is done: what both versions run is what comes then."""
        for line in lines:
            if line.startswith("check "):
                self.stage.tell_feeder(f"upto {self.stage.project.part.storm}")
            yield line

    def _forced_through(self) -> None:
        self.teller.heading("Forced through")
        self.teller.say("There is no time to look into it. A shorter shadow run, nobody watches, and it leads:")
        why = "a few cancelled flights, the dashboard is needed today"
        haste = ("--shadow", "3 epochs", "--watch", "0s", "--force", "--why", why)
        self._penstock("deploy", FLOW, "--auto-approve", *haste, shown=deploy_lines)

    def _wrong_rows(self) -> None:
        stage = self.stage
        self.teller.heading("Wrong rows are out")
        stage.tell_feeder(f"upto {stage.project.part.rest}")
        found = stage.wait("wrong rows", self._many_wrong_hours)
        self.teller.say(
            f"Snow. {found.cancelled:,} flights that never left are in the tables as flown, and on time. The worst "
            "hours in delays_by_carrier:"
        )
        hours = found.rows.head(HOURS_SHOWN).iter_rows(named=True)
        self.teller.table(
            ("carrier", "hour (UTC)", "flights", "cancelled", "should be"),
            (
                (
                    row["airline"],
                    f"{row['window_start']:%d %B %H:%M}",
                    *(row[name] for name in ("flights", "cancelled", "cancelled_right")),
                )
                for row in hours
            ),
        )
        self.teller.say(f"wrong rows by now: {self._count_wrong()}")

    def _many_wrong_hours(self) -> WrongHours | None:
        found = wrong_hours(read_table(self.stage.environment, ALL[0]), self.right[ALL[0]], since=STORM)
        return found if found.cancelled >= WRONG_LEAST else None

    def _count_wrong(self) -> str:
        """Of the tables whose rows stay: how many should not be there."""
        told = []
        for name in APPENDED:
            found = read_table(self.stage.environment, name)
            told.append(f"{wrong_rows(found, self.right[name]):,} of {found.height:,} in {name}")
        return ", ".join(told)

    def _undo(self) -> None:
        self.teller.heading("Undo")
        self.teller.say("What would be taken back?")
        self._penstock("undo", FLOW, "--to", self.good, "--dry-run", shown=preview_lines)
        self.stage.project.mend()
        why = "cancelled flights were counted as flown"
        self._penstock("undo", FLOW, "--to", self.good, "--yes", "--why", why, shown=undo_lines)
        rows = self.stage.last_receipt()["cut"]["rewritten_rows"]
        self.teller.table(
            ("written anew", "rows then", "rows now"),
            ((sink, counts["then"], counts["now"]) for sink, counts in rows.items()),
        )
        self.teller.say(f"wrong rows now: {self._count_wrong()}")

    def _compare(self) -> int:
        stage, out = self.stage, self.teller.out
        self.teller.heading("Is a trace left?")
        self.teller.say(
            f"The rest of the flights comes, {stage.project.part.end:,} in all; then the flow has read them all."
        )
        stage.end_feed()
        self._penstock("drain", FLOW)
        self.teller.say("The same flights, in another environment, through a flow that never had the bug:")
        self._penstock("run", FLOW, "--env", "never", "--until-drained", shown=lines_with(" drained,", " rows in, "))
        never = load_project(stage.project.folder / "penstock.toml").environment("never")
        found = verdicts(stage.environment, never)
        self.teller.table(
            ("compared row by row", "rows", ""),
            (
                (one.table, one.rows, "equal" if one.is_equal else f"DIFFERENT in {one.differing:,} rows")
                for one in found
            ),
        )
        here, there = (letters(environment, FLOW) for environment in (stage.environment, never))
        rows = sum(one.rows for one in found)
        if here == there and all(one.is_equal for one in found):
            self.teller.say(f"equal: {rows:,} rows in {len(found)} tables. The undo left no trace.", "bold green")
            self.teller.say(f"The dead letters are the same too, {here.total()} in each.")
        else:
            self.teller.say("NOT equal" + ("" if here == there else "; the dead letters differ"), "bold red")
            return 1
        shown = os.path.relpath(stage.project.folder)
        folder = str(stage.project.folder) if shown.startswith("..") else shown
        out.print(f"\nwhat was done, by whom and why: penstock deployments -C {folder}", markup=False, soft_wrap=True)
        return 0

    def _penstock(self, *words: str, shown: Excerpt = iter, code: int = 0) -> None:
        """Run a command, and show what is worth it of what it prints."""
        self.teller.command(words)
        with closing(self.stage.penstock(*words, code=code)) as lines:
            self.teller.printed(shown(lines))


def _rows(text: str) -> int:
    rows = int(text)
    if rows < ROWS_LEAST:
        raise argparse.ArgumentTypeError(f"at least {ROWS_LEAST:,}, not {rows:,}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
