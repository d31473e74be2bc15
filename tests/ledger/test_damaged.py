"""Ledgers that are damaged, foreign, from the future or from the past."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from penstock.clock import ManualClock
from penstock.errors import ConfigError, LedgerError
from penstock.ledger import EpochPlan, EpochRecord, Resume, SegmentRef, Takeover, open_ledger
from penstock.ledger.migrations import LATEST, STEPS, Kind
from penstock.ledger.tables import control_tables, epoch_tables
from tests.ledger.facts import FLOW, commit_epochs, plan

FIXTURES = Path(__file__).parent / "fixtures"


def small_ledger(folder: Path) -> Path:
    """A closed ledger of five epochs; gives the flow's file."""
    ledger = open_ledger(folder, env="dev", clock=ManualClock())
    ledger.claim(FLOW, version="v1", holder="test")
    ledger.plan(FLOW, 1, plan(1))
    commit_epochs(ledger, 1, 5)
    ledger.close()
    return folder / "flows" / FLOW / "epochs.db"


def damaged(folder: Path) -> LedgerError:
    """The error of opening a ledger and reading its flow."""

    def read() -> None:
        with closing(open_ledger(folder, env="dev", clock=ManualClock())) as ledger:
            ledger.epochs(FLOW)

    with pytest.raises(LedgerError) as caught:
        read()
    return caught.value


@pytest.mark.parametrize(("start", "garbage"), [(0, b"\x00" * 100), (0, b"garbage!" * 2_000), (100, b"\xff" * 8_000)])
def test_a_damaged_file_is_named(tmp_path: Path, start: int, garbage: bytes) -> None:
    """Whatever part of a flow's file was overwritten, the error names it and says that trying again is no help."""
    file = small_ledger(tmp_path)
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(garbage)
    error = damaged(tmp_path)

    assert str(file) in error.message
    assert "damaged" in error.message
    assert not error.heals


def test_a_damaged_control_file_is_named(tmp_path: Path) -> None:
    """The control file is checked when the ledger is opened."""
    small_ledger(tmp_path)
    (tmp_path / "ledger.db").write_bytes(b"garbage!" * 2_000)

    assert str(tmp_path / "ledger.db") in damaged(tmp_path).message


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    """A record that can't be read names its epoch."""
    file = small_ledger(tmp_path)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("update epochs set record = '{\"ep' where epoch = 3")
    error = damaged(tmp_path)

    assert error.epoch == 3
    assert str(file) in error.message


def test_a_lost_file_does_not_let_the_generation_begin_again(tmp_path: Path) -> None:
    """Sinks remember the generation, so the control file remembers it too, beside the flow's own file."""
    small_ledger(tmp_path).unlink()
    ledger = open_ledger(tmp_path, env="dev", clock=ManualClock())
    resume = ledger.claim(FLOW, version="v1", holder="test")
    ledger.close()

    assert resume == Resume(2)


def test_the_database_of_something_else_is_refused(tmp_path: Path) -> None:
    """A SQLite file with tables that are not ours is left alone."""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("create table invoices (id int)")
    with pytest.raises(LedgerError, match="invoices"):
        open_ledger(tmp_path, env="dev", clock=ManualClock())


def test_a_folder_belongs_to_one_environment(tmp_path: Path) -> None:
    """The files of two environments' flows would be the same files."""
    small_ledger(tmp_path)
    with pytest.raises(LedgerError, match="belongs to environment 'dev', not to 'prod'"):
        open_ledger(tmp_path, env="prod", clock=ManualClock())


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be, or an address of an unknown kind, is a clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="can't create the folder"):
        open_ledger(tmp_path / "file" / "ledger", env="dev", clock=ManualClock())
    with pytest.raises(ConfigError, match="a ledger can't be in 'mysql'"):
        open_ledger("mysql://h/db", env="dev", clock=ManualClock())


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    """The error of an address where nobody listens shows the address, and not the secret in it."""
    with pytest.raises(LedgerError, match="the database is away") as caught:
        open_ledger("postgresql://me:secret@127.0.0.1:1/db", env="dev", clock=ManualClock())

    assert "127.0.0.1:1/db" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.heals


def test_a_newer_schema_is_refused(tmp_path: Path, postgres_dsn: str) -> None:
    """A ledger that a newer Penstock wrote is not touched, and the error gives both versions."""
    file = small_ledger(tmp_path)
    open_ledger(postgres_dsn, env="dev", clock=ManualClock()).close()
    newer = f"insert into {{}}schema_version values ({LATEST + 1}, 0)"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(newer.format(""))
    with psycopg.connect(postgres_dsn) as postgres:
        postgres.execute(newer.format("penstock."))
    expected = f"schema version {LATEST + 1}, and this Penstock knows versions up to {LATEST}"
    with pytest.raises(LedgerError, match=expected):
        open_ledger(postgres_dsn, env="dev", clock=ManualClock())
    error = damaged(tmp_path)

    assert expected in error.message
    assert not error.heals


def restored(folder: Path, name: str) -> None:
    """Make the SQLite files of a ledger out of the SQL that an older version's files were dumped to."""
    for dump, file in (("control", "ledger.db"), ("flow", f"flows/{FLOW}/epochs.db")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(folder / file)) as connection:
            connection.executescript((FIXTURES / f"{name}_{dump}.sql").read_text())


def test_a_ledger_of_version_1_is_read_and_continued(tmp_path: Path) -> None:
    """The files that version 1 wrote say today what they said then, and the flow goes on from them."""
    restored(tmp_path, "v1")
    ledger = open_ledger(tmp_path, env="dev", clock=ManualClock())
    resume = ledger.claim(FLOW, version="v2", holder="test")
    plan_2 = EpochPlan(2, {"orders": {"start": {"0": 10}, "end": {"0": 20}}}, 2_000_000, 14)
    state = SegmentRef(0, 1, "000000000000-000000000001-0123456789ab.state", 4096, 3_735_928_559)

    assert resume == Resume(
        5,
        EpochRecord(
            1,
            4,
            "v1",
            EpochPlan(1, {"orders": {"start": {"0": 0}, "end": {"0": 10}}}, 1_000_000, 7),
            watermark_us=1_000_000,
            rows_in={"orders": 10},
            rows_dead=1,
            segment=state,
            committed_us=1_700_000_000_000_001,
        ),
        plan_2,
        (state,),
        state_epoch=1,
    )
    assert [(found.id, found.error, found.offset) for found in ledger.dead_letters(FLOW)] == [
        (1, "ValueError", {"offset": 3})
    ]
    assert [(found.status, found.detail) for found in ledger.dead_letters(FLOW)] == [("open", {})]
    kept = ledger.savepoint(FLOW, why="before the change")
    assert (kept.epoch, kept.version, kept.segments) == (1, "v1", (state,))
    ledger.commit(FLOW, EpochRecord(2, 5, "v2", plan_2))
    assert len(ledger.epochs(FLOW)) == 2
    resume = ledger.take_over(FLOW, version="v3", holder="new", takeover=Takeover(5, 2, 2, (state,)))
    assert (resume.generation, resume.state_epoch) == (6, 2)
    assert [facts.version for facts in ledger.operations.versions(FLOW)] == ["v1", "v2", "v3"]
    ledger.close()


def version_1_in_postgresql(connection: psycopg.Connection) -> None:
    """The rows of the fixture files of version 1, in the tables that version 1 made in PostgreSQL."""
    connection.execute("create schema penstock")
    connection.execute("create table penstock.schema_version (version integer primary key, applied_us bigint not null)")
    connection.execute("insert into penstock.schema_version values (1, 0)")
    for statement in STEPS[1][Kind.POSTGRESQL]:
        connection.execute(statement)
    tables = {"control": ("flows", "generations", "versions"), "flow": ("head", "epochs", "segments", "dead_letters")}
    for dump, names in tables.items():
        with closing(sqlite3.connect(":memory:")) as file:
            file.executescript((FIXTURES / f"v1_{dump}.sql").read_text())
            file.row_factory = sqlite3.Row
            rows = [(name, dict(row)) for name in names for row in file.execute(f"select * from {name}")]
        for name, row in rows:
            values = {"env": "dev", "flow": FLOW, **row}
            columns = [column for column in values if column not in ("one", "id")]
            quoted, marks = ", ".join(f'"{column}"' for column in columns), ", ".join(["%s"] * len(columns))
            insert = f"insert into penstock.{name} ({quoted}) values ({marks})"
            connection.execute(insert, [values[column] for column in columns])


def test_a_postgresql_ledger_of_version_1_is_read_and_continued(postgres_dsn: str, tmp_path: Path) -> None:
    """What version 1 wrote to PostgreSQL says the same after the migration, and the flow is handed over from there."""
    with psycopg.connect(postgres_dsn) as connection:
        version_1_in_postgresql(connection)
    ledger = open_ledger(postgres_dsn, env="dev", clock=ManualClock(), folder=tmp_path)
    standing = ledger.standing(FLOW)
    resume = ledger.take_over(FLOW, version="v2", holder="new", takeover=Takeover(4, 1, 0, ()))
    kept = ledger.savepoints(FLOW)
    letters = ledger.dead_letters(FLOW)
    ledger.close()

    assert standing is not None
    assert (standing.generation, standing.last_epoch, standing.branch, standing.rewrite) == (4, 1, 0, None)
    assert resume.last is not None
    assert (resume.generation, resume.last.epoch, resume.state_epoch, resume.segments) == (5, 1, 0, ())
    assert [(one.epoch, one.version, len(one.segments)) for one in kept] == [(1, "v1", 1)]
    assert [(found.error, found.status) for found in letters] == [("ValueError", "open")]


def test_an_older_penstock_may_go_on_while_a_newer_one_looks(tmp_path: Path) -> None:
    """A process of version 1 that commits after the migration knows nothing of new columns: its files still count."""
    file = small_ledger(tmp_path)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("update head set last_epoch = 7, state_epoch = 7")
    ledger = open_ledger(tmp_path, env="dev", clock=ManualClock())
    resume = ledger.claim(FLOW, version="v1", holder="test")
    ledger.close()

    assert resume.state_epoch == 7


def test_tables_are_what_the_migrations_make(tmp_path: Path, postgres_dsn: str) -> None:
    """The tables that queries are written against have the columns, types' families and keys of the migrated ones."""
    file = small_ledger(tmp_path)
    open_ledger(postgres_dsn, env="dev", clock=ManualClock()).close()
    url = sa.make_url(postgres_dsn).set(drivername="postgresql+psycopg")
    pairs: list[tuple[str | sa.URL, list[sa.MetaData]]] = [
        (f"sqlite:///{tmp_path}/ledger.db", [control_tables(None).metadata]),
        (f"sqlite:///{file}", [epoch_tables(None, scoped=False).metadata]),
        (url, [control_tables("penstock").metadata, epoch_tables("penstock", scoped=True).metadata]),
    ]
    for where, described in pairs:
        engine = sa.create_engine(where)
        inspector = sa.inspect(engine)
        for table in (table for metadata in described for table in metadata.sorted_tables):
            made = {column["name"]: column for column in inspector.get_columns(table.name, schema=table.schema)}
            key = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]

            assert {column.name: column.nullable for column in table.columns} == {
                name: column["nullable"] for name, column in made.items()
            }
            assert [column.name for column in table.primary_key] == key
            for column in table.columns:
                assert column.type._type_affinity is made[column.name]["type"]._type_affinity
        engine.dispose()
