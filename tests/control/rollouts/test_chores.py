"""What a version answers in a process of its own: real projects, real processes, real files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from penstock.clock import ManualClock, SystemClock
from penstock.control import bundles, find_flow, load_flow, make_bundle, opened_ledger, prepare, project_for, run_here
from penstock.control.rollouts.chores import Chores, answered
from penstock.control.rollouts.machine import Machine
from penstock.control.supervising.crew import Code, Crew
from penstock.control.supervising.launching import Launcher
from penstock.control.supervising.processes import SystemProcesses
from penstock.engine import RunOptions, SpillReader
from penstock.errors import ConfigError
from tests.control.supervising.serving import until

FLOW = '''
"""Numbers, kept in one table and told to the console."""
import polars as pl
import penstock as ps

flow = ps.Flow("kept", epoch_rows=10)
numbers = flow.read(ps.files("numbers.jsonl", schema={"n": int}))
numbers.write(ps.table("kept"))
numbers.write(ps.console())
'''
CLOCK = SystemClock()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A project with environments `dev` and `other`, whose flow ran over 30 rows in 3 epochs of a kept version."""
    (tmp_path / "penstock.toml").write_text("[env.other]\n")
    (tmp_path / "kept.py").write_text(FLOW)
    (tmp_path / "numbers.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(30)))
    environment = project_for(tmp_path).environment("dev")
    prepared = prepare(load_flow(find_flow("kept", tmp_path), environment), environment)
    with opened_ledger(environment) as ledger:
        make_bundle(prepared, ledger=ledger)
    run_here(prepared, options=RunOptions(until_drained=True))
    return tmp_path


def test_a_check_waits_for_its_packages_and_the_server_does_not(kept: Path) -> None:
    """While they are being installed there is no answer yet; then it comes. What can't be installed is an error."""
    environment = project_for(kept).environment("dev")
    asked = job(kept, "check")
    waits = ConfigError("the packages are being installed")
    waits.heals = True
    answers: list[Code | ConfigError] = [waits, waits, Code(kept)]

    def find(_flow: str, _version: str) -> Code:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    with opened_ledger(environment) as ledger:
        processes = SystemProcesses()
        launcher = Launcher(processes, CLOCK, folder=environment.folder, root=kept)
        crew = Crew(ledger, environment, clock=CLOCK, processes=processes, launcher=launcher, find=find)
        machine = Machine(crew, environment)
        assert machine.chore("k", asked) is None
        assert machine.chore("k", asked) is None
        found = until(lambda: machine.chore("k", asked))
        assert found["ok"], found
        answers[:] = [ConfigError("there is no such package")]
        with pytest.raises(ConfigError, match="no such package"):
            machine.chore("other", asked)
        machine.close()
        processes.close()


def job(root: Path, kind: str, **given: Any) -> dict[str, Any]:
    """A job for the version that is kept."""
    environment = project_for(root).environment("dev")
    version = bundles(environment, "kept")[0].id
    return {"kind": kind, "env": "dev", "project_root": str(root), "flow": "kept", "version": version, **given}


def asked(folder: Path, one: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer of a real process."""
    chores = Chores(folder / "chores", SystemClock())
    try:
        while (answer := chores.ask("it", one)) is None:
            CLOCK.sleep(0.02)
        return answer
    finally:
        chores.close()
        assert list((folder / "chores").iterdir()) == [], "nothing is left of it"


def test_a_good_version_tells_its_sinks_and_its_input(kept: Path) -> None:
    """Which sinks can take rows back, and whether the sources still give an epoch's rows."""
    answer = asked(kept, job(kept, "check", input_from=2))

    assert answer["ok"], answer
    assert answer["steps"] == 3
    table, console = answer["sinks"]["write_kept"], answer["sinks"]["write_console"]
    assert (table["kind"], table["undoable"]) == ("delta", True)
    assert (console["kind"], console["undoable"]) == ("console", False)
    assert answer["input"] == {"numbers": {"there": True, "message": ""}}


def test_input_that_is_gone_is_told(kept: Path) -> None:
    """By source, in the source's own words."""
    (kept / "numbers.jsonl").unlink()
    found = answered(job(kept, "check", input_from=1))

    assert found["ok"], found
    assert not found["input"]["numbers"]["there"]
    assert "numbers.jsonl" in found["input"]["numbers"]["message"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('not today')", "not today"),
        ("import os; os.abort()", "exit code -6"),
        ("print('hello'); flow = 3", "has no flow"),
    ],
)
def test_a_version_that_can_not_be_loaded_says_why(tmp_path: Path, code: str, message: str) -> None:
    """An error, a process that dies, a file without a flow: always an answer, never one that is taken for a yes."""
    (tmp_path / "kept.py").write_text(f'import penstock as ps\nflow = ps.Flow("kept")\n{code}\n')
    one = {"kind": "check", "env": "dev", "project_root": str(tmp_path), "flow": "kept", "version": ""}
    answer = asked(tmp_path, {**one, "input_from": None})

    assert not answer["ok"]
    assert message in answer["error"]["message"]


def spilled(folder: Path) -> str:
    """What a replay computed, as the engine's spill has it: epoch n has the rows 10n-10..10n-1, each less one."""
    (folder / "spill").mkdir()
    with (folder / "spill" / "000001.frames").open("wb") as file:
        for epoch in (1, 2, 3):
            rows = pl.DataFrame({"n": range(epoch * 10 - 11, epoch * 10 - 1)}).write_ipc_stream(None).getvalue()
            head = {"epoch": epoch, "sink": "write_kept", "rows": len(rows), "deleted": 0}
            file.write(json.dumps(head).encode() + b"\n" + rows)
            file.write(json.dumps({"epoch": epoch, "end": True}).encode() + b"\n")
    assert SpillReader(folder / "spill").epochs() == [1, 2, 3]
    return str(folder / "spill")


def test_rows_of_a_replay_are_kept_as_parquet(kept: Path) -> None:
    """One file a sink, whole or not at all, with the epoch of each row."""
    found = answered(job(kept, "keep", spill=spilled(kept), first=2, last=3, folder=str(kept / "replayed")))

    assert found["ok"], found
    frame = pl.read_parquet(kept / "replayed" / "write_kept.parquet")
    assert frame.columns == ["n", "_epoch"]
    assert frame["n"].to_list() == list(range(9, 29))
    assert frame["_epoch"].unique().sort().to_list() == [2, 3]
    assert found["files"]["write_kept"]["rows"] == 20


def test_rows_of_a_replay_go_into_another_environment_once(kept: Path) -> None:
    """As the epochs of a flow of its own there: done again, it finds that they are there."""
    one = job(kept, "into", spill=spilled(kept), first=2, last=3, environment="other", into_flow="kept.replay-2-3")
    for already in (0, 2):
        found = answered(one)
        assert found["ok"], found
        assert (found["epochs"], found["already"]) == (2, already)
    other = project_for(kept).environment("other")
    rows = pl.read_delta(str(other.folder / "tables" / "kept"))
    assert sorted(rows["n"].to_list()) == list(range(9, 29))
    with opened_ledger(other) as ledger:
        records = ledger.epochs("kept.replay-2-3")
    assert [(record.epoch, record.rows_out["write_kept"]) for record in records] == [(1, 10), (2, 10)]


def test_a_replay_whose_rows_are_gone_writes_nothing(kept: Path) -> None:
    """It says which epoch is missing."""
    spill = spilled(kept)
    (Path(spill) / "000001.frames").write_bytes(b"")
    found = answered(job(kept, "into", spill=spill, first=2, last=3, environment="other", into_flow="again"))

    assert not found["ok"]
    assert "what epoch 2 computed is not there" in found["error"]["message"]


def test_a_process_that_can_not_be_started_is_an_error(tmp_path: Path) -> None:
    """No server waits for it."""
    chores = Chores(tmp_path / "chores", SystemClock())
    with pytest.raises(ConfigError, match="no process can be started"):
        chores.ask("it", {"project_root": str(tmp_path)}, python=str(tmp_path / "no-python"))
    chores.close()


def test_a_chore_that_takes_long_gets_its_share(tmp_path: Path) -> None:
    """It has the least weight at first, a tenth after three seconds, the full one after ten: nobody waits for ever."""
    clock = ManualClock()
    weights: list[tuple[int, int]] = []

    def weigh(nice: int, pid: int) -> bool:
        weights.append((nice, pid))
        return True

    chores = Chores(tmp_path / "chores", clock, weigh=weigh)
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    for seconds in (0, 2, 2, 7):
        clock.sleep(seconds)
        assert chores.ask("it", {"project_root": str(tmp_path)}, python=str(sleeper)) is None
    chores.close()
    assert [nice for nice, _ in weights] == [19, 10, 0]
    assert len({pid for _, pid in weights}) == 1
