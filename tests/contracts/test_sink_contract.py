"""The contract of sinks, run over every sink that has a case in `cases`."""
# ruff: noqa: DTZ001 - columns without a time zone hold times without one

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from penstock.clock import seeded
from penstock.connect import Change, Delivery, sink_class
from penstock.errors import ConnectorError, Fenced
from tests.contracts.killing import killed_writer
from tests.contracts.sinks import ROWS, SinkCase, change, find_cases, made_case, over, promises, upsert
from tests.contracts.writer import append_of, upsert_of

ALL = find_cases()
EXACT = [case for case in ALL if sink_class(case.kind).delivery is not Delivery.AT_LEAST_ONCE]
UPSERTS = [case for case in EXACT if promises(case, "upserts")]
UNDOABLE = [case for case in EXACT if promises(case, "undoable")]
UNDOABLE_UPSERTS = [case for case in UPSERTS if promises(case, "undoable")]
DURABLE = [case for case in EXACT if case.durable]
DURABLE_UPSERTS = [case for case in UPSERTS if case.durable]
KEY = ("id",)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SinkCase]:
    """The case, with an empty target; the sinks that it made are closed at the end."""
    yield from made_case(request, tmp_path)


# --- append -----------------------------------------------------------------------------------------------------------


@over(ALL)
def test_epochs_are_appended_once(case: SinkCase) -> None:
    """Each epoch's rows are there once, as many times as the epoch holds them."""
    sink = case.opened()
    receipt = sink.write(1, 1, change((1, "a"), (1, "a"), (2, "b")))
    sink.write(2, 1, change((1, "a")))
    assert receipt["rows"] == 3
    assert case.rows() == [(1, "a"), (1, "a"), (1, "a"), (2, "b")]


@over(EXACT)
@pytest.mark.parametrize("again", [[(2, "b"), (3, "c")], [(9, "z")], []], ids=["same", "other", "none"])
def test_the_same_epoch_again_replaces(case: SinkCase, again: list[tuple[int, str]]) -> None:
    """Afterwards the target holds what the second call said and nothing of the first."""
    sink = case.opened()
    sink.write(1, 1, change((1, "a")))
    sink.write(2, 1, change((2, "b"), (3, "c")))
    sink.write(2, 1, change(*again))
    assert case.rows() == sorted([(1, "a"), *again])
    sink.write(3, 1, change((4, "d")))
    assert case.rows() == sorted([(1, "a"), *again, (4, "d")])


@over(EXACT)
def test_epochs_without_rows(case: SinkCase) -> None:
    """An epoch without rows adds nothing and counts as written; it can be replaced by one with rows."""
    sink = case.opened()
    sink.write(1, 1, change())
    sink.write(2, 1, change((1, "a")))
    sink.write(3, 1, change())
    assert case.rows() == [(1, "a")]
    assert sink.last_epoch() in (3, None)
    sink.write(3, 1, change((2, "b")))
    assert case.rows() == [(1, "a"), (2, "b")]


@over(EXACT)
def test_epoch_numbers_may_have_gaps(case: SinkCase) -> None:
    """A flow numbers its epochs; a sink does not count them."""
    sink = case.opened()
    sink.write(5, 1, change((1, "a")))
    sink.write(1_000_000_000_000, 1, change((2, "b")))
    assert case.rows() == [(1, "a"), (2, "b")]


@over(EXACT)
def test_a_new_process_goes_on_where_the_old_one_stood(case: SinkCase) -> None:
    """A second sink on the target knows the last epoch, replaces it, and goes on."""
    if case.durable:
        first = case.opened(1)
        first.write(1, 1, change((1, "a")))
        first.write(2, 1, change((2, "b")))
        assert first.last_epoch() in (2, None)
        first.close()
    else:
        first = case.opened(1)
        first.write(1, 1, change((1, "a")))
        first.write(2, 1, change((2, "b")))
    second = case.opened(2)
    assert second.last_epoch() in (2, None)
    second.write(2, 2, change((2, "other")))
    second.write(3, 2, change((3, "c")))
    assert case.rows() == [(1, "a"), (2, "other"), (3, "c")]


@over(EXACT)
def test_opening_twice_with_the_same_generation(case: SinkCase) -> None:
    """The same generation may open the target again, as after a lost connection."""
    case.opened(3).write(1, 3, change((1, "a")))
    case.opened(3).write(2, 3, change((2, "b")))
    assert case.rows() == [(1, "a"), (2, "b")]


# --- the fence --------------------------------------------------------------------------------------------------------


@over(EXACT)
def test_a_lower_generation_is_fenced(case: SinkCase) -> None:
    """Once a newer generation has opened the target, an older one writes nothing, retracts nothing, opens nothing."""
    old = case.opened(1)
    old.write(1, 1, change((1, "a")))
    new = case.opened(2)
    with pytest.raises(Fenced):
        old.write(2, 1, change((2, "zombie")))
    with pytest.raises(Fenced):
        old.write(1, 1, change((1, "zombie")))
    new.write(2, 2, change((2, "b")))
    with pytest.raises(Fenced):
        old.write(3, 1, change((3, "zombie")))
    with pytest.raises(Fenced):
        case.opened(1)
    assert case.rows() == [(1, "a"), (2, "b")]


@over(UNDOABLE)
def test_a_lower_generation_can_not_retract(case: SinkCase) -> None:
    """Taking back is writing: it is fenced too."""
    old = case.opened(1)
    old.write(1, 1, change((1, "a")))
    case.opened(2)
    with pytest.raises(Fenced):
        old.retract(1, 1)
    assert case.rows() == [(1, "a")]


# --- taking back ------------------------------------------------------------------------------------------------------


@over(UNDOABLE)
def test_appended_epochs_are_taken_back(case: SinkCase) -> None:
    """Rows of epochs from the first one named on go away; the flow goes on from there."""
    sink = case.opened()
    for epoch in range(1, 6):
        sink.write(epoch, 1, change((epoch, "a"), (epoch, "b")))
    sink.retract(3, 1)
    assert case.rows() == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert sink.last_epoch() in (2, None)
    sink.write(3, 1, change((3, "again")))
    assert case.rows() == [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "again")]
    sink.retract(7, 1)
    sink.retract(0, 1)
    assert case.rows() == []


@over(EXACT)
def test_a_sink_that_can_not_take_back_says_so(case: SinkCase) -> None:
    """Where `undoable` is false, `retract` raises and leaves the rows alone; where it is true, it does not raise."""
    sink = case.opened()
    sink.write(1, 1, change((1, "a")))
    if sink.undoable:
        sink.retract(1, 1)
        assert case.rows() == []
    else:
        with pytest.raises(ConnectorError):
            sink.retract(1, 1)
        assert case.rows() == [(1, "a")]


# --- upsert -----------------------------------------------------------------------------------------------------------


@over(UPSERTS)
def test_rows_are_put_in_place(case: SinkCase) -> None:
    """A row with a key that is there takes its place; deleted keys go, also such as never were there."""
    sink = case.opened(key=KEY)
    sink.write(1, 1, upsert([(1, "a"), (2, "b"), (3, "c")]))
    sink.write(2, 1, upsert([(2, "B"), (4, "d")], deleted=[3, 99]))
    assert case.rows() == [(1, "a"), (2, "B"), (4, "d")]
    sink.write(3, 1, upsert([(3, None)], deleted=[1]))
    assert case.rows() == [(2, "B"), (3, None), (4, "d")]


@over(UPSERTS)
@pytest.mark.parametrize(
    ("rows", "deleted", "expected"),
    [
        ([(2, "B"), (4, "d")], [3], [(1, "a"), (2, "B"), (4, "d")]),
        ([(1, "A"), (5, "e")], [2], [(1, "A"), (3, "c"), (5, "e")]),
        ([], [], [(1, "a"), (2, "b"), (3, "c")]),
        ([], [1, 2, 3], []),
        ([(3, "C")], [], [(1, "a"), (2, "b"), (3, "C")]),
    ],
    ids=["same", "other", "none", "delete all", "a deleted key"],
)
def test_an_upserted_epoch_is_replaced(
    case: SinkCase, rows: list[tuple[int, str]], deleted: list[int], expected: list[tuple[int, str]]
) -> None:
    """What the first call overwrote, added and deleted is as before; then the second call holds."""
    sink = case.opened(key=KEY)
    sink.write(1, 1, upsert([(1, "a"), (2, "b"), (3, "c")]))
    sink.write(2, 1, upsert([(2, "B"), (4, "d")], deleted=[3]))
    sink.write(2, 1, upsert(rows, deleted))
    assert case.rows() == expected


@over(UPSERTS)
def test_null_is_a_key(case: SinkCase) -> None:
    """A group whose key is null is one row, which is updated, replaced and deleted like any other."""
    sink = case.opened(key=KEY)
    sink.write(1, 1, upsert([(None, "a"), (1, "b")]))
    sink.write(2, 1, upsert([(None, "A")]))
    assert case.rows() == sorted([(1, "b"), (None, "A")], key=repr)
    sink.write(2, 1, upsert([(1, "B")]))
    assert case.rows() == sorted([(1, "B"), (None, "a")], key=repr)
    sink.write(3, 1, upsert([], deleted=[None]))
    assert case.rows() == [(1, "B")]
    sink.write(3, 1, upsert([]))
    assert case.rows() == sorted([(1, "B"), (None, "a")], key=repr)


@over(UPSERTS)
def test_keys_of_several_columns(case: SinkCase) -> None:
    """Keys differ where any of their columns does, nulls included."""
    schema = pl.Schema({"n": pl.Float64, "a": pl.String, "b": pl.Int32})
    sink = case.opened(key=("a", "b"), schema=schema)

    def put(epoch: int, *rows: tuple[float, str | None, int | None]) -> None:
        sink.write(epoch, 1, Change(pl.DataFrame(list(rows), schema=schema, orient="row")))

    put(1, (1.0, "x", 1), (2.0, "x", None), (3.0, None, 1), (4.0, None, None), (5.0, "", 1))
    put(2, (2.5, "x", None), (4.5, None, None), (6.0, "", None))
    put(2, (3.5, None, 1), (4.6, None, None))
    expected = [(1.0, "x", 1), (2.0, "x", None), (3.5, None, 1), (4.6, None, None), (5.0, "", 1)]
    assert sorted(case.read_back(schema).rows(), key=repr) == sorted(expected, key=repr)


@over(UNDOABLE_UPSERTS)
def test_upserted_epochs_are_taken_back(case: SinkCase) -> None:
    """Each key is again as it was before the first epoch named, however often it was written since."""
    sink = case.opened(key=KEY)
    sink.write(1, 1, upsert([(1, "a"), (2, "b"), (3, "c")]))
    sink.write(2, 1, upsert([(1, "a2"), (4, "d2")], deleted=[2]))
    before = case.rows()
    sink.write(3, 1, upsert([(1, "a3"), (2, "b3"), (5, "e3")], deleted=[4]))
    sink.write(4, 1, upsert([(4, "d4"), (5, "e4")], deleted=[1, 3]))
    sink.write(5, 1, upsert([(1, "a5")], deleted=[5]))
    sink.retract(3, 1)
    assert case.rows() == before
    assert sink.last_epoch() in (2, None)
    sink.write(3, 1, upsert([(4, "d")], deleted=[1]))
    sink.retract(3, 1)
    assert case.rows() == before
    sink.retract(1, 1)
    assert case.rows() == []


@over(UNDOABLE_UPSERTS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_history_of_upserts_ends_as_a_dictionary_says(case: SinkCase, seed: int) -> None:
    """Writes, replacements, retractions and restarts in random order leave what a dictionary of states leaves."""
    chance = seeded(seed)
    states: list[dict[int, str]] = [{}]  # states[n]: after epoch n
    generation = 1
    sink = case.opened(generation, KEY)
    for step in range(40):
        action = chance.choice(["write", "write", "write", "replace", "retract", "restart"])
        if action == "restart":
            sink.close()
            generation += 1
            sink = case.opened(generation, KEY)
            continue
        if action == "retract":
            first = chance.randint(max(1, len(states) - 4), len(states))
            sink.retract(first, generation)
            states = states[:first]
            continue
        if action == "replace" and len(states) > 1:
            states.pop()
        written = dict.fromkeys(chance.sample(range(12), chance.randint(0, 6)), f"{step}")
        deleted = [key for key in chance.sample(range(12), 4) if key not in written]
        sink.write(len(states), generation, upsert(list(written.items()), deleted))
        kept = {key: word for key, word in states[-1].items() if key not in deleted}
        states.append(kept | written)
        assert case.rows() == sorted(states[-1].items(), key=repr), (seed, step, action)


# --- values -----------------------------------------------------------------------------------------------------------


def frame_of_all_types() -> pl.DataFrame:
    """One column a type: a plain value, an edge of the type, another edge, null."""
    values: dict[str, tuple[list[Any], pl.DataType]] = {
        "int8": ([1, -128, 127, None], pl.Int8()),
        "int16": ([1, -(2**15), 2**15 - 1, None], pl.Int16()),
        "int32": ([1, -(2**31), 2**31 - 1, None], pl.Int32()),
        "int64": ([1, -(2**63), 2**63 - 1, None], pl.Int64()),
        "uint8": ([1, 0, 255, None], pl.UInt8()),
        "uint16": ([1, 0, 2**16 - 1, None], pl.UInt16()),
        "uint32": ([1, 0, 2**32 - 1, None], pl.UInt32()),
        "uint64": ([1, 0, 2**64 - 1, None], pl.UInt64()),
        "float32": ([0.1, float("inf"), 1e-45, None], pl.Float32()),
        "float64": ([0.1 + 0.2, float("nan"), 5e-324, None], pl.Float64()),
        "more_float64": ([1.7976931348623157e308, float("-inf"), -0.0, None], pl.Float64()),
        "bool": ([True, False, True, None], pl.Boolean()),
        "string": (["a", "", "é€𝄞 \u200b", None], pl.String()),
        "date": ([date(2026, 1, 2), date(1, 1, 1), date(9999, 12, 31), None], pl.Date()),
        "time": ([time(1, 2, 3, 4), time(0), time(23, 59, 59, 999_999), None], pl.Time()),
        "datetime": (
            [datetime(2026, 1, 2, 3, 4, 5, 6), datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), None],
            pl.Datetime("us"),
        ),
        "datetime_utc": (
            [
                datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
                datetime(1900, 1, 1, tzinfo=UTC),
                datetime(1970, 1, 1, tzinfo=UTC),
                None,
            ],
            pl.Datetime("us", "UTC"),
        ),
        "datetime_ms": ([datetime(2026, 1, 2, 3, 4, 5, 6000), datetime(1969, 12, 31), None, None], pl.Datetime("ms")),
        "duration": ([timedelta(days=1, microseconds=5), timedelta(seconds=-1), timedelta(0), None], pl.Duration("us")),
        "decimal": ([Decimal("1.5000"), Decimal("-9999999999999999.9999"), Decimal(0), None], pl.Decimal(20, 4)),
        "binary": ([b"\x00\xff\\'", b"", b"abc", None], pl.Binary()),
        "list": ([[1, None, 3], [], [2**62], None], pl.List(pl.Int64)),
        "list_of_strings": ([['a"b', None, "c\\d,{}'\n"], [""], ["NULL", "null", " "], None], pl.List(pl.String)),
        "struct": (
            [{"a": 1, "b": 'x"\\'}, {"a": None, "b": ""}, {"a": -(2**62), "b": None}, None],
            pl.Struct({"a": pl.Int64, "b": pl.String}),
        ),
    }
    columns = [pl.Series(name, given, dtype) for name, (given, dtype) in values.items()]
    return pl.DataFrame([pl.Series("id", range(4), pl.Int64), *columns])


@over(ALL)
def test_values_of_all_types_come_back(case: SinkCase) -> None:
    """Every value that a column can hold is the same when it is read, nulls and empty ones told apart."""
    frame = frame_of_all_types().drop(case.types_not_kept)
    case.opened(schema=frame.schema).write(1, 1, Change(frame))
    assert_frame_equal(case.read_back(frame.schema).sort("id"), frame, check_exact=True)


@over(UNDOABLE_UPSERTS)
def test_values_of_all_types_are_restored(case: SinkCase) -> None:
    """A row that was overwritten or deleted comes back with every value exactly as it was."""
    frame = frame_of_all_types().drop(case.types_not_kept)
    sink = case.opened(key=KEY, schema=frame.schema)
    sink.write(1, 1, Change(frame))
    sink.write(2, 1, Change(frame.head(2).with_columns(pl.col("id") + 2), frame.select("id").head(2)))
    sink.retract(2, 1)
    assert_frame_equal(case.read_back(frame.schema).sort("id"), frame, check_exact=True)


@over(ALL)
def test_awkward_text_comes_back(case: SinkCase) -> None:
    """Quotes, backslashes, separators, line ends and things that mean null elsewhere are just text."""
    words = [
        '"',
        "'",
        '""',
        "\\",
        "\\.",
        "\\N",
        "a\n\\.\nb",
        "\r",
        "\r\n",
        "\n",
        "\t",
        ",",
        ";",
        "NULL",
        "null",
        "None",
        "NaN",
    ]
    words += [" ", " a ", "", "{}", "[]", "%s", "$1", "\x01", "\x7f", "\ufeff", "\U0010ffff", "e\u0301", "x" * 100_000]
    case.opened().write(1, 1, change(*enumerate(words)))
    assert dict(case.read_back(ROWS).iter_rows()) == dict(enumerate(words))


@over(ALL)
def test_nul_characters_are_kept_or_refused(case: SinkCase) -> None:
    """A NUL in a text is kept; or refused, with the column's name, and nothing of the epoch is there."""
    sink = case.opened()
    sink.write(1, 1, change((1, "a")))
    if case.keeps_nul:
        sink.write(2, 1, change((2, "a\0b")))
        assert case.rows() == [(1, "a"), (2, "a\0b")]
    else:
        with pytest.raises(ConnectorError, match="word"):
            sink.write(2, 1, change((2, "a\0b")))
        assert case.rows() == [(1, "a")]
        sink.write(2, 1, change((2, "ab")))
        assert case.rows() == [(1, "a"), (2, "ab")]


# --- kill -9 ----------------------------------------------------------------------------------------------------------


@pytest.mark.crash
@over(DURABLE)
def test_kill_9_while_appending(case: SinkCase) -> None:
    """After each kill the epoch that was in work is written again; at the end every epoch is there once."""
    chance = seeded(20261122)
    first = 1
    for generation in (1, 3, 5):
        last = killed_writer(case, (), first=first, generation=generation, delay_s=chance.random() * 0.05)
        sink = case.opened(generation + 1)
        assert sink.last_epoch() in (last, last + 1, None)
        sink.write(last + 1, generation + 1, append_of(last + 1))
        sink.close()
        first = last + 2
    expected = pl.concat([append_of(epoch).rows for epoch in range(1, first)])
    assert_frame_equal(case.read_back(ROWS).sort("id", "word"), expected.sort("id", "word"))


@pytest.mark.crash
@over(DURABLE_UPSERTS)
def test_kill_9_while_upserting(case: SinkCase) -> None:
    """After each kill the epoch that was in work is written again; at the end every key has its last row."""
    chance = seeded(20261123)
    first = 1
    for generation in (1, 3, 5):
        last = killed_writer(case, KEY, first=first, generation=generation, delay_s=chance.random() * 0.05)
        sink = case.opened(generation + 1, KEY)
        sink.write(last + 1, generation + 1, upsert_of(last + 1))
        sink.close()
        first = last + 2
    expected: dict[int, str] = {}
    for epoch in range(1, first):
        done = upsert_of(epoch)
        assert done.deleted is not None
        for key in done.deleted["id"]:
            expected.pop(key, None)
        expected.update(done.rows.iter_rows())
    assert case.rows() == sorted(expected.items(), key=repr)
