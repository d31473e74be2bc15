"""Folding and merging: in whatever order segments are merged, the state is what one change after the other makes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.ledger import MemoryStateStore, SegmentRef, TableChange, TableImage, due, merge

KEYS = st.one_of(st.none(), st.integers(0, 5))
SCHEMA = {"k": pl.Int64, "n": pl.String, "v": pl.Int64, "at": pl.Int64}
TIMES = st.one_of(st.none(), st.integers(0, 20))


@dataclass
class Oracle:
    """The tables as plain dicts and lists, changed row by row."""

    keyed: dict[tuple[object, object], tuple[object, ...]] = field(default_factory=dict)
    log: list[tuple[object, ...]] = field(default_factory=list)
    horizon: dict[str, int] = field(default_factory=dict)
    scalars: dict[str, object] = field(default_factory=dict)

    def apply(self, change: TableChange) -> None:
        """One change, by the words of its contract."""
        for key in [] if change.deletes is None else change.deletes.rows():
            self.keyed.pop((key[0], key[1]), None)
        for row in [] if change.upserts is None else change.upserts.rows():
            self.keyed[row[0], row[1]] = row
        self.log += [] if change.appends is None else change.appends.rows()
        self.scalars.update(change.scalars)
        if change.horizon is not None:
            self.horizon[change.name] = max(change.horizon, self.horizon.get(change.name, -1))
        ended = self.horizon.get(change.name, -1)
        if change.kind == "keyed":
            self.keyed = {key: row for key, row in self.keyed.items() if alive(row, ended)}
        else:
            self.log = [row for row in self.log if alive(row, ended)]


def alive(row: tuple[object, ...], horizon: int) -> bool:
    """Whether a row has not ended yet."""
    return not isinstance(row[3], int) or row[3] > horizon


@st.composite
def keyed_changes(draw: st.DrawFn) -> TableChange:
    """Upserts and deletes of few keys, nulls among them, each key once."""
    keys = draw(st.lists(st.tuples(KEYS, st.sampled_from(["a", "b", None])), unique=True, max_size=6))
    cut = draw(st.integers(0, len(keys)))
    upserts = [(*key, draw(st.integers(0, 99)), draw(TIMES)) for key in keys[:cut]]
    deletes = keys[cut:]
    some = draw(st.booleans())
    return TableChange(
        "t",
        "keyed",
        ("k", "n"),
        upserts=pl.DataFrame(upserts, schema=SCHEMA, orient="row") if upserts or some else None,
        deletes=pl.DataFrame(deletes, schema={"k": pl.Int64, "n": pl.String}, orient="row") if deletes else None,
        expiry="at",
        horizon=draw(TIMES),
        scalars=draw(st.dictionaries(st.sampled_from("xy"), st.integers(0, 9), max_size=2)),
    )


@st.composite
def log_changes(draw: st.DrawFn) -> TableChange:
    """Rows appended, and a horizon that may move."""
    rows = draw(st.lists(st.tuples(KEYS, st.just("a"), st.integers(0, 99), TIMES), max_size=4))
    appends = pl.DataFrame(rows, schema=SCHEMA, orient="row") if rows else None
    return TableChange("l", "log", appends=appends, expiry="at", horizon=draw(TIMES))


def seen(images: dict[str, TableImage]) -> tuple[object, ...]:
    """What can be told apart: keyed rows as a set, log rows in order, horizons, scalars."""
    table, log = images.get("t"), images.get("l")
    return (
        sorted([] if table is None else table.rows.rows(), key=repr),
        [] if log is None else log.rows.rows(),
        {name: image.horizon for name, image in images.items() if image.horizon is not None},
        {} if table is None else dict(table.scalars),
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_order_of_merges_makes_the_same_state(data: st.DataObject) -> None:
    """Changes folded at once, merged pairwise in a random order, and applied row by row to dicts are equal."""
    epochs = data.draw(
        st.lists(st.lists(st.one_of(keyed_changes(), log_changes()), max_size=1), min_size=1, max_size=8)
    )
    store, oracle = MemoryStateStore(), Oracle()
    live: list[SegmentRef] = []
    for epoch, changes in enumerate(epochs, 1):
        live.append(store.write(epoch, epoch, changes))
        for change in changes:
            oracle.apply(change)
    expected = (sorted(oracle.keyed.values(), key=repr), oracle.log, oracle.horizon, oracle.scalars)

    assert seen(store.load(live)) == expected
    while len(live) > 1:
        start = data.draw(st.integers(0, len(live) - 2))
        stop = data.draw(st.integers(start + 2, len(live)))
        whole = data.draw(st.booleans()) if start == 0 else None
        group = live[start:stop]
        live[start:stop] = [merge(store, group, whole=whole or (None if whole is None else group[0].first == 0))]
        assert seen(store.load(live)) == expected


def test_a_merge_of_deltas_keeps_deletes_and_a_whole_one_drops_them() -> None:
    """An older segment may hold a deleted key; nothing is older than a whole state."""
    store = MemoryStateStore()
    put = TableChange("t", "keyed", ("k",), upserts=pl.DataFrame({"k": [1, 2], "v": [1, 1]}))
    gone = TableChange("t", "keyed", ("k",), deletes=pl.DataFrame({"k": [1]}))
    base, first, second = (store.write(epoch, epoch, [change]) for epoch, change in enumerate([put, gone, gone], 1))
    merged = store.read(merge(store, [first, second])).tables[0]
    whole = merge(store, [base, first, second], whole=True)

    assert merged.deletes is not None
    assert merged.deletes.rows() == [(1,)]
    assert (whole.first, whole.last) == (0, 3)
    assert merge(store, [base, first]).first == 0, "nothing is before epoch 1"
    assert store.read(whole).tables[0].deletes is None
    assert store.load([whole])["t"].rows.rows() == [(2, 1)]


def refs(*sizes: int, base: int | None = None) -> list[SegmentRef]:
    """Segments of so many kilobytes, one an epoch, after a whole state where `base` is given."""
    deltas = [SegmentRef(epoch, epoch, f"{epoch}", size * 1024, 0) for epoch, size in enumerate(sizes, 2)]
    return deltas if base is None else [SegmentRef(0, 1, "base", base * 1024, 0), *deltas]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([], None),
        (refs(base=10), None),
        (refs(*[1] * 15, base=10_000), None),
        (refs(*[1] * 16, base=10_000), slice(1, 17)),
        (refs(*[1] * 16, base=32), slice(0, 17)),
        (refs(*[1] * 16), slice(0, 16)),
        (refs(5_000, *[1] * 15, base=10**6), None),
        (refs(5_000, *[1] * 17, base=10**6), slice(2, 19)),
        (refs(*[1_000] * 15, 1, 1, 1_000, base=10**6), slice(1, 19)),
    ],
)
def test_what_is_due(segments: list[SegmentRef], expected: slice | None) -> None:
    """Nothing before sixteen of one size lie beside each other; all, once the deltas weigh half of the whole."""
    assert due(segments) == (None if expected is None else segments[expected])


@pytest.mark.parametrize(("base_kb", "delta_kb"), [(0, 1), (10, 1), (100_000, 1), (100_000, 400), (50, 400)])
@pytest.mark.parametrize("shrinks", [True, False], ids=["hot keys", "new keys"])
def test_compaction_keeps_few_segments_and_rewrites_little(base_kb: int, delta_kb: int, *, shrinks: bool) -> None:
    """Over 5,000 epochs: never more than some dozens of segments, and each byte is rewritten a few times only."""
    epochs = 5_000
    live = refs(base=base_kb) if base_kb else []
    written = most = 0
    for epoch in range(2, epochs + 2):
        live.append(SegmentRef(epoch, epoch, str(epoch), delta_kb * 1024, 0))
        group = due(live)
        if group is None:
            most = max(most, len(live))
            continue
        size = max(ref.size_bytes for ref in group) if shrinks else sum(ref.size_bytes for ref in group)
        written += size
        start = live.index(group[0])
        first = 0 if start == 0 else group[0].first
        live[start : start + len(group)] = [SegmentRef(first, group[-1].last, f"m{epoch}", size, 0)]
    tiers = math.log(epochs * delta_kb / 64 + base_kb / 64 + 16, 16) + 1

    assert most <= 16 * tiers + 16
    assert written <= (3 + 2 * tiers) * (epochs * delta_kb + base_kb) * 1024
