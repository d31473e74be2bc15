"""Joins and deduplication against oracles in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from tests.engine.driving import KEYS_S, TIMES_S, Drive, Plan, Row, frame_of, multiset, plans, read, some_rows

BOUNDS = st.one_of(st.none(), st.integers(-8, 8))


def pairs_of(left: list[Row], right: list[Row], lower: float, upper: float) -> Iterator[tuple[Row, Row]]:
    """All pairs of equal `k` and `j` (null equals nothing) within the bounds."""
    for mine in left:
        for other in right:
            equal = mine[:2] == other[:2] and None not in mine[:2]
            if equal and lower <= other[2] - mine[2] <= upper:
                yield mine, other


def join_flow(how: Any, lower: int | None, upper: int | None) -> ps.Flow:
    """A flow that joins `left` and `right`, whose columns but the keys have other names."""
    flow = ps.Flow("f")
    other = read(flow, "right").select("k", "j", "at", m=pl.col("n"), name="other")
    within: Any = tuple(None if bound is None else f"{bound}s" for bound in (lower, upper))
    pairs = read(flow).join(other, on=["k", "j"], within=within, how=how, name="pairs")
    pairs.select("k", "j", "n", "m", name="shown").write(ps.topic("out"), name="out")
    return flow


@given(
    left=plans(),
    right=plans(first=100),
    how=st.sampled_from(["inner", "left"]),
    bounds=st.tuples(BOUNDS, BOUNDS),
    restarts=st.booleans(),
)
def test_interval_joins(
    left: Plan, right: Plan, how: str, bounds: tuple[int | None, int | None], *, restarts: bool
) -> None:
    """Pairs come in the epoch of their second row; a left row that stays alone, when no partner can come any more."""
    lower, upper = sorted(bounds, key=lambda bound: bound if bound is not None else 0) if None not in bounds else bounds
    if (how == "left" and upper is None) or lower is upper is None:
        return
    low, high = -math.inf if lower is None else lower, math.inf if upper is None else upper
    drive = Drive(join_flow(how, lower, upper))
    lefts: list[Row] = []
    rights: list[Row] = []
    given_pairs: Counter[Any] = Counter()
    alone: set[Row] = set()
    late = 0
    before = -math.inf
    for place in range(max(len(left.rows), len(right.rows))):
        mine, mark = _at(left, place)
        theirs, other_mark = _at(right, place)
        got = drive.epoch({"left": frame_of(mine), "right": frame_of(theirs)}, {"left": mark, "right": other_mark})
        late += sum(row[2] < before for row in (*mine, *theirs))
        lefts += [row for row in mine if row[2] >= before]
        rights += [row for row in theirs if row[2] >= before]
        before = max(before, min(mark, other_mark))
        found = list(pairs_of(lefts, rights, low, high))
        every = Counter((*one[:2], one[4], other[4]) for one, other in found)
        fresh: Counter[Any] = every - given_pairs
        given_pairs = every
        if how == "left":
            partnered = {one for one, _ in found}
            gone = {row for row in lefts if row[2] + max(high, 0) < before and row not in partnered} - alone
            alone |= gone
            fresh += Counter((*row[:2], row[4], None) for row in gone)
        assert multiset(got["out"]) == fresh
        if restarts:
            drive.restart()
    assert drive.rows_late == late


def _at(plan: Plan, place: int) -> tuple[list[Row], float]:
    """The rows of an epoch and the watermark after it; nothing more comes after the plan's end."""
    return (plan.rows[place], plan.marks_s[place]) if place < len(plan.rows) else ([], math.inf)


@given(left=plans(), right=plans(first=100), restarts=st.booleans())
def test_joins_without_bounds(left: Plan, right: Plan, *, restarts: bool) -> None:
    """Without bounds every pair of equal keys comes once, however late."""
    drive = Drive(join_flow("inner", None, None))
    for place in range(max(len(left.rows), len(right.rows))):
        mine, mark = _at(left, place)
        theirs, other_mark = _at(right, place)
        drive.epoch({"left": frame_of(mine), "right": frame_of(theirs)}, {"left": mark, "right": other_mark})
        if restarts:
            drive.restart()
    every = pairs_of([row for rows in left.rows for row in rows], [row for rows in right.rows for row in rows], -99, 99)
    assert multiset(drive.results("out")) == multiset((*one[:2], one[4], other[4]) for one, other in every)
    assert drive.rows_late == 0


@given(
    left=plans(),
    right=plans(first=100),
    how=st.sampled_from(["inner", "left"]),
    bounds=st.tuples(st.integers(-8, 8), st.integers(-8, 8)),
)
def test_a_window_after_a_join_misses_no_pair(left: Plan, right: Plan, how: str, bounds: tuple[int, int]) -> None:
    """A pair has the time of its left row, which may be old: a window after the join waits for it."""
    lower, upper = sorted(bounds)
    flow = ps.Flow("f")
    other = read(flow, "right").select("k", "at", m=pl.col("n"), name="other")
    pairs = read(flow).join(other, on="k", within=(f"{lower}s", f"{upper}s"), how=how, name="pairs")  # type: ignore[arg-type]
    pairs.write(ps.topic("pairs"), name="pairs_out")
    pairs.window(ps.tumbling("5s")).agg(n=pl.len(), name="counts").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    for place in range(max(len(left.rows), len(right.rows))):
        mine, mark = _at(left, place)
        theirs, other_mark = _at(right, place)
        drive.epoch({"left": frame_of(mine), "right": frame_of(theirs)}, {"left": mark, "right": other_mark})
    assert sum(drive.results("out")["n"]) == drive.results("pairs_out").height
    assert not any("counts" in epoch.late for epoch in drive.epochs)


@given(plan=plans(), keys=st.sampled_from([("k",), ("k", "j")]), restarts=st.booleans())
def test_deduplicate_for_ever(plan: Plan, keys: tuple[str, ...], *, restarts: bool) -> None:
    """The first row of each key passes, null being a key like others."""
    flow = ps.Flow("f")
    read(flow).deduplicate(*keys, name="firsts").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    seen: set[tuple[Any, ...]] = set()
    for rows, _, after in plan:
        got = drive.epoch({"left": frame_of(rows)}, after)
        wanted = []
        for row in rows:
            key = row[: len(keys)]
            if key not in seen:
                wanted.append(row[4])
            seen.add(key)
        assert got["out"]["n"].to_list() == wanted
        if restarts:
            drive.restart()


@given(plan=plans(), within=st.integers(0, 12), restarts=st.booleans())
def test_deduplicate_within(plan: Plan, within: int, *, restarts: bool) -> None:
    """A row counts again when it is more than `within` after the row that counted; forgetting changes nothing."""
    flow = ps.Flow("f")
    read(flow).deduplicate("k", within=f"{within}s", name="firsts").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    counted: dict[str | None, int] = {}
    late = 0
    for rows, before, after in plan:
        got = drive.epoch({"left": frame_of(rows)}, after)
        wanted = []
        for k, _, at, _, n in rows:
            if at + within <= before:
                late += 1
            elif k not in counted or at > counted[k] + within:
                counted[k] = at
                wanted.append(n)
        assert got["out"]["n"].to_list() == wanted
        if restarts:
            drive.restart()
    assert drive.rows_late == late
    assert drive.program.state_rows == {"firsts": 0}


TABLE_ROWS = st.lists(
    st.tuples(KEYS_S, st.sampled_from([1, None]), st.one_of(st.none(), st.integers(0, 9))), max_size=4
)


@given(
    epochs=st.lists(st.tuples(some_rows(times=TIMES_S), TABLE_ROWS), min_size=1, max_size=4),
    how=st.sampled_from(["left", "inner", "semi", "anti"]),
    restarts=st.booleans(),
)
def test_lookups(epochs: list[tuple[list[Row], list[tuple[Any, ...]]]], how: Any, *, restarts: bool) -> None:
    """A row sees the last row that the table had for its key up to its own epoch; a null key has no partner."""
    flow = ps.Flow("f")
    schema = {"tk": pl.String, "tj": pl.Int64, "v": pl.Int64}
    table = flow.table(ps.table("prices", schema=schema), key=["tk", "tj"], name="prices")
    found = read(flow).join(table, on={"k": "tk", "j": "tj"}, how=how, suffix="_of_table", name="found")
    found.write(ps.topic("out"), name="out")
    drive = Drive(flow)
    prices: dict[tuple[Any, ...], Any] = {}
    for rows, updates in epochs:
        prices |= {(k, j): v for k, j, v in updates}
        got = drive.epoch({"left": frame_of(rows), "prices": pl.DataFrame(updates, schema=schema, orient="row")})
        wanted: list[tuple[Any, ...]] = []
        for row in rows:
            is_there = None not in row[:2] and row[:2] in prices
            if how in ("semi", "anti"):
                wanted += [row] if is_there == (how == "semi") else []
            elif is_there or how == "left":
                wanted.append((*row, prices[row[:2]] if is_there else None))
        assert got["out"].with_columns(pl.col("at").dt.epoch("s")).rows() == wanted
        if restarts:
            drive.restart()


@pytest.mark.parametrize("how", ["left", "inner", "semi", "anti"])
def test_lookup_in_a_table_of_keys_alone(how: Any) -> None:
    """A table that has no columns but its key tells whether the key is there."""
    flow = ps.Flow("f")
    table = flow.table(ps.table("known", schema={"k": pl.String}), key="k", name="known")
    read(flow).join(table, on="k", how=how, name="found").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    rows = frame_of([("a", 1, 0, 0, 0), (None, 1, 0, 0, 1), ("b", 1, 0, 0, 2)])
    got = drive.epoch({"left": rows, "known": pl.DataFrame({"k": ["a", None]})})
    wanted = {"left": [0, 1, 2], "anti": [1, 2]}
    assert got["out"]["n"].to_list() == wanted.get(how, [0])


def test_union_takes_the_columns_by_name() -> None:
    """A union has the rows of all its streams, in the columns of the first."""
    flow = ps.Flow("f")
    turned = read(flow, "right").select("n", "v", "at", "j", "k", name="turned")
    read(flow).union(turned, name="both").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    got = drive.epoch({"left": frame_of([("a", 1, 0, 5, 0)]), "right": frame_of([(None, 1, 1, None, 7)])})
    assert got["out"].select("k", "v", "n").rows() == [("a", 5, 0), (None, None, 7)]


@given(rows=some_rows())
def test_branches_share_out_all_rows(rows: list[Row]) -> None:
    """Each row is in exactly one of two branches; where the condition is null, in the second."""
    flow = ps.Flow("f")
    large, small = read(flow).branch(pl.col("v") > 1, names=("large", "small"))
    large.write(ps.topic("large"), name="large_out")
    small.write(ps.topic("small"), name="small_out")
    got = Drive(flow).epoch({"left": frame_of(rows)})
    assert multiset(got["large_out"].select("v")) == multiset(
        (row[3],) for row in rows if row[3] is not None and row[3] > 1
    )
    assert multiset(pl.concat(got.values())) == multiset(frame_of(rows))
