"""Dead letters tried again in the engine: each exactly once, in the order in which their rows came."""

# ruff: noqa: DTZ001 - a column of times without a zone is among what is tried

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import analyse
from penstock.engine import Leader, Outcome
from penstock.engine.batch import Epoch, row_json
from penstock.engine.redrive import in_order, redriven_rows
from penstock.flow import Definition
from tests.engine.serving import SCHEMA, Place


class Killed(BaseException):
    """Stands for the end of a process."""


def halves(factor: int) -> Definition:
    """Rows whose amount is even, halved; then the order in which each key's rows came. Factor 2 takes odd ones too."""

    def halve(row: dict[str, Any]) -> dict[str, Any]:
        if row["amount"] % 2 and factor == 1:
            raise ValueError(f"{row['amount']} is odd")
        return {**row, "half": row["amount"] / 2}

    def small(row: dict[str, Any]) -> dict[str, Any]:
        if row["half"] >= 50 and factor == 1:
            raise OverflowError(f"{row['half']} is large")
        return row

    flow = ps.Flow("halves")
    rows = flow.read(ps.topic("rows", schema=SCHEMA), name="rows")
    out = {**SCHEMA, "half": pl.Float64}
    halved = rows.map(halve, schema=out, name="halved")
    halved.map(small, schema=out, name="small").write(ps.table("out"), name="out")
    return flow.build()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A folder with six rows of one key, three of them poison, in a file that has an end."""
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"key": 1, "amount": {amount}}}\n' for amount in (2, 3, 200, 4, 7, 202)) + '{"key": 1, "amount": \n'
    )
    found = Place(tmp_path, ps.parquet(str(tmp_path / "out")), build=halves, epoch_rows=2, ends=True)
    yield found
    found.close()


def drained(leader: Leader) -> Leader:
    """The leader after all that there is to do."""
    while leader.step() is not Outcome.OVER:
        pass
    return leader


def written(place: Place) -> list[int]:
    """The amounts that the sink holds, in the order in which they were written."""
    files = sorted((place.folder / "out").glob("*.parquet"))
    return [amount for file in files for amount in pl.read_parquet(file)["amount"].to_list()]


def asked(place: Place, edited: Mapping[int, str] | None = None) -> None:
    """Ask for another try of all letters."""
    ledger = place.ledger()
    letters = [letter.id or 0 for letter in ledger.dead_letters("halves") if letter.status == "open"]
    ledger.request_redrive("halves", [(letter, (edited or {}).get(letter)) for letter in letters])
    ledger.close()


def statuses(place: Place) -> list[tuple[str, str, object]]:
    """Step and status of every letter, and its epoch of the second try."""
    ledger = place.ledger()
    found = [(one.step, one.status, one.detail.get("epoch")) for one in ledger.dead_letters("halves")]
    ledger.close()
    return found


def test_letters_of_a_finished_input_are_tried_again_in_the_order_of_their_rows(place: Place) -> None:
    """With mended code the next run takes all, also after the end; those that a later step refused keep their place."""
    drained(place.lead(1))
    assert written(place) == [2, 4]
    fallen = statuses(place)
    assert [step for step, _, _ in fallen] == ["halved", "small", "halved", "small", "rows"]
    asked(place, {fifth_letter(place): '{"key": 1, "amount": 5}'})

    leader = drained(place.lead(2))

    assert written(place) == [2, 4, 3, 200, 7, 202, 5]
    assert {status for _, status, _ in statuses(place)} == {"redriven"}
    assert leader.computation.last is not None
    assert leader.computation.last.final
    # A letter of the second step, then one of the first: each in an epoch of its own, or it would come first.
    epochs = [epoch for _, _, epoch in statuses(place)]
    assert epochs == [epochs[0], epochs[0], epochs[0] + 1, epochs[0] + 1, epochs[0] + 2]  # type: ignore[operator]


def fifth_letter(place: Place) -> int:
    """The id of the line that is no row."""
    ledger = place.ledger()
    found = ledger.dead_letters("halves")[4].id
    ledger.close()
    assert found is not None
    return found


def test_letters_that_fall_again_are_new_letters_that_say_which_they_were(place: Place) -> None:
    """The same code refuses them again: the old ones are redriven, the new ones open, and nothing is written."""
    drained(place.lead(1))
    asked(place)
    drained(place.lead(1))

    ledger = place.ledger()
    letters = ledger.dead_letters("halves")
    ledger.close()
    assert written(place) == [2, 4]
    assert [one.status for one in letters] == ["redriven"] * 5 + ["open"] * 5
    assert [dict(one.offset) for one in letters[5:]] == [{"letter": one.id} for one in letters[:5]]
    assert [one.payload for one in letters[5:]] == [one.payload for one in letters[:5]]


@pytest.mark.parametrize("point", ["planned", "ran", "after-write", "before-commit", "committed"])
def test_a_kill_while_letters_are_tried_again_leaves_each_once(place: Place, point: str) -> None:
    """The payloads are in the plan: the next process does the same epoch again, and a follower comes to the same."""
    drained(place.lead(1))
    asked(place, {fifth_letter(place): '{"key": 1, "amount": 5}'})
    last = place.lead(1).computation.epoch

    def die(here: str, epoch: int) -> None:
        if here == point and epoch == last + 1:
            raise Killed

    with pytest.raises(Killed):
        drained(place.lead(2, die))
    drained(place.lead(2))

    assert written(place) == [2, 4, 3, 200, 7, 202, 5]
    assert {status for _, status, _ in statuses(place)} == {"redriven"}


def test_a_follower_sees_the_same_second_try(place: Place) -> None:
    """It runs the epoch by its plan, and what it computed for the sink is what the leader wrote."""
    leader = drained(place.lead(1))
    savepoint = leader.post.ledger.savepoint("halves", why="test", pinned=True)
    asked(place, {fifth_letter(place): '{"key": 1, "amount": 5}'})
    drained(place.lead(2))

    follower = place.follow(2, savepoint.id)
    while follower.step():
        pass
    reader = place.reader(follower)
    amounts = [amount for _, change in reader.changes("out", 0, 100) for amount in change.rows["amount"].to_list()]
    assert amounts == [3, 200, 7, 202, 5]


def test_a_live_leader_takes_letters_between_two_epochs(place: Place) -> None:
    """No restart is needed: it looks by itself, and once more before it ends."""
    leader = place.lead(1)
    while leader.computation.epoch < 2:  # each of them has a letter
        leader.step()
    ledger = place.ledger()
    (first, *_) = ledger.dead_letters("halves")
    ledger.request_redrive("halves", [(first.id or 0, '{"key": 1, "amount": 8}')])
    ledger.close()
    drained(leader)

    assert sorted(written(place)) == [2, 4, 8]
    assert statuses(place)[0][1] == "redriven"


TYPES: Mapping[str, Any] = {
    "whole": pl.Int16(),
    "real": pl.Float64(),
    "text": pl.String(),
    "flag": pl.Boolean(),
    "day": pl.Date(),
    "at": pl.Datetime("us"),
    "instant": pl.Datetime("ms", "Europe/Amsterdam"),
    "clock": pl.Time(),
    "span": pl.Duration("ms"),
    "exact": pl.Decimal(12, 3),
    "kind": pl.Enum(["a", "b"]),
    "many": pl.List(pl.Int64()),
    "pair": pl.Struct({"x": pl.Float64(), "y": pl.String()}),
}
VALUES: Sequence[tuple[Any, ...]] = (
    (7, 0.1 + 0.2, "é\n\"'", True, date(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5, 678901)),
    (None, float("nan"), None, None, None, None),
    (-7, float("-inf"), "", False, date(1, 1, 1), datetime(1969, 12, 31, 23, 59)),
)
MORE: Sequence[tuple[Any, ...]] = (
    (datetime(2026, 7, 1, 12), time(1, 2, 3, 4), timedelta(days=-1, milliseconds=5), Decimal("1.250"), "b", [1], None),
    (None, None, None, None, None, None, {"x": None, "y": None}),
    (datetime(2026, 1, 1), time(0), timedelta(hours=30), Decimal("-0.001"), "a", [], {"x": 1.5, "y": "z"}),
)


def test_a_row_comes_back_from_its_letter_as_it_was() -> None:
    """Every type that JSON can carry, with nulls and numbers that JSON has no word for."""
    flow = ps.Flow("types")
    rows = flow.read(ps.topic("rows", schema=dict(TYPES)), name="rows")
    rows.map(lambda row: row, name="same").write(ps.table("out"), name="out")
    analysis = analyse(flow.build(), {})
    given = [(*one, *other) for one, other in zip(VALUES, MORE, strict=True)]
    plain = {**TYPES, "instant": pl.Datetime("ms", "UTC")}
    frame = pl.DataFrame(given, schema=plain, orient="row").with_columns(pl.col("instant").cast(TYPES["instant"]))
    letters = [
        {"letter": number, "epoch": 1, "step": "same", "payload": row_json(row)}
        for number, row in enumerate(frame.iter_rows(named=True))
    ]
    epoch = Epoch(2, 0, 0, "v1")

    found = redriven_rows(letters, analysis, epoch)["same"]

    assert not epoch.dead
    assert found.frame.equals(frame, null_equal=True)
    assert found.offsets([2, 0]) == [{"letter": 2}, {"letter": 0}]


def test_a_payload_that_is_no_row_falls_again_and_the_others_go_on() -> None:
    """Broken JSON, a value of another type, a column that JSON can't carry: dead letters that name the cause."""
    flow = ps.Flow("types")
    rows = flow.read(ps.topic("rows", schema={"id": int, "raw": pl.Binary()}), name="rows")
    rows.filter(pl.col("id") > 0, name="kept").write(ps.table("out"), name="out")
    analysis = analyse(flow.build(), {})
    payloads = ['{"id": 1}', '{"id": ', '{"id": "x"}', "[1]", '{"id": 5, "raw": "abc"}', '{"id": 6, "more": 1}']
    letters = [
        {"letter": number, "epoch": 1, "step": "kept", "payload": payload} for number, payload in enumerate(payloads)
    ]
    epoch = Epoch(2, 0, 0, "v1")

    found = redriven_rows([*letters, {**letters[0], "step": "gone"}], analysis, epoch)

    assert found["kept"].frame["id"].to_list() == [1, 6]
    told = {(dict(letter.offset)["letter"], letter.message) for letter in epoch.dead}
    assert {number for number, _ in told} == {0, 1, 2, 3, 4}
    assert any("no step 'gone'" in message for _, message in told)
    assert any("can't carry" in message for _, message in told)
    assert json.loads(epoch.dead[-1].payload)


ORDERS: Sequence[tuple[Sequence[str], int]] = (
    (("halved", "halved", "small", "small"), 4),
    (("small", "halved"), 1),
    (("rows", "halved", "small", "rows", "small"), 3),
    (("gone", "small", "gone"), 3),
)


@pytest.mark.parametrize(("steps", "taken"), ORDERS)
def test_one_epoch_takes_no_letter_that_would_overtake_another(steps: Sequence[str], taken: int) -> None:
    """Letters of a step come behind the rows of the steps before it, so the first that would go before is the end."""
    build: Callable[[int], Definition] = halves
    assert len(in_order([{"step": step, "payload": ""} for step in steps], build(1))) == taken


def test_one_epoch_takes_no_more_than_its_plan_can_hold() -> None:
    """Payloads are in the plan: of large ones it takes a few, and one in any case."""
    letters = [{"step": "halved", "payload": " " * 10_000_000} for _ in range(3)]
    assert len(in_order(letters, halves(1))) == 1
