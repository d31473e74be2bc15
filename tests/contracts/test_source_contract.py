"""The contract of sources, run over every source that has a case in `cases`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from penstock.connect import Budget, Source
from tests.contracts.sources import SourceCase, find_cases, made_case, over, read_elsewhere, rows_of

ALL = find_cases()
SHARED = [case for case in ALL if case.shared]
BOUNDED = [case for case in ALL if case.bounded]
UNBOUNDED = [case for case in ALL if not case.bounded]


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceCase]:
    """The case, on an empty system; the sources that it made are closed at the end."""
    yield from made_case(request, tmp_path)


@over(ALL)
def test_every_row_comes_once(case: SourceCase) -> None:
    """What was put in comes out, each row once, and the schema says what comes."""
    case.fill(0, case.count)
    source = case.make()
    assert source.schema() == case.schema
    _, rows = case.drain(source, source.initial(), case.count)
    assert_frame_equal(rows, case.sorted(case.expected(case.count)))


@over(ALL)
def test_a_range_read_twice_is_the_same(case: SourceCase) -> None:
    """The same range gives the same rows in the same order, also after later ranges were offered and read."""
    case.fill(0, case.count)
    source = case.make()
    start = source.initial()
    end = case.settle(source, start, Budget(rows=case.count // 4))
    once = rows_of(source, start, end, case.schema)
    case.drain(source, end, case.count - once.height)
    assert_frame_equal(rows_of(source, start, end, case.schema), once)


@over(ALL)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(budgets=st.lists(st.builds(Budget, st.integers(1, 200), st.integers(1, 20_000)), min_size=1, max_size=6))
def test_ranges_add_up(case: SourceCase, budgets: list[Budget]) -> None:
    """Ranges cut anywhere give the rows of the one range around them."""
    source = _filled_once(case)
    start = at = source.initial()
    frames = [case.schema.to_frame()]
    for number in range(10 * case.count):
        end = source.offer(at, budgets[number % len(budgets)])
        if end == at:
            break
        frames.append(rows_of(source, at, end, case.schema))
        at = end
    parts = pl.concat(frames)
    assert_frame_equal(case.sorted(parts), case.sorted(case.expected(case.count)))
    assert_frame_equal(case.sorted(rows_of(source, start, at, case.schema)), case.sorted(parts))


def _filled_once(case: SourceCase) -> Source:
    """The same source for all examples of one test."""
    found = vars(case).get("_filled_source")
    if isinstance(found, Source):
        return found
    case.fill(0, case.count)
    source = case.make()
    case.drain(source, source.initial(), case.count)
    vars(case)["_filled_source"] = source
    return source


@over(ALL)
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_budgets_of_rows_are_kept(case: SourceCase, rows: int) -> None:
    """An offer holds at most the rows of its budget and a tenth more; something comes even where it is one row."""
    case.fill(0, case.count)
    source = case.make()
    at = source.initial()
    seen = 0
    while seen < 50:
        end = case.settle(source, at, Budget(rows=rows))
        assert end != at
        count = rows_of(source, at, end, case.schema).height
        assert count <= rows * 1.1 + 1
        seen += count
        at = end


@over(ALL)
def test_a_row_larger_than_the_budget_is_taken_alone(case: SourceCase) -> None:
    """With a budget of one byte rows still come, few at a time."""
    case.fill(0, case.count)
    source = case.make()
    at, rows = case.drain(source, source.initial(), 5, Budget(size_bytes=1))
    assert rows.height >= 5
    assert at != source.initial()


@over(ALL)
def test_offsets_are_plain_json(case: SourceCase) -> None:
    """An offset that was written as JSON and read back means the same."""
    case.fill(0, case.count)
    source = case.make()
    start = source.initial()
    end = case.settle(source, start, Budget(rows=case.count // 3))
    again = (json.loads(json.dumps(start)), json.loads(json.dumps(end)))
    assert again == (start, end)
    assert_frame_equal(rows_of(source, *again, case.schema), rows_of(source, start, end, case.schema))


@over(UNBOUNDED)
def test_nothing_new_is_offered_where_nothing_is(case: SourceCase) -> None:
    """An offer with nothing to take is its own start, the range is empty, and it is not the end."""
    source = case.make()
    start = source.initial()
    assert source.offer(start, Budget()) == start
    assert list(source.read(start, start)) == []
    assert not source.exhausted(start)
    case.fill(0, 10)
    at, rows = case.drain(source, start, 10)
    assert rows.height == 10
    assert source.offer(at, Budget()) == at
    assert list(source.read(at, at)) == []


@over(UNBOUNDED)
def test_rows_that_come_later_follow(case: SourceCase) -> None:
    """Rows put in after an offer are in a later one; the earlier range stays what it was."""
    case.fill(0, 20)
    source = case.make()
    start = source.initial()
    middle, first = case.drain(source, start, 20)
    case.fill(20, 30)
    _, second = case.drain(source, middle, 30)
    assert_frame_equal(case.sorted(pl.concat([first, second])), case.sorted(case.expected(50)))
    assert_frame_equal(case.sorted(rows_of(source, start, middle, case.schema)), first)


@over(ALL)
def test_a_fresh_source_reads_a_range_that_an_old_one_planned(case: SourceCase) -> None:
    """A plan outlives the object that made it, and the fresh one goes on from its end."""
    case.fill(0, case.count)
    old = case.make()
    start = old.initial()
    end = case.settle(old, start, Budget(rows=case.count // 3))
    first = rows_of(old, start, end, case.schema)
    old.close()
    fresh = case.make()
    assert_frame_equal(rows_of(fresh, start, end, case.schema), first)
    _, rest = case.drain(fresh, end, case.count - first.height)
    assert_frame_equal(case.sorted(pl.concat([first, rest])), case.sorted(case.expected(case.count)))


@over(SHARED)
def test_another_process_reads_the_same(case: SourceCase) -> None:
    """A range means the same rows in another process."""
    case.fill(0, case.count)
    source = case.make()
    start = source.initial()
    end = case.settle(source, start, Budget(rows=case.count // 3))
    rows = rows_of(source, start, end, case.schema)
    assert_frame_equal(read_elsewhere(case, start, end), rows)


@over(ALL)
def test_forgetting_again_does_no_harm(case: SourceCase) -> None:
    """Forgetting the same or an earlier end again changes nothing for the rows after it."""
    case.fill(0, case.count)
    source = case.make()
    start = source.initial()
    middle = case.settle(source, start, Budget(rows=case.count // 4))
    first = rows_of(source, start, middle, case.schema)
    end = case.settle(source, middle, Budget(rows=case.count // 4))
    second = rows_of(source, middle, end, case.schema)
    source.forget(middle)
    source.forget(middle)
    source.forget(start)
    fresh = case.make()
    fresh.forget(middle)
    assert_frame_equal(rows_of(fresh, middle, end, case.schema), second)
    _, rest = case.drain(fresh, end, case.count - first.height - second.height)
    assert_frame_equal(case.sorted(pl.concat([first, second, rest])), case.sorted(case.expected(case.count)))


@over(ALL)
def test_reading_beside_the_epoch_loop(case: SourceCase) -> None:
    """Another thread reads a range while the next is offered, the backlog is asked and an older one is forgotten."""
    case.fill(0, case.count)
    source = case.make()
    start = at = source.initial()
    end = case.settle(source, at, Budget(rows=case.count // 10))
    frames = [case.schema.to_frame()]
    with ThreadPoolExecutor(1) as reader:
        while end != at:
            reading = reader.submit(rows_of, source, at, end, case.schema)
            following = source.offer(end, Budget(rows=case.count // 10))
            source.backlog(end)
            source.forget(start)
            frames.append(reading.result())
            at, end = end, following
    assert_frame_equal(case.sorted(pl.concat(frames)), case.sorted(case.expected(case.count)))


@over(BOUNDED)
def test_the_end_is_told_when_it_is_reached(case: SourceCase) -> None:
    """A bounded source is exhausted after its last row and not before."""
    case.fill(0, case.count)
    source = case.make()
    assert source.bounded
    at = source.initial()
    assert not source.exhausted(at)
    seen = 0
    while not source.exhausted(at):
        assert seen < case.count or source.offer(at, Budget()) != at
        end = case.settle(source, at, Budget(rows=case.count // 3))
        assert end != at
        seen += rows_of(source, at, end, case.schema).height
        at = end
    assert seen == case.count
    assert source.offer(at, Budget()) == at


@over(ALL)
def test_the_backlog_falls(case: SourceCase) -> None:
    """What waits is told, where it is told at all, as nothing below zero and less after rows were taken."""
    case.fill(0, case.count)
    source = case.make()
    start = source.initial()
    at, _ = case.drain(source, start, case.count)
    before, after = source.backlog(start), source.backlog(at)
    for first, last in ((before.rows, after.rows), (before.size_bytes, after.size_bytes)):
        if first is not None and last is not None:
            assert 0 <= last <= first
    assert after.rows in (None, 0)
