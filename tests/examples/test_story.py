"""The story of a bug and its undo, told on a few days around the storm, and interrupted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from examples.flights.batch import QUESTIONS
from penstock.clock import SystemClock
from penstock.control import is_there, living_server, load_project, read_ledger

ROOT = Path(__file__).resolve().parents[2]
ROWS = 9_000
LONGEST_S = 240
pytestmark = pytest.mark.timeout(LONGEST_S + 60)


@dataclass(frozen=True, slots=True)
class Told:
    """The story, told once: what it printed, and its folder."""

    folder: Path
    printed: str

    def number(self, pattern: str) -> int:
        """A number in what it printed."""
        found = re.search(pattern, self.printed)
        assert found is not None, self.printed
        return int(found[1].replace(",", ""))

    def handovers(self) -> list[dict[str, Any]]:
        """The handovers, oldest first, as `penstock deployments` tells them."""
        words = ["-m", "penstock.interfaces.cli", "deployments", "--json", "-C", str(self.folder)]
        done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, timeout=LONGEST_S)
        found: list[dict[str, Any]] = json.loads(done.stdout)["deployments"]
        return found[::-1]


def command(folder: Path) -> list[str]:
    """The story in a folder."""
    return [sys.executable, "-m", "examples.flights.story", "--rows", str(ROWS), "--into", str(folder)]


@contextmanager
def telling(folder: Path) -> Iterator[Popen[str]]:
    """The story while it is told; killed where a test does not see its end."""
    with Popen(command(folder), cwd=ROOT, stdout=PIPE, stderr=subprocess.STDOUT, text=True) as story:
        try:
            yield story
        finally:
            story.kill()


def nothing_runs(folder: Path) -> bool:
    """Whether neither the server nor any process of the flow is there any more."""
    environment = load_project(folder / "penstock.toml").environment("dev")
    with read_ledger(environment) as ledger:
        assert ledger is not None
        members = [member for member in ledger.members("delays", ended=True) if is_there(member)]
    return living_server(environment) is None and not members


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The story has been told."""
    folder = tmp_path_factory.mktemp("story") / "flights"
    done = subprocess.run(
        command(folder),
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Told(folder, done.stdout)


def test_every_table_equals_that_of_a_flow_without_the_bug(told: Told) -> None:
    """After the undo each table has the same rows as in the environment in which the bug never was."""
    verdicts = dict(re.findall(r"^(\w+) +[\d,]+ +(equal|DIFFERENT)", told.printed, re.MULTILINE))

    assert verdicts == dict.fromkeys(QUESTIONS, "equal")
    assert told.number(r"equal: ([\d,]+) rows in 5 tables") > ROWS // 4


def test_the_gate_had_refused_it_and_then_it_was_forced(told: Told) -> None:
    """The first deploy ends at the gate, by rows that differ; the second with the same rows, a reason, and the lead."""
    refused, forced, _ = told.handovers()
    reasons = [detail["kind"] for detail in refused["receipt"]["gate"]["details"]]

    assert (refused["kind"], refused["status"]) == ("deploy", "refused")
    assert "rows" in reasons
    assert "checks" not in reasons
    assert (forced["kind"], forced["status"]) == ("deploy", "done")
    assert forced["receipt"]["gate"]["forced"] is True
    assert forced["why"]
    assert forced["new_version"] == refused["new_version"]


def test_wrong_rows_were_out(told: Told) -> None:
    """Before the undo rows of the append and of the Parquet table were wrong, and after it none is."""
    before, after = re.findall(r"^wrong rows (?:by )?now: (.*)$", told.printed, re.MULTILINE)

    assert told.number(r"([\d,]+) flights that never left") >= 100
    assert re.match(r"[1-9][\d,]* of [\d,]+ in delays_by_carrier", before)
    assert re.findall(r"(\d+) of", after) == ["0", "0", "0"]


def test_the_undo_has_a_receipt(told: Told) -> None:
    """It says which epochs were written anew, how many rows of each sink, how long nobody wrote, and who leads."""
    forced, undo = told.handovers()[1:]
    cut = undo["receipt"]["cut"]

    assert (undo["kind"], undo["status"], undo["why"]) == ("undo", "done", "cancelled flights were counted as flown")
    assert undo["receipt"]["leads"] == forced["old_version"]
    assert cut["rewritten_from"] == forced["receipt"]["cut"]["from_epoch"]
    assert cut["rewritten_epochs"] == cut["rewritten_upto"] - cut["rewritten_from"] + 1 > 0
    assert cut["rewritten_rows"].keys() == {f"write_{name}" for name in QUESTIONS}
    assert cut["rewritten_rows"]["write_delays_by_carrier"]["now"] > 0
    assert cut["pause_ms"] > 0


def test_nothing_is_left_running(told: Told) -> None:
    """The server, the flow and the feeder end with the story."""
    assert nothing_runs(told.folder)


def test_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    """Interrupted while the flow runs, it ends the server and the flow, and says so by its exit code."""
    folder = tmp_path / "flights"
    with telling(folder) as story:
        assert story.stdout is not None
        told = [next(line for line in story.stdout if "A small change" in line)]
        story.send_signal(signal.SIGINT)
        told += story.stdout
        code = story.wait(LONGEST_S)

    assert code == 130, "".join(told)
    assert "all that the story started has ended" in told[-1]
    assert nothing_runs(folder)


def test_nothing_outlives_a_story_that_is_killed(tmp_path: Path) -> None:
    """After `kill -9` of the story its server stops the flow and ends, too."""
    folder = tmp_path / "flights"
    with telling(folder) as story:
        assert story.stdout is not None
        assert any("penstock start" in line for line in story.stdout)
        assert any("running" in line for line in story.stdout)
        story.kill()

    clock = SystemClock()
    until_s = clock.stopwatch_s() + LONGEST_S
    while not nothing_runs(folder) and clock.stopwatch_s() < until_s:
        clock.sleep(0.2)
    assert nothing_runs(folder)
