"""The demo, run as a person runs it, on the first days of the year."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen

import polars as pl
import pytest
from deltalake import DeltaTable

from penstock.control import load_project, read_ledger

ROOT = Path(__file__).resolve().parents[2]
DAYS = 10
FLIGHTS = 8_832
CANCELLED = 47
CUT_LINES = 7
TABLES = ("delays_by_carrier", "weather_effect", "rough_days", "aircraft", "late_aircraft")


@dataclass(frozen=True, slots=True)
class Demo:
    """What the first run of the demo printed, and where its project is."""

    project: Path
    printed: str


def run_demo(project: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`python -m examples.flights` on the first days."""
    words = [sys.executable, "-m", "examples.flights", "--days", str(DAYS), "--into", str(project), *more]
    return subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True, timeout=150)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo has run once."""
    project = tmp_path_factory.mktemp("flights")
    done = run_demo(project)
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(project, done.stdout)


def test_every_table_equals_the_batch_query(demo: Demo) -> None:
    """The demo compares each table of the flow with DuckDB's answer over the same files, and all are equal."""
    verdicts = dict(re.findall(r"^ +(\w+) +[\d,]+ rows +(\w+)", demo.printed, re.MULTILINE))

    assert verdicts == dict.fromkeys(TABLES, "equal")


def test_results_are_open_tables(demo: Demo) -> None:
    """The results are Delta tables and Parquet files that anything can read, and no flight is missing in them."""
    tables = demo.project / ".penstock" / "dev" / "tables"
    delays = pl.DataFrame(DeltaTable(tables / "delays_by_carrier").to_pyarrow_table())
    aircraft = pl.DataFrame(DeltaTable(tables / "aircraft").to_pyarrow_table())

    assert delays["flights"].sum() == FLIGHTS
    assert delays["cancelled"].sum() == CANCELLED
    assert aircraft["flights"].sum() == FLIGHTS - CANCELLED
    assert aircraft["tailnum"].is_unique().all()
    assert list((demo.project / "out" / "rough_days").rglob("*.parquet"))


def test_cancelled_flights_break_the_expectation_and_stay(demo: Demo) -> None:
    """The expectation on dep_time counts exactly the cancelled flights, which go on."""
    assert f"not_null(dep_time): not met, {CANCELLED} of {FLIGHTS:,} rows" in demo.printed


def test_cut_lines_are_dead_letters(demo: Demo) -> None:
    """Each line that was cut off is a dead letter with its text, and nothing else is."""
    with read_ledger(load_project(demo.project / "penstock.toml").environment("dev")) as ledger:
        assert ledger is not None
        letters = ledger.dead_letters("delays")

    assert len(letters) == CUT_LINES
    assert {letter.step for letter in letters} == {"flights"}
    assert all(letter.payload.startswith('{"scheduled":"2013-') for letter in letters)
    assert f"{CUT_LINES} dead letters" in demo.printed


def test_chart_is_drawn(demo: Demo) -> None:
    """The chart is a PNG where the demo says it is."""
    chart = demo.project / "out" / "delays.png"

    assert f"chart: {chart}" in demo.printed
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_next_commands_work(demo: Demo) -> None:
    """The commands that the demo prints at its end name this project, and run as they are printed."""
    commands = [line.strip() for line in demo.printed.splitlines() if "penstock" in line and "--project" in line]
    printed = {command.split()[1]: command for command in commands if not command.startswith("$")}
    assert set(printed) == {"show", "ledger", "sql", "deadletters"}

    started = [Popen(printed[verb], shell=True, cwd=ROOT, stdout=PIPE, text=True) for verb in ("show", "sql")]  # noqa: S602
    answers = [(process.communicate(timeout=120)[0], process.returncode) for process in started]

    assert [code for _, code in answers] == [0, 0]
    assert "by_hour" in answers[0][0]
    assert "5 rows" in answers[1][0]


def test_second_run_has_nothing_to_do_and_again_begins_anew(demo: Demo) -> None:
    """A finished demo says so when it runs again; `--again` takes the outputs away and gives the same results."""
    second = run_demo(demo.project)
    again = run_demo(demo.project, "--again")

    assert second.returncode == 0
    assert "nothing to do" in second.stdout
    assert again.returncode == 0
    assert "begins with the first flight" in again.stdout
    assert again.stdout.count("equal") == demo.printed.count("equal")
