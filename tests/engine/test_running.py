"""Running aggregates, top-n and latest: the changelog folded is, after every epoch, what the rows so far give."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import DefinitionError
from tests.engine.aggregating import ANY_ORDER, ORDERED, RETRACTABLE, expressions, meaning
from tests.engine.driving import COLUMNS, Drive, Plan, Row, frame_of, multiset, plans, read

Key = tuple[Any, ...]
KEYS = st.sampled_from([("k",), ("k", "j")])


def by_key(rows: list[Row], keys: tuple[str, ...]) -> dict[Key, list[Row]]:
    """Rows by key, in their order."""
    groups: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row["kj".index(name)] for name in keys)].append(row)
    return groups


def shown(drive: Drive, sink: str) -> Any:
    """The folded changelog of a sink as a multiset."""
    return multiset([tuple(row.values()) for row in drive.table(sink).values()])


@given(plan=plans(), keys=KEYS, restarts=st.booleans())
def test_running_aggregates(plan: Plan, keys: tuple[str, ...], *, restarts: bool) -> None:
    """After every epoch the table of results is that of all rows so far, and only changed keys are written."""
    aggregates = {**ANY_ORDER, **ORDERED}
    flow = ps.Flow("f")
    totals = read(flow).group_by(*keys).agg(**expressions(aggregates), name="totals")
    totals.write(ps.table("out", key=keys), name="out")
    drive = Drive(flow)
    seen: list[Row] = []
    for rows, _, after in plan:
        got = drive.epoch({"left": frame_of(rows)}, after)["out"]
        seen += rows
        wanted = [(*key, *meaning(aggregates, [row[3] for row in group])) for key, group in by_key(seen, keys).items()]
        assert shown(drive, "out") == multiset(wanted)
        assert set(got.select(keys).rows()) == set(by_key(rows, keys))
        if restarts:
            drive.restart()


@given(plan=plans(), restarts=st.booleans())
def test_aggregates_of_updating_results(plan: Plan, *, restarts: bool) -> None:
    """Aggregates over running aggregates take back what is replaced: groups shrink, and go with their last row."""
    aggregates = {name: ANY_ORDER[name] for name in RETRACTABLE}
    flow = ps.Flow("f")
    per_key = read(flow).group_by("k", "j").agg(v=pl.col("v").max(), rows=pl.len(), name="per_key")
    moved = per_key.with_columns(parity=pl.col("rows") % 3, name="moved").filter(pl.col("rows") != 4, name="some")
    moved.group_by("parity").agg(**expressions(aggregates), name="by_parity").write(
        ps.table("out", key="parity"), name="out"
    )
    moved.write(ps.table("moved", key=["k", "j"]), name="moved_out")
    drive = Drive(flow)
    seen: list[Row] = []
    for rows, _, after in plan:
        drive.epoch({"left": frame_of(rows)}, after)
        seen += rows
        inner = {
            key: (max((row[3] for row in group if row[3] is not None), default=None), len(group))
            for key, group in by_key(seen, ("k", "j")).items()
            if len(group) != 4
        }
        groups = defaultdict(list)
        for value, count in inner.values():
            groups[count % 3].append(value)
        assert shown(drive, "out") == multiset(
            [(parity, *meaning(aggregates, values)) for parity, values in groups.items()]
        )
        assert set(drive.table("moved_out")) == set(inner)
        if restarts:
            drive.restart()


@given(plan=plans(), ttl=st.integers(1, 20), restarts=st.booleans())
def test_aggregates_forget_silent_keys(plan: Plan, ttl: int, *, restarts: bool) -> None:
    """With a TTL a key begins anew when the watermark passed its last epoch by that; its sets go with it."""
    aggregates = {**ANY_ORDER, **ORDERED}
    flow = ps.Flow("f")
    totals = read(flow).group_by("k").agg(ttl=f"{ttl}s", **expressions(aggregates), name="totals")
    totals.write(ps.table("out", key="k"), name="out")
    drive = Drive(flow)
    groups: dict[Key, list[Row]] = {}
    expires: dict[Key, float] = {}
    for rows, _, after in plan:
        got = drive.epoch({"left": frame_of(rows)}, after)
        for key in [key for key, time in expires.items() if time <= after]:
            del groups[key], expires[key]
        touched = by_key(rows, ("k",))
        for key, fresh in touched.items():
            groups[key] = groups.get(key, []) + fresh
            expires[key] = after + ttl
        wanted = [(*key, *meaning(aggregates, [row[3] for row in groups[key]])) for key in touched]
        assert multiset(got["out"]) == multiset(wanted)
        assert drive.program.state_rows["totals"] == len(groups) + sum(
            len({row[3] for row in group}) for group in groups.values()
        )
        if restarts:
            drive.restart()


def best(rows: list[Row], n: int, *, descending: bool) -> list[Row]:
    """The first n rows by `v` (nulls last), of equal ones those that came first."""

    def place(row: Row) -> tuple[bool, int]:
        return row[3] is None, 0 if row[3] is None else -row[3] if descending else row[3]

    return sorted(rows, key=place)[:n]


@given(plan=plans(), keys=KEYS, n=st.integers(1, 3), descending=st.booleans(), restarts=st.booleans())
def test_top_n(plan: Plan, keys: tuple[str, ...], n: int, *, descending: bool, restarts: bool) -> None:
    """The first n rows of a key are, with their ranks, those of all its rows; ties go to who came first."""
    flow = ps.Flow("f")
    top = read(flow).group_by(*keys).top_n(n, by="v", descending=descending, name="top")
    top.select(*keys, "rank", "v", "n", name="shown").write(ps.table("out", key=[*keys, "rank"]), name="out")
    drive = Drive(flow)
    seen: list[Row] = []
    for rows, _, after in plan:
        drive.epoch({"left": frame_of(rows)}, after)
        seen += rows
        wanted = [
            (*key, rank, row[3], row[4])
            for key, group in by_key(seen, keys).items()
            for rank, row in enumerate(best(group, n, descending=descending), 1)
        ]
        assert shown(drive, "out") == multiset(wanted)
        if restarts:
            drive.restart()


@given(plan=plans(), n=st.integers(1, 3), ttl=st.integers(1, 20), restarts=st.booleans())
def test_top_n_forgets_silent_keys(plan: Plan, n: int, ttl: int, *, restarts: bool) -> None:
    """With a TTL a key goes as a whole when it was silent for so long, and not while rows come that change nothing."""
    flow = ps.Flow("f")
    top = read(flow).group_by("k").top_n(n, by="v", ttl=f"{ttl}s", name="top")
    top.select("k", "rank", "n", name="shown").write(ps.table("out", key=["k", "rank"]), name="out")
    drive = Drive(flow)
    groups: dict[Key, list[Row]] = {}
    expires: dict[Key, float] = {}
    for rows, _, after in plan:
        got = drive.epoch({"left": frame_of(rows)}, after)
        for key in [key for key, time in expires.items() if time <= after]:
            del groups[key], expires[key]
        wanted = []
        for key, fresh in by_key(rows, ("k",)).items():
            before = best(groups.get(key, []), n, descending=True)
            groups[key] = groups.get(key, []) + fresh
            expires[key] = after + ttl
            now = best(groups[key], n, descending=True)
            wanted += [(*key, rank, row[4]) for rank, row in enumerate(now, 1) if row not in before[rank - 1 : rank]]
        assert multiset(got["out"]) == multiset(wanted)
        assert drive.program.state_rows["top"] == sum(min(n, len(group)) for group in groups.values())
        if restarts:
            drive.restart()


@given(plan=plans(), keys=KEYS, by=st.sampled_from(["at", "v", None]), restarts=st.booleans())
def test_latest(plan: Plan, keys: tuple[str, ...], by: str | None, *, restarts: bool) -> None:
    """The latest row of a key is the one of the highest order, of equal ones the one that came last."""
    flow = ps.Flow("f")
    stream = read(flow) if by else flow.read(ps.topic("left", schema=dict(COLUMNS)), name="left")
    latest = stream.group_by(*keys).latest(by="v" if by == "v" else (), name="latest")
    latest.select(*keys, "n", name="shown").write(ps.table("out", key=keys), name="out")
    drive = Drive(flow)
    seen: list[Row] = []

    def order(row: Row) -> tuple[Any, ...]:
        value = {"at": row[2], "v": row[3], None: row[4]}[by]
        return value is not None, value or 0, row[4]

    for rows, _, after in plan:
        drive.epoch({"left": frame_of(rows)}, after)
        seen += rows
        wanted = [(*key, max(group, key=order)[4]) for key, group in by_key(seen, keys).items()]
        assert shown(drive, "out") == multiset(wanted)
        if restarts:
            drive.restart()


@pytest.mark.parametrize(
    "aggregate",
    [pl.lit(1).sum(), pl.col("v").median(), pl.col("k").str.join("-").first(), pl.col("v").bitwise_and().max()],
    ids=str,
)
def test_aggregates_that_need_all_rows_are_refused(aggregate: pl.Expr) -> None:
    """What can't be kept up to date from partial results is an error when the flow is compiled, not a wrong number."""
    flow = ps.Flow("f")
    read(flow).group_by("k").agg(x=aggregate, name="totals").write(ps.table("out", key="k"), name="out")
    with pytest.raises(DefinitionError, match="needs all rows"):
        Drive(flow)


@pytest.mark.parametrize(
    ("values", "aggregate"),
    [
        (pl.Series([1.0, math.nan, 2.0]), pl.col("x").std()),
        (pl.Series([1.0, math.nan, 2.0]), pl.col("x").min()),
        (pl.Series([math.nan, None, math.nan]), pl.col("x").n_unique()),
        (pl.Series([math.inf, 1.0]), pl.col("x").mean()),
        (pl.Series([0.0, -0.0]), pl.col("x").n_unique()),
        (pl.Series([100, 100, 100], dtype=pl.Int8), pl.col("x").sum()),
        (pl.Series([True, None, False]), pl.col("x").mean()),
        (pl.Series([5, None, 7]).cast(pl.Duration("us")), pl.col("x").sum()),
        (pl.Series(["1.10", "2.25", None]).cast(pl.Decimal(10, 2)), pl.col("x").mean()),
        (pl.Series(["1.10", "2.25", None]).cast(pl.Decimal(10, 2)), pl.col("x").sum()),
        (pl.Series(["b", "a", None]), pl.col("x").min()),
        (pl.Series(["b", "a", "b"]).cast(pl.Enum(["b", "a"])), pl.col("x").max()),
        (pl.Series([[1], None, [2, 3]]), pl.col("x").last()),
        (pl.Series([{"a": 1}, {"a": 2}, {"a": 1}]), pl.col("x").n_unique()),
        (pl.Series([-5, 7]).cast(pl.Datetime("ms", "UTC")), pl.col("x").max()),
        (pl.Series([-5, 7]).cast(pl.Date), pl.col("x").n_unique()),
        (pl.Series([b"a", b"", None]), pl.col("x").first()),
    ],
    ids=lambda value: str(value) if isinstance(value, pl.Expr) else str(value.dtype),
)
def test_aggregates_of_other_types(values: pl.Series, aggregate: pl.Expr) -> None:
    """Row by row, with the state read from its files after each, an aggregate is what Polars gives for all rows."""
    frame = pl.DataFrame({"k": pl.Series(["a"] * len(values)), "x": values})
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("in", schema=dict(frame.schema)), name="left")
    rows.group_by("k").agg(x=aggregate, name="totals").write(ps.table("out", key="k"), name="out")
    drive = Drive(flow)
    for row in frame.iter_slices(1):
        drive.epoch({"left": row})
        drive.restart()
    wanted = frame.group_by("k").agg(x=aggregate)
    assert multiset([tuple(row.values()) for row in drive.table("out").values()]) == multiset(wanted)
    assert drive.results("out").schema == drive.analysis.steps["out"].schema
