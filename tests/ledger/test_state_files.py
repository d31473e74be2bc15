"""State segments: every type comes back, damage is found and named, garbage goes and nothing else."""

from __future__ import annotations

import datetime as dt
import struct
import zlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from penstock.errors import CorruptState, LedgerError
from penstock.ledger import LocalStateStore, MemoryStateStore, SegmentRef, StateStore, TableChange

EVERY_TYPE = pl.DataFrame(
    [
        pl.Series("string", ["a", None, "ü\x00"]),
        pl.Series("binary", [b"\x00\xff", None, b""]),
        pl.Series("boolean", [True, None, False]),
        pl.Series("uint8", [255, None, 0], dtype=pl.UInt8),
        pl.Series("int128", [2**100, None, -1], dtype=pl.Int128),
        pl.Series("float32", [1.5, None, float("nan")], dtype=pl.Float32),
        pl.Series("float64", [-0.0, None, float("inf")]),
        pl.Series("decimal", [Decimal("1.25"), None, Decimal(-7)], dtype=pl.Decimal(30, 2)),
        pl.Series("date", [dt.date(2020, 2, 29), None, dt.date(1, 1, 1)]),
        pl.Series("time", [dt.time(23, 59, 59, 999_999), None, dt.time(0)]),
        pl.Series("naive", [0, None, -1]).cast(pl.Datetime("ns")),
        pl.Series("zoned", [0, None, -1]).cast(pl.Datetime("us", "Europe/Amsterdam")),
        pl.Series("duration", [5, None, -5]).cast(pl.Duration("ms")),
        pl.Series("categorical", ["x", None, "y"], dtype=pl.Categorical),
        pl.Series("enum", ["x", None, "y"], dtype=pl.Enum(["y", "x"])),
        pl.Series("null", [None, None, None], dtype=pl.Null),
        pl.Series("list", [["a", None], None, []], dtype=pl.List(pl.String)),
        pl.Series("array", [[1, 2], None, [3, None]], dtype=pl.Array(pl.Int16, 2)),
        pl.Series("struct", [{"a": 1, "b": ["x"]}, None, {"a": None, "b": []}]),
        pl.Series("categories", [["x"], None, ["y", "x"]], dtype=pl.List(pl.Categorical)),
    ]
)


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StateStore:
    """An empty store of each kind."""
    return LocalStateStore(tmp_path / "state", flow="orders") if request.param == "local" else MemoryStateStore()


def keyed(**columns: list[int]) -> TableChange:
    """Rows put in place by `k`."""
    return TableChange("counts", "keyed", ("k",), upserts=pl.DataFrame(columns))


@pytest.mark.parametrize("column", EVERY_TYPE.columns)
def test_every_type_comes_back(store: StateStore, column: str) -> None:
    """Values, nulls and types of a column are the same after writing and loading, as a row's value and in a log."""
    rows = EVERY_TYPE.select(k=pl.int_range(3), v=column)
    changes = [
        TableChange("t", "keyed", ("k",), upserts=rows),
        TableChange("l", "log", appends=rows),
        TableChange("e", "log", appends=rows.clear()),
    ]
    loaded = store.load([store.write(1, 1, changes)])

    assert_frame_equal(loaded["t"].rows.sort("k"), rows)
    assert_frame_equal(loaded["l"].rows, rows)
    assert loaded["e"].rows.schema == rows.schema


@pytest.mark.parametrize("column", [name for name in EVERY_TYPE.columns if name not in ("null", "categories")])
def test_every_type_can_be_a_key(store: StateStore, column: str) -> None:
    """An upsert and a delete find the row of their key, null among them, over a base and over deltas."""
    rows = EVERY_TYPE.select(k=column, v=pl.int_range(3))
    refs = [
        store.write(0, 1, [TableChange("t", "keyed", ("k",), upserts=rows)], whole=True),
        store.write(2, 2, [TableChange("t", "keyed", ("k",), upserts=rows[1:2].with_columns(v=pl.lit(7, pl.Int64)))]),
        store.write(3, 3, [TableChange("t", "keyed", ("k",), deletes=rows[:1].select("k"))]),
    ]

    assert sorted(store.load(refs)["t"].rows["v"].to_list()) == [2, 7]
    assert store.load(refs[1:])["t"].rows["v"].to_list() == [7]


def test_scalars_and_horizons_come_back(store: StateStore) -> None:
    """Small values are replaced by name; a horizon stays until a higher one comes; rows before it are gone."""
    rows = pl.DataFrame({"at": [1, 5, 9, None]}, schema={"at": pl.Int64})
    changes = [
        TableChange("log", "log", appends=rows, expiry="at", horizon=1, scalars={"a": {"n": [1, None]}, "b": 1}),
        TableChange("log", "log", scalars={"b": 2}, expiry="at"),
        TableChange("log", "log", expiry="at", horizon=5),
        TableChange("log", "log", appends=rows, expiry="at", horizon=4),
    ]
    loaded = store.load([store.write(epoch, epoch, [change]) for epoch, change in enumerate(changes, 1)])["log"]

    assert (loaded.scalars, loaded.horizon, loaded.expiry) == ({"a": {"n": [1, None]}, "b": 2}, 5, "at")
    assert loaded.rows["at"].to_list() == [9, None, 9, None]


def test_a_whole_state_hides_what_was_before(store: StateStore) -> None:
    """Folding begins again at a whole segment; tables that it does not hold are gone."""
    before = store.write(1, 1, [keyed(k=[1, 2], v=[1, 1]), TableChange("old", "log", scalars={"n": 1})])
    whole = store.write(1, 2, [keyed(k=[2], v=[5])], whole=True)
    after = store.write(3, 3, [keyed(k=[3], v=[6])])
    loaded = store.load([before, whole, after])

    assert (whole.first, whole.last) == (0, 2)
    assert list(loaded) == ["counts"]
    assert sorted(loaded["counts"].rows.rows()) == [(2, 5), (3, 6)]


def test_no_segments_are_an_empty_state(store: StateStore) -> None:
    """A flow without state loads, and an epoch that changed nothing can be written."""
    assert store.load([]) == {}
    assert store.load([store.write(1, 1, [])]) == {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: TableChange("t", "keyed"), "names no key"),
        (lambda: TableChange("t", "keyed", ("k",), upserts=pl.DataFrame({"v": [1]})), "without the key column 'k'"),
        (lambda: TableChange("t", "keyed", ("k",), deletes=pl.DataFrame({"v": [1]})), "deletes by"),
        (lambda: TableChange("t", "keyed", ("k",), appends=pl.DataFrame({"k": [1]})), "appends rows"),
        (lambda: TableChange("t", "log", upserts=pl.DataFrame({"k": [1]})), "puts or deletes"),
        (lambda: TableChange("t", "log", appends=pl.DataFrame({"k": ["a"]}), expiry="k"), "no integer column 'k'"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(wrong: Callable[[], TableChange], said: str) -> None:
    """A change is checked when it is made, before anything is written."""
    with pytest.raises(LedgerError, match=said):
        wrong()


def test_python_objects_are_refused_by_name(store: StateStore) -> None:
    """State is never pickled: a column of objects names its table and the way out."""
    rows = pl.DataFrame([pl.Series("o", [object()], dtype=pl.Object)])
    with pytest.raises(LedgerError, match="state table 'l' can't be stored") as caught:
        store.write(1, 1, [TableChange("l", "log", appends=rows)])

    assert not caught.value.heals


def test_tables_that_changed_their_shape_are_refused(store: StateStore) -> None:
    """Another key or other columns than before is an error that names the table, not a wrong fold."""
    first = store.write(1, 1, [keyed(k=[1], v=[1])])
    for other in (
        TableChange("counts", "log", appends=pl.DataFrame({"k": [1]})),
        TableChange("counts", "keyed", ("v",), upserts=pl.DataFrame({"k": [1], "v": [1]})),
        TableChange("counts", "keyed", ("k",), upserts=pl.DataFrame({"k": ["a"], "v": [1]})),
    ):
        with pytest.raises(LedgerError, match="state table 'counts' don't fit together"):
            store.load([first, store.write(2, 2, [other])])


def _local(tmp_path: Path) -> tuple[LocalStateStore, SegmentRef, Path]:
    store = LocalStateStore(tmp_path, flow="orders")
    changes = [keyed(k=list(range(100)), v=[1] * 100), TableChange("seen", "log", appends=pl.DataFrame({"x": [1]}))]
    ref = store.write(1, 1, changes)
    return store, ref, tmp_path / ref.file


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """One bit, anywhere in the file, is an error that names the file; in a part, also the part and both checksums."""
    store, ref, file = _local(tmp_path)
    good = file.read_bytes()
    named = set()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        file.write_bytes(bad)
        with pytest.raises(CorruptState, match=ref.file) as caught:
            store.load([ref])
        named |= {name for name in ("header", "'upserts'", "'appends'") if name in caught.value.message}
        assert not caught.value.heals

    assert named == {"header", "'upserts'", "'appends'"}
    file.write_bytes(good)
    assert store.load([ref])["counts"].rows.height == 100


def test_every_torn_file_is_found(tmp_path: Path) -> None:
    """Cut anywhere, the error gives both sizes, and the part that is cut; a file that is too long is found too."""
    store, ref, file = _local(tmp_path)
    good = file.read_bytes()
    for length in (*range(0, len(good), 97), len(good) - 1):
        file.write_bytes(good[:length])
        with pytest.raises(CorruptState, match=f"{length} bytes, and the ledger recorded {len(good)}"):
            store.load([ref])
    file.write_bytes(good[:-200])
    with pytest.raises(CorruptState, match="part 'appends' of table 'seen' is cut off"):
        store.load([ref])
    file.write_bytes(good + b"x")
    with pytest.raises(CorruptState, match="the ledger recorded"):
        store.load([ref])


def test_a_missing_or_swapped_file_is_found(tmp_path: Path) -> None:
    """A file that is gone, another good segment under its name, or no segment at all."""
    store, ref, file = _local(tmp_path)
    other = store.write(2, 2, [keyed(k=list(range(100)), v=[2] * 100), *store.read(ref).tables[1:]])
    file.write_bytes((tmp_path / other.file).read_bytes())
    with pytest.raises(CorruptState, match=r"it is another file|the ledger recorded"):
        store.load([ref])
    file.write_bytes(b"not a state file" * 10)
    with pytest.raises(CorruptState, match="does not begin as a state file"):
        store.load([ref])
    file.unlink()
    with pytest.raises(CorruptState, match="is missing") as caught:
        store.load([ref])

    assert (caught.value.flow, caught.value.epoch) == ("orders", 1)
    assert caught.value.hint is not None


def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    """A whole file of a newer format version says which version, and that a newer Penstock reads it."""
    store = LocalStateStore(tmp_path)
    ref = store.write(1, 1, [])
    file = tmp_path / ref.file
    data = file.read_bytes()
    header = data[16:].replace(b'"version":1', b'"version":9')
    file.write_bytes(struct.pack("<8sII", data[:8], len(header), zlib.crc32(header)) + header)
    with pytest.raises(LedgerError, match="format version 9"):
        store.load([ref])


def test_garbage_goes_and_nothing_else(store: StateStore) -> None:
    """Pruning deletes what the ledger dropped; not what it keeps, nor what may be committing at this moment."""
    refs = [store.write(epoch, epoch, [keyed(k=[epoch], v=[1])]) for epoch in (1, 2, 3)]
    merged = store.write(1, 2, [keyed(k=[1, 2], v=[1, 1])])
    committing = store.write(4, 4, [keyed(k=[4], v=[1])])

    assert store.prune([refs[0], refs[1], refs[2]]) == 0
    assert store.prune([merged, refs[2]]) == 2
    assert store.prune([merged, refs[2]]) == 0
    assert store.load([merged, refs[2], committing])["counts"].rows.height == 4
    assert store.prune([committing]) == 2


def test_leftovers_of_a_crash_go(tmp_path: Path) -> None:
    """Files of an earlier process that the ledger does not name, half-written ones too, go when the next one prunes."""
    store, ref, _ = _local(tmp_path)
    store.write(2, 2, [])
    (tmp_path / "000000000003-000000000003-x.state.0.tmp").write_bytes(b"half")
    (tmp_path / "note.txt").write_text("somebody else's")
    kept = {ref.file, "note.txt"}

    assert LocalStateStore(tmp_path).prune([ref]) == 2
    assert kept == {entry.name for entry in tmp_path.iterdir()}


def test_a_store_that_is_not_tidy_leaves_the_files_of_others(tmp_path: Path) -> None:
    """What lies in the folder may be another member's: only what this store read, wrote or once kept may go."""
    leader, ref, _ = _local(tmp_path)
    other = leader.write(2, 2, [keyed(k=[2], v=[1])])
    unknown = leader.write(3, 3, [keyed(k=[3], v=[1])])
    half = tmp_path / "000000000003-000000000003-x.state.0.tmp"
    half.write_bytes(b"half")
    follower = LocalStateStore(tmp_path, tidy=False)
    follower.load([ref])
    mine = [follower.write(epoch, epoch, [keyed(k=[epoch], v=[1])]) for epoch in (2, 3)]
    merged = follower.write(0, 3, [keyed(k=[1], v=[1])])

    assert follower.prune([ref, *mine]) == 0
    assert follower.prune([merged, other]) == 3, "the one that was read, and the two that were merged"
    assert follower.prune([merged]) == 1, "what was once kept"
    assert half.exists()
    assert leader.load([unknown])["counts"].rows.rows() == [(3, 1)]
    assert follower.load([merged])["counts"].rows.rows() == [(1, 1)]


def test_what_another_process_wrote_goes_once_it_was_named(tmp_path: Path) -> None:
    """After a takeover the leader prunes files of the one before, which the ledger named and names no more."""
    old, ref, file = _local(tmp_path)
    new = LocalStateStore(tmp_path, tidy=False)
    mine = new.write(0, 2, [keyed(k=[1], v=[2])])

    assert new.prune([ref, mine]) == 0
    assert file.exists()
    assert new.prune([mine]) == 1
    with pytest.raises(CorruptState, match="is missing"):
        old.load([ref])


def test_files_say_whose_they_are(tmp_path: Path) -> None:
    """What another process left, half-written too, is found by its name; who knows that it is gone may sweep."""
    mine, theirs, nobody = (LocalStateStore(tmp_path, tidy=False, owner=owner) for owner in ("a1", "b2", ""))
    own, left, old = (store.write(1, 1, [keyed(k=[1], v=[1])]) for store in (mine, theirs, nobody))
    half = tmp_path / f"{left.file}.0.tmp"
    half.write_bytes(b"half")

    assert mine.strays() == {left.file: "b2", half.name: "b2", old.file: ""}
    assert set(nobody.strays()) == {own.file, left.file, half.name}
    assert mine.sweep([left.file, half.name, "unknown"]) == 3
    assert mine.missing([own, left, old]) == [left]
    assert mine.load([own])["counts"].rows.rows() == [(1, 1)]


def test_a_fenced_process_deletes_nothing_of_its_successor(tmp_path: Path) -> None:
    """A process that froze before it pruned, with an old list of what to keep, spares files that it never knew."""
    frozen, ref, _ = _local(tmp_path)
    heir = LocalStateStore(tmp_path)
    mine = heir.write(1, 2, [keyed(k=[1], v=[2])], whole=True)
    frozen.prune([ref])

    assert heir.load([mine])["counts"].rows.rows() == [(1, 2)]
