"""A DuckDB file as a sink, beyond the contract: who locks it, tables that do not fit, rows and disks that refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from penstock.clock import ManualClock
from penstock.connect import Change, Context
from penstock.connect.duckdb import DuckdbSink
from penstock.errors import ConfigError, ConnectorError
from penstock.flow import Dataset

ROWS = pl.Schema({"id": pl.Int64, "word": pl.String})


class Target:
    """A file `w.duckdb` with a table `target`, and its sinks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.sinks: list[DuckdbSink] = []

    def sink(
        self,
        generation: int = 1,
        *,
        key: tuple[str, ...] = (),
        schema: pl.Schema = ROWS,
        flow: str = "flow",
        **options: Any,
    ) -> DuckdbSink:
        """A sink on the table, opened."""
        context = Context(flow, "write", self.folder, self.folder, self.clock, schema, key)
        given = {"path": "w.duckdb", "table": "target", **options}
        self.sinks.append(DuckdbSink(Dataset("duckdb", "target", None, key, given), context))
        self.sinks[-1].open(generation)
        return self.sinks[-1]

    def do(self, query: str) -> list[tuple[Any, ...]]:
        """Run a statement in this process, give its rows."""
        with duckdb.connect(self.folder / "w.duckdb") as connection:
            return list(connection.execute(query).fetchall())


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """No file yet."""
    made = Target(tmp_path)
    yield made
    for sink in made.sinks:
        sink.close()


def rows(*given: tuple[int | None, str | None]) -> Change:
    """An epoch of rows."""
    return Change(pl.DataFrame(list(given), schema=ROWS, orient="row"))


def test_who_holds_the_file_is_said(target: Target) -> None:
    """While another process has the file, opening fails with its PID, heals, and works when that one has ended."""
    path = str(target.folder / "w.duckdb")
    script = f"import duckdb, sys; c = duckdb.connect({path!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(ConnectorError, match=f"open in another process, PID {holder.pid}") as caught:
            target.sink()
        assert caught.value.heals
        holder.communicate()
    target.sink().write(1, 1, rows((1, "a")))


def test_an_open_sink_locks_other_processes_out(target: Target) -> None:
    """As the class says: nobody else can open the file, not even to read, until the sink is closed."""
    sink = target.sink()
    sink.write(1, 1, rows((1, "a")))
    path = str(target.folder / "w.duckdb")
    script = f"import duckdb; print(duckdb.connect({path!r}, read_only=True).execute('from target').fetchall())"
    refused = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "Conflicting lock" in refused.stderr
    sink.close()
    read = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert read.stdout == "[(1, 'a', 1)]\n"


LEADER = """
import sys
from pathlib import Path
import polars as pl
from penstock.clock import SystemClock
from penstock.connect import Change, Context
from penstock.connect.duckdb import DuckdbSink
from penstock.flow import Dataset

folder = Path(sys.argv[1])
schema = pl.Schema({"id": pl.Int64(), "word": pl.String()})
context = Context("flow", "write", folder, folder, SystemClock(), schema, ("id",))
sink = DuckdbSink(Dataset("duckdb", "target", None, ("id",), {"path": "w.duckdb", "table": "target"}), context)
sink.open(1)
sink.write(1, 1, Change(pl.DataFrame({"id": [1], "word": ["a"]}, schema)))
print("leads", flush=True)
sys.stdin.readline()
def failing():
    yield 1, Change(pl.DataFrame({"id": [1], "word": ["half"]}, schema))
    raise RuntimeError("fenced by the ledger")
try:
    sink.replace(1, 1, failing())
except RuntimeError:
    sink.close()
print("rests", flush=True)
sys.stdin.readline()
"""


def test_the_file_is_given_back_by_a_process_that_lives_on(target: Target) -> None:
    """A leader that was fenced in the middle of its work closes the sink; then, not before, the next one opens it."""
    command = [sys.executable, "-c", LEADER, str(target.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdin is not None
        assert leader.stdout is not None
        assert leader.stdout.readline() == "leads\n"
        with pytest.raises(ConnectorError, match=f"PID {leader.pid}") as caught:
            target.sink(2, key=("id",))
        assert caught.value.heals
        leader.stdin.write("\n")
        leader.stdin.flush()
        assert leader.stdout.readline() == "rests\n"
        sink = target.sink(2, key=("id",))
        assert leader.poll() is None
        leader.communicate("\n")
    sink.write(2, 2, rows((2, "b")))
    assert target.do("select id, word from target order by id") == [(1, "a"), (2, "b")]


def test_two_sinks_of_one_flow_share_a_file(target: Target) -> None:
    """Each table has its own epochs and its own fence."""
    first, second = target.sink(), target.sink(table="other", key=("id",))
    first.write(1, 1, rows((1, "a")))
    second.write(1, 1, rows((1, "b")))
    second.write(2, 1, rows((1, "c")))
    second.retract(2, 1)
    assert (first.last_epoch(), second.last_epoch()) == (1, 1)
    assert target.do("select id, word from target union all select id, word from other") == [(1, "a"), (1, "b")]


@pytest.mark.parametrize(
    ("columns", "said", "hint"),
    [
        ("id bigint, word integer, _epoch bigint", r"column 'word' is INTEGER, the flow writes VARCHAR", "cast"),
        ("id bigint, _epoch bigint", "has no column 'word'", 'add column "word" VARCHAR'),
        ("id bigint, word varchar", "has no column '_epoch'", 'add column "_epoch" bigint'),
    ],
)
def test_a_table_that_does_not_fit(target: Target, columns: str, said: str, hint: str) -> None:
    """The error names the column and both types, or the statement that makes the table fit."""
    target.do(f"create table target ({columns})")
    with pytest.raises(ConnectorError, match=said) as caught:
        target.sink()
    assert hint in str(caught.value.hint)


def test_a_table_with_a_primary_key_and_more_columns(target: Target) -> None:
    """Rows are put in place and restored whole in a table that others made."""
    target.do("create table target (id bigint primary key, note varchar, word varchar not null, _epoch bigint)")
    target.do("insert into target values (1, 'mine', 'a', null), (2, null, 'b', null)")
    sink = target.sink(key=("id",))
    sink.write(1, 1, Change(rows((1, "A")).rows, pl.DataFrame({"id": [2]})))
    sink.write(1, 1, rows((1, "B"), (3, "c")))
    sink.retract(1, 1)
    assert target.do("from target order by id") == [(1, "mine", "a", None), (2, None, "b", None)]


def test_a_refused_row_leaves_nothing(target: Target) -> None:
    """What the database said is in the error; the next epoch can be written."""
    target.do("create table target (id bigint, word varchar not null check (word <> 'bad'), _epoch bigint)")
    sink = target.sink()
    for word in ("bad", None):
        with pytest.raises(ConnectorError, match=r"CHECK|NOT NULL") as caught:
            sink.write(1, 1, rows((1, "good"), (2, word)))
        assert not caught.value.heals
    sink.write(1, 1, rows((1, "good")))
    assert target.do("from target") == [(1, "good", 1)]


def test_a_table_has_one_flow(target: Target) -> None:
    """A second flow can't write the table: its epochs would take away those of the first."""
    target.sink().write(1, 1, rows((1, "a")))
    with pytest.raises(ConnectorError, match="written by flow 'flow'"):
        target.sink(flow="other")


def test_an_integer_that_does_not_fit(target: Target) -> None:
    """128 bits go where 38 digits hold them, and are an error where not; nothing is cut off."""
    schema = pl.Schema({"n": pl.Int128})
    sink = target.sink(schema=schema)
    sink.write(1, 1, Change(pl.DataFrame({"n": [10**37]}, schema)))
    with pytest.raises(ConnectorError):
        sink.write(2, 1, Change(pl.DataFrame({"n": [2**127 - 1]}, schema)))
    assert [str(n) for (n,) in target.do("select n from target")] == [str(10**37)]


def test_before_images_are_pruned(target: Target) -> None:
    """They are kept for a number of epochs, and a retraction that needs older ones says so."""
    sink = target.sink(key=("id",), keep_epochs=5)
    for epoch in range(1, 102):
        sink.write(epoch, 1, rows((1, str(epoch))))
    assert target.do("select min(_by), max(_by) from penstock_before_target") == [(97, 101)]
    with pytest.raises(ConnectorError, match="before epoch 97"):
        sink.retract(96, 1)


def test_options_and_files_are_checked(target: Target) -> None:
    """A missing option and a file that is no database are said."""
    with pytest.raises(ConfigError, match="'path' and 'table'"):
        target.sink(path="")
    (target.folder / "w.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(ConnectorError, match=r"w\.duckdb can't be opened"):
        target.sink()
