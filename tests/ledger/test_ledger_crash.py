"""Processes that really die, freeze or lose their connection while they commit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import PoolProxiedConnection

from penstock.clock import ManualClock, SystemClock, new_id, seeded
from penstock.errors import LedgerError
from penstock.ledger import Ledger, Resume, SqlLedger, open_ledger
from penstock.ledger.fence import locked_head
from penstock.testing import servers
from tests.ledger.facts import FLOW, Open, commit_epochs, letter, plan, record

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, str]:
    """Where a ledger is, the folder of its rolled up epochs, its environment."""
    where = str(tmp_path / "ledger") if request.param == "sqlite" else request.getfixturevalue("ledger_dsn")
    return where, str(tmp_path / "rolled"), f"crash-{new_id()}"


@contextmanager
def committer(place: tuple[str, str, str]) -> Iterator[subprocess.Popen[str]]:
    """The process of `tests.ledger.committer`, once it has claimed the flow; killed at the end."""
    arguments = [sys.executable, "-m", "tests.ledger.committer", *place]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "claimed\n"
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def acknowledged(process: subprocess.Popen[str], count: int) -> list[int]:
    """Read the next `count` acknowledged epochs; fewer where the process ends."""
    assert process.stdout is not None
    lines = (process.stdout.readline().strip() for _ in range(count))
    return [int(line) for line in lines if line.isdigit()]


def reopened(place: tuple[str, str, str]) -> Ledger:
    """The ledger as the next process finds it."""
    where, folder, env = place
    lock_timeout_ms = 5_000 if where.startswith("postgresql") else 200
    return open_ledger(where, env=env, clock=ManualClock(), folder=Path(folder), lock_timeout_ms=lock_timeout_ms)


@pytest.mark.crash
@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 23))])
def test_every_acknowledged_epoch_survives_a_kill(place: tuple[str, str, str], seed: int) -> None:
    """Killed three times at a random moment: all that was acknowledged is there once, with what belongs to it."""
    random = seeded(seed)
    for round_ in (1, 2, 3):
        with committer(place) as process:
            last = acknowledged(process, random.randrange(1, 70))[-1]
            process.kill()
            assert process.stdout is not None
            rest = [int(line) for line in process.stdout.read().split() if line.isdigit()]
        last = max([last, *rest])
        ledger = reopened(place)
        epochs = ledger.epochs(FLOW)
        numbers = [found.epoch for found in epochs]
        facts = (len(ledger.segments(FLOW)), ledger.count_dead_letters(FLOW), len(ledger.dead_letters(FLOW)))
        resume = ledger.claim(FLOW, version="v1", holder="test")
        ledger.close()

        assert numbers == list(range(1, len(numbers) + 1))
        assert last <= len(numbers) <= last + 1
        assert facts == (len(numbers), 2 * len(numbers), 2 * len(numbers))
        assert resume.last == epochs[-1]
        assert resume.planned == plan(len(numbers) + 1)
        assert resume.generation == 2 * round_


def stop(process: subprocess.Popen[str]) -> None:
    """Freeze a process, and return once it stands still."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def claim_beside(ledger: Ledger, frozen: subprocess.Popen[str]) -> Resume:
    """Claim the flow of a frozen process; where it froze with SQLite's write lock in its hands, freeze it again."""
    for tries in range(50):
        try:
            return ledger.claim(FLOW, version="v2", holder="test")
        except LedgerError:
            frozen.send_signal(signal.SIGCONT)
            SystemClock().sleep(0.003 * tries)  # on a busy machine it needs a while to let go of the lock
            stop(frozen)
    raise AssertionError("the frozen process always holds the lock")


@pytest.mark.crash
def test_a_frozen_process_that_wakes_up_is_fenced(place: tuple[str, str, str]) -> None:
    """Stopped, superseded and continued, a process commits nothing more and says that it is fenced."""
    with committer(place) as process:
        acknowledged(process, 5)
        stop(process)
        ledger = reopened(place)
        resume = claim_beside(ledger, process)
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        assert process.stdout.read().split()[-1] == "fenced"
    last = resume.last.epoch if resume.last else 0
    commit_epochs(ledger, last + 1, last + 3, generation=resume.generation)
    found = ledger.epochs(FLOW)
    ledger.close()

    assert [1] * last + [resume.generation] * 3 == [each.generation for each in found]


@pytest.mark.crash
def test_a_frozen_transaction_does_not_keep_a_successor_out(ledger_dsn: str, tmp_path: Path) -> None:
    """PostgreSQL ends a session that stands still with the flow's lock in its hands; the next claim gets it."""
    frozen, heir = (reopened((ledger_dsn, str(tmp_path), "frozen")) for _ in range(2))
    frozen.claim(FLOW, version="v1", holder="frozen")
    assert isinstance(frozen, SqlLedger)
    db = frozen._databases.create(FLOW)
    locked, awake = threading.Event(), threading.Event()

    def stand_still(connection: sa.Connection) -> None:
        locked_head(connection, db)
        locked.set()
        assert awake.wait(60)
        connection.exec_driver_sql("select 1")

    thread = threading.Thread(target=db.database.write, args=[stand_still])
    thread.start()
    assert locked.wait(60)
    resume = heir.claim(FLOW, version="v1", holder="heir")
    awake.set()
    thread.join()
    frozen.close()
    heir.close()

    assert resume.generation == 2


def test_a_commit_whose_answer_was_lost_is_done_once(
    ledger_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection dies after PostgreSQL committed and before it answered: the ledger finds its own commit."""
    ledger = reopened((ledger_dsn, str(tmp_path), "lost"))
    assert isinstance(ledger, SqlLedger)
    ledger.claim(FLOW, version="v1", holder="test")
    ledger.plan(FLOW, 1, plan(1))
    dialect = ledger._databases.control.engine.dialect
    real = dialect.do_commit
    killed: list[int] = []

    def commit_and_die(connection: PoolProxiedConnection) -> None:
        real(connection)
        if not killed:
            cursor = connection.cursor()
            cursor.execute("select pg_backend_pid()")
            killed.extend(cursor.fetchone() or ())
            with psycopg.connect(ledger_dsn, autocommit=True) as killer:
                killer.execute("select pg_terminate_backend(%s, 5000)", killed)
            connection.cursor().execute("select 1")

    monkeypatch.setattr(dialect, "do_commit", commit_and_die)
    ledger.commit(FLOW, record(1), next_plan=plan(2), dead=[letter(1, 1)])
    found = (ledger.epochs(FLOW), ledger.count_dead_letters(FLOW), len(ledger.dead_letters(FLOW)))
    ledger.close()

    assert killed
    assert found == ([record(1)], 1, 1)


def test_a_ledger_survives_a_crash_of_its_database(tmp_path: Path) -> None:
    """While PostgreSQL is away, a commit is an error that heals; once it is back, the same ledger goes on."""
    with servers.postgres() as server:
        ledger = reopened((server.dsn, str(tmp_path), "dev"))
        ledger.claim(FLOW, version="v1", holder="test")
        ledger.plan(FLOW, 1, plan(1))
        ledger.commit(FLOW, record(1), next_plan=plan(2))
        server.crash()
        with pytest.raises(LedgerError, match="the database is away") as caught:
            ledger.commit(FLOW, record(2), next_plan=plan(3))
        server.start()
        ledger.commit(FLOW, record(2), next_plan=plan(3))
        found = ledger.epochs(FLOW)
        ledger.close()

    assert caught.value.heals
    assert "epoch 2 is planned and will run again" in str(caught.value)
    assert [record(1), record(2)] == found


def test_a_lock_that_somebody_holds_is_an_error_that_says_so(open_it: Open) -> None:
    """A transaction of another process that does not end is named after the time that was given."""
    holder, waiter = open_it(), open_it(lock_timeout_ms=50)
    holder.claim(FLOW, version="v1", holder="test")
    holder.plan(FLOW, 1, plan(1))
    assert isinstance(holder, SqlLedger)
    db = holder._databases.create(FLOW)
    with db.database.engine.execution_options(penstock_writes=True).begin() as connection:
        locked_head(connection, db)
        with pytest.raises(LedgerError, match="another process holds the") as caught:
            waiter.commit(FLOW, record(1))
    waiter.commit(FLOW, record(1))

    assert caught.value.heals
    assert caught.value.flow == FLOW
