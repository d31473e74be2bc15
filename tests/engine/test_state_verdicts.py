"""What becomes of the state of one version in another: what fits by itself, and what is told where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import TableVerdict, Verdict, compare, layouts_from_json, layouts_json
from penstock.flow import Flow, Stream
from tests.engine.driving import Drive
from tests.engine.versions import orders, totals, verdict_on

SPENT = pl.col("amount").sum()


def kept(step: Callable[[Stream], Stream], **types: Any) -> Flow:
    """A flow with one step that remembers, called `kept`."""
    flow = ps.Flow("shop")
    step(orders(flow, **types)).write(ps.console("out"), name="out")
    return flow


def joined(flow: Flow, **how: Any) -> Stream:
    """Orders joined with payments."""
    paid = {"order": pl.Int64, "paid_at": pl.Datetime("us")}
    payments = flow.read(ps.topic("payments", schema=paid), event_time="paid_at", name="payments")
    return orders(flow).join(payments, on={"id": "order"}, name="kept", **how)


def join(**how: Any) -> Flow:
    """A flow with a join of two streams."""
    flow = ps.Flow("shop")
    joined(flow, **how).write(ps.table("out"), name="out")
    return flow


def lookup() -> Flow:
    """A flow with a lookup table."""
    flow = ps.Flow("shop")
    people = flow.table(ps.table("people", schema={"customer": str, "vat": float}), key="customer", name="people")
    orders(flow).join(people, on="customer", name="kept").write(ps.table("out"), name="out")
    return flow


def windowed(window: Any, **aggregates: Any) -> Flow:
    """A flow with a window by customer."""
    return kept(lambda rows: rows.group_by("customer").window(window).agg(name="kept", **aggregates))


def top(n: int, by: str = "amount", **options: Any) -> Flow:
    """A flow with the first rows of each customer."""
    return kept(lambda rows: rows.group_by("customer").top_n(n, by=by, name="kept", **options))


def latest(**types: Any) -> Flow:
    """A flow with the latest row of each customer."""
    return kept(lambda rows: rows.group_by("customer").latest(name="kept"), **types)


def counted(*keys: str) -> Flow:
    """A flow that counts rows by some key."""
    return kept(lambda rows: rows.group_by(*keys).agg(n=pl.len(), name="kept"))


def process(ttl: str | None = None, **state: Any) -> Flow:
    """A flow with a function of its own over keyed state."""
    return kept(
        lambda rows: rows.group_by("customer").process(
            lambda _, given: given, schema={"id": int}, state=state, ttl=ttl, name="kept"
        )
    )


def _renamed_kind() -> Flow:
    flow = ps.Flow("shop")
    found = orders(flow).group_by("customer").top_n(1, by="amount", name="totals")
    found.write(ps.table("totals", key=["customer", "rank"]), name="out")
    return flow


FLOWS: dict[str, Callable[[], Flow]] = {
    "aggregate": lambda: totals(n=pl.len(), spent=SPENT, kinds=pl.col("id").n_unique(), sd=pl.col("amount").std()),
    "aggregate with ttl": lambda: totals(n=pl.len(), kinds=pl.col("id").n_unique(), ttl="1d"),
    "window": lambda: windowed(ps.sliding("1m", "10s"), n=pl.len(), first=pl.col("id").first()),
    "window of rows": lambda: windowed(ps.tumbling("1m"), middle=pl.col("amount").median()),
    "session": lambda: windowed(ps.session("1m"), n=pl.len(), first=pl.col("id").first(), ids=pl.col("id").n_unique()),
    "window top": lambda: kept(lambda rows: rows.window(ps.tumbling("1m")).top_n(3, by="amount", name="kept")),
    "top": lambda: top(3),
    "latest": lambda: kept(lambda rows: rows.group_by("customer").latest(name="kept")),
    "deduplicate": lambda: kept(lambda rows: rows.deduplicate("id", name="kept")),
    "deduplicate within": lambda: kept(lambda rows: rows.deduplicate("id", within="1h", name="kept")),
    "join": lambda: join(within=("0s", "1m")),
    "left join": lambda: join(within=("0s", "1m"), how="left"),
    "join without time": join,
    "window join": lambda: join(window=ps.tumbling("1m")),
    "lookup": lookup,
    "process": lambda: process(total=pl.Int64, seen=pl.List(pl.Datetime("us"))),
}


def only(verdict: Verdict, part: str = "") -> TableVerdict:
    """The verdict on one table."""
    (found,) = [table for table in verdict.tables if table.part == part and table.step]
    return found


def outcomes(old: Flow, new: Flow) -> list[str]:
    """What becomes of each table of the new version."""
    return [table.outcome for table in verdict_on(old, new).tables]


def test_steps_over_windows_that_are_there_keep_nothing() -> None:
    """What comes whole in one epoch needs no state, and has no layout."""
    flow = ps.Flow("shop")
    counts = orders(flow).group_by("customer").window(ps.tumbling("1m")).agg(n=pl.len(), name="counts")
    counts.window(ps.same_window()).agg(most=pl.col("n").max(), name="most").write(ps.table("most"))
    counts.window(ps.same_window()).top_n(1, by="n", name="best").write(ps.table("best"))

    assert [layout.table for layout in Drive(flow).program.layout()] == ["counts"]
    Drive(flow).program.load({})


@pytest.mark.parametrize("name", FLOWS)
def test_the_same_flow_goes_on_with_its_files(name: str) -> None:
    """Written again with the same words, a step of any kind takes the state as it is."""
    verdict = verdict_on(FLOWS[name](), FLOWS[name]())

    assert verdict.is_same
    assert {table.outcome for table in verdict.tables} == {"same"}
    assert verdict.unused == ()


@pytest.mark.parametrize("name", FLOWS)
def test_layouts_are_json(name: str) -> None:
    """Layouts of every kind of table come back from JSON as they were."""
    layouts = Drive(FLOWS[name]()).program.layout()

    assert list(layouts_from_json(json.loads(json.dumps(layouts_json(layouts))))) == layouts
    assert [layout.table for layout in layouts] == [
        table.name for operator in Drive(FLOWS[name]()).program._operators.values() for table in operator.tables
    ]


def test_the_order_of_aggregates_does_not_count() -> None:
    """Partial results are numbered as they come; they are known by what they mean."""
    verdict = verdict_on(totals(n=pl.len(), spent=SPENT), totals(spent=SPENT, total=pl.len()))

    assert only(verdict).outcome == "same"
    assert not verdict.is_same
    assert {(c.label, c.name, c.old_name) for c in only(verdict).columns if c.change == "renamed"} == {
        ("spent", "__p0", "__p1"),
        ("total", "__p1", "__p0"),
    }


def test_members_of_sets_follow_their_count() -> None:
    """The tables of members are numbered too, and go with the column that counts them."""
    ids, sizes = pl.col("id").n_unique(), pl.col("amount").n_unique()
    verdict = verdict_on(totals(ids=ids, sizes=sizes), totals(sizes=sizes))

    assert [(table.table, table.old_table, table.outcome) for table in verdict.tables] == [
        ("totals", "totals", "column-dropped"),
        ("totals:__p0", "totals:__p1", "renamed"),
        ("", "totals:__p0", "dropped"),
    ]


def test_a_filter_before_a_step_is_no_change_of_its_state() -> None:
    """What comes from now on is another matter than what is there."""

    def flow(least: int) -> Flow:
        found = ps.Flow("shop")
        large = orders(found).filter(pl.col("amount") > least)
        large.group_by("customer").agg(spent=SPENT, name="kept").write(ps.table("out", key="customer"))
        return found

    assert verdict_on(flow(1), flow(2)).is_same


def test_a_renamed_step_takes_its_state_along() -> None:
    """`renamed` says so; the line may stay when there is nothing more to rename."""
    new = totals(name="sums", spent=SPENT)
    new.renamed("totals", "sums")

    verdict = verdict_on(totals(spent=SPENT), new)

    assert (only(verdict).outcome, only(verdict).old_table, only(verdict).table) == ("renamed", "totals", "sums")
    assert verdict_on(new, new).is_same


def test_a_name_that_slipped_does_not_cost_state() -> None:
    """A new step that remembers what a step that is gone did is refused, with both lines that it may mean."""
    verdict = verdict_on(totals(spent=SPENT), totals(name="sums", spent=SPENT))

    assert [table.outcome for table in verdict.tables] == ["refused", "dropped"]
    assert only(verdict).reasons == ("it remembers what 'totals' did, and that is gone: was it renamed?",)
    since = only(verdict).since
    assert only(verdict).hint.splitlines() == [
        'flow.renamed("totals", "sums")  # it takes over that state',
        f'flow.migrate("sums", reset=True, since="{since}")  # it is another step, and starts empty',
    ]

    anew = totals(name="sums", spent=SPENT)
    anew.migrate("sums", reset=True, since=since)
    assert outcomes(totals(spent=SPENT), anew) == ["added", "dropped"]


def test_other_steps_come_and_go() -> None:
    """A new step starts empty, the state of one that is gone is not taken along; both are told."""
    verdict = verdict_on(totals(spent=SPENT), FLOWS["deduplicate"]())

    assert [(table.outcome, table.notes) for table in verdict.tables] == [
        ("added", ("starts empty",)),
        ("dropped", ("is not taken along",)),
    ]


def test_a_new_aggregate_needs_a_word() -> None:
    """What the keys that are there have in it is the author's to say; the refusal has the lines."""
    old, new = totals(n=pl.len()), totals(n=pl.len(), biggest=pl.col("amount").max())
    table = only(verdict_on(old, new))

    assert table.outcome == "refused"
    assert table.reasons == ("result 'biggest' needs col(\"amount\").max(), which rows that are there don't have",)
    since = table.since
    assert table.hint.splitlines() == [
        f'flow.migrate("totals", columns={{"biggest": None}}, since="{since}")  # nothing yet, or another value',
        f'flow.migrate("totals", reset=True, since="{since}")  # the whole step begins empty',
        (
            f'@flow.migrate("totals", since="{since}")  # on a function: '
            "DataFrame of (customer, n, __rows) -> (customer, n, biggest, __rows)"
        ),
    ]
    new.migrate("totals", columns={"biggest": None})
    assert only(verdict_on(old, new)).outcome == "column-added"


def test_a_mean_of_old_sums_and_new_counts_is_refused() -> None:
    """A result of a value with a past and one without would be neither: no default makes it right."""
    old, new = totals(spent=SPENT), totals(spent=SPENT, mean=pl.col("amount").mean())
    new.migrate("totals", columns={"mean": None})

    table = only(verdict_on(old, new))

    assert table.outcome == "refused"
    assert "'mean' is made of 'spent', which goes back to the first row, and of 'mean.count'" in table.reasons[0]
    assert "columns=" not in table.hint


def test_a_mean_of_its_own_may_begin_now() -> None:
    """Where all that it is made of is new, nothing yet is a good beginning; a number is none for several values."""
    old, new = totals(n=pl.len()), totals(n=pl.len(), mean=pl.col("amount").mean())
    new.migrate("totals", columns={"mean": None})
    assert only(verdict_on(old, new)).outcome == "column-added"

    other = totals(n=pl.len(), mean=pl.col("amount").mean())
    other.migrate("totals", columns={"mean": 3})
    table = only(verdict_on(old, other))
    assert table.outcome == "refused"
    assert "None is the only value" in table.reasons[0]


CHANGED = {
    "keep": "kept-by-author",
    "columns": "column-added",
    "reset": "reset-by-author",
    "function": "migrated-by-author",
}


@pytest.mark.parametrize("says", [None, *CHANGED])
def test_an_aggregate_that_means_something_else(says: str | None) -> None:
    """The same type, another expression: refused, unless the author keeps, begins anew, empties or migrates."""
    old, new = totals(n=pl.len(), spent=SPENT), totals(n=pl.len(), spent=(pl.col("amount") * 2).sum())
    if says == "keep":
        new.migrate("totals", keep=True)
    elif says == "columns":
        new.migrate("totals", columns={"spent": None})
    elif says == "reset":
        new.migrate("totals", reset=True)
    elif says == "function":
        new.migrate("totals")(lambda rows: rows.with_columns(pl.col("spent") * 2))

    verdict = verdict_on(old, new)

    table = only(verdict)
    assert table.outcome == (CHANGED[says] if says else "refused")
    assert verdict.unused == ()
    if says is None:
        assert table.reasons == ('\'spent\' was col("amount").sum(), it is [(col("amount")) * (dyn int: 2)].sum() now',)
        assert table.hint.splitlines()[0].startswith('flow.migrate("totals", keep=True, since=')
    if says == "keep":
        assert table.reasons != ()


def test_another_kind_of_aggregate_under_the_same_name() -> None:
    """A sum does not become a maximum by being kept."""
    old, new = totals(n=pl.len(), spent=SPENT), totals(n=pl.len(), spent=pl.col("amount").max())
    new.migrate("totals", keep=True)

    assert only(verdict_on(old, new)).outcome == "refused"


WIDER = [
    (pl.Int32, pl.Int64),
    (pl.UInt8, pl.Int16),
    (pl.Float32, pl.Float64),
    (pl.Int64, pl.Float64),
    (pl.Date, pl.Datetime("us")),
    (pl.Datetime("ms"), pl.Datetime("us")),
    (pl.Duration("ms"), pl.Duration("us")),
    (pl.Enum(["a"]), pl.Enum(["b", "a"])),
    (pl.Enum(["a"]), pl.String),
    (pl.Decimal(10, 2), pl.Decimal(20, 4)),
    (pl.List(pl.Int8), pl.List(pl.Int64)),
    (pl.Struct({"a": pl.Int8}), pl.Struct({"a": pl.Int16})),
]


@pytest.mark.parametrize(("old", "new"), WIDER)
def test_wider_types_go_on_and_narrower_ones_do_not(old: Any, new: Any) -> None:
    """A column of remembered rows may become wider by itself; the way back is refused and names both types."""
    assert only(verdict_on(latest(extra=old), latest(extra=new))).outcome == "widened"
    back = only(verdict_on(latest(extra=new), latest(extra=old)))
    assert back.outcome == "refused"
    assert "'extra'" in back.reasons[0]
    assert "does not hold all of its values" in back.reasons[0]


def test_a_sum_of_another_number_is_wider() -> None:
    """The author's expression is the same; its running sum has become a float."""
    old = totals(spent=SPENT)
    assert only(verdict_on(old, totals(spent=SPENT, types={"amount": pl.Float64}))).outcome == "widened"


def test_a_column_of_rows_that_are_kept_needs_a_value() -> None:
    """Rows that are there lack a column that comes with new ones: the author says what they have, or it is refused."""
    old, new = latest(), latest(vat=pl.Float64)
    refused = only(verdict_on(old, new))
    assert refused.reasons == ("'vat', which rows that are there don't have",)

    new.migrate("kept", columns={"vat": pl.col("amount") * 0.2})
    (added,) = [column for column in only(verdict_on(old, new)).columns if column.change == "added"]
    assert added.default == '[(col("amount")) * (dyn float: 0.2)]'


def test_a_misspelt_column_is_told() -> None:
    """What the author said of another column is close to the one that lacks a word."""
    new = latest(vat_rate=pl.Float64)
    new.migrate("kept", columns={"vat_rat": 1.0})

    assert "Did you mean 'vat_rat'?" in only(verdict_on(latest(), new)).reasons[0]


def test_state_of_the_authors_own_function() -> None:
    """New columns begin as None, or as the author says; columns that are gone are gone."""
    old, new = process(total=pl.Int64, last=pl.Int64), process(total=pl.Int64, count=pl.Int64)

    table = only(verdict_on(old, new))
    assert table.outcome == "column-added"
    assert [str(column) for column in table.columns if column.change != "same"] == [
        "count added (None for rows that are there)",
        "last dropped",
    ]
    new.migrate("kept", columns={"count": 1})
    assert [c.default for c in only(verdict_on(old, new)).columns if c.change == "added"] == ["1"]


@pytest.mark.parametrize(
    ("old", "new", "reason", "keeps"),
    [
        (
            lambda: windowed(ps.tumbling("1m"), n=pl.len()),
            lambda: windowed(ps.tumbling("5m"), n=pl.len()),
            "window",
            False,
        ),
        (lambda: windowed(ps.session("1m"), n=pl.len()), lambda: windowed(ps.session("5m"), n=pl.len()), "gap", True),
        (
            lambda: windowed(ps.tumbling("1m"), n=pl.len()),
            lambda: windowed(ps.tumbling("1m"), n=pl.len(), m=pl.col("amount").median()),
            "was a window, it is a window of rows now",
            False,
        ),
        (lambda: totals(n=pl.len()), _renamed_kind, "was an aggregate, it is a top_n now", False),
        (lambda: top(2), lambda: top(3), "n was 2, it is 3 now: what that needs was not kept", True),
        (lambda: top(2), lambda: top(2, by="weight"), "order was amount descending", True),
        (FLOWS["deduplicate"], FLOWS["deduplicate within"], "within was none, it is 1h", False),
        (join, lambda: join(within=("0s", "1m")), "within was none, it is", False),
        (lambda: join(within=("0s", "1m")), lambda: join(within=("0s", "1m"), how="left"), "how was inner", True),
    ],
)
def test_what_all_rows_hang_on(old: Any, new: Any, reason: str, *, keeps: bool) -> None:
    """Another window, order, gap or kind of step is refused; where only the meaning changed, the author may keep it."""
    refused = [table for table in verdict_on(old(), new()).tables if table.outcome == "refused"]

    assert refused
    assert reason in refused[0].reasons[0]
    assert ("keep=True" in refused[0].hint) == keeps
    kept_flow = new()
    kept_flow.migrate(refused[0].step, keep=True)
    assert verdict_on(old(), kept_flow).is_compatible == keeps


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        (
            lambda: totals(n=pl.len(), ttl="1d"),
            lambda: totals(n=pl.len(), ttl="2h"),
            "ttl was 1d, it is 2h now: rows that",
        ),
        (lambda: totals(n=pl.len()), lambda: totals(n=pl.len(), ttl="2h"), "get a time when they are touched next"),
        (lambda: totals(n=pl.len(), ttl="2h"), lambda: totals(n=pl.len()), "rows that are there stay"),
        (lambda: top(3), lambda: top(2), "n was 3, it is 2 now: what goes beyond goes"),
        (lambda: process(ttl="1d", a=int), lambda: process(ttl="2d", a=int), "go later"),
        (FLOWS["deduplicate within"], FLOWS["deduplicate"], "within was 1h, it is none now"),
    ],
)
def test_sooner_or_later_goes_by_itself(old: Any, new: Any, note: str) -> None:
    """How long rows are kept may change; it is told what that does to those that are there."""
    table = only(verdict_on(old(), new()))

    assert table.outcome == "retimed"
    assert note in table.notes[0]


def test_bounds_of_a_join_move_all_of_its_tables() -> None:
    """Both sides of a left join, the rows that wait, and those that found a partner."""
    old, new = join(within=("0s", "1m"), how="left"), join(within=("-1m", "2m"), how="left")

    assert outcomes(old, new) == ["retimed"] * 4


def test_another_key_needs_a_function() -> None:
    """State by one key does not become state by another by itself."""
    table = only(verdict_on(counted("customer"), counted("customer", "id")))
    assert table.reasons == ("its key was customer, it is customer, id now",)
    assert "keep" not in table.hint
    assert "columns" not in table.hint
    assert only(verdict_on(counted("id"), counted("weight"))).outcome == "refused"


def test_another_kind_of_step_is_refused_whatever_tables_it_has() -> None:
    """A join has a table for each side, where an aggregate had one: what was kept is not lost unseen."""
    old, new = counted("customer"), join(within=("0s", "1m"))
    verdict = verdict_on(old, new)
    assert {table.outcome for table in verdict.tables if table.step} == {"refused"}
    assert verdict.tables[0].reasons == ("the step was an aggregate, it is a join now",)

    new.migrate("kept", reset=True)
    assert verdict_on(old, new).is_compatible


def test_a_reset_empties_the_whole_step() -> None:
    """Where one of a step's tables can't go on, the author's reset is for all of them: they belong together."""
    old = totals(ids=pl.col("id").n_unique(), spent=SPENT)
    new = totals(ids=pl.col("id").n_unique(), spent=(pl.col("amount") * 2).sum())
    new.migrate("totals", reset=True)

    assert outcomes(old, new) == ["reset-by-author", "reset-by-author"]


def test_a_line_counts_only_where_it_is_needed() -> None:
    """What stays in the code from an earlier change does nothing to a state that fits, and is told to be unused."""
    old, new = totals(n=pl.len(), spent=SPENT), totals(spent=SPENT, n=pl.len())
    new.migrate("totals", reset=True)

    verdict = verdict_on(old, new)

    assert only(verdict).outcome == "same"
    assert verdict.unused == ("migrate('totals'): reset=True",)


def test_a_line_for_another_state_does_not_count() -> None:
    """`since` names the state that a line was written for; what comes later is refused anew."""
    first, second = totals(n=pl.len(), spent=SPENT), totals(n=pl.len(), spent=(pl.col("amount") * 2).sum())
    third = totals(n=pl.len(), spent=(pl.col("amount") * 3).sum())
    since = only(verdict_on(first, second)).since
    for flow in (second, third):
        flow.migrate("totals", keep=True, since=since[:6])

    assert only(verdict_on(first, second)).outcome == "kept-by-author"
    assert only(verdict_on(second, third)).outcome == "refused"
    assert only(verdict_on(first, third)).outcome == "kept-by-author"


def test_a_rename_that_stayed_in_the_code_does_not_move_another_step() -> None:
    """When later a new step gets the old name, the line from before is passed over: the new name is there already."""
    flow = ps.Flow("shop")
    rows = orders(flow)
    for name, value in (("totals", pl.len()), ("sums", SPENT)):
        rows.group_by("customer").agg(value=value, name=name).write(
            ps.table(name, key="customer"), name=f"write_{name}"
        )
    flow.renamed("totals", "sums")

    assert verdict_on(flow, flow).is_same


def test_another_version_of_polars_writes_expressions_otherwise() -> None:
    """Where the serialized form is another one but it reads the same, it is the same aggregate."""
    layouts = layouts_json(Drive(totals(n=pl.len(), spent=SPENT)).program.layout())
    older = json.loads(json.dumps(layouts))
    for column in older[0]["values"]:
        column["meaning"] = column["meaning"] and "f" * 16
    same_polars = compare(layouts_from_json(older), layouts_from_json(layouts))
    older[0]["dialect"] = "polars 1.0"

    assert only(same_polars).outcome == "refused"
    assert compare(layouts_from_json(older), layouts_from_json(layouts)).is_same


def test_the_verdict_is_json() -> None:
    """For the ledger, the page, and `--json`."""
    verdict = verdict_on(totals(n=pl.len()), totals(n=pl.len(), spent=SPENT))
    values = json.loads(json.dumps(verdict.as_json()))

    assert (values["is_compatible"], values["is_same"]) == (False, False)
    assert values["tables"][0]["outcome"] == "refused"
    assert values["tables"][0]["columns"][2]["change"] == "added"
