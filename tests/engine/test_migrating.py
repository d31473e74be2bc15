"""The state of one version made into that of another: it goes on as if the new version had been there all along."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.engine.keyed import KeyedTable
from penstock.engine.migrating import adopt, migrate, renamed_facts, renamed_plan, stored_layouts
from penstock.errors import MigrationFailed
from penstock.flow import Flow
from penstock.ledger import EpochPlan, TableImage
from tests.engine.driving import Drive, Plan, frame_of, multiset, plans, read
from tests.engine.versions import between, handed_over, orders, rows, totals

SPENT = pl.col("amount").sum()
TWICE = (pl.col("amount") * 2).sum()
FIRST = rows((1, 0, "ada", 5, 1.5), (2, 1, "bob", 7, 2.0), (3, 2, None, 1, 0.5))
SECOND = rows((4, 10, "ada", 10, 1.0), (5, 11, "eve", 3, 4.0))


def at(text: str) -> datetime:
    """A time without a zone, as rows have it."""
    return datetime.fromisoformat(text)


def after(old: Flow, new: Flow, *, first: pl.DataFrame = FIRST, second: pl.DataFrame = SECOND) -> dict[Any, Any]:
    """What the sink `out` is given in the second epoch, which the new version runs; by customer, without it."""
    before = Drive(old)
    before.epoch({"orders": first}, 5)
    taken_over = handed_over(before, new)
    given_ = taken_over.epoch({"orders": second}, 15)["out"]
    return {
        row["customer"]: tuple(value for name, value in row.items() if name != "customer") for row in given_.to_dicts()
    }


def failure(old: Flow, new: Flow, *, first: pl.DataFrame = FIRST) -> MigrationFailed:
    """Why the state can't be made into that of the new version."""
    before = Drive(old)
    before.epoch({"orders": first}, 5)
    images = before.store.load(before.segments)
    kept = copy.deepcopy({name: image.rows for name, image in images.items()})
    with pytest.raises(MigrationFailed) as caught:
        handed_over(before, new)
    assert all(image.rows.equals(kept[name]) for name, image in images.items())
    return caught.value


def test_the_order_of_aggregates_does_not_mix_them_up() -> None:
    """Sums stay sums of the same, whatever place they have now; a name may be another one."""
    old = totals(n=pl.len(), spent=SPENT, heavy=pl.col("weight").max(), kinds=pl.col("id").n_unique())
    new = totals(ids=pl.col("id").n_unique(), heavy=pl.col("weight").max(), spent=SPENT, n=pl.len())

    assert after(old, new) == {"ada": (2, 1.5, 15, 2), "eve": (1, 4.0, 3, 1)}


def test_members_of_a_set_are_not_counted_twice() -> None:
    """The table of members goes along under its new number."""
    old = totals(sizes=pl.col("amount").n_unique(), kinds=pl.col("id").n_unique())
    new = totals(kinds=pl.col("id").n_unique())
    again = rows((1, 10, "ada", 5, 1.0), (9, 10, "ada", 5, 1.0))

    assert after(old, new, second=again) == {"ada": (2,)}


def test_a_renamed_step_goes_on() -> None:
    """With its state; and with its place in the input where it reads."""
    new = totals(name="sums", spent=SPENT)
    new.renamed("totals", "sums")

    assert after(totals(spent=SPENT), new) == {"ada": (15,), "eve": (3,)}


def test_a_new_aggregate_begins_as_its_author_says() -> None:
    """None is nothing yet: 0 for a sum, no value for a maximum; a number is a number; a set begins empty."""
    old = totals(n=pl.len())
    aggregates: dict[str, Any] = {"spent": SPENT, "big": pl.col("amount").max(), "kinds": pl.col("id").n_unique()}
    new = totals(n=pl.len(), **aggregates, mean=pl.col("weight").mean())
    new.migrate("totals", columns=dict.fromkeys([*aggregates, "mean"]))
    assert after(old, new) == {"ada": (2, 10, 10, 1, 1.0), "eve": (1, 3, 3, 1, 4.0)}

    other = totals(n=pl.len(), spent=SPENT, big=pl.col("amount").max())
    other.migrate("totals", columns={"spent": 100, "big": pl.col("n").cast(pl.Int64) * 50})
    assert after(old, other) == {"ada": (2, 110, 50), "eve": (1, 3, 3)}


def test_what_began_as_nothing_can_be_taken_back() -> None:
    """A sum that began as nothing takes retractions like any other."""

    def flow(**aggregates: Any) -> Flow:
        found = ps.Flow("shop")
        latest = orders(found).group_by("customer").latest(name="latest")
        latest.with_columns(all=pl.lit("all")).group_by("all").agg(**aggregates, name="kept").write(
            ps.table("out", key="all"), name="out"
        )
        return found

    before = Drive(flow(n=pl.len()))
    before.epoch({"orders": rows((1, 0, "ada", 5, 1.0))}, 5)
    new = flow(n=pl.len(), spent=SPENT)
    new.migrate("kept", columns={"spent": 5})
    taken_over = handed_over(before, new)

    assert taken_over.epoch({"orders": rows((2, 10, "ada", 7, 1.0))}, 15)["out"].to_dicts() == [
        {"all": "all", "n": 1, "spent": 7}
    ]


CHANGED: dict[str, tuple[Callable[[Flow], object], tuple[int, int]]] = {
    "keep": (lambda flow: flow.migrate("totals", keep=True), (2, 25)),
    "columns": (lambda flow: flow.migrate("totals", columns={"spent": None}), (2, 20)),
    "reset": (lambda flow: flow.migrate("totals", reset=True), (1, 20)),
    "function": (
        lambda flow: flow.migrate("totals")(lambda state: state.with_columns(pl.col("spent") * 2)),
        (2, 30),
    ),
}


@pytest.mark.parametrize("says", CHANGED)
def test_an_aggregate_that_means_something_else(says: str) -> None:
    """Kept, it goes on from the old sum; begun anew, from nothing; reset, all does; migrated, as the function says."""
    old, new = totals(n=pl.len(), spent=SPENT), totals(n=pl.len(), spent=TWICE)
    say, expected = CHANGED[says]
    say(new)

    assert after(old, new)["ada"] == expected


def test_what_is_refused_is_not_migrated() -> None:
    """Migrating raises with the reason and the lines to write."""
    error = failure(totals(spent=SPENT), totals(spent=TWICE))

    assert error.code == "migration"
    assert error.step == "totals"
    assert "'spent' was" in error.message
    assert 'flow.migrate("totals", keep=True' in str(error.hint)


def test_numbers_become_wider() -> None:
    """Keys, remembered values and running sums, each value as it was."""
    old = totals(
        spent=SPENT, big=pl.col("amount").max(), types={"amount": pl.Int32, "customer": pl.Enum(["ada", "bob"])}
    )
    new = totals(spent=SPENT, big=pl.col("amount").max(), types={"amount": pl.Float64})
    first = FIRST.filter(pl.col("customer").is_not_null()).cast(
        {"amount": pl.Int32, "customer": pl.Enum(["ada", "bob"])}
    )

    assert after(old, new, first=first, second=SECOND.cast({"amount": pl.Float64})) == {
        "ada": (15.0, 10.0),
        "eve": (3.0, 3.0),
    }


def test_a_number_that_a_float_does_not_hold_is_not_rounded() -> None:
    """2^53 + 1 has no Float64: the migration fails and names it; the author may decide otherwise."""
    large = rows((1, 0, "ada", 2**53 + 1, 1.0))
    old, new = totals(spent=SPENT), totals(spent=SPENT, types={"amount": pl.Float64})
    error = failure(old, new, first=large)
    assert f"Float64 does not hold {2**53 + 1} exactly" in error.message

    new.migrate("totals", columns={"spent": pl.col("spent").cast(pl.Float64)})
    second = SECOND.cast({"amount": pl.Float64})
    assert after(old, new, first=large, second=second)["ada"] == (float(2**53) + 10,)


def test_days_become_times() -> None:
    """A date in rows that are kept becomes the moment at which it begins."""

    def flow(dtype: Any) -> Flow:
        found = ps.Flow("shop")
        orders(found, day=dtype).group_by("customer").latest(name="kept").select("customer", "id", "day").write(
            ps.table("out", key="customer"), name="out"
        )
        return found

    before = Drive(flow(pl.Date))
    before.epoch({"orders": FIRST.with_columns(day=pl.lit(date(2026, 3, 2)))}, 5)
    taken_over = handed_over(before, flow(pl.Datetime("us")))

    (table,) = taken_over.program._operators["kept"].tables
    assert isinstance(table, KeyedTable)
    assert table.rows()["day"].unique().to_list() == [at("2026-03-02 00:00:00")]


def test_a_column_of_rows_that_are_kept() -> None:
    """Rows that are there get what the author's expression makes of them."""

    def flow(*, taxed: bool) -> Flow:
        found = ps.Flow("shop")
        given_ = orders(found)
        given_ = given_.with_columns(tax=pl.col("amount") * 2) if taxed else given_
        names = ["customer", "id", *(["tax"] if taxed else [])]
        top = given_.group_by("customer").top_n(2, by="amount", name="kept")
        top.select(*names, "rank").write(ps.table("out", key=["customer", "rank"]), name="out")
        return found

    new = flow(taxed=True)
    new.migrate("kept", columns={"tax": pl.col("amount") * 2})
    before = Drive(flow(taxed=False))
    before.epoch({"orders": FIRST}, 5)
    found = handed_over(before, new).epoch({"orders": SECOND}, 15)["out"]

    assert found.filter(pl.col("customer") == "ada").sort("rank").rows() == [("ada", 4, 20, 1), ("ada", 1, 10, 2)]


def test_fewer_of_the_first() -> None:
    """Of a top-n with a smaller n, what is beyond it goes from the state at once."""

    def flow(n: int) -> Flow:
        found = ps.Flow("shop")
        found_ = orders(found).group_by("customer").top_n(n, by="amount", name="kept")
        found_.write(ps.table("out", key=["customer", "rank"]), name="out")
        return found

    before = Drive(flow(3))
    before.epoch({"orders": rows(*((n, n, "ada", n, 1.0) for n in range(5)))}, 5)

    assert handed_over(before, flow(2)).program.state_rows == {"kept": 2}
    assert between(before, Drive(flow(2))).tables[0].outcome == "retimed"


@pytest.mark.parametrize(
    ("old", "new", "gone_at_s"),
    [("1h", "1m", 65), ("1m", "1h", 3605), (None, "1m", None), ("1m", None, None)],
)
def test_keys_go_by_the_new_time_to_live(old: str | None, new: str | None, gone_at_s: int | None) -> None:
    """Those that are there go sooner or later by as much; those that had no time stay until they are touched."""
    before = Drive(totals(n=pl.len(), kinds=pl.col("id").n_unique(), ttl=old))
    before.epoch({"orders": FIRST}, 5)
    taken_over = handed_over(before, totals(n=pl.len(), kinds=pl.col("id").n_unique(), ttl=new))
    touch = rows((9, 0, "zoe", 1, 1.0))

    seen = []
    for at in (6, 63, 64, 65, 66, 3604, 3605, 3606, 9999):
        taken_over.epoch({"orders": touch.with_columns(pl.lit(at * 1_000_000).cast(pl.Datetime("us")).alias("at"))}, at)
        if taken_over.program.state_rows["totals"] < 6:
            seen.append(at)

    assert (seen[0] if seen else None) == gone_at_s


def test_open_sessions_close_by_the_new_gap() -> None:
    """A kept session ends the new gap after its last row."""

    def flow(gap: str) -> Flow:
        found = ps.Flow("shop")
        step = orders(found).group_by("customer").window(ps.session(gap)).agg(n=pl.len(), name="kept")
        step.write(ps.table("out"), name="out")
        return found

    new = flow("2m")
    new.migrate("kept", keep=True)
    before = Drive(flow("1m"))
    before.epoch({"orders": rows((1, 0, "ada", 1, 1.0))}, 1)
    taken_over = handed_over(before, new)

    assert taken_over.epoch({"orders": rows((2, 90, "ada", 1, 1.0))}, 119)["out"].is_empty()
    (closed,) = taken_over.epoch({}, 211)["out"].to_dicts()
    assert (closed["n"], closed["window_end"]) == (2, at("1970-01-01 00:03:30"))


def join(lower: str, upper: str, how: Any = "inner") -> Flow:
    """Two reads of the same columns, joined by `k`."""
    flow = ps.Flow("joined")
    read(flow).join(read(flow, "right"), on="k", within=(lower, upper), how=how, name="kept").select(
        "n", "n_right"
    ).write(ps.table("out"), name="out")
    return flow


def test_a_wider_join_finds_what_is_still_there() -> None:
    """Rows that are remembered find partners by the new bounds, and are kept for as long as these say."""
    before = Drive(join("0s", "10s"))
    before.epoch({"left": frame_of([("a", None, 0, None, 1)])}, 2)
    taken_over = handed_over(before, join("0s", "60s"))
    taken_over.epoch({}, 30)

    found = taken_over.epoch({"right": frame_of([("a", None, 45, None, 2)])}, 31)["out"]
    assert found.rows() == [(1, 2)]


@pytest.mark.parametrize(("old", "new"), [("60s", "10s"), ("10s", "60s")])
def test_a_left_row_that_waits_is_given_once(old: str, new: str) -> None:
    """Whether its partner may come sooner or later now, a row without one goes on alone, once."""
    before = Drive(join("0s", old, "left"))
    before.epoch({"left": frame_of([("a", None, 0, None, 1), ("b", None, 0, None, 2)])}, 5)
    before.epoch({"right": frame_of([("b", None, 6, None, 9)])}, 8)
    taken_over = handed_over(before, join("0s", new, "left"))

    given_ = [taken_over.epoch({}, at)["out"] for at in (9, 12, 61, 62, 100)]

    assert pl.concat(given_).rows() == [(1, None)]


class Remember:
    """Counts the rows of a key, and says how many there were when its timer fires."""

    def __init__(self, column: str) -> None:
        self.column = column

    def __call__(self, context: ps.KeyContext, given_rows: list[Any]) -> list[Any]:
        """Counts them."""
        context.state[self.column] = (context.state[self.column] or 0) + len(given_rows)
        context.set_processing_timer(context.now_us + 10_000_000)
        return [{"customer": context.key["customer"], "n": context.state[self.column]}]

    def on_timer(self, context: ps.KeyContext, _time_us: int) -> list[Any]:
        """The time is over."""
        context.clear()
        return [{"customer": context.key["customer"], "n": -1}]


def remember(column: str = "n", **state: Any) -> Flow:
    """A flow with state and a timer of the clock."""
    flow = ps.Flow("shop")
    step = (
        orders(flow)
        .group_by("customer")
        .process(Remember(column), schema={"customer": str, "n": int}, state={column: pl.Int64, **state}, name="kept")
    )
    step.write(ps.table("out"), name="out")
    return flow


def test_state_of_the_authors_own_function_goes_on_with_its_timers() -> None:
    """A new state column begins as the author says, and a timer that was set fires."""
    new = remember(extra=pl.List(pl.Int64))
    assert after(remember(), new) == {"ada": (2,), "eve": (1,)}

    before = Drive(remember())
    before.epoch({"orders": rows((1, 0, "ada", 1, 1.0))}, 1)
    taken_over = handed_over(before, new)
    fired = taken_over.epoch({}, 2, now_us=before.epochs[-1].now_us + 10_000_000)["out"]
    assert fired.rows() == [("ada", -1)]


def test_a_function_may_rename_a_state_column_and_drop_keys() -> None:
    """Timers by the clock follow the keys that the function gives."""
    new = remember("count")

    @new.migrate("kept")
    def renamed(state: pl.DataFrame) -> pl.DataFrame:
        return state.rename({"n": "count"}).filter(pl.col("customer") != "bob")

    before = Drive(remember())
    before.epoch({"orders": FIRST}, 1)
    assert between(before, Drive(new)).tables[0].outcome == "column-added"  # by name it is another column

    narrower = ps.Flow("shop")
    process = Remember("n")
    step = orders(narrower).group_by("customer")
    kept = step.process(process, schema={"customer": str, "n": int}, state={"n": pl.Int32}, name="kept")
    kept.write(ps.table("out"), name="out")
    narrower.migrate("kept")(
        lambda state: state.filter(pl.col("customer") == "ada").with_columns(pl.lit(40, pl.Int32).alias("n"))
    )
    taken_over = handed_over(before, narrower)

    assert taken_over.program.state_rows == {"kept": 2}
    assert taken_over.epoch({"orders": SECOND}, 15)["out"].rows() == [("ada", 41), ("eve", 1)]


def test_a_function_may_change_the_key() -> None:
    """By customer before, by country now: the rows of one key put together, members of sets begin anew."""

    def flow(key: str) -> Flow:
        found = ps.Flow("shop")
        given_ = orders(found).with_columns(country=pl.lit("NL"))
        given_.group_by(key).agg(n=pl.len(), kinds=pl.col("id").n_unique(), name="kept").write(
            ps.table("out", key=key), name="out"
        )
        return found

    new = flow("country")

    @new.migrate("kept")
    def by_country(state: pl.DataFrame) -> pl.DataFrame:
        everything = state.with_columns(country=pl.lit("NL"))
        return everything.group_by("country").agg(pl.col("n", "kinds", "__rows").sum())

    before = Drive(flow("customer"))
    before.epoch({"orders": FIRST}, 5)
    taken_over = handed_over(before, new)

    assert taken_over.epoch({"orders": SECOND}, 15)["out"].rows() == [("NL", 5, 5)]
    taken_over.restart()
    assert taken_over.epoch({"orders": SECOND}, 16)["out"].rows() == [("NL", 7, 5)]


def broken(state: pl.DataFrame) -> pl.DataFrame:
    """Names a column that is not there."""
    return state.with_columns(pl.col("spend"))


FUNCTIONS: dict[str, tuple[Callable[[pl.DataFrame], Any], str, str]] = {
    "raises": (broken, "broken raised ColumnNotFoundError", "correct the migration"),
    "no frame": (lambda _: [1], "gives a list, not a Polars DataFrame", ""),
    "a column too few": (
        lambda state: state.rename({"spent": "spend"}),
        "gives no column 'spent' but 'spend'",
        "it has to give customer, n, spent, __rows",
    ),
    "a column too many": (lambda state: state.with_columns(x=1), "a column 'x', which the state has not", ""),
    "another type": (
        lambda state: state.with_columns(pl.col("spent").cast(pl.String)),
        "gives 'spent' as String, it has to be Int64",
        'pl.col("spent").cast(pl.Int64)',
    ),
    "a key twice": (
        lambda state: pl.concat([state, state]),
        "gives several rows for one key: (",
        "the key is customer",
    ),
    "no count of rows": (
        lambda state: state.with_columns(pl.lit(None, pl.Int64).alias("__rows")),
        "gives rows without '__rows'",
        "",
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_gives_something_else(name: str) -> None:
    """What it gives is held against what the new version needs; whatever it raises is told with the author's line."""
    function, message, hint = FUNCTIONS[name]
    new = totals(n=pl.len(), spent=TWICE)
    new.migrate("totals")(function)

    error = failure(totals(n=pl.len(), spent=SPENT), new)

    assert message in error.message
    assert hint in str(error.hint)
    assert error.state_left == "the state is as it was: migrations work on a copy"
    if name == "raises":
        assert "test_migrating.py:" in error.__notes__[0]


@pytest.mark.parametrize(
    ("value", "message"),
    [("many", "can't be Int64"), (pl.col("spend"), "the old columns are customer, n, __rows")],
)
def test_a_value_that_does_not_fit_is_told(value: Any, message: str) -> None:
    """A text for a number, an expression over a column that is not there."""
    new = totals(n=pl.len(), spent=SPENT)
    new.migrate("totals", columns={"spent": value})

    error = failure(totals(n=pl.len()), new)

    assert "what columns= gives for 'spent'" in error.message
    assert message in str(error)


def test_a_state_that_is_not_what_the_manifest_says() -> None:
    """Where the rows have other types than the old layout, nothing is guessed."""
    before, new = Drive(totals(n=pl.len(), spent=SPENT)), Drive(totals(spent=SPENT, n=pl.len()))
    before.epoch({"orders": FIRST}, 5)
    images = before.store.load(before.segments)
    harmed = {name: replace(image, rows=image.rows.cast({"__p1": pl.Int8})) for name, image in images.items()}

    with pytest.raises(MigrationFailed, match=r"column '__p1' should be Int64, .* it is Int8"):
        migrate(harmed, between(before, new), new.program.definition)


def test_a_flow_that_did_not_run_yet_has_nothing_to_migrate() -> None:
    """Without rows there is no function to call and no default to take."""
    new = totals(n=pl.len(), spent=TWICE)
    new.migrate("totals")(broken)
    before = Drive(totals(n=pl.len(), spent=SPENT))

    assert migrate({}, between(before, Drive(new)), new.build()) == ({}, {})


def test_how_many_rows_were_migrated_is_told() -> None:
    """By table; those that were taken as they are are not counted."""
    old = totals(n=pl.len(), spent=SPENT, kinds=pl.col("id").n_unique())
    new = totals(spent=SPENT, n=pl.len(), kinds=pl.col("id").n_unique())
    before = Drive(old)
    before.epoch({"orders": FIRST}, 5)

    images, counts = migrate(before.store.load(before.segments), between(before, Drive(new)), new.build())

    assert counts == {"totals": 3}
    assert set(images) == {"totals", "totals:__p2"}


def test_plans_and_watermarks_have_the_new_names_of_reads() -> None:
    """A read that was renamed goes on in its input; names that do not apply are passed over."""
    entry = {"start": {"a": 1}, "end": {"a": 2}}
    plan = EpochPlan(7, {"orders": entry, "other": entry}, 1, 2, redrive=[{"letter": 1, "step": "sums", "payload": ""}])
    renames = {"orders": "bought", "sums": "totals", "gone": "other"}

    moved = renamed_plan(plan, renames)

    assert moved.ranges == {"bought": entry, "other": entry}
    assert moved.redrive[0]["step"] == "totals"
    assert (moved.epoch, moved.now_us, moved.seed) == (7, 1, 2)
    assert renamed_facts({"orders": 1, "other": 2}, renames) == {"bought": 1, "other": 2}


def restarted(old: Flow, new: Flow) -> Drive:
    """The new version on the stored state of the old one, by what the state says of itself."""
    before, after_ = Drive(old), Drive(new)
    before.epoch({"orders": FIRST}, 5)
    before.restart()
    before.epoch({"orders": FIRST}, 6)
    after_.program.load(adopt(before.store.load(before.segments), after_.program).images)
    return after_


def test_stored_state_says_what_it_is() -> None:
    """Whoever wrote it, working tree or version: its tables tell their columns, and are adopted by that."""
    old = totals(n=pl.len(), spent=SPENT, kinds=pl.col("id").n_unique())
    new = totals(name="sums", kinds=pl.col("id").n_unique(), spent=SPENT, n=pl.len())
    new.renamed("totals", "sums")
    before = Drive(old)
    before.epoch({"orders": FIRST}, 5)
    images = before.store.load(before.segments)

    assert stored_layouts(images) == tuple(before.program.layout())
    adopted = adopt(images, Drive(new).program)
    assert adopted.rows == {"sums": 3, "sums:__p0": 3}
    assert stored_layouts(adopted.images) == tuple(Drive(new).program.layout())
    assert adopt(images, before.program).is_same
    assert restarted(old, new).epoch({"orders": SECOND}, 15)["out"].sort("customer").rows() == [
        ("ada", 2, 20, 3),
        ("eve", 1, 3, 1),
    ]


def test_state_that_does_not_fit_is_not_adopted() -> None:
    """The refusal is that of the verdict."""
    with pytest.raises(MigrationFailed, match="'spent' was"):
        restarted(totals(spent=SPENT), totals(spent=TWICE))


def test_state_is_not_read_as_what_it_is_not() -> None:
    """A program that is given the state of another version as it is refuses it, even where columns and types agree."""
    before = Drive(totals(n=pl.len(), spent=SPENT))
    before.epoch({"orders": FIRST}, 5)
    images = before.store.load(before.segments)

    for other in (totals(spent=SPENT, n=pl.len()), totals(n=pl.len(), spent=TWICE)):
        with pytest.raises(MigrationFailed, match="written by another version of the flow"):
            Drive(other).program.load(images)
    Drive(totals(count=pl.len(), sum=SPENT)).program.load(images)


def test_state_of_before_says_nothing_and_is_taken() -> None:
    """Tables that were stored before they said what they are are read as they always were."""
    before = Drive(totals(n=pl.len()))
    before.epoch({"orders": FIRST}, 5)
    images = {name: replace(image, scalars={}) for name, image in before.store.load(before.segments).items()}

    assert stored_layouts(images) is None
    assert adopt(images, before.program).is_same
    before.program.load(images)


def test_tables_without_rows_do_not_make_a_state_another_one() -> None:
    """A side of a join that nothing came to is not stored; it is no table of another version."""
    flow = join("0s", "10s", "left")
    before = Drive(flow)
    before.epoch({"left": frame_of([("a", None, 0, None, 1)])}, 2)
    images = before.store.load(before.segments)

    assert set(images) == {"kept:left", "kept:waiting"}
    assert adopt(images, Drive(flow).program).is_same


AGGREGATES: dict[str, pl.Expr] = {
    "rows": pl.len(),
    "total": pl.col("v").sum(),
    "mean": pl.col("v").mean(),
    "least": pl.col("v").min(),
    "first": pl.col("n").first(),
    "last": pl.col("v").last(),
    "kinds": pl.col("v").n_unique(),
    "spread": pl.col("v").std(),
    "large": pl.col("v").filter(pl.col("n") > 2).sum(),
}


def aggregated(names: list[str], kind: str, step: str) -> Flow:
    """Some aggregates in an order, running, by window, or by session."""
    flow = ps.Flow("drawn")
    keyed = read(flow).group_by("k", "j")
    chosen: dict[str, Any] = {name: AGGREGATES[name] for name in names}
    if kind == "running":
        keyed.agg(name=step, **chosen).write(ps.table("out", key=["k", "j"]), name="out")
    else:
        window = ps.session("4s") if kind == "session" else ps.sliding("6s", "3s")
        keyed.window(window).agg(name=step, **chosen).write(ps.table("out"), name="out")
    return flow


@given(
    plan=plans(),
    kind=st.sampled_from(["running", "sliding", "session"]),
    old=st.permutations(sorted(AGGREGATES)),
    new=st.permutations(sorted(AGGREGATES)),
    fewer=st.integers(0, 5),
    cut=st.integers(0, 4),
)
def test_a_new_version_goes_on_as_if_it_had_always_run(
    plan: Plan, kind: str, old: list[str], new: list[str], fewer: int, cut: int
) -> None:
    """Other order, other names of steps, fewer aggregates: results after the cut are those of the new version alone."""
    second = aggregated(new[fewer:], kind, "after")
    second.renamed("before", "after")
    before, oracle = Drive(aggregated(old, kind, "before")), Drive(aggregated(new[fewer:], kind, "after"))
    drive: Drive = before
    expected, found = [], []
    for at, (given_rows, _, mark) in enumerate(plan):
        if at == cut:
            drive = handed_over(before, second)
            drive.restart()
        wanted = oracle.epoch({"left": frame_of(given_rows)}, mark)["out"]
        got = drive.epoch({"left": frame_of(given_rows)}, mark)["out"]
        expected.append(multiset(wanted))
        found.append(multiset(got.select(wanted.columns)))

    assert found == expected


def test_images_of_other_steps_are_taken_as_they_are() -> None:
    """Only what changed is touched: the rest is the very same frame."""

    def flow(**aggregates: Any) -> Flow:
        found = ps.Flow("shop")
        once = orders(found).deduplicate("id", name="once")
        once.group_by("customer").agg(name="totals", **aggregates).write(ps.table("out", key="customer"), name="out")
        return found

    new = flow(spent=SPENT, n=pl.len())
    new.migrate("totals", columns={"spent": 0})
    before = Drive(flow(n=pl.len()))
    before.epoch({"orders": FIRST}, 5)
    images: dict[str, TableImage] = before.store.load(before.segments)

    moved, _ = migrate(images, between(before, Drive(new)), new.build())

    assert moved["once"] is images["once"]
    assert moved["totals"] is not images["totals"]
