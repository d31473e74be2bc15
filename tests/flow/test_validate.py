"""Faults of a definition alone: all of them are told at once, each with a way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.errors import DefinitionError
from penstock.flow import Definition, Step, ops, validate

READ = Step("rows", ops.Read(ps.topic("rows")))


def told(*steps: Step, name: str = "f") -> str:
    """What is said of a definition of these steps."""
    with pytest.raises(DefinitionError) as caught:
        validate(Definition(name, steps))
    return str(caught.value)


def write(name: str, source: str, dataset: ps.Dataset | None = None) -> Step:
    """A step that writes the rows of another."""
    return Step(name, ops.Write(dataset or ps.table(name)), (source,))


def test_a_right_definition_passes() -> None:
    """Nothing is said of a flow that reads and writes."""
    validate(Definition("f", (READ, write("out", "rows"))))


@pytest.mark.parametrize("name", ["", "1a", "a b", "a/b", "ä", "x" * 81])
def test_a_flow_has_a_plain_name(name: str) -> None:
    """A name becomes a folder and a label, so it is held to both."""
    assert told(READ, write("out", "rows"), name=name) == (
        f"flow {name}: {name!r} can't be the name of a flow\n  next:  letters, digits, '_' and '-', at most 80"
    )


def test_a_flow_reads_and_writes() -> None:
    """An empty definition is told both faults in one error."""
    assert told() == (
        "flow f: 2 faults:\n  - the flow reads nothing\n  - the flow writes nothing\n  next:  begin with flow.read(...)"
    )


def test_a_cycle_is_named() -> None:
    """Steps that feed each other are listed."""
    one, two = Step("one", ops.Union(), ("rows", "two")), Step("two", ops.Filter(pl.col("a")), ("one",))

    assert told(READ, one, two, write("out", "two")).startswith(
        "flow f: the steps ['one', 'two', 'out'] feed each other in a cycle"
    )


def test_an_unknown_step_is_named_with_the_nearest() -> None:
    """A typo in an input is told with what was likely meant."""
    assert told(READ, write("out", "row")) == (
        "flow f: step 'out' takes rows of 'row', which is no step. Did you mean 'rows'?\n  next:  name a step"
    )


def test_two_steps_of_one_name_are_told() -> None:
    """A definition made by hand may not have a name twice."""
    assert "2 steps are named 'rows'" in told(READ, READ, write("out", "rows"))


def test_a_table_has_one_writer() -> None:
    """Two writes to one table would take each other's epochs back; two consoles are no harm."""
    twice = (write("a", "rows", ps.table("t")), write("b", "rows", ps.table("t")))

    assert told(READ, *twice) == (
        "flow f: table 't' has 2 writers: ['a', 'b']\n  next:  union the streams and write once"
    )
    validate(Definition("f", (READ, write("a", "rows", ps.console()), write("b", "rows", ps.console()))))


def test_unnamed_state_is_refused() -> None:
    """State without a stable name would be lost by the next edit."""
    flow = ps.Flow("f")
    flow.read(ps.topic("rows")).deduplicate("id").write(ps.console())

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    line = test_unnamed_state_is_refused.__code__.co_firstlineno + 3
    assert str(caught.value) == (
        f"flow f: the state of the step at {__file__}:{line} (deduplicate) has no name of its own; "
        "it would be lost when a step is added before it\n"
        '  next:  name it: .deduplicate(..., name="..."), or assign the step to a variable'
    )


@pytest.mark.parametrize(
    ("add", "call"),
    [
        (lambda rows: rows.group_by("a").agg(n=pl.len()), ".agg"),
        (lambda rows: rows.group_by("a").window(ps.tumbling("1m")).agg(n=pl.len()), ".agg"),
        (lambda rows: rows.group_by("a").window(ps.tumbling("1m")).top_n(2, by="b"), ".top_n"),
        (lambda rows: rows.group_by("a").top_n(2, by="b"), ".top_n"),
        (lambda rows: rows.group_by("a").latest(), ".latest"),
        (lambda rows: rows.join(rows, on="a", within=("0s", "1s")), ".join"),
        (lambda rows: rows.join(rows, on="a", window=ps.tumbling("1m")), ".join"),
    ],
)
def test_the_way_to_name_state_is_the_call_that_was_written(add: Callable[[ps.Stream], ps.Stream], call: str) -> None:
    """The hint for state in a chain names the method that takes the name."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("rows"), event_time="at")
    add(rows).filter(pl.col("a") > 1).write(ps.console())

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    assert caught.value.hint == f'name it: {call}(..., name="..."), or assign the step to a variable'


def test_updating_results_need_a_place_with_a_key() -> None:
    """Rows that replace rows can't be appended: the step, its line, where the updates begin, and the key to give."""
    flow = ps.Flow("f")
    counts = flow.read(ps.topic("rows")).group_by("a", "b").agg(n=pl.len())
    shown = counts.filter(pl.col("n") > 1)
    shown.write(ps.table("t"))

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    line = test_updating_results_need_a_place_with_a_key.__code__.co_firstlineno + 5
    assert str(caught.value) == (
        f"flow f: step 'write_t' at {__file__}:{line}: table 't' gets updating results but has no key "
        "(rows of 'counts' replace earlier rows)\n"
        '  next:  write to ps.table(..., key=["a", "b"])'
    )


@pytest.mark.parametrize(
    ("add", "dataset", "hint"),
    [
        (lambda keyed: keyed.latest(name="s"), ps.delta("d"), 'write to ps.delta(..., key=["a"])'),
        (lambda keyed: keyed.top_n(3, by="b", name="s"), ps.table("t"), 'write to ps.table(..., key=["a", "rank"])'),
        (
            lambda keyed: keyed.top_n(3, by="b", rank=None, name="s"),
            ps.postgres("env:DSN", "t"),
            "write to ps.postgres(..., key=[\"...\"]), with the columns that tell the rows of 's' apart",
        ),
        (
            lambda keyed: keyed.agg(n=pl.len(), name="s").select(x="a", y="n"),
            ps.table("t"),
            "write to ps.table(..., key=[\"...\"]), with the columns that tell the rows of 's' apart",
        ),
        (
            lambda keyed: keyed.agg(n=pl.len(), name="s"),
            ps.parquet("out"),
            'write to a table with a key, e.g. ps.table("...", key=["a"])',
        ),
    ],
)
def test_the_key_of_updating_results_is_told_where_it_is_known(
    add: Callable[[Any], ps.Stream], dataset: ps.Dataset, hint: str
) -> None:
    """The keys of an aggregate, those of a top with its rank; after a select only the step that updates is named."""
    flow = ps.Flow("f")
    add(flow.read(ps.topic("rows")).group_by("a")).write(dataset)

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    assert caught.value.hint == hint


def test_the_console_shows_updating_results() -> None:
    """What is only looked at needs no key."""
    flow = ps.Flow("f")
    counts = flow.read(ps.topic("rows")).group_by("a").agg(n=pl.len())
    counts.write(ps.console())

    assert [step.name for step in flow.build().writes] == ["write_console"]


def test_a_step_that_takes_no_updates_is_told() -> None:
    """A window over running results makes no sense; the error says what does."""
    flow = ps.Flow("f")
    counts = flow.read(ps.topic("rows"), event_time="at").group_by("a").agg(n=pl.len())
    again = counts.deduplicate("a")
    again.write(ps.console())

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    assert str(caught.value) == (
        "flow f: step 'again' (deduplicate) can't take updating results (rows of ['counts'] replace earlier rows)\n"
        "  next:  write them to a table with a key, or aggregate in a window instead"
    )


def test_aggregates_of_aggregates_are_allowed() -> None:
    """A running aggregate takes a changelog."""
    flow = ps.Flow("f")
    counts = flow.read(ps.topic("rows")).group_by("a", "b").agg(n=pl.len())
    totals = counts.group_by("a").agg(n=pl.col("n").sum())
    totals.write(ps.table("t", key="a"))

    assert flow.build().step("totals").operation.updating


def test_only_steps_with_time_have_late_rows() -> None:
    """A filter never refuses a row for being late."""
    flow = ps.Flow("f")
    kept = flow.read(ps.topic("rows")).filter(pl.col("a") > 1)
    kept.late_rows().write(ps.console())

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    assert str(caught.value) == (
        "flow f: step 'kept' (filter) never refuses late rows\n  next:  call .late_rows() on a windowed step"
    )


def test_late_rows_of_updating_results_are_plain_rows() -> None:
    """What a window refuses does not replace anything, so it may be appended."""
    flow = ps.Flow("f")
    counts = flow.read(ps.topic("rows"), event_time="at").group_by("a").window(ps.tumbling("1m")).agg(n=pl.len())
    counts.late_rows().write(ps.table("late"))
    counts.write(ps.table("t"))

    assert [step.name for step in flow.build().writes] == ["write_late", "write_t"]


def test_rows_that_are_taken_out_must_be_out_of_something() -> None:
    """`on_fail="dead_letter"` on a stream that nobody goes on from has no effect, so it is an error."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("rows"))
    rows.expect(ps.not_null("a"), on_fail="dead_letter", name="checked")
    rows.write(ps.console())

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    assert str(caught.value) == (
        "flow f: step 'checked' takes bad rows out, but nothing uses the stream after it\n"
        '  next:  go on from what .expect(..., on_fail="dead_letter") gives back'
    )
