"""The contract of sinks when one process hands over to another: looking ahead, taking over, replacing epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Self

import polars as pl
import pytest

from penstock.clock import seeded
from penstock.connect import Change, Delivery, sink_class
from penstock.errors import ConnectorError, Fenced, StepFailed
from tests.contracts.killing import killed_writer
from tests.contracts.sinks import SinkCase, change, find_cases, made_case, over, promises, upsert
from tests.contracts.writer import REPLACED, append_of, replaced_by, upsert_of, upserts_replaced_by

ALL = find_cases()
EXACT = [case for case in ALL if sink_class(case.kind).delivery is not Delivery.AT_LEAST_ONCE]
UPSERTS = [case for case in EXACT if promises(case, "upserts")]
UNDOABLE = [case for case in EXACT if promises(case, "undoable")]
UNDOABLE_UPSERTS = [case for case in UPSERTS if promises(case, "undoable")]
AT_ONCE = [case for case in UNDOABLE if promises(case, "replaces_at_once")]
AT_ONCE_UPSERTS = [case for case in UNDOABLE_UPSERTS if promises(case, "replaces_at_once")]
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


# --- replacing epochs -------------------------------------------------------------------------------------------------


@over(UNDOABLE)
def test_epochs_are_replaced_by_others(case: SinkCase) -> None:
    """The old rows from the first epoch on go, the new ones come, and the flow goes on after the last of them."""
    sink = case.opened()
    for epoch in range(1, 7):
        sink.write(epoch, 1, change((epoch, "bad"), (epoch, "bad")))
    receipt = sink.replace(3, 1, [(3, change((3, "good"))), (4, change()), (5, change((5, "good"), (5, "good")))])
    assert receipt["rows"] == 3
    kept = [(1, "bad"), (1, "bad"), (2, "bad"), (2, "bad")]
    assert case.rows() == [*kept, (3, "good"), (5, "good"), (5, "good")]
    assert sink.last_epoch() in (5, None)
    sink.write(6, 1, change((6, "good")))
    assert case.rows() == [*kept, (3, "good"), (5, "good"), (5, "good"), (6, "good")]
    sink.write(6, 1, change())
    assert case.rows() == [*kept, (3, "good"), (5, "good"), (5, "good")]


@over(UNDOABLE)
def test_epochs_are_replaced_by_nothing(case: SinkCase) -> None:
    """Without changes, or by epochs without rows, the rows go; the target then holds what it was told last."""
    sink = case.opened()
    for epoch in range(1, 5):
        sink.write(epoch, 1, change((epoch, "bad")))
    sink.replace(3, 1, [(3, change()), (4, change())])
    assert case.rows() == [(1, "bad"), (2, "bad")]
    assert sink.last_epoch() in (4, None)
    sink.replace(2, 1, [])
    assert case.rows() == [(1, "bad")]
    assert sink.last_epoch() in (1, None)
    sink.write(2, 1, change((2, "good")))
    assert case.rows() == [(1, "bad"), (2, "good")]


@over(UNDOABLE)
@pytest.mark.parametrize("first", range(1, 8))
def test_a_replacement_is_taken_back_in_its_middle(case: SinkCase, first: int) -> None:
    """An undo may end before, inside or after epochs that an earlier one replaced."""
    sink = case.opened()
    for epoch in range(1, 6):
        sink.write(epoch, 1, change((epoch, "bad")))
    sink.replace(3, 1, [(3, change((3, "good"))), (5, change((5, "good"))), (6, change((6, "good")))])
    sink.write(7, 1, change((7, "good")))
    sink.retract(first, 1)
    held = [(1, "bad"), (2, "bad"), (3, "good"), (5, "good"), (6, "good"), (7, "good")]
    assert case.rows() == [row for row in held if row[0] < first]
    sink.replace(first, 1, [(first, change((first, "better")))])
    assert case.rows() == sorted([*(row for row in held if row[0] < first), (first, "better")])


@over(UNDOABLE)
def test_a_replacement_again_changes_nothing(case: SinkCase) -> None:
    """Called again with the same arguments, by a newer process too, each row is there once."""
    old = case.opened(1)
    for epoch in range(1, 5):
        old.write(epoch, 1, change((epoch, "bad")))
    changes = [(2, change((2, "good"), (2, "good"))), (3, change()), (4, change((4, "good")))]
    old.replace(2, 1, changes)
    old.replace(2, 1, iter(changes))
    new = case.opened(2)
    new.replace(2, 2, iter(changes))
    assert case.rows() == [(1, "bad"), (2, "good"), (2, "good"), (4, "good")]
    new.write(5, 2, change((5, "good")))
    new.retract(4, 2)
    assert case.rows() == [(1, "bad"), (2, "good"), (2, "good")]


@over(UNDOABLE)
def test_a_lower_generation_replaces_nothing(case: SinkCase) -> None:
    """Replacing is writing: it is fenced too, and leaves no trace."""
    old = case.opened(1)
    old.write(1, 1, change((1, "a")))
    new = case.opened(2)
    with pytest.raises(Fenced):
        old.replace(1, 1, [(1, change((1, "zombie")))])
    new.write(2, 2, change((2, "b")))
    assert case.rows() == [(1, "a"), (2, "b")]


@over(UNDOABLE)
def test_a_replacement_that_fails_in_the_middle(case: SinkCase) -> None:
    """What `changes` raises comes out; nothing was changed, and calling it again does all of it."""
    sink = case.opened()
    for epoch in range(1, 4):
        sink.write(epoch, 1, change((epoch, "bad")))

    def failing() -> Iterator[tuple[int, Change]]:
        yield 2, change((2, "half"))
        raise StepFailed("no more")

    with pytest.raises(StepFailed):
        sink.replace(2, 1, failing())
    assert case.rows() == [(1, "bad"), (2, "bad"), (3, "bad")]
    sink.replace(2, 1, [(2, change((2, "good")))])
    assert case.rows() == [(1, "bad"), (2, "good")]


@over(EXACT)
def test_who_can_not_take_back_can_correct(case: SinkCase) -> None:
    """A sink either replaces epochs or sends corrections; of what is the same it sends nothing."""
    sink = case.opened()
    sink.write(1, 1, change((1, "a"), (2, "b")))
    same = [(1, change((1, "a"), (2, "b")), change((2, "b"), (1, "a")))]
    if sink.undoable:
        with pytest.raises(ConnectorError, match="no way to mark"):
            sink.correct(1, 1, same)
    else:
        assert sink.correct(1, 1, same)["rows"] == 0
    assert case.rows() == [(1, "a"), (2, "b")]


class Polling:
    """Somebody who reads all the time, in a thread, and remembers whatever is neither `before` nor `after`."""

    def __init__(self, case: SinkCase, before: Sequence[object], after: Sequence[object]) -> None:
        self._case = case
        self._known = (before, after)
        self.seen: list[object] = []
        self.times = 0
        self._polled = Event()
        self._stop = Event()
        self._thread = Thread(target=self._poll)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._polled.wait(60)
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stop.is_set():
            found = self._case.rows()
            if found not in self._known:
                self.seen.append(found)
            self.times += 1
            self._polled.set()


@over(AT_ONCE)
def test_readers_never_see_a_hole(case: SinkCase) -> None:
    """Who reads while appended epochs are replaced sees the old rows or the new ones, and nothing else."""
    sink = case.opened()
    for epoch in range(1, 6):
        sink.write(epoch, 1, change(*[(epoch, "bad")] * 20))
    before = case.rows()
    after = sorted([(1, "bad")] * 20 + [(epoch, "good") for epoch in range(2, 6) for _ in range(30)])

    def changes() -> Iterator[tuple[int, Change]]:
        for epoch in range(2, 6):
            assert case.rows() == before  # between any two epochs of it
            yield epoch, change(*[(epoch, "good")] * 30)
        assert case.rows() == before

    with Polling(case, before, after) as reader:
        sink.replace(2, 1, changes())
    assert reader.seen == []
    assert case.rows() == after


@over(AT_ONCE_UPSERTS)
def test_readers_of_a_keyed_table_never_see_a_hole(case: SinkCase) -> None:
    """Who reads while upserted epochs are replaced sees each key's old row or its new one, all of the same side."""
    sink = case.opened(key=KEY)
    sink.write(1, 1, upsert([(key, "first") for key in range(10)]))
    for epoch in range(2, 6):
        sink.write(epoch, 1, upsert([(key, f"bad {epoch}") for key in range(epoch, 10)], deleted=[0, 1]))
    before = case.rows()
    after = sorted([(key, "first") for key in range(9)] + [(10, "good 5"), (11, "good 5")], key=repr)

    def changes() -> Iterator[tuple[int, Change]]:
        for epoch in range(2, 6):
            assert case.rows() == before
            yield epoch, upsert([(key, f"good {epoch}") for key in (10, 11)], deleted=[9])
        assert case.rows() == before

    with Polling(case, before, after) as reader:
        sink.replace(2, 1, changes())
    assert reader.seen == []
    assert case.rows() == after


@over(UNDOABLE)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_history_of_appends_ends_as_a_list_says(case: SinkCase, seed: int) -> None:
    """Writes, repeats, retractions, replacements and restarts in random order leave what a list of epochs leaves."""
    chance = seeded(seed)
    held: dict[int, list[tuple[int, str]]] = {}
    generation = 1
    sink = case.opened(generation)

    def rows_for(epoch: int, word: str) -> list[tuple[int, str]]:
        return [(epoch, f"{word} {chance.randint(0, 1)}") for _ in range(chance.randint(0, 3))]

    for step in range(40):
        last = max(held, default=0)
        action = chance.choice(["write", "write", "repeat", "retract", "replace", "replace", "restart"])
        if action == "restart":
            sink.close()
            generation += 1
            sink = case.opened(generation)
        elif action == "retract":
            first = chance.randint(max(1, last - 3), last + 1)
            sink.retract(first, generation)
            held = {epoch: rows for epoch, rows in held.items() if epoch < first}
        elif action == "replace":
            first = chance.randint(max(1, last - 4), last + 1)
            new = {epoch: rows_for(epoch, str(step)) for epoch in range(first, first + chance.randint(0, 4))}
            sink.replace(first, generation, ((epoch, change(*rows)) for epoch, rows in new.items()))
            held = {epoch: rows for epoch, rows in held.items() if epoch < first} | new
        else:
            epoch = max(1, last) if action == "repeat" else last + 1
            held[epoch] = rows_for(epoch, str(step))
            sink.write(epoch, generation, change(*held[epoch]))
        assert Counter(case.rows()) == Counter(row for rows in held.values() for row in rows), (seed, step, action)


@over(UNDOABLE_UPSERTS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_history_of_replaced_upserts_ends_as_a_dictionary_says(case: SinkCase, seed: int) -> None:
    """The same for rows with keys: each is as the last epoch that is left says."""
    chance = seeded(seed)
    states: list[dict[int, str]] = [{}]  # states[n]: after epoch n
    generation = 1
    sink = case.opened(generation, KEY)

    def following(state: dict[int, str], word: str) -> tuple[Change, dict[int, str]]:
        written = dict.fromkeys(chance.sample(range(12), chance.randint(0, 5)), word)
        deleted = [key for key in chance.sample(range(12), 3) if key not in written]
        kept = {key: found for key, found in state.items() if key not in deleted}
        return upsert(list(written.items()), deleted), kept | written

    for step in range(40):
        action = chance.choice(["write", "write", "repeat", "retract", "replace", "replace", "restart"])
        first = chance.randint(max(1, len(states) - 4), len(states))
        if action == "restart":
            sink.close()
            generation += 1
            sink = case.opened(generation, KEY)
        elif action == "retract":
            sink.retract(first, generation)
            states = states[:first]
        elif action == "replace":
            states = states[:first]
            changes = []
            for _ in range(chance.randint(0, 4)):
                done, state = following(states[-1], f"{step}")
                changes.append((len(states), done))
                states.append(state)
            sink.replace(first, generation, iter(changes))
        else:
            if action == "repeat" and len(states) > 1:
                states.pop()
            done, state = following(states[-1], f"{step}")
            sink.write(len(states), generation, done)
            states.append(state)
        assert case.rows() == sorted(states[-1].items(), key=repr), (seed, step, action)


# --- kill -9 in a replacement -----------------------------------------------------------------------------------------


@pytest.mark.crash
@over([case for case in UNDOABLE if case.durable])
def test_kill_9_while_replacing(case: SinkCase) -> None:
    """After a kill each epoch is old or new, all on one side where it is one step; done again, it comes out right.

    Then an undo can end inside it.
    """
    _kill_while_replacing(case, (), _appended)


@pytest.mark.crash
@over([case for case in UNDOABLE_UPSERTS if case.durable])
def test_kill_9_while_replacing_upserts(case: SinkCase) -> None:
    """The same for rows with keys."""
    _kill_while_replacing(case, KEY, _upserted)


def _kill_while_replacing(
    case: SinkCase, key: tuple[str, ...], state: Callable[[int], dict[int, list[tuple[object, ...]]]]
) -> None:
    """Kill three processes that replace the epochs 3.. by other rows at each attempt."""
    chance = seeded(20261125)
    sink = case.opened(1, key)
    for epoch in range(1, 6):
        sink.write(epoch, 1, upsert_of(epoch) if key else append_of(epoch))
    sink.close()
    attempt = 1
    for generation in (2, 4, 6):
        delay_s = chance.random() * 0.1
        done = killed_writer(case, key, first=attempt, generation=generation, delay_s=delay_s, replace_from=3)
        before, after = state(done), state(done + 1)
        found = Counter(case.rows())
        sides = [Counter(row for rows in one.values() for row in rows) for one in (before, after)]
        if promises(type(case), "replaces_at_once"):
            assert found in sides
        else:
            assert not found - (sides[0] | sides[1])
            assert not (sides[0] & sides[1]) - found
        sink = case.opened(generation + 1, key)
        changes = upserts_replaced_by(done + 1, 3) if key else replaced_by(done + 1, 3)
        sink.replace(3, generation + 1, changes)
        assert Counter(case.rows()) == sides[1]
        sink.close()
        attempt = done + 2
    sink = case.opened(8, key)
    sink.retract(3 + REPLACED - 1, 8)
    sink.write(3 + REPLACED - 1, 8, upsert_of(9) if key else append_of(9))
    sink.retract(3, 8)
    kept = [append_of(epoch).rows for epoch in (1, 2)]
    expected = pl.concat(kept).rows() if not key else list(_after({}, [upsert_of(1), upsert_of(2)]).items())
    assert Counter(case.rows()) == Counter(expected)


def _appended(attempt: int) -> dict[int, list[tuple[object, ...]]]:
    """The rows of each epoch after an attempt to replace."""
    kept = {epoch: append_of(epoch).rows.rows() for epoch in (1, 2)}
    return kept | {epoch: done.rows.rows() for epoch, done in replaced_by(attempt, 3)}


def _upserted(attempt: int) -> dict[int, list[tuple[object, ...]]]:
    """The rows of all epochs after an attempt to replace."""
    changes = [upsert_of(1), upsert_of(2), *(done for _, done in upserts_replaced_by(attempt, 3))]
    return {0: list(_after({}, changes).items())}


def _after(state: dict[int, str], changes: list[Change]) -> dict[int, str]:
    for done in changes:
        assert done.deleted is not None
        for key in done.deleted["id"]:
            state.pop(key, None)
        state.update(done.rows.iter_rows())
    return state
