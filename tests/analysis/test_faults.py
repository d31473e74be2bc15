"""What a newcomer is told of a wrong flow, word for word."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import analyse, columns_text, type_text
from penstock.errors import SchemaError
from tests.analysis.flows import COLUMNS, analysed, shop, told


def normalise(frame: pl.DataFrame) -> pl.DataFrame:
    """A function with a typo."""
    return frame.with_columns(pl.col("amuont") * 2)


def missing_type(row: dict[str, Any]) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    """A function whose annotation can't be read."""
    return row


def test_a_typo_in_a_filter() -> None:
    """The commonest mistake: step, column, what was meant, the line, and the columns there are."""
    _, orders = shop()
    paid = orders.filter(pl.col("statu") == "paid")

    assert told(paid) == (
        "flow shop, step paid: there is no column 'statu'. Did you mean 'status'?\n"
        '  at:      FILE:N: paid = orders.filter(pl.col("statu") == "paid")\n'
        f"  columns: {COLUMNS}\n"
        '  cause:   unable to find column "statu"'
    )


def test_a_typo_in_an_expression_of_several() -> None:
    """Each wrong expression is told with the name of its output, the right ones are not."""
    _, orders = shop()
    more = orders.with_columns(vat=pl.col("amuont") * 0.21, ok=pl.col("amount"), bad=pl.col("county"))

    assert told(more) == (
        "flow shop: 2 faults\n"
        "  step more: there is no column 'amuont' for 'vat'. Did you mean 'amount'?\n"
        '    at:      FILE:N: more = orders.with_columns(vat=pl.col("amuont") * 0.21, ok=pl.col("amount"), '
        'bad=pl.col("county"))\n'
        f"    columns: {COLUMNS}\n"
        '    cause:   unable to find column "amuont"\n'
        "  step more: there is no column 'county' for 'bad'. Did you mean 'country'?\n"
        '    at:      FILE:N: more = orders.with_columns(vat=pl.col("amuont") * 0.21, ok=pl.col("amount"), '
        'bad=pl.col("county"))\n'
        f"    columns: {COLUMNS}\n"
        '    cause:   unable to find column "county"'
    )


def test_a_column_that_a_step_before_let_go() -> None:
    """A column that was there once is told with the step that did not keep it."""
    _, orders = shop()
    small = orders.select("id", "at")
    kept = small.filter(pl.col("id") > 1)
    paid = kept.filter(pl.col("status") == "paid")

    assert told(paid) == (
        "flow shop, step paid: there is no column 'status'. "
        "Step 'orders' still has it; step 'small' (FILE:N) does not keep it.\n"
        '  at:      FILE:N: paid = kept.filter(pl.col("status") == "paid")\n'
        "  columns: id Int64, at Datetime[us]\n"
        '  cause:   unable to find column "status"'
    )


def test_a_column_that_never_was() -> None:
    """Nobody is blamed for a column that no step before had."""
    _, orders = shop()
    small, large = orders.branch(pl.col("amount") < 10)
    both = small.union(large)
    paid = both.filter(pl.col("zzz") == 1)

    assert told(paid).splitlines()[0] == "flow shop, step paid: there is no column 'zzz'."


def test_a_column_that_is_made_in_the_same_step() -> None:
    """Expressions of one step do not see each other; the error says so instead of `no such column`."""
    _, orders = shop()
    more = orders.with_columns(vat=pl.col("amount") * 0.21, all=pl.col("vat") + pl.col("amount"))

    assert told(more) == (
        "flow shop, step more: column 'vat' is made in this same step, "
        "where the other expressions can't see it yet\n"
        '  at:      FILE:N: more = orders.with_columns(vat=pl.col("amount") * 0.21, '
        'all=pl.col("vat") + pl.col("amount"))\n'
        f"  columns: {COLUMNS}\n"
        '  cause:   unable to find column "vat"\n'
        "  next:  use it in a second .with_columns(...)"
    )


def test_types_that_do_not_fit() -> None:
    """Polars' sentence stays, its query plan goes."""
    _, orders = shop()
    more = orders.with_columns(year=pl.col("country").dt.year(), sum=pl.col("amount") + pl.col("country"))

    assert told(more) == (
        "flow shop: 2 faults\n"
        "  step more: 'year' does not fit: `year` operation not supported for dtype `str`\n"
        '    at:      FILE:N: more = orders.with_columns(year=pl.col("country").dt.year(), '
        'sum=pl.col("amount") + pl.col("country"))\n'
        f"    columns: {COLUMNS}\n"
        "    cause:   This error occurred in the following expression:\n"
        '                 col("country").dt.year()\n'
        "  step more: 'sum' does not fit: arithmetic on dtypes f64 and str is not allowed "
        "(lhs: column 'amount', rhs: column 'country'); try an explicit cast first\n"
        '    at:      FILE:N: more = orders.with_columns(year=pl.col("country").dt.year(), '
        'sum=pl.col("amount") + pl.col("country"))\n'
        f"    columns: {COLUMNS}"
    )


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (pl.col("amount"), "is Float64, not true or false"),
        (pl.col("id") == "x", "does not fit: cannot compare string with numeric type (i64)"),
        (
            pl.col("id").str.len_chars() > 1,
            "does not fit: invalid series dtype: expected `String`, got `i64` for series with name `id`",
        ),
    ],
)
def test_a_condition_is_true_or_false(predicate: pl.Expr, expected: str) -> None:
    """A filter that is no condition, or compares what can't be compared."""
    _, orders = shop()
    paid = orders.filter(predicate)

    assert told(paid).splitlines()[0] == f"flow shop, step paid: the condition {expected}"


def test_a_condition_is_an_expression() -> None:
    """Text is not understood as an expression."""
    _, orders = shop()

    assert told(orders.filter("amount > 1", name="paid")) == (
        "flow shop, step paid: the condition is 'amount > 1', not a Polars expression\n"
        '  at:      FILE:N: assert told(orders.filter("amount > 1", name="paid")) == (\n'
        '  next:  write it with pl.col, e.g. pl.col("amount") > 0'
    )


def test_a_text_that_is_also_a_column() -> None:
    """`x="status"` is refused: Polars would take the column, the reader might mean the text."""
    _, orders = shop()
    more = orders.with_columns(old="status", new="other")

    assert told(more) == (
        "flow shop, step more: old='status' could mean the column or the text\n"
        '  at:      FILE:N: more = orders.with_columns(old="status", new="other")\n'
        '  next:  write old=pl.col("status") for the column, old=pl.lit("status") for the text'
    )


def test_two_outputs_of_one_name() -> None:
    """Expressions that are right alone and clash together."""
    _, orders = shop()
    more = orders.select("id", pl.col("amount").alias("id"))

    assert told(more).splitlines()[0] == (
        "flow shop, step more: the step does not fit: two of its columns have the same name"
    )


def test_a_field_that_a_struct_does_not_have() -> None:
    """Polars says only the name; the sentence says what it is the name of."""
    _, orders = shop({"s": pl.Struct({"a": pl.Int64})}, event_time=None)
    more = orders.with_columns(b=pl.col("s").struct.field("z"))

    assert told(more).splitlines()[0] == "flow shop, step more: 'b' does not fit: the struct has no field 'z'"


def test_a_value_that_is_no_literal() -> None:
    """Positional arguments that Polars takes for no expression."""
    _, orders = shop()

    assert "does not fit: cannot create expression literal for value of type object" in told(
        orders.with_columns(object())
    )


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        (pl.col("amount").sum(), "sum"),
        (pl.col("amount").cum_sum().alias("len"), "cum_sum"),
        (pl.len(), "len"),
        (pl.col("amount") / pl.col("amount").sum().over("country"), "over"),
        (pl.col("amount").fill_null(strategy="forward"), "fill_null forward"),
        (pl.col("amount").fill_null(pl.col("amount").mean()), "mean"),
        (pl.col("amount").is_duplicated(), "is_duplicated"),
        (pl.col("amount").sort_by("id"), "sort_by"),
        (pl.col("amount").shift(), "shift"),
        (pl.col("tags").list.eval(pl.element().rank()).shift(), "shift"),
    ],
)
def test_expressions_do_not_look_at_other_rows(expression: pl.Expr, word: str) -> None:
    """A value that depends on where an epoch ends is refused: it would differ from run to run."""
    _, orders = shop()
    more = orders.with_columns(x=expression)
    message = told(more)

    assert message.startswith(
        f"flow shop, step more: 'x' looks at other rows ({word}), but would see only those that came "
        "in the same epoch, and where an epoch ends depends on speed\n"
    )
    assert message.endswith("to work on one batch as it comes, use .map_batches(...)")


@pytest.mark.parametrize(
    "expression",
    [
        pl.col("tags").list.eval(pl.element().rank()),
        pl.col("tags").list.len(),
        pl.col("amount").fill_null(strategy="zero"),
        pl.lit("Len").alias("Len"),
        pl.col("id").is_in([1, 2]),
        pl.all_horizontal(pl.col("id") > 1, pl.col("amount") > 1),
        pl.when(pl.col("id") > 1).then(1).otherwise(2),
        pl.col("id").map_elements(repr, return_dtype=pl.String),
    ],
)
def test_expressions_of_one_row_pass(expression: pl.Expr) -> None:
    """Lists inside a row, literals and conditions look at no other row."""
    _, orders = shop()

    assert "x" in analysed(orders.with_columns(expression.alias("x"))).steps["write_console"].schema


def test_a_filter_does_not_look_at_other_rows() -> None:
    """The mean of an epoch is no threshold."""
    _, orders = shop()

    assert "the condition looks at other rows (mean)" in told(orders.filter(pl.col("amount") > pl.col("amount").mean()))


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ("select statu from self", "there is no column 'statu' in the SQL. Did you mean 'status'?", None),
        ("select self.amuont from self", "there is no column 'amuont' in the SQL. Did you mean 'amount'?", None),
        (
            "select uppr(country) from self",
            "the SQL is not right: Scalar Function with name uppr does not exist!. Did you mean 'upper'?",
            None,
        ),
        ("selct * from self", 'the SQL is not right: syntax error at or near "selct".', None),
        (
            "select * from orders",
            "the SQL names a table that is not there: orders does not exist",
            "the rows of the batch are the table `self`: select * from orders",
        ),
        (
            "select * from read_csv('x.csv')",
            "the SQL reaches outside of its batch, to a file or the network",
            "the only table is `self`; read other data with flow.table(...) and .join(...)",
        ),
        (
            "create table x as select * from self",
            "the SQL has to be one SELECT, not CREATE",
            'write it as "select ... from self"',
        ),
        (
            "select 1; select 2",
            "the SQL has to be one SELECT, not SELECT and SELECT",
            'write it as "select ... from self"',
        ),
        ("", "the SQL has to be one SELECT, not an empty text", 'write it as "select ... from self"'),
        ("select id, id from self", "the SQL gives two columns 'id'", "name one of them otherwise with AS"),
        (
            "select self.at - self.at as gap from self",
            "the SQL gives column 'gap' as an INTERVAL, which has no fixed length",
            "give it as a number, e.g. epoch(gap) for seconds",
        ),
    ],
)
def test_sql_that_is_not_right(query: str, message: str, hint: str | None) -> None:
    """DuckDB's errors in one sentence, with a way out where there is one."""
    _, orders = shop()
    lines = told(orders.sql(query, name="asked")).splitlines()

    assert lines[0] == f"flow shop, step asked: {message}"
    assert (lines[-1] == f"  next:  {hint}") if hint else not lines[-1].startswith("  next:")


def test_sql_keeps_the_words_of_duckdb() -> None:
    """The original text with its caret stands below the sentence."""
    _, orders = shop()
    asked = orders.sql("select statu from self")

    assert told(asked) == (
        "flow shop, step asked: there is no column 'statu' in the SQL. Did you mean 'status'?\n"
        '  at:      FILE:N: asked = orders.sql("select statu from self")\n'
        f"  columns: {COLUMNS}\n"
        '  cause:   Binder Error: Referenced column "statu" not found in FROM clause!\n'
        '           Candidate bindings: "status", "tags", "amount", "at"\n'
        "           LINE 1: select statu from self\n"
        "                          ^^^^^"
    )


def test_a_function_that_fails_on_an_empty_frame() -> None:
    """The author's function is tried without rows; its error is shown, and the way round."""
    _, orders = shop()
    clean = orders.map_batches(normalise)

    assert told(clean) == (
        "flow shop, step clean: normalise could not be tried on a frame without rows: "
        'ColumnNotFoundError: unable to find column "amuont"\n'
        "  at:      FILE:N: clean = orders.map_batches(normalise)\n"
        f"  columns: {COLUMNS}\n"
        '  cause:   unable to find column "amuont"\n'
        "  next:  mend it, or tell what it gives: .map_batches(normalise, schema={...})"
    )


def test_a_function_that_gives_no_frame() -> None:
    """Forgetting to return is told as such."""
    _, orders = shop()
    clean = orders.map_batches(lambda frame: None)  # noqa: ARG005

    assert "gives a NoneType, not a Polars DataFrame" in told(clean)


def test_an_annotation_that_cannot_be_read() -> None:
    """A type that only a checker sees can't be turned into columns."""
    _, orders = shop()
    message = told(orders.map(missing_type, name="typed"))

    assert message.startswith(
        "flow shop, step typed: what missing_type returns can't be read from its annotation: "
        "name 'Nowhere' is not defined\n"
    )
    assert message.endswith("  next:  import the type at the top of its module, or give .map(..., schema={...})")


def test_a_window_after_the_time_was_dropped() -> None:
    """The step that dropped the event time is named, not only the window that misses it."""
    _, orders = shop()
    small = orders.select("id", "country")
    counts = small.group_by("country").window(ps.tumbling("1m")).agg(n=pl.len())

    assert told(counts) == (
        "flow shop, step counts: the window (tumbling 1m) needs the event time of each row, but "
        "step 'small' (select, FILE:N) dropped the event-time column 'at': keep it there\n"
        '  at:      FILE:N: counts = small.group_by("country").window(ps.tumbling("1m")).agg(n=pl.len())\n'
        "  columns: id Int64, country String"
    )


def test_a_window_on_a_stream_without_time() -> None:
    """The error shows what to add to the read, with a column that could serve."""
    _, orders = shop(event_time=None)
    counts = orders.window(ps.tumbling("1m")).agg(n=pl.len())

    assert told(counts).splitlines()[0] == (
        "flow shop, step counts: the window (tumbling 1m) needs the event time of each row, but "
        "step 'orders' (FILE:N) reads without one: add event_time=\"at\" to its read(...)"
    )


def test_a_time_that_becomes_text() -> None:
    """Event time is lost where its column is no time any more."""
    _, orders = shop()
    dated = orders.with_columns(at=pl.col("at").dt.date())
    once = dated.deduplicate("id", within="1h")

    assert told(once).splitlines()[0] == (
        "flow shop, step once: deduplicate(within=...) needs the event time of each row, but "
        "step 'dated' (with_columns, FILE:N) made the event-time column 'at' a Date"
    )


def test_event_time_after_functions_that_drop_it() -> None:
    """A process without the time in its schema, after a read without any."""

    def handler(context: Any, rows: Any) -> Any:  # noqa: ARG001
        return rows

    _, orders = shop({"id": int}, event_time=None)
    done = orders.group_by("id").process(handler, schema={"id": int}, state={"n": int}, name="done")

    assert 'add event_time="..." to its read(...)' in told(done.window(ps.tumbling("1m")).agg(n=pl.len(), name="n"))


def test_an_event_time_that_is_no_time() -> None:
    """A date or a text is refused at the read, where its type is declared."""
    _, orders = shop({"id": int, "at": pl.Date}, event_time="at")

    assert told(orders).startswith("flow shop, step orders: the event-time column 'at' is Date, not Datetime\n")
    assert told(shop({"id": int, "at": str}, event_time="at")[1]).endswith(
        '  next:  declare it as a time in the dataset\'s schema: "at": "Datetime"'
    )


def test_an_event_time_that_is_not_there() -> None:
    """A typo in event_time is told at the read."""
    _, orders = shop({"id": int, "ordered_at": pl.Datetime}, event_time="orderd_at")

    assert told(orders).splitlines()[0] == (
        "flow shop, step orders: there is no column 'orderd_at', which event_time names. Did you mean 'ordered_at'?"
    )


def test_a_column_where_processing_time_would_go() -> None:
    """The engine's column does not silently take the place of the author's."""
    flow = ps.Flow("shop")
    rows = flow.read(ps.topic("rows", schema={"processing_time": int}), event_time=ps.PROCESSING_TIME)

    assert "the rows have a column 'processing_time' already" in told(rows)


def test_columns_that_nobody_knows() -> None:
    """A dataset without a schema, of a source that was not asked."""
    flow = ps.Flow("shop")
    rows = flow.read(ps.topic("rows"))

    assert told(rows).splitlines()[0] == "flow shop, step rows: the columns of topic 'rows' are not known"


def test_faults_of_independent_steps_are_told_together() -> None:
    """Two wrong branches are one error; the step after a wrong one is left out, for it only follows."""
    _, orders = shop()
    one = orders.filter(pl.col("statu") == "a")
    after = one.filter(pl.col("nobody") > 1)
    two = orders.select("idd")

    message = told(after, two)

    assert message.startswith("flow shop: 2 faults\n  step one: there is no column 'statu'")
    assert "  step two: there is no column 'idd' for 'idd'. Did you mean 'id'?" in message
    assert "nobody" not in message


def test_a_fault_with_a_way_out_among_several() -> None:
    """Each fault keeps its own hint."""
    _, orders = shop()
    one = orders.filter("x")
    two = orders.filter("y")

    assert told(one, two).count("\n    next:    write it with pl.col") == 2


def test_an_error_is_a_value_too() -> None:
    """Flow, step, code and hint are fields, for `--json` and the page."""
    flow, orders = shop()
    orders.filter("x", name="paid").write(ps.console())
    with pytest.raises(SchemaError) as caught:
        analyse(flow.build(), {})
    found = caught.value.as_dict()

    assert (found["code"], found["flow"], found["step"]) == ("schema", "shop", "paid")
    assert found["hint"] == 'write it with pl.col, e.g. pl.col("amount") > 0'


def test_types_are_short() -> None:
    """Types read like words, not like constructors."""
    assert [
        type_text(dtype)
        for dtype in (
            pl.Int64(),
            pl.Datetime("ms", "UTC"),
            pl.Duration("us"),
            pl.List(pl.Struct({"a": pl.Datetime("us"), "b": pl.List(pl.Int8)})),
            pl.Decimal(10, 2),
        )
    ] == [
        "Int64",
        "Datetime[ms, UTC]",
        "Duration[us]",
        "List[Struct[a Datetime[us], b List[Int8]]]",
        "Decimal(precision=10, scale=2)",
    ]


def test_many_columns_are_cut() -> None:
    """A wide table does not fill the screen."""
    schema = pl.Schema({f"c{number}": pl.Int64() for number in range(50)})

    assert columns_text(schema).endswith("c39 Int64 and 10 more")
    assert columns_text(pl.Schema()) == ""
