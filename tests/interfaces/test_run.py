"""`penstock run`, typed by a person: progress, the two ways to stop, and what is left afterwards."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.interfaces.user import started, typed, wait_for_file


def numbers_in(folder: Path) -> list[int]:
    """The rows of the table `numbers`, sorted."""
    found = typed(folder, "sql", "select n from numbers order by n", "--format", "csv")
    assert found.code == 0, found.err
    return [int(line) for line in found.out.splitlines()[1:]]


def committed(folder: Path, flow: str) -> list[dict[str, object]]:
    """The epochs of a flow, from the ledger."""
    found: list[dict[str, object]] = json.loads(typed(folder, "ledger", flow, "--json").out)["epochs"]
    return found


def test_it_says_what_it_did_and_what_to_do_next(shop: Path) -> None:
    """The summary has counts, broken expectations, the table's place, and commands that follow."""
    answer = typed(shop, "run", "revenue")

    assert answer.code == 0
    assert "revenue in dev: finished, the input is read to its end (epoch 1)" in answer.out
    assert "239 rows in, 30 out, 0 late, 1 dead letter; 1 epoch in" in answer.out
    assert "expectations not met: checked: not_null(country) (2 rows)" in answer.out
    assert "delta .penstock/dev/tables/revenue_by_country" in answer.out
    assert 'penstock sql "select * from revenue_by_country limit 10"' in answer.out
    assert "penstock deadletters revenue" in answer.out
    assert answer.err == ""


def test_a_second_run_finds_nothing_to_do(shop: Path) -> None:
    """Bounded input that was read to its end is not read again, and the way to begin again is shown."""
    typed(shop, "run", "revenue")

    answer = typed(shop, "run", "revenue")

    assert answer.code == 0
    assert "nothing to do, all input was read before (up to epoch 1)" in answer.out
    assert "penstock run revenue --reset" in answer.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_finishes_the_epoch(held: Path, number: signal.Signals) -> None:
    """After Ctrl-C or SIGTERM the epoch under way is committed, no more begin, and the next run does the rest."""
    with started(held, "run", "held.py", "--until-drained") as running:
        wait_for_file(held / "waits")
        running.interrupt(number)
        (held / "go").touch()
        answer = running.end()

    assert answer.code == 3
    assert "finishing this epoch" in answer.err
    assert "stopped cleanly after epoch 1; the next run goes on behind it" in answer.out
    assert [epoch["epoch"] for epoch in committed(held, "held")] == [1]
    assert numbers_in(held) == list(range(10))
    assert typed(held, "run", "held.py", "--until-drained").code == 0
    assert numbers_in(held) == list(range(30))


def test_a_second_ctrl_c_stops_at_once_and_loses_nothing(held: Path) -> None:
    """While an epoch hangs, the second Ctrl-C ends the process; the epoch is not there, and the next run does it."""
    with started(held, "run", "held.py") as running:
        wait_for_file(held / "waits")
        running.interrupt()
        running.interrupt()
        while running.process.poll() is None:
            running.interrupt()
        answer = running.end()

    assert answer.code == 130
    assert "stopped at once. Nothing is lost" in answer.err
    (held / "go").touch()
    assert typed(held, "run", "held.py").code == 0
    assert numbers_in(held) == list(range(30))
    assert [epoch["epoch"] for epoch in committed(held, "held")] == [1, 2, 3]


def test_a_killed_run_goes_on(held: Path) -> None:
    """`kill -9` while an epoch is under way leaves a ledger from which the next run gets every row once."""
    with started(held, "run", "held.py") as running:
        wait_for_file(held / "waits")
        running.interrupt(signal.SIGKILL)
        running.end()
    (held / "go").touch()

    assert typed(held, "run", "held.py").code == 0
    assert numbers_in(held) == list(range(30))


def test_two_runs_of_one_flow_are_refused(held: Path) -> None:
    """While one process runs a flow, another is told its process id and changes nothing."""
    with started(held, "run", "held.py") as running:
        wait_for_file(held / "waits")
        answer = typed(held, "run", "held.py")
        pid = running.process.pid

    assert answer.code == 4
    assert f"another process runs this flow in environment 'dev': process {pid}" in answer.err
    assert f"kill -TERM {pid}" in answer.err


def test_progress_on_a_terminal_is_live(endless: Path) -> None:
    """On a terminal there is a panel with the numbers, and after Ctrl-C the summary, with the cursor shown again."""
    with started(endless, "run", "endless.py", terminal=True) as running:
        seen = running.wait_for_text("rows/s")
        running.wait_for_text("watermark")
        running.wait_for_text("running")
        running.interrupt()
        answer = running.end()

    assert answer.code == 0
    assert "endless in dev" in seen
    assert "stopped cleanly after epoch" in answer.out
    assert answer.out.rindex("\x1b[?25h") > answer.out.rindex("\x1b[?25l")


def test_progress_in_a_pipe_is_lines(endless: Path) -> None:
    """Without a terminal there is a line a second, without any escape sequence."""
    with started(endless, "run", "endless.py") as running:
        assert running.process.stdout is not None
        lines = [running.process.stdout.readline().decode() for _ in range(3)]
        running.interrupt()
        answer = running.end()

    assert answer.code == 0
    assert "endless running  rows " in lines[-1]
    assert "rows/s" in lines[-1]
    assert "\x1b" not in "".join(lines) + answer.out


def test_plain_lines_can_be_had_on_a_terminal(endless: Path) -> None:
    """`--plain` gives the lines of a pipe on a terminal too."""
    with started(endless, "run", "endless.py", "--plain", terminal=True) as running:
        seen = running.wait_for_text("endless running  rows ")
        running.interrupt()
        running.end()

    assert "\x1b[?25l" not in seen


def test_parameters_reach_the_flow(shop: Path) -> None:
    """`--set` changes what `ps.param` gives, and the results with it."""
    typed(shop, "run", "revenue", "--set", "vat=0")

    answer = typed(shop, "sql", "select sum(vat) as vat from revenue_by_country", "--format", "csv")

    assert answer.out == "vat\n0.0\n"
