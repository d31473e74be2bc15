"""Processes that are killed inside a handover, before any of its statements: the flow is as before it, or as after."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.pool import PoolProxiedConnection

from penstock.clock import ManualClock, new_id
from penstock.ledger import Ledger, SqlLedger, open_ledger
from tests.ledger.facts import FLOW, Open, history
from tests.ledger.handover_victim import act

ROOT = Path(__file__).resolve().parents[2]
ACTIONS = ["take_over", "begin_rewrite", "finish_rewrite"]
STATEMENTS_MAX = 60


@pytest.fixture
def victim() -> Iterator[Callable[..., str]]:
    """Do an action in a process that is killed before its n-th statement; gives `killed` or `done`."""
    arguments = [sys.executable, "-m", "tests.ledger.handover_victim"]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(*given: str | int) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{json.dumps(given)}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield ask
        assert process.stdin is not None
        process.stdin.close()


def prepared(ledger: Ledger, action: str) -> None:
    """A flow that the action can be done with."""
    history(ledger, 5, dead=True)
    if action == "finish_rewrite":
        act(ledger, "begin_rewrite")


def facts(ledger: Ledger) -> dict[str, Any]:
    """All that a handover may change."""
    return {
        "standing": ledger.standing(FLOW),
        "segments": ledger.segments(FLOW),
        "epochs": ledger.epochs(FLOW),
        "undone": ledger.undone_epochs(FLOW),
        "letters": [(found.epoch, found.status, found.message) for found in ledger.dead_letters(FLOW)],
        "dead": ledger.count_dead_letters(FLOW),
        "savepoints": [(found.epoch, found.version, found.segments) for found in ledger.savepoints(FLOW)],
    }


@pytest.mark.crash
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_kill_inside_a_handover_leaves_before_or_after(
    request: pytest.FixtureRequest, victim: Callable[..., str], tmp_path: Path, action: str, kind: str
) -> None:
    """Killed before each of its statements in turn, nothing is half done, and the next process can do it again."""
    seen: list[bool] = []
    ended = "killed"
    while ended == "killed" and len(seen) < STATEMENTS_MAX:
        env = f"handover-{new_id()}"
        where = str(tmp_path / env) if kind == "sqlite" else request.getfixturevalue("ledger_dsn")
        ledger = open_ledger(where, env=env, clock=ManualClock(), folder=tmp_path)
        prepared(ledger, action)
        before = facts(ledger)
        ended = victim(where, str(tmp_path), env, action, len(seen) + 1)
        found = facts(ledger)
        act(ledger, action)
        after = facts(ledger)
        ledger.close()
        assert found in (before, after)
        seen.append(found == after)

    assert ended == "done"
    assert seen == sorted(seen), "what was done stays done"
    assert seen.count(False) > 3


@pytest.mark.parametrize("action", ACTIONS)
def test_a_handover_whose_answer_was_lost_is_done_once(
    ledger_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The connection dies after PostgreSQL committed and before it answered: the ledger finds its own handover."""
    expected = open_ledger(ledger_dsn, env=f"told-{action}", clock=ManualClock(), folder=tmp_path)
    ledger = open_ledger(ledger_dsn, env=f"lost-{action}", clock=ManualClock(), folder=tmp_path)
    assert isinstance(ledger, SqlLedger)
    prepared(expected, action)
    prepared(ledger, action)
    act(expected, action)
    dialect = ledger._databases.control.engine.dialect
    real = dialect.do_commit
    killed: list[int] = []

    def commit_and_die(connection: PoolProxiedConnection) -> None:
        real(connection)
        cursor = connection.cursor()
        cursor.execute("select pg_backend_pid(), current_setting('transaction_isolation')")
        (pid, isolation) = cursor.fetchone() or (0, "")
        if not killed and isolation == "read committed":  # a write: reads see one moment
            killed.append(pid)
            with psycopg.connect(ledger_dsn, autocommit=True) as killer:
                killer.execute("select pg_terminate_backend(%s, 5000)", killed)
            connection.cursor().execute("select 1")
        connection.rollback()

    monkeypatch.setattr(dialect, "do_commit", commit_and_die)
    act(ledger, action)
    monkeypatch.undo()
    found, wanted = facts(ledger), facts(expected)
    ledger.close()
    expected.close()

    assert killed
    assert found == wanted


def test_two_processes_may_end_the_same_undo(open_it: Open) -> None:
    """One that lost its answer tells it again from another process: it is done once."""
    first, second = open_it(), open_it()
    prepared(first, "finish_rewrite")
    act(first, "finish_rewrite")
    after = facts(first)
    act(second, "finish_rewrite")

    assert facts(second) == after
