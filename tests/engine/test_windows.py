"""Windows against oracles in plain Python: the epochs, their rows and their watermarks are any."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.flow import Sliding, Tumbling
from tests.engine.aggregating import ANY_ORDER, ORDERED, WHOLE, Meaning, expressions, meaning
from tests.engine.driving import Drive, Plan, Row, frame_of, multiset, plans, read, run_plan, seconds

Key = tuple[Any, ...]
FIXED = {
    "tumbling": ps.tumbling("10s"),
    "tumbling with offset": ps.tumbling("7s", offset="3s"),
    "sliding": ps.sliding("12s", "4s"),
    "sliding with offset": ps.sliding("9s", "3s", offset="-2s"),
}
KEYS = st.sampled_from([(), ("k",), ("k", "j")])


def key_of(row: Row, keys: tuple[str, ...]) -> Key:
    """The values of a row's key."""
    return tuple(row["kj".index(name)] for name in keys)


class Panes:
    """Windows as they are defined, in seconds."""

    def __init__(self, window: Tumbling | Sliding) -> None:
        self.size = window.size_us // 1_000_000
        self.every = self.size if isinstance(window, Tumbling) else window.every_us // 1_000_000
        self.offset = window.offset_us // 1_000_000

    def pane(self, at: int) -> int:
        """Where the last window of a time begins."""
        return (at - self.offset) // self.every * self.every + self.offset

    def starts(self, at: int) -> Iterator[int]:
        """Where the windows of a time begin."""
        return (start for start in range(self.pane(at), at - self.size, -self.every))


def closed(
    plan: Plan, window: Tumbling | Sliding, keys: tuple[str, ...]
) -> tuple[list[dict[tuple[Key, int], list[Row]]], int]:
    """For each epoch the windows that it closes with their rows (by pane, then as they came); how many were late."""
    panes = Panes(window)
    kept: list[Row] = []
    late = 0
    epochs = []
    for rows, before, after in plan:
        punctual = [row for row in rows if panes.pane(row[2]) + panes.size > before]
        late += len(rows) - len(punctual)
        kept += punctual
        windows: dict[tuple[Key, int], list[Row]] = defaultdict(list)
        for row in sorted(kept, key=lambda row: panes.pane(row[2])):
            for start in panes.starts(row[2]):
                if before < start + panes.size <= after:
                    windows[key_of(row, keys), start].append(row)
        epochs.append(windows)
    return epochs, late


def check_fixed(
    plan: Plan,
    window: Tumbling | Sliding,
    keys: tuple[str, ...],
    aggregates: Mapping[str, tuple[pl.Expr, Meaning]],
    *,
    restarts: bool,
) -> None:
    """The aggregates of each epoch's windows are those of the oracle."""
    flow = ps.Flow("f")
    rows = read(flow)
    grouped = rows.group_by(*keys).window(window) if keys else rows.window(window)
    result = grouped.agg(**expressions(aggregates), name="windowed")
    result.write(ps.topic("out"), name="out")
    result.late_rows(name="late").write(ps.topic("late"), name="late_out")
    drive = Drive(flow)
    size = Panes(window).size
    epochs, late = closed(plan, window, keys)
    for got, windows in zip(run_plan(drive, plan, restarts=restarts), epochs, strict=True):
        wanted = [
            (*key, start, start + size, *meaning(aggregates, [row[3] for row in given]))
            for (key, start), given in windows.items()
        ]
        assert multiset(seconds(got["out"])) == multiset(wanted)
    assert drive.rows_late == late == drive.results("late_out").height


@pytest.mark.parametrize("window", FIXED.values(), ids=FIXED)
@given(plan=plans(), keys=KEYS, restarts=st.booleans())
def test_fixed_windows(window: Tumbling | Sliding, plan: Plan, keys: tuple[str, ...], restarts: bool) -> None:  # noqa: FBT001
    """Aggregates that are taken apart are, by window, those of the window's punctual rows, whatever the epochs."""
    check_fixed(plan, window, keys, {**ANY_ORDER, **ORDERED}, restarts=restarts)


@given(plan=plans(), window=st.sampled_from(list(FIXED.values())), keys=KEYS, restarts=st.booleans())
def test_fixed_windows_of_whole_rows(
    plan: Plan, window: Tumbling | Sliding, keys: tuple[str, ...], *, restarts: bool
) -> None:
    """Aggregates that need all rows of a window get them all."""
    check_fixed(plan, window, keys, WHOLE, restarts=restarts)


@given(plan=plans(), keys=KEYS, gap=st.integers(1, 12), restarts=st.booleans())
def test_sessions(plan: Plan, keys: tuple[str, ...], gap: int, *, restarts: bool) -> None:
    """Sessions are split where a key was silent for the gap; their first and last rows are those by time."""
    aggregates = {**ANY_ORDER, **ORDERED}
    flow = ps.Flow("f")
    rows = read(flow)
    window = ps.session(f"{gap}s")
    grouped = rows.group_by(*keys).window(window) if keys else rows.window(window)
    grouped.agg(**expressions(aggregates), name="windowed").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    kept: dict[Key, list[Row]] = defaultdict(list)
    late = 0
    for got, (given_rows, before, after) in zip(run_plan(drive, plan, restarts=restarts), plan, strict=True):
        for row in given_rows:
            late += row[2] + gap <= before
            kept[key_of(row, keys)] += [row] if row[2] + gap > before else []
        wanted = []
        for key, rows_of_key in kept.items():
            open_: list[Row] = []
            for session in sessions(rows_of_key, gap):
                first, end = session[0][2], session[-1][2] + gap
                if end <= after:
                    wanted.append((*key, first, end, *meaning(aggregates, [row[3] for row in session])))
                else:
                    open_ += session
            kept[key] = sorted(open_, key=lambda row: row[4])
        assert multiset(seconds(got["out"])) == multiset(wanted)
    assert drive.rows_late == late


def sessions(rows: list[Row], gap: int) -> Iterator[list[Row]]:
    """Rows of one key by session, each in the order of time."""
    session: list[Row] = []
    for row in sorted(rows, key=lambda row: row[2]):
        if session and row[2] >= session[-1][2] + gap:
            yield session
            session = []
        session.append(row)
    if session:
        yield session


def rank(row: Row, *, descending: bool) -> tuple[bool, int]:
    """The place of a row in an order by `v`, nulls last."""
    return row[3] is None, 0 if row[3] is None else -row[3] if descending else row[3]


@given(
    plan=plans(),
    window=st.sampled_from(list(FIXED.values())),
    keys=KEYS,
    n=st.integers(1, 3),
    descending=st.booleans(),
    ties=st.booleans(),
    restarts=st.booleans(),
)
def test_first_rows_of_windows(
    plan: Plan,
    window: Tumbling | Sliding,
    keys: tuple[str, ...],
    n: int,
    *,
    descending: bool,
    ties: bool,
    restarts: bool,
) -> None:
    """The first n rows of a window are those of all its rows; with ties also those that equal the last of them."""
    flow = ps.Flow("f")
    rows = read(flow)
    grouped = rows.group_by(*keys).window(window) if keys else rows.window(window)
    top = grouped.top_n(n, by="v", descending=descending, ties=ties, name="top")
    top.write(ps.topic("out"), name="out")
    drive = Drive(flow)
    size = Panes(window).size
    epochs, late = closed(plan, window, keys)
    for got, windows in zip(run_plan(drive, plan, restarts=restarts), epochs, strict=True):
        wanted: list[tuple[Any, ...]] = []
        for (_, start), rows_of_window in windows.items():
            ordered = sorted(rows_of_window, key=lambda row: rank(row, descending=descending))
            best = ordered[:n]
            if ties:
                best += [row for row in ordered[n:] if row[3] == best[-1][3]]
            wanted += [(*row, start, start + size) for row in best]
        assert multiset(seconds(got["out"])) == multiset(wanted)
    assert drive.rows_late == late


def joined(left: list[Row], right: list[Row], how: str) -> Iterator[tuple[Any, ...]]:
    """The SQL join of two lists of rows on `k`, as (k, left n, right n)."""
    for mine in left:
        partners = [other for other in right if other[0] == mine[0] and mine[0] is not None]
        if how == "semi":
            yield from [(mine[0], mine[4])] if partners else []
        elif how == "anti":
            yield from [] if partners else [(mine[0], mine[4])]
        else:
            yield from ((mine[0], mine[4], other[4]) for other in partners)
            if not partners and how != "inner":
                yield mine[0], mine[4], None
    if how == "full":
        for other in right:
            if other[0] is None or all(mine[0] != other[0] for mine in left):
                yield other[0], None, other[4]


@pytest.mark.parametrize("how", ["inner", "left", "full", "semi", "anti"])
@given(left=plans(), right=plans(first=100), window=st.sampled_from(list(FIXED.values())), restarts=st.booleans())
def test_window_joins(how: Any, left: Plan, right: Plan, window: Tumbling | Sliding, restarts: bool) -> None:  # noqa: FBT001
    """The rows of two streams in one window are joined as SQL would, when the slower stream's watermark passes it."""
    flow = ps.Flow("f")
    others = read(flow, "right").select("k", "at", m=pl.col("n"), name="others")
    pairs = read(flow).join(others, on="k", window=window, how=how, name="pairs")
    shown = ["k", "n", *([] if how in ("semi", "anti") else ["m"]), "window_start"]
    pairs.select(*shown, "window_end", name="shown").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    count = max(len(left.rows), len(right.rows))
    together = [_stretched(plan, count) for plan in (left, right)]
    marks = [float(min(pair)) for pair in zip(*(plan.marks_s for plan in together), strict=True)]
    sides = [closed(Plan(plan.rows, marks), window, ("k",)) for plan in together]
    for place in range(count):
        got = drive.epoch(
            {"left": frame_of(together[0].rows[place]), "right": frame_of(together[1].rows[place])},
            {"left": together[0].marks_s[place], "right": together[1].marks_s[place]},
        )
        if restarts:
            drive.restart()
        mine, theirs = sides[0][0][place], sides[1][0][place]
        starts = {start for _, start in (*mine, *theirs)}
        wanted = []
        for start in starts:
            one, other = (
                [row for (_, at), rows in side.items() if at == start for row in rows] for side in (mine, theirs)
            )
            wanted += [(*pair, start) for pair in joined(one, other, how)]
        assert multiset(seconds(got["out"]).drop("window_end")) == multiset(wanted)
    assert drive.rows_late == sides[0][1] + sides[1][1]


def _stretched(plan: Plan, count: int) -> Plan:
    """The plan with empty epochs before its end."""
    more = count - len(plan.rows)
    idle = plan.marks_s[-2] if len(plan.marks_s) > 1 else -math.inf
    return Plan([*plan.rows[:-1], *([[]] * more), []], [*plan.marks_s[:-1], *([idle] * more), math.inf])


def test_a_row_on_the_border_is_in_the_later_window() -> None:
    """A window holds its start and not its end, before 1970 too."""
    flow = ps.Flow("f")
    read(flow).window(ps.tumbling("10s")).agg(rows=pl.len(), name="windowed").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    drive.epoch({"left": frame_of([("a", 1, at, 1, 0) for at in (-10, -1, 0, 10)])})
    drive.finish()
    assert seconds(drive.results("out")).rows() == [(-10, 0, 2), (0, 10, 1), (10, 20, 1)]


@pytest.mark.parametrize("dtype", [pl.Datetime("ms"), pl.Datetime("ns"), pl.Datetime("us", "Europe/Amsterdam")])
def test_times_of_other_units_and_zones(dtype: pl.Datetime) -> None:
    """Windows are the same instants whatever the unit and time zone of the event time."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("in", schema={"at": dtype}), event_time="at", name="left")
    rows.window(ps.tumbling("10s")).agg(rows=pl.len(), name="windowed").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    times = frame_of([("a", 1, at, 1, 0) for at in (-11, -1, 0, 1_700_000_001)]).select(pl.col("at").cast(dtype))
    drive.epoch({"left": times})
    drive.finish()
    starts = drive.results("out").with_columns(pl.col("window_start").cast(pl.Datetime("us")))
    assert seconds(starts)["window_start"].to_list() == [-20, -10, 0, 1_700_000_000]


def test_rows_without_event_time_are_dead_letters() -> None:
    """A row whose event time is null can be in no window: it is set aside, the others go on."""
    flow = ps.Flow("f")
    read(flow).window(ps.session("5s")).agg(rows=pl.len(), name="windowed").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    rows = frame_of([("a", 1, 3, 1, 0), ("b", 1, 4, 1, 1)])
    drive.epoch({"left": rows.with_columns(at=pl.when(pl.col("n") == 0).then("at"))})
    drive.finish()
    assert drive.results("out")["rows"].to_list() == [1]
    assert [letter.step for letter in drive.epochs[0].dead] == ["windowed"]


def test_results_of_a_window_go_into_the_next() -> None:
    """The results of a window are punctual for a window after it, in the epoch that closes both."""
    flow = ps.Flow("f")
    small = read(flow).window(ps.tumbling("5s")).agg(rows=pl.len(), name="small")
    small.window(ps.tumbling("10s")).agg(rows=pl.col("rows").sum(), name="large").write(ps.topic("out"), name="out")
    drive = Drive(flow)
    drive.epoch({"left": frame_of([("a", 1, at, 1, 0) for at in range(20)])}, 12)
    drive.epoch({}, 25)
    drive.finish()
    # A window that ends at 10 has the time 10, and is in the window that begins there.
    assert seconds(drive.results("out")).sort("window_start").rows() == [(0, 10, 5), (10, 20, 10), (20, 30, 5)]
    assert drive.rows_late == 0
