"""The contract of sinks when one process hands over to another: looking ahead, taking over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.connect import Delivery, sink_class
from penstock.errors import Fenced
from tests.contracts.sinks import SinkCase, change, find_cases, made_case, over, promises, upsert

ALL = find_cases()
EXACT = [case for case in ALL if sink_class(case.kind).delivery is not Delivery.AT_LEAST_ONCE]
UPSERTS = [case for case in EXACT if promises(case, "upserts")]
KEY = ("id",)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SinkCase]:
    """The case, with an empty target; the sinks that it made are closed at the end."""
    yield from made_case(request, tmp_path)


# --- looking ahead ----------------------------------------------------------------------------------------------------


@over(ALL)
def test_a_target_that_is_missing_is_made_by_opening(case: SinkCase) -> None:
    """Who prepares where nothing is creates nothing, and opens all the same."""
    sink = case.make()
    sink.prepare()
    assert case.rows() == []
    sink.open(1)
    sink.write(1, 1, change((1, "a")))
    assert case.rows() == [(1, "a")]


@over(EXACT)
def test_preparing_holds_nobody_up(case: SinkCase) -> None:
    """A follower that prepares, twice, neither changes nor fences anything; then it opens and is the only one."""
    old = case.opened(1)
    old.write(1, 1, change((1, "a")))
    new = case.make()
    new.prepare()
    old.write(2, 1, change((2, "b")))
    new.prepare()
    old.write(3, 1, change((3, "c")))
    new.open(2)
    assert new.last_epoch() in (3, None)
    with pytest.raises(Fenced):
        old.write(4, 1, change((4, "zombie")))
    new.write(3, 2, change((3, "again")))
    new.write(4, 2, change((4, "d")))
    assert case.rows() == [(1, "a"), (2, "b"), (3, "again"), (4, "d")]


@over(UPSERTS)
def test_a_prepared_sink_upserts_and_takes_back(case: SinkCase) -> None:
    """What was written between preparing and opening is met as if it had been opened at once."""
    old = case.opened(1, KEY)
    old.write(1, 1, upsert([(1, "a"), (2, "b")]))
    new = case.make(KEY)
    new.prepare()
    old.write(2, 1, upsert([(1, "A"), (3, "c")], deleted=[2]))
    new.open(2)
    new.write(3, 2, upsert([(3, "C"), (None, "n")], deleted=[1]))
    assert case.rows() == sorted([(3, "C"), (None, "n")], key=repr)
    new.write(3, 2, upsert([(4, "d")]))
    assert case.rows() == [(1, "A"), (3, "c"), (4, "d")]
    if new.undoable:
        new.retract(2, 2)
        assert case.rows() == [(1, "a"), (2, "b")]


@over(EXACT)
def test_who_prepared_too_long_ago_is_fenced(case: SinkCase) -> None:
    """A newer generation that opened in between keeps the prepared one out, which leaves no trace."""
    late = case.make()
    case.opened(1).write(1, 1, change((1, "a")))
    late.prepare()
    newest = case.opened(5)
    with pytest.raises(Fenced):
        late.open(4)
    newest.write(2, 5, change((2, "b")))
    assert case.rows() == [(1, "a"), (2, "b")]
