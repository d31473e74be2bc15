"""Poison rows: exactly they are set aside, with the place where they were read, and no other row is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.clock import seeded
from penstock.engine.batch import Epoch
from penstock.engine.isolate import isolate
from penstock.engine.program import Program
from penstock.engine.rows import Origin, Rows
from penstock.errors import CheckFailed, StepFailed
from penstock.flow import Flow, Keyed, Stream
from penstock.ledger import DeadLetter
from tests.engine.driving import Drive, multiset

SCHEMA: Mapping[str, Any] = {"k": pl.Int64, "at": pl.Datetime("us"), "text": pl.String, "n": pl.Int64}
NUMBER = pl.col("text").cast(pl.Int64)


def doubled(frame: pl.DataFrame) -> pl.DataFrame:
    """A function on batches that fails on text."""
    return frame.with_columns(number=NUMBER)


def parsed(row: dict[str, Any]) -> dict[str, Any]:
    """A function on rows that fails on text."""
    return {**row, "number": int(row["text"])}


def parsed_twice(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A function from a row to rows, the second of which is wrong for text."""
    text = row["text"]
    return [{**row, "number": 0}, {**row, "number": int(text) if text.isdigit() else text}]


WIDER = {**SCHEMA, "number": pl.Int64}
STATELESS: dict[str, tuple[Callable[[Stream], Stream], bool]] = {
    "with_columns": (lambda rows: rows.with_columns(number=NUMBER, name="step"), True),
    "filter": (lambda rows: rows.filter(NUMBER >= 0, name="step"), True),
    "select": (lambda rows: rows.select("n", number=NUMBER, name="step"), True),
    "after a filter": (
        lambda rows: rows.filter(pl.col("n") % 2 == 0, name="even").filter(NUMBER >= 0, name="step"),
        True,
    ),
    "map_batches": (lambda rows: rows.map_batches(doubled, schema=WIDER, name="step"), True),
    "sql": (lambda rows: rows.sql("select *, text::bigint as number from self", name="step"), True),
    "map": (lambda rows: rows.map(parsed, schema=WIDER, name="step"), True),
    "flat_map": (lambda rows: rows.flat_map(parsed_twice, schema=WIDER, name="step"), True),
    "expect": (lambda rows: rows.expect(ps.that(NUMBER >= 0, name="number"), on_fail="dead_letter", name="step"), True),
    "after a map": (
        lambda rows: rows.map(dict, schema=dict(SCHEMA), name="same").with_columns(number=NUMBER, name="step"),
        False,
    ),
}
"""A step `step` that can't take text that is no number, and whether its dead letters know their row."""
AGGREGATES: dict[str, pl.Expr] = {
    "taken apart": NUMBER.sum(),
    "a set": NUMBER.n_unique(),
    "two sets": pl.col("n").n_unique() + NUMBER.n_unique(),
    "spread": NUMBER.std(),
}
WINDOWED: dict[str, Callable[[Keyed], Any]] = {
    "running": lambda keyed: keyed,
    "tumbling": lambda keyed: keyed.window(ps.tumbling("10s")),
    "session": lambda keyed: keyed.window(ps.session("10s")),
}


def batch(count: int, poison: set[int]) -> pl.DataFrame:
    """Rows of which those at `poison` hold no number."""
    row = pl.int_range(count, dtype=pl.Int64)
    return pl.select(
        k=row % 7,
        at=pl.lit(0, pl.Int64).cast(pl.Datetime("us")),
        text=pl.when(row.is_in(list(poison))).then(pl.lit("x")).otherwise(row.cast(pl.String)),
        n=row,
    )


def source(flow: Flow) -> Stream:
    """A read of such rows."""
    return flow.read(ps.topic("in", schema=dict(SCHEMA)), event_time="at", name="rows")


def run_batch(flow: Flow, frame: pl.DataFrame, partitions: tuple[tuple[str, int], ...]) -> tuple[Any, list[DeadLetter]]:
    """One epoch over rows that were read from partitions; what was written, and the dead letters."""
    drive = Drive(flow)
    program: Program = drive.program
    planned = {"start": dict.fromkeys(dict(partitions), 100), "end": {name: 100 + size for name, size in partitions}}
    epoch = Epoch(1, 0, 1, "v1")
    rows = {"rows": Rows(frame, Origin("rows", partitions, planned))}
    changes = program.run(rows, drive.before, drive.before, epoch)
    return changes["out"].rows, epoch.dead


def row_at(partitions: tuple[tuple[str, int], ...], offset: Mapping[str, Any]) -> int:
    """The position of the row that an offset names."""
    first = 0
    for name, size in partitions:
        if name == offset["partition"]:
            assert (offset["start"], offset["end"]) == (100, 100 + size)
            assert 0 <= offset["row"] < size
            return first + int(offset["row"])
        first += size
    raise AssertionError(offset)


@pytest.mark.parametrize("case", STATELESS)
@given(count=st.integers(1, 60), places=st.sets(st.integers(0, 59), max_size=12), cut=st.integers(0, 60))
def test_exactly_the_poison_rows_are_refused(case: str, count: int, places: set[int], cut: int) -> None:
    """The rows that a step can't take become dead letters that name where they were read; all others go on."""
    build, is_exact = STATELESS[case]
    flow = Flow("f")
    build(source(flow)).write(ps.topic("out"), name="out")
    poison = {place for place in places if place < count}
    frame = batch(count, poison)
    cut = min(cut, count)
    partitions = (("p0", cut), ("p1", count - cut))
    written, dead = run_batch(flow, frame, partitions)
    expected = poison if case != "after a filter" else {place for place in poison if place % 2 == 0}
    good = [place for place in range(count) if place not in poison and (case != "after a filter" or place % 2 == 0)]
    assert sorted(written["n"].to_list()) == sorted(good * (2 if case == "flat_map" else 1))
    assert sorted(json.loads(letter.payload)["n"] for letter in dead) == sorted(expected)
    assert {letter.step for letter in dead} <= {"step"}
    for letter in dead:
        if is_exact:
            assert row_at(partitions, letter.offset) == json.loads(letter.payload)["n"]
        else:
            assert letter.offset == {
                "source": "rows",
                "start": {"p0": 100, "p1": 100},
                "end": {"p0": 100 + cut, "p1": 100 + count - cut},
            }


@given(count=st.integers(1, 40), texts=st.sets(st.integers(0, 39)), zeros=st.sets(st.integers(0, 39)))
def test_rows_that_fail_in_different_steps_are_all_traced(count: int, texts: set[int], zeros: set[int]) -> None:
    """After rows were refused by one step, those that a later step refuses still name where they were read."""
    flow = Flow("f")
    numbers = source(flow).filter(pl.col("n") % 3 != 0, name="some").with_columns(number=NUMBER, name="numbers")
    checked = numbers.with_columns(small=(pl.col("number") - 1).cast(pl.UInt8, strict=True), name="small")
    checked.write(ps.topic("out"), name="out")
    frame = batch(count, texts).with_columns(
        text=pl.when(pl.col("n").is_in(list(zeros - texts))).then(pl.lit("0")).otherwise("text")
    )
    partitions = (("p0", count),)
    written, dead = run_batch(flow, frame, partitions)
    some = [place for place in range(count) if place % 3]
    assert written["n"].to_list() == [place for place in some if place not in texts | zeros]
    steps = {json.loads(letter.payload)["n"]: letter.step for letter in dead}
    assert steps == {place: "numbers" if place in texts else "small" for place in some if place in texts | zeros}
    assert all(row_at(partitions, letter.offset) == json.loads(letter.payload)["n"] for letter in dead)


@pytest.mark.parametrize("aggregate", AGGREGATES.values(), ids=AGGREGATES)
@pytest.mark.parametrize("window", WINDOWED.values(), ids=WINDOWED)
@given(places=st.sets(st.integers(0, 39), max_size=10))
def test_aggregates_without_the_poison_rows(
    window: Callable[[Keyed], Any], aggregate: pl.Expr, places: set[int]
) -> None:
    """An aggregate that can't take a row is, in every kind of window, that of the other rows, over several epochs."""
    check_aggregate(window, aggregate, places)


@given(places=st.sets(st.integers(0, 39), max_size=10))
def test_aggregates_of_whole_windows_without_the_poison_rows(places: set[int]) -> None:
    """A row that an aggregate of all rows can't take is refused when it comes, not when its window closes."""
    check_aggregate(WINDOWED["tumbling"], NUMBER.median(), places)


def check_aggregate(window: Callable[[Keyed], Any], aggregate: pl.Expr, places: set[int]) -> None:
    """Run rows in two epochs, and compare with Polars over the good ones."""
    flow = Flow("f")
    result = window(source(flow).group_by("k")).agg(x=aggregate, rows=pl.len(), name="step")
    result.write(ps.table("out", key="k"), name="out")
    drive = Drive(flow)
    frame = batch(40, places)
    drive.epoch({"rows": frame.head(25)}, 1)
    drive.epoch({"rows": frame.tail(15)}, 2)
    drive.finish()
    good = frame.filter(~pl.col("n").is_in(list(places)))
    wanted = good.group_by("k").agg(x=aggregate, rows=pl.len())
    got = [(row["k"], row["x"], row["rows"]) for row in drive.table("out").values()]
    assert multiset(got) == multiset(wanted)
    dead = [json.loads(letter.payload)["n"] for epoch in drive.epochs for letter in epoch.dead]
    assert sorted(dead) == sorted(places)


@pytest.mark.parametrize("case", [case for case in STATELESS if case != "after a filter"])
def test_three_poison_rows_in_100_000(case: str) -> None:
    """Three rows in a large batch are found, and cost no other row."""
    flow = Flow("f")
    build, is_exact = STATELESS[case]
    build(source(flow)).write(ps.topic("out"), name="out")
    poison = set(seeded(3).sample(range(100_000), 3))
    frame = batch(100_000, poison)
    written, dead = run_batch(flow, frame, (("p0", 100_000),))
    assert written["n"].n_unique() == 99_997
    assert {json.loads(letter.payload)["n"] for letter in dead} == poison
    assert not is_exact or {letter.offset["row"] for letter in dead} == poison


@pytest.mark.parametrize("window", WINDOWED.values(), ids=WINDOWED)
def test_three_poison_rows_in_an_aggregate_over_100_000(window: Callable[[Keyed], Any]) -> None:
    """An aggregate over a large batch counts all rows but the three that it can't take."""
    flow = Flow("f")
    result = window(source(flow).group_by("k")).agg(x=NUMBER.max(), rows=pl.len(), name="step")
    result.write(ps.table("out", key="k"), name="out")
    drive = Drive(flow)
    drive.epoch({"rows": batch(100_000, {0, 50_000, 99_999})})
    drive.finish()
    assert sum(row["rows"] for row in drive.table("out").values()) == 99_997
    assert drive.epochs[0].rows_dead == 3


@pytest.mark.parametrize("case", [case for case in STATELESS if case in ("with_columns", "map_batches", "map")])
@pytest.mark.parametrize(("bad", "stops"), [(1_001, True), (1_000, False)])
def test_a_step_that_fails_on_most_rows_stops(case: str, bad: int, *, stops: bool) -> None:
    """More than 1000 bad rows, and more than half of a batch, are no poison: the step is wrong, the flow stops."""
    flow = Flow("f")
    STATELESS[case][0](source(flow)).write(ps.topic("out"), name="out")
    frame = batch(1_500, set(range(bad)))
    if stops:
        with pytest.raises(StepFailed, match="more than half") as caught:
            run_batch(flow, frame, (("p0", 1_500),))
        assert caught.value.step == "step"
    else:
        assert len(run_batch(flow, frame, (("p0", 1_500),))[1]) == bad


def _greedy(value: Any) -> Any:
    """A function that meets the end of memory."""
    raise MemoryError(f"no room for {len(value)}")


GREEDY: dict[str, Callable[[Stream], Stream]] = {
    "map": lambda rows: rows.map(_greedy, schema=WIDER, name="step"),
    "flat_map": lambda rows: rows.flat_map(_greedy, schema=WIDER, name="step"),
    "map_batches": lambda rows: rows.map_batches(
        lambda frame: frame.with_columns(number=0) if frame.is_empty() else _greedy(frame), schema=WIDER, name="step"
    ),
}


@pytest.mark.parametrize("case", GREEDY)
def test_want_of_memory_makes_no_dead_letter(case: str) -> None:
    """No row is to blame for the machine: the epoch fails, and is run again where there is room."""
    flow = Flow("f")
    GREEDY[case](source(flow)).write(ps.topic("out"), name="out")
    with pytest.raises(MemoryError, match="no room"):
        run_batch(flow, batch(10, set()), (("p0", 10),))


@given(count=st.integers(0, 64), places=st.sets(st.integers(0, 63), max_size=10))
def test_halving_costs_little(count: int, places: set[int]) -> None:
    """K poison rows of n cost at most about 2k log2(n) further calls."""
    poison = {place for place in places if place < count}
    calls = 0

    def picky(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal calls
        calls += 1
        if frame["n"].is_in(list(poison)).any():
            raise ValueError("poison")
        return frame

    frame = pl.DataFrame({"n": range(count)}, schema={"n": pl.Int64})
    good, refused = isolate(picky, frame, frame.clear(), "step")
    assert good["n"].to_list() == [place for place in range(count) if place not in poison]
    assert sorted(place for place, _ in refused) == sorted(poison)
    assert calls <= 1 + 2 * len(poison) * 7


@given(values=st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=12))
def test_expectations_count_and_take_out(values: list[int | None]) -> None:
    """Every check is counted on all rows; with dead_letter each bad row is taken out once, and a null passes."""
    flow = Flow("f")
    rows = flow.read(ps.topic("in", schema={"v": pl.Int64}), name="rows")
    checks = (ps.between("v", 0, 2), ps.that(pl.col("v") % 2 == 0, name="even"), ps.unique("v"))
    rows.expect(*checks, name="counted").write(ps.topic("all"), name="all")
    rows.expect(*checks, on_fail="dead_letter", name="held").write(ps.topic("good"), name="good")
    drive = Drive(flow)
    got = drive.epoch({"rows": pl.DataFrame({"v": values}, schema={"v": pl.Int64})})
    low = [value is not None and not 0 <= value <= 2 for value in values]
    odd = [value is not None and value % 2 == 1 for value in values]
    again = [value in values[:place] for place, value in enumerate(values)]
    bad = [any(faults) for faults in zip(low, odd, again, strict=True)]
    assert got["all"]["v"].to_list() == values
    assert got["good"]["v"].to_list() == [value for value, is_bad in zip(values, bad, strict=True) if not is_bad]
    assert [letter.step for letter in drive.epochs[0].dead] == ["held"] * sum(bad)
    for step in ("counted", "held"):
        counts = {name: entry["failed"] for name, entry in drive.epochs[0].checks.items() if name.startswith(step)}
        assert list(counts.values()) == [sum(low), sum(odd), sum(again)]


def test_a_check_on_the_whole_batch_holds_for_all_of_its_rows() -> None:
    """A check that is one value for a batch is kept by all of its rows or by none."""
    flow = Flow("f")
    rows = flow.read(ps.topic("in", schema={"v": pl.Int64}), name="rows")
    rows.expect(ps.that(pl.len() > 2, name="many"), name="checked").write(ps.topic("all"), name="all")
    drive = Drive(flow)
    drive.epoch({"rows": pl.DataFrame({"v": [1, 2, 3]})})
    drive.epoch({"rows": pl.DataFrame({"v": [1, 2]})})
    counts = [(entry["passed"], entry["failed"]) for epoch in drive.epochs for entry in epoch.checks.values()]
    assert counts == [(3, 0), (0, 2)]


@pytest.mark.parametrize("text", ["-1", "x"])
def test_a_check_that_stops_holds_the_flow(text: str) -> None:
    """With on_fail="stop" a row that does not keep the check, or on which it can't be computed, fails the epoch."""
    flow = Flow("f")
    source(flow).expect(ps.that(NUMBER >= 0, name="number"), on_fail="stop", name="held").write(
        ps.topic("out"), name="out"
    )
    rows = batch(3, set()).with_columns(text=pl.when(pl.col("n") == 1).then(pl.lit(text)).otherwise("text"))
    with pytest.raises(CheckFailed, match="1 of 3 rows"):
        Drive(flow).epoch({"rows": rows})


@pytest.mark.parametrize("window", ["session", "tumbling", "running"])
def test_a_result_that_outgrows_its_type_fails_the_epoch(window: str) -> None:
    """A sum that does not fit the type of its result stops the flow by name; it is never lost with its rows."""
    flow = Flow("f")
    schema = {**SCHEMA, "n": pl.Int32}
    rows = flow.read(ps.topic("in", schema=schema), event_time="at", name="rows")
    WINDOWED[window](rows.group_by("k")).agg(x=pl.col("n").sum(), name="step").write(
        ps.table("out", key="k"), name="out"
    )
    drive = Drive(flow)
    large = batch(1, set()).with_columns(n=pl.lit(2**31 - 1, pl.Int32))
    drive.epoch({"rows": large}, -1)
    with pytest.raises(pl.exceptions.InvalidOperationError):
        drive.epoch({"rows": large}, 100)


def appending(row: dict[str, Any]) -> dict[str, Any]:
    """A function that changes a list of its row in place."""
    row["tags"].append(1)
    return row


def test_a_list_that_a_function_changes_in_place_is_changed() -> None:
    """What a function does to a list of its row goes on, although the row still holds the same object."""
    flow = Flow("f")
    rows = flow.read(ps.topic("in", schema={"tags": pl.List(pl.Int64), "n": pl.Int64}), name="rows")
    rows.map(appending, name="step").write(ps.topic("out"), name="out")
    got = Drive(flow).epoch({"rows": pl.DataFrame({"tags": [[0], []], "n": [1, 2]}, schema_overrides={"n": pl.Int64})})
    assert got["out"].rows() == [([0, 1], 1), ([1], 2)]


def test_the_step_that_runs_is_the_one_whose_function_runs() -> None:
    """Stateless steps wait for one another, so a step that hangs is not the one at which the epoch has arrived."""
    seen: list[str | None] = []

    def look(batch: pl.DataFrame) -> pl.DataFrame:
        seen.append(drive.program.at_step)
        return batch

    def see(row: dict[str, Any]) -> dict[str, Any]:
        seen.append(drive.program.at_step)
        return row

    flow = ps.Flow("steps")
    rows = flow.read(ps.topic("rows", schema={"n": pl.Int64}), name="rows")
    first = rows.map_batches(look, schema={"n": pl.Int64}, name="first").filter(pl.col("n") > 0, name="positive")
    last = first.map_batches(look, schema={"n": pl.Int64}, name="second").map(see, schema={"n": pl.Int64}, name="third")
    last.write(ps.table("out"), name="out")
    drive = Drive(flow)
    drive.epoch({"rows": pl.DataFrame({"n": [1]})})

    assert seen == ["first", "second", "third"]
