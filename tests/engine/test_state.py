"""The parts of keyed state against dicts and lists: index, keyed tables, expiry, logs, runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.expiry import NEVER_US, Expiry
from penstock.engine.index import ABSENT, Hashes, HashIndex
from penstock.engine.keyed import KeyedTable, hash_rows
from penstock.engine.operators.joins import Runs
from penstock.engine.timelog import EXPIRES, TimeLog
from penstock.ledger import MemoryStateStore, SegmentRef, TableChange, TableImage, merge

KEY = {"k": pl.String(), "j": pl.Int64()}
VALUES = {"v": pl.Float64(), "tags": pl.List(pl.Int64())}


def weak(keys: pl.DataFrame) -> Hashes:
    """A hash of two bits: almost all keys collide."""
    return hash_rows(keys) & np.uint64(3)


def high_bits(keys: pl.DataFrame) -> Hashes:
    """A hash whose lower half, which chooses the cell, is the same for all keys."""
    return hash_rows(keys) & np.uint64(0xFFFFFFFF00000000)


HASHERS: list[Callable[[pl.DataFrame], Hashes]] = [hash_rows, weak, high_bits]


class Saved:
    """The changes of tables, written to a store one by one, and what is read again."""

    def __init__(self) -> None:
        self.store = MemoryStateStore()
        self.refs: list[SegmentRef] = []

    def save(self, *changes: TableChange | None) -> None:
        """Write changes as those of one epoch."""
        there = [change for change in changes if change is not None]
        number = self.refs[-1].last + 1 if self.refs else 1
        if there:
            self.refs.append(self.store.write(number, number, there))

    def compact(self) -> None:
        """Merge all that was written."""
        if self.refs:
            self.refs = [merge(self.store, self.refs)]

    def images(self) -> dict[str, TableImage]:
        """The tables as a new process would load them."""
        return self.store.load(self.refs)


ONE_KEY = st.tuples(st.sampled_from(["a", "b", "c", "", None]), st.one_of(st.none(), st.integers(0, 3)))
ACTION = st.one_of(
    st.tuples(st.just("put"), st.dictionaries(ONE_KEY, st.integers(0, 9), max_size=6)),
    st.tuples(st.just("delete"), st.sets(ONE_KEY, max_size=5)),
    st.tuples(st.just("save"), st.booleans()),
    st.tuples(st.just("load"), st.none()),
    st.tuples(st.just("due"), st.integers(-5, 30)),
)


def keys_frame(keys: Any) -> pl.DataFrame:
    """Keys as a frame."""
    return pl.DataFrame(list(keys), schema=KEY, orient="row")


@settings(max_examples=4 * settings().max_examples)
@given(actions=st.lists(ACTION, max_size=12), hasher=st.sampled_from(HASHERS), expiring=st.booleans())
def test_a_keyed_table_is_a_dict(actions: list[tuple[str, Any]], hasher: Any, *, expiring: bool) -> None:
    """Whatever is put, deleted, expired, saved and loaded, the table holds what a dict would, and two keys are two."""
    saved = Saved()
    table = KeyedTable("t", KEY, VALUES, expiring=expiring, hasher=hasher)
    rows: dict[Any, tuple[float, list[int]]] = {}
    times: dict[Any, int] = {}
    for what, argument in actions:
        if what == "put" and argument:
            values = [(float(value), [value] * (value % 3)) for value in argument.values()]
            given_rows = [(*key, *value) for key, value in zip(argument, values, strict=True)]
            frame = pl.DataFrame(given_rows, schema={**KEY, **VALUES}, orient="row")
            due = np.array([value * 3 - 4 for value in argument.values()], dtype=np.int64)
            table.upsert(frame, due if expiring else None)
            rows |= dict(zip(argument, values, strict=True))
            times |= dict(zip(argument, due.tolist(), strict=True))
        elif what == "delete" and argument:
            slots = table.find(keys_frame(argument))
            assert [slot != ABSENT for slot in slots] == [key in rows for key in argument]
            table.delete(slots[slots != ABSENT])
            for key in argument:
                rows.pop(key, None)
        elif what == "due" and expiring:
            slots = table.due(argument)
            gone = {key for key in rows if times[key] <= argument}
            assert set(table.gather(slots, ("k", "j")).rows()) == gone
            assert len(slots) == len(gone)
            assert table.next_due_us() == min((times[key] for key in rows), default=None)
        elif what == "save":
            saved.save(table.take_change())
            if argument:
                saved.compact()
        elif what == "load":
            saved.save(table.take_change())
            table = KeyedTable("t", KEY, VALUES, expiring=expiring, hasher=hasher)
            for image in saved.images().values():
                table.load(image)
        assert len(table) == len(rows)
        assert {row[:2]: row[2:] for row in table.rows().rows()} == rows


def test_a_keyed_table_grows_and_reuses_slots() -> None:
    """Many rounds of new keys and deletes leave the right rows, and no more slots than were needed at once."""
    table = KeyedTable("t", {"k": pl.Int64()}, {"v": pl.Int64()})
    rows: dict[int, int] = {}
    chance = np.random.default_rng(7)
    for step in range(60):
        keys = np.unique(chance.integers(0, 40_000, 2_500))
        slots = table.upsert(pl.DataFrame({"k": keys, "v": keys + step}))
        assert len(set(slots.tolist())) == len(keys)
        rows |= dict(zip(keys.tolist(), (keys + step).tolist(), strict=True))
        gone = np.unique(chance.integers(0, 40_000, 2_000))
        found = table.find(pl.DataFrame({"k": gone}))
        table.delete(found[found != ABSENT])
        for key in gone.tolist():
            rows.pop(key, None)
    assert dict(table.rows().iter_rows()) == rows
    assert (table.find(pl.DataFrame({"k": list(rows)})) != ABSENT).all()
    assert table._end < 45_000  # slots are used again


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (pl.Float64(), [0.0, 1.5, float("inf"), float("nan"), None]),
        (pl.Boolean(), [True, False, None]),
        (pl.UInt64(), [2**64 - 1, 0, None]),
        (pl.Int128(), [2**100, -1, None]),
        (pl.Decimal(20, 3), [Decimal("1.500"), Decimal("-0.001"), None]),
        (pl.Date(), [date(1969, 12, 31), date(2024, 2, 29), None]),
        (pl.Time(), [time(23, 59, 59, 999_999), time(0), None]),
        (pl.Duration("ms"), [timedelta(milliseconds=-1), timedelta(days=3), None]),
        (pl.Datetime("ns"), [-1, 2**62, None]),
        (pl.Datetime("us", "Asia/Tokyo"), [datetime(2024, 1, 1, tzinfo=UTC), None]),
        (pl.Binary(), [b"", b"\x00\xff", None]),
        (pl.Enum(["b", "a"]), ["a", "b", None]),
        (pl.Categorical(), ["x", "y", None]),
        (pl.String(), ["", "é", "\x00", None]),
    ],
    ids=str,
)
def test_keys_of_every_type(dtype: pl.DataType, values: list[Any]) -> None:
    """Keys of a type are found again, one by one and after a load; null and NaN are keys like others."""
    keys = pl.DataFrame({"k": pl.Series(values, dtype=dtype)})
    table = KeyedTable("t", {"k": dtype}, {"v": pl.Int64()}, hasher=weak)
    slots = table.upsert(keys.with_row_index("v").with_columns(pl.col("v").cast(pl.Int64)))
    assert len(set(slots.tolist())) == len(values)
    saved = Saved()
    saved.save(table.take_change())
    loaded = KeyedTable("t", {"k": dtype}, {"v": pl.Int64()}, hasher=weak)
    loaded.load(saved.images()["t"])
    for one in (table, loaded):
        assert one.gather(one.find(keys), ("v",))["v"].to_list() == list(range(len(values)))
        assert one.gather(one.find(keys), ("k",)).equals(keys)


@given(
    batches=st.lists(st.lists(st.integers(0, 3000), unique=True, max_size=700), max_size=6),
    mask=st.sampled_from([3, 255, 2**64 - 1]),
)
def test_the_index_is_a_dict(batches: list[list[int]], mask: int) -> None:
    """Keys that come and go by turns are found at their slots, through growth and migration, by weak hashes too."""
    index = HashIndex(4)
    slot_hashes = np.zeros(1 << 16, dtype=np.uint64)
    slot_keys = np.zeros(1 << 16, dtype=np.int64)
    slots: dict[int, int] = {}
    end = 0

    def hashed(keys: np.ndarray[Any, Any]) -> Hashes:
        return (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) & np.uint64(mask)

    def found(keys: np.ndarray[Any, Any]) -> Any:
        return index.find(hashed(keys), lambda at, positions: slot_keys[at] == keys[positions])

    for turn, batch in enumerate(batches):
        fresh = np.array([key for key in batch if key not in slots], dtype=np.int64)
        places = np.arange(end, end + len(fresh))
        end += len(fresh)
        slot_keys[places], slot_hashes[places] = fresh, hashed(fresh)
        index.insert(slot_hashes[places], places, slot_hashes)
        slots |= dict(zip(fresh.tolist(), places.tolist(), strict=True))
        gone = np.array([key for key in slots if key % 3 == turn % 3], dtype=np.int64)
        gone_slots = np.array([slots.pop(key) for key in gone.tolist()], dtype=np.int64)
        index.remove(slot_hashes[gone_slots], gone_slots)
        every = np.arange(3001)
        assert found(every).tolist() == [slots.get(key, ABSENT) for key in every.tolist()]


EXPIRY_ACTION = st.one_of(
    st.tuples(st.just("set"), st.dictionaries(st.integers(0, 20), st.integers(-400_000, 900_000), min_size=1)),
    st.tuples(st.just("clear"), st.sets(st.integers(0, 20), min_size=1)),
    st.tuples(st.just("due"), st.integers(-500_000, 1_000_000)),
    st.tuples(st.just("never"), st.sets(st.integers(0, 20), min_size=1)),
)


@settings(max_examples=4 * settings().max_examples)
@given(actions=st.lists(EXPIRY_ACTION, max_size=15), clears=st.booleans())
def test_expiry_gives_what_is_due(actions: list[tuple[str, Any]], *, clears: bool) -> None:
    """A slot is due from its time on, each time it is asked until it is dealt with; the earliest time is exact."""
    expiry = Expiry()
    expiry.reserve(30)
    times: dict[int, int] = {}
    for what, argument in actions:
        slots = np.array(sorted(argument) if isinstance(argument, (dict, set)) else [], dtype=np.int64)
        if what == "set":
            expiry.set(slots, np.array([argument[slot] for slot in slots.tolist()], dtype=np.int64))
            times |= argument
        elif what == "never":
            expiry.set(slots, NEVER_US)
            times = {slot: time_us for slot, time_us in times.items() if slot not in argument}
        elif what == "clear":
            expiry.clear(slots)
            times = {slot: time_us for slot, time_us in times.items() if slot not in argument}
        else:
            due = expiry.due(argument)
            assert sorted(due.tolist()) == sorted(slot for slot, time_us in times.items() if time_us <= argument)
            if clears:
                expiry.clear(due)
                times = {slot: time_us for slot, time_us in times.items() if time_us > argument}
        assert expiry.earliest() == min(times.values(), default=None)


LOG_ACTION = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(-5, 20), max_size=5)),
    st.tuples(st.just("drop"), st.integers(-6, 21)),
    st.tuples(st.just("load"), st.booleans()),
)


@settings(max_examples=2 * settings().max_examples)
@given(actions=st.lists(LOG_ACTION, max_size=14), merging=st.booleans(), limit=st.integers(-6, 22))
def test_a_time_log_is_a_list(actions: list[tuple[str, Any]], limit: int, *, merging: bool) -> None:
    """A log holds what was appended and not dropped, older rows first; merged, the sums by expiry are the same."""

    def summed(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.group_by(EXPIRES, maintain_order=True).agg(pl.col("n").sum()).select("n", EXPIRES)

    def fresh() -> TimeLog:
        return TimeLog("log", pl.Schema({"n": pl.Int64()}), summed if merging else None)

    log, saved = fresh(), Saved()
    rows: list[tuple[int, int]] = []
    horizon = -100
    count = 0
    for what, argument in actions:
        if what == "append":
            appended = [(count + place, expires) for place, expires in enumerate(argument) if expires > horizon]
            count += len(argument)
            log.append(pl.DataFrame(appended, schema={"n": pl.Int64, EXPIRES: pl.Int64}, orient="row"))
            rows += appended
        elif what == "drop":
            log.drop(argument)
            horizon = max(horizon, argument)
            rows = [row for row in rows if row[1] > horizon]
        else:
            saved.save(log.take_change())
            if argument:
                saved.compact()
            log = fresh()
            for image in saved.images().values():
                log.load(image)
        wanted = pl.DataFrame(sorted(rows, key=lambda row: row[1]), schema=log.schema, orient="row")
        got = log.before(limit).sort(EXPIRES, maintain_order=True)
        wanted = wanted.filter(pl.col(EXPIRES) < limit)
        assert (summed(got).equals(summed(wanted))) if merging else got.equals(wanted)
        assert log.earliest() == min((row[1] for row in rows), default=None)
        assert merging or len(log) == len(rows)


@settings(max_examples=2 * settings().max_examples)
@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.lists(st.tuples(ONE_KEY, st.integers(0, 20)), max_size=6)),
            st.tuples(st.just("drop"), st.integers(0, 21)),
            st.tuples(st.just("load"), st.booleans()),
        ),
        max_size=14,
    ),
    collide=st.booleans(),
)
def test_runs_match_equal_keys(actions: list[tuple[str, Any]], *, collide: bool) -> None:
    """Looking up a batch gives every remembered row of equal keys, null equal to nothing, expired ones perhaps not."""
    with pytest.MonkeyPatch.context() as patch:
        if collide:
            patch.setattr("penstock.engine.operators.joins.hash_rows", weak)
        schema = pl.Schema({**KEY, "n": pl.Int64()})
        runs, saved = Runs("side", schema, ["k", "j"]), Saved()
        rows: list[tuple[Any, ...]] = []
        horizon = -1
        for what, argument in actions:
            if what == "append":
                first = len(rows)
                fresh = [(*key, first + place, 0, due) for place, (key, due) in enumerate(argument) if due > horizon]
                frame = pl.DataFrame(fresh, schema={**schema, "__time": pl.Int64, EXPIRES: pl.Int64}, orient="row")
                runs.append(frame)
                rows += fresh
            elif what == "drop":
                runs.drop(argument)
                horizon = max(horizon, argument)
            else:
                saved.save(runs.take_change())
                if argument:
                    saved.compact()
                runs = Runs("side", schema, ["k", "j"])
                for image in saved.images().values():
                    runs.load(image)
            probe = keys_frame([(k, j) for k in ("a", "b", "", None) for j in (0, 1, None)])
            mine, theirs = runs.matches(probe.rename({"k": "left_k", "j": "left_j"}), ["left_k", "left_j"])
            assert mine.rows() == theirs.select("k", "j").rows()
            every = [row for row in rows if row[:2] in set(probe.drop_nulls().rows())]
            got = theirs.rows()
            assert len(set(got)) == len(got)
            assert {row for row in every if row[4] > horizon} <= set(got) <= set(every)
