"""Steps are named after what the author wrote, and the name stays when other lines change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.errors import DefinitionError
from penstock.flow import Definition

ROWS = ps.topic("rows")


def names_of(definition: Definition) -> list[str]:
    """The names of all steps, in order."""
    return [step.name for step in definition.steps]


def keep(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is."""
    return row


def built(source: str, folder: Path) -> Definition:
    """The flow that a module of the author's defines."""
    file = folder / "author.py"
    file.write_text(f"import penstock as ps\nimport polars as pl\nflow = ps.Flow('f')\n{source}\n")
    scope: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)  # noqa: S102 - as a module is loaded
    definition: Definition = scope["flow"].build()
    return definition


def test_a_step_has_the_name_of_its_variable() -> None:
    """The last step of a statement has the variable's name, those before it the variable's and their kind."""
    flow = ps.Flow("f")
    rows = flow.read(ROWS)
    paid = rows.filter(pl.col("a") > 1).select("a").filter(pl.col("a") < 9)
    paid.write(ps.table("out"))

    assert names_of(flow.build()) == ["rows", "paid.filter", "paid.select", "paid", "write_out"]


def test_a_given_name_wins() -> None:
    """`name=` overrides the variable, and another step that wanted the name gets a number."""
    flow = ps.Flow("f")
    orders = flow.read(ROWS, name="source")
    paid = orders.filter(pl.col("a") > 1)
    other = orders.filter(pl.col("a") > 2, name="paid")
    paid.union(other).write(ps.console(), name="end")

    assert names_of(flow.build()) == ["source", "paid_2", "paid", "paid_2.union", "end"]


def test_without_a_variable_the_function_or_the_place_names_a_step() -> None:
    """A function's name, a dataset's name, or the step before and the kind."""
    flow = ps.Flow("f")
    flow.read(ps.files("in/2024 data.csv")).map(keep).filter(pl.col("a") > 1).write(ps.files("out/x.csv"))

    assert names_of(flow.build()) == ["in_2024_data.csv", "keep", "keep.filter", "write_out_x.csv"]


def test_a_dataset_without_letters_is_named_by_its_kind() -> None:
    """A path of dots and digits gives a name that is still a name."""
    flow = ps.Flow("f")
    flow.read(ps.files("../..")).union(flow.read(ps.files("2024"))).write(ps.console())

    assert names_of(flow.build())[:2] == ["files", "_2024"]


def test_two_variables_name_two_steps() -> None:
    """A branch, and a tuple of chains, give each variable its own step."""
    flow = ps.Flow("f")
    rows = flow.read(ROWS)
    kept, rest = rows.with_columns(b=1).branch(pl.col("a") > 1)
    small, large = kept.filter(pl.col("a") < 5), rest.filter(pl.col("a") > 5).select("a")
    small.select("a").union(large).write(ps.console())

    assert names_of(flow.build())[:7] == [
        "rows",
        "kept.with_columns",
        "kept",
        "rest",
        "small",
        "small.filter",
        "large",
    ]


def test_a_branch_may_name_its_two_sides() -> None:
    """`names=` gives both."""
    flow = ps.Flow("f")
    flow.read(ROWS).branch(pl.col("a") > 1, names=("yes", "no"))[0].write(ps.console())

    assert names_of(flow.build()) == ["rows", "yes", "no", "write_console"]


def test_annotated_variables_and_attributes() -> None:
    """`x: ps.Stream = ...` names a step; what is no plain variable does not."""
    flow = ps.Flow("f")
    rows: ps.Stream = flow.read(ROWS)
    held: dict[str, ps.Stream] = {}
    held["a"] = rows.filter(pl.col("a") > 1)
    held["a"].write(ps.console())

    assert names_of(flow.build()) == ["rows", "rows.filter", "write_console"]


def test_a_lambda_gives_no_name() -> None:
    """A lambda has no name of its own, so its step is named by its place."""
    flow = ps.Flow("f")
    flow.read(ROWS).map(lambda row: row).write(ps.console())

    assert names_of(flow.build()) == ["rows", "rows.map", "write_console"]


def test_a_callable_object_is_named_by_its_class() -> None:
    """An object that can be called gives the name of its class."""

    class Enrich:
        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            return row

    flow = ps.Flow("f")
    flow.read(ROWS).map(Enrich()).write(ps.console())

    assert names_of(flow.build()) == ["rows", "Enrich", "write_console"]


def test_a_process_handler_names_its_step() -> None:
    """`process` is named by its function, which is name enough for state."""

    def count(context: Any, rows: Sequence[Any]) -> Sequence[Any]:  # noqa: ARG001
        return rows

    flow = ps.Flow("f")
    flow.read(ROWS).group_by("a").process(count, schema={"a": int}, state={"n": int}).write(ps.console())
    definition = flow.build()

    assert names_of(definition) == ["rows", "count", "write_console"]
    assert definition.step("count").named_by_author


def test_state_in_a_loop_needs_a_name(tmp_path: Path) -> None:
    """A statement that runs several times gives numbers, which would move: state there has to be named."""
    loop = "rows = flow.read(ps.topic('rows'))\nfor key in ('a', 'b'):\n"
    loop += "    counts = rows.group_by(key).agg(n=pl.len(){})\n"
    end = "    counts.write(ps.table(key, key=[key]))"

    with pytest.raises(DefinitionError, match="has no name of its own"):
        built(loop.format("") + end, tmp_path)
    named = built(loop.format(", name=f'by_{key}'") + end, tmp_path)

    assert names_of(named) == ["rows", "by_a", "write_a", "by_b", "write_b"]


def test_names_stay_when_lines_are_added(tmp_path: Path) -> None:
    """A new step and a comment above change neither the name of the step below nor its place in it."""
    lines = ["rows = flow.read(ps.topic('rows'))", "counts = rows.group_by('a').agg(n=pl.len())"]
    end = "counts.write(ps.table('t', key=['a']))"
    before = built("\n".join((*lines, end)), tmp_path)
    after = built("\n".join((lines[0], "# a comment", "rows = rows.filter(pl.col('a') > 1)", lines[1], end)), tmp_path)

    assert names_of(before) == ["rows", "counts", "write_t"]
    assert names_of(after) == ["rows", "rows_2", "counts", "write_t"]
    assert after.step("counts").location == f"{tmp_path / 'author.py'}:7"


def test_code_without_a_file_still_builds() -> None:
    """At a prompt there is no source, so there is no hint, and names come from places."""
    scope: dict[str, Any] = {"ps": ps}
    source = "flow = ps.Flow('f')\nx = flow.read(ps.topic('rows'))\nx.write(ps.console())"
    exec(source, scope)  # noqa: S102 - as a prompt does

    assert names_of(scope["flow"].build()) == ["rows", "write_console"]


def test_a_file_that_is_no_python_gives_no_hint(tmp_path: Path) -> None:
    """A template whose compiled form names a file that can't be parsed is no reason to fail."""
    file = tmp_path / "broken.py"
    file.write_text("this is ( no python")
    scope: dict[str, Any] = {"ps": ps}
    source = "flow = ps.Flow('f')\nx = flow.read(ps.topic('rows'))\nx.write(ps.console())"
    exec(compile(source, str(file), "exec"), scope)  # noqa: S102 - as a template engine would

    assert names_of(scope["flow"].build()) == ["rows", "write_console"]


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "x" * 121])
def test_a_name_is_a_word(name: str) -> None:
    """What could not be a file or a label of metrics is refused, with the rule."""
    flow = ps.Flow("f")
    flow.read(ROWS, name=name).write(ps.console())

    with pytest.raises(DefinitionError) as caught:
        flow.build()

    assert str(caught.value) == (
        f"{name!r} can't be the name of a step\n"
        "  next:  letters, digits, '_', '-' and '.', starting with a letter, at most 120"
    )


def test_two_steps_of_one_name_are_refused() -> None:
    """A name that is given twice is an error, not a silent number."""
    flow = ps.Flow("f")
    flow.read(ROWS, name="x").filter(pl.col("a") > 1, name="x").write(ps.console())

    with pytest.raises(DefinitionError, match="two steps are named 'x'"):
        flow.build()
