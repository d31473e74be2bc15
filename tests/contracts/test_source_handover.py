"""The contract of sources when one process hands over to another: following, taking the lead, and what is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from penstock.connect import Budget
from penstock.errors import ConnectorError
from tests.contracts.sources import SourceCase, find_cases, made_case, over, read_elsewhere, rows_of

ALL = find_cases()
UNBOUNDED = [case for case in ALL if not case.bounded]
SHARED = [case for case in ALL if case.shared]
FORGETTING = [case for case in ALL if case.forgets]


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceCase]:
    """The case, on an empty system; the sources that it made are closed at the end."""
    yield from made_case(request, tmp_path)


@over(ALL)
def test_a_follower_reads_what_the_leader_planned(case: SourceCase) -> None:
    """A source on the same folder that never leads reads the same rows of each range, while the leader goes on."""
    case.fill(0, case.count)
    leader, follower = case.make(), case.make()
    leader.lead()
    start = at = leader.initial()
    budget = Budget(rows=case.count // 10)
    end = case.settle(leader, at, budget)
    seen = 0
    with ThreadPoolExecutor(1) as elsewhere:
        while end != at:
            following = elsewhere.submit(rows_of, follower, at, end, case.schema)
            rows = rows_of(leader, at, end, case.schema)
            upcoming = leader.offer(end, budget)
            leader.backlog(end)
            leader.forget(start)
            assert_frame_equal(following.result(), rows)
            seen += rows.height
            at, end = end, upcoming
    assert seen == case.count


@over(SHARED)
def test_a_follower_in_another_process(case: SourceCase) -> None:
    """The same for two processes: the one reads a range while the other offers and reads the next ones."""
    case.fill(0, case.count)
    leader = case.make()
    leader.lead()
    start = leader.initial()
    middle = case.settle(leader, start, Budget(rows=case.count // 3))
    rows = rows_of(leader, start, middle, case.schema)
    with ThreadPoolExecutor(1) as elsewhere:
        following = elsewhere.submit(read_elsewhere, case, start, middle)
        while not following.done():
            end = leader.offer(middle, Budget(rows=case.count // 3))
            rows_of(leader, middle, end, case.schema)
            leader.wait(end, 0.001)
    assert_frame_equal(following.result(), rows)


@over(ALL)
def test_the_lead_goes_over_without_a_gap(case: SourceCase) -> None:
    """After the first rests the second goes on where it stood; the first still reads, and can lead again."""
    case.fill(0, case.count)
    first, second = case.make(), case.make()
    first.lead()
    first.lead()
    start = first.initial()
    budget = Budget(rows=case.count // 4)
    middle = case.settle(first, start, budget)
    taken = [rows_of(second, start, middle, case.schema)]
    first.rest()
    first.rest()
    second.lead()
    end = case.settle(second, middle, budget)
    taken.append(rows_of(second, middle, end, case.schema))
    assert_frame_equal(rows_of(first, start, middle, case.schema), taken[0])
    assert_frame_equal(rows_of(first, middle, end, case.schema), taken[1])
    second.rest()
    first.lead()
    _, rest = case.drain(first, end, case.count - sum(frame.height for frame in taken))
    assert_frame_equal(case.sorted(pl.concat([*taken, rest])), case.sorted(case.expected(case.count)))


@over(UNBOUNDED)
def test_rows_that_come_while_the_lead_goes_over(case: SourceCase) -> None:
    """Rows put in while the first leads, while nobody does, and while the second does come once, in order."""
    first, second = case.make(), case.make()
    first.lead()
    start = first.initial()
    case.fill(0, 20)
    middle, rows = case.drain(first, start, 20)
    first.rest()
    case.fill(20, 20)
    second.lead()
    case.fill(40, 20)
    end, more = case.drain(second, middle, 40)
    assert_frame_equal(case.sorted(pl.concat([rows, more])), case.sorted(case.expected(60)))
    assert_frame_equal(case.sorted(rows_of(first, middle, end, case.schema)), more)
    assert second.offer(end, Budget()) == end


@over(FORGETTING)
def test_a_range_that_is_gone_is_told(case: SourceCase) -> None:
    """Reading it is an error that does not heal and says how far back rows still are."""
    case.fill(0, case.count)
    source = case.make()
    source.lead()
    start = source.initial()
    middle = case.settle(source, start, Budget(rows=case.count // 4))
    end, _ = case.drain(source, middle, case.count - rows_of(source, start, middle, case.schema).height)
    case.lose(source, end)
    with pytest.raises(ConnectorError) as caught:
        case.make().read(start, middle)
    assert not caught.value.heals
    assert str(caught.value.hint).startswith("undo and replay can only go back to ")
    assert (caught.value.flow, caught.value.step) == ("flow", "read")
