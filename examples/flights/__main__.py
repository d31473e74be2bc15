"""`python -m examples.flights`: write the records, run the flow, show its tables, check them, say what to do next."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import FrameType

import polars as pl
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from examples.flights.batch import QUESTIONS, Verdict, answer, compare
from examples.flights.records import Records, write_records
from examples.flights.report import aircraft_table, carrier_table, draw_delays, weather_table
from penstock import PenstockError
from penstock.control import (
    Environment,
    PreparedRun,
    SqlSession,
    find_flow,
    has_ledger,
    load_flow,
    plan_reset,
    prepare,
    read_ledger,
    reset_here,
    run_here,
)
from penstock.engine import Progress as RunProgress
from penstock.engine import RunResult, StopSignal
from penstock.ledger import DeadLetter, EpochRecord

HERE = Path(__file__).resolve().parent
DAYS = 365
STOPPED = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger says of all epochs of the flow."""

    epochs: int
    rows_in: int
    rows_late: int
    rows_dead: int
    checks: Mapping[str, tuple[int, int]]
    """Expectation -> rows that met it, rows that did not."""
    letters: tuple[DeadLetter, ...]


def main() -> int:
    """Run the demo; the exit code: 0 all is as it should be, 1 an error or a difference, 3 stopped on the way."""
    parser = argparse.ArgumentParser(prog="python -m examples.flights", description=__doc__)
    parser.add_argument("--days", type=_days, default=DAYS, help="only the first days of 2013 (default: all 365)")
    parser.add_argument("--into", type=Path, default=HERE, help="make the project in this folder (default: here)")
    parser.add_argument("--again", action="store_true", help="forget what ran before and begin with the first flight")
    given = parser.parse_args()
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    try:
        return _demo(out, given.into.resolve(), days=given.days, again=given.again)
    except (PenstockError, FileNotFoundError) as error:
        out.print(f"\n{error}", style="red", markup=False)
        return 1


def _demo(out: Console, project: Path, *, days: int, again: bool) -> int:
    start_s = perf_counter()
    if project != HERE:
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE / "flows", project / "flows", dirs_exist_ok=True, ignore=unwanted)
        shutil.copy(HERE / "penstock.toml", project)
    _heading(out, 1, "The records")
    records = write_records(project / "data", days=days)
    _tell_records(out, records)

    _heading(out, 2, "The flow")
    target = find_flow("delays", project)
    environment = target.project.environment("dev")
    prepared = prepare(load_flow(target, environment), environment)
    if (again or records.written) and has_ledger(environment):
        reset_here(prepared, plan_reset(prepared))
        out.print("what ran before is forgotten; it begins with the first flight")
    result = _run(out, prepared, records)
    _tell_run(out, result)
    if not result.finished:
        return STOPPED

    _heading(out, 3, "The results")
    tables = _tables(environment)
    for table in (
        carrier_table(tables["delays_by_carrier"]),
        weather_table(tables["weather_effect"]),
        aircraft_table(tables["aircraft"]),
    ):
        out.print(table)
        out.print()
    chart = project / "out" / "delays.png"
    draw_delays(tables["delays_by_carrier"], chart)
    out.print(f"chart: {_shown(chart)}")

    _heading(out, 4, "What was not right in the data")
    _tell_faults(out, _facts(environment), records)

    _heading(out, 5, "Is it true?")
    expected = answer(project / "data")
    verdicts = [compare(name, tables[name], expected[name]) for name in QUESTIONS]
    _tell_verdicts(out, verdicts)

    _heading(out, 6, f"Next ({perf_counter() - start_s:.0f} s so far)")
    _tell_next(out, project)
    return 0 if all(verdict.is_equal for verdict in verdicts) else 1


def _run(out: Console, prepared: PreparedRun, records: Records) -> RunResult:
    """Run the flow with a bar. Ctrl-C finishes the epoch; a second one stops at once, and nothing is lost."""
    out.print(f"[dim]$ {_penstock()} run delays --project {_shown(prepared.loaded.project.root)}[/]")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[told]}"))
    with _stop_signal() as stop, Progress(*columns, TimeElapsedColumn(), console=out, transient=True) as bar:
        task = bar.add_task("rows", total=records.flights + records.looked_up, told="")

        def show(progress: RunProgress) -> None:
            told = f"epoch {progress.epoch}, {progress.rows_per_s:,.0f} rows/s"
            bar.update(task, completed=progress.rows_in, told=told)

        return run_here(prepared, stop=stop, on_progress=show)


@contextmanager
def _stop_signal() -> Iterator[StopSignal]:
    stop = StopSignal()
    usual: Callable[[int, FrameType | None], object] = signal.default_int_handler

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            usual(number, frame)
        stop.request()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _tables(environment: Environment) -> dict[str, pl.DataFrame]:
    """The tables that the flow wrote, as `penstock sql` would give them."""
    with SqlSession(environment) as session:
        results = ((name, session.query(f"select * from {name}")) for name in QUESTIONS)
        return {name: pl.DataFrame(pa.Table.from_batches(found.batches, found.schema)) for name, found in results}


def _facts(environment: Environment) -> Facts:
    with read_ledger(environment) as ledger:
        records: tuple[EpochRecord, ...] = () if ledger is None else tuple(ledger.epochs("delays"))
        letters = () if ledger is None else tuple(ledger.dead_letters("delays"))
    checks: dict[str, Counter[str]] = {}
    for record in records:
        for name, counts in record.checks.items():
            checks.setdefault(name, Counter()).update({key: int(counts[key]) for key in ("passed", "failed")})
    return Facts(
        epochs=len(records),
        rows_in=sum(record.rows_in.get("flights", 0) for record in records),
        rows_late=sum(record.rows_late for record in records),
        rows_dead=sum(record.rows_dead for record in records),
        checks={name: (counts["passed"], counts["failed"]) for name, counts in checks.items()},
        letters=letters,
    )


def _tell_records(out: Console, records: Records) -> None:
    size_mb = (records.folder / "flights.ndjson").stat().st_size / 1e6
    state = "written to" if records.written else "already in"
    out.print(
        f"{records.flights:,} flights from New York in 2013, with the weather, airlines and aircraft, {state} "
        f"{_shown(records.folder)} ({size_mb:.0f} MB of JSON lines), "
        "in the order in which the flights were over: a flight that left late is reported late.\n"
        f"These records are real. {records.cut} lines more are ours: copies that are cut off in the middle."
    )


def _tell_run(out: Console, result: RunResult) -> None:
    if result.finished and result.epochs == 0:
        out.print("all flights were read by an earlier run, so there is nothing to do; --again begins from the first")
    elif result.finished:
        rate = result.rows_in / result.seconds if result.seconds else 0.0
        out.print(
            f"{result.rows_in:,} rows (flights, and the tables that they are joined with) in {result.epochs} epochs, "
            f"{result.seconds:.1f} s ({rate:,.0f} rows/s);\n"
            f"{result.rows_out:,} rows written, {result.rows_late:,} were too late, {result.rows_dead:,} dead letters"
        )
    else:
        out.print(f"stopped after epoch {result.last_epoch}; run it again and it goes on behind it")


def _tell_faults(out: Console, facts: Facts, records: Records) -> None:
    for name, (passed, failed) in facts.checks.items():
        mark = "[green]met[/]" if not failed else "[yellow]not met[/]"
        out.print(f"expectation {name}: {mark}, {failed:,} of {passed + failed:,} rows")
    out.print("[dim]a flight without dep_time was cancelled; the expectation counts it and lets it pass[/]")
    cut = [letter for letter in facts.letters if letter.step == "flights"]
    refused = [letter for letter in facts.letters if letter.step != "flights"]
    out.print(f"\n{facts.rows_dead:,} dead letters, the rows beside them went on:")
    out.print(f"  {len(cut)} lines that are no JSON (the {records.cut} that we cut off), for example")
    for letter in cut[:1]:
        out.print(f"    [dim]{letter.payload[:90]}...[/]")
    for letter in refused:
        out.print(f"  a row that step {letter.step} took out: {letter.message}", markup=False)
        out.print(f"    [dim]{letter.payload[:200]}[/]")


def _tell_verdicts(out: Console, verdicts: list[Verdict]) -> None:
    out.print("The same questions asked by DuckDB in one go over the same files, compared row by row:")
    for verdict in verdicts:
        told = "equal" if verdict.is_equal else f"DIFFERENT in {verdict.differing:,} rows"
        style = "green" if verdict.is_equal else "bold red"
        out.print(f"  {verdict.table:<18} {verdict.rows:>7,} rows  [{style}]{told}[/]")


def _tell_next(out: Console, project: Path) -> None:
    penstock, where = _penstock(), _shown(project)
    worst = "select airline, window_start, flights, late from delays_by_carrier order by late desc limit 5"
    commands = (
        ("the flow that ran", f"$EDITOR {where}/flows/delays.py"),
        ("its steps, and what each reads or writes", f"{penstock} show delays --project {where}"),
        ("what each epoch read and wrote", f"{penstock} ledger delays --project {where}"),
        ("any question, in SQL", f'{penstock} sql "{worst}" --project {where}'),
        ("the rows that were not right, and why", f"{penstock} deadletters delays --project {where}"),
        ("a project of your own", f"{penstock} init my-flows"),
        ("this again, from the first flight", _again(project)),
        ("a bug in the running flow, and its undo", f"{_from_here(Path(sys.executable))} -m examples.flights.story"),
    )
    for why, command in commands:
        out.print(f"  [dim]# {why}[/]")
        out.print(f"  {command}", markup=False, soft_wrap=True)


def _again(project: Path) -> str:
    into = "" if project == HERE else f" --into {_shown(project)}"
    return f"{_from_here(Path(sys.executable))} -m examples.flights{into} --again"


def _heading(out: Console, number: int, text: str) -> None:
    out.print()
    out.rule(f"[bold]{number}  {text}[/]", align="left", characters="─", style="dim")


def _penstock() -> str:
    """The program beside this Python, as one would type it here."""
    program = Path(sys.executable).with_name("penstock")
    return _from_here(program) if program.is_file() else "penstock"


def _from_here(program: Path) -> str:
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else str(program)


def _shown(path: Path) -> str:
    """The path as one would type it in this folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= DAYS:
        raise argparse.ArgumentTypeError(f"1 to {DAYS}, not {days}")
    return days


if __name__ == "__main__":
    sys.exit(main())
