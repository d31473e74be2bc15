"""The state of one version made into that of another, on a copy: what the verdict says, table by table, checked.

Rows are never changed in place: the images that come in stay what they are, so that whoever runs on them runs on.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from penstock.analysis import (
    ColumnVerdict,
    StateColumn,
    StateLayout,
    TableVerdict,
    Verdict,
    compare,
    is_wider,
    layouts_from_json,
    migration_facts,
    renames_of,
    type_text,
)
from penstock.engine.expiry import NEVER_US
from penstock.engine.operators.contract import LAYOUT
from penstock.engine.program import Program
from penstock.engine.timelog import EXPIRES
from penstock.errors import MigrationFailed, did_you_mean
from penstock.flow import Definition, Migration
from penstock.ledger import EpochPlan, TableImage

__all__ = ["Adopted", "adopt", "migrate", "refuse_incompatible", "renamed_facts", "renamed_plan", "stored_layouts"]

_STATE_LEFT = "the state is as it was: migrations work on a copy"
_ROWS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Adopted:
    """A state as this version has it. `rows`: of the tables that were changed. `is_same`: its files can stay."""

    images: Mapping[str, TableImage]
    rows: Mapping[str, int]
    is_same: bool


def stored_layouts(images: Mapping[str, TableImage]) -> tuple[StateLayout, ...] | None:
    """What the stored tables say of themselves; None where one of them says nothing (it is older than that)."""
    told = [image.scalars.get(LAYOUT) for image in images.values()]
    if any(layout is None for layout in told):
        return None
    return layouts_from_json([layout for layout in told if layout is not None])


def adopt(images: Mapping[str, TableImage], program: Program) -> Adopted:
    """Make a stored state that of a program, by what its tables say of themselves, whichever version wrote them.

    Tables that say nothing are taken as they are. Raises MigrationFailed as `migrate`, before anything is changed.
    """
    old = stored_layouts(images)
    if old is None:
        return Adopted(images, {}, is_same=True)
    definition = program.definition
    new = program.layout()
    # A table that never had a row is not stored. It is as new, whether its step is or not.
    there = {layout.table for layout in old}
    unwritten = [layout for layout in new if layout.table not in there and _step_is_there(layout, old)]
    verdict = compare([*old, *unwritten], new, renames=renames_of(definition), migrations=migration_facts(definition))
    moved, rows = migrate(images, verdict, definition)
    return Adopted(moved, rows, verdict.is_same)


def _step_is_there(layout: StateLayout, old: tuple[StateLayout, ...]) -> bool:
    return any(one.step == layout.step and one.operator == layout.operator for one in old)


def migrate(
    images: Mapping[str, TableImage], verdict: Verdict, definition: Definition
) -> tuple[dict[str, TableImage], dict[str, int]]:
    """The tables of the version `definition`, and how many rows each table that was not taken as it is has now.

    `verdict`: that of `penstock.analysis.compare` for the two versions, made with this definition's words. Raises
    MigrationFailed where a table is refused, where the rows are not what the verdict was made for, or where the
    author's function raises or gives rows that are not those of the new version.
    """
    refuse_incompatible(verdict, definition.name)
    if verdict.is_same:
        return dict(images), {}
    found: dict[str, TableImage] = {}
    counts: dict[str, int] = {}
    leaders: dict[str, TableImage] = {}
    for table in verdict.tables:
        image = images.get(table.old_table)
        if table.new is None or table.old is None or image is None or table.outcome in ("added", "reset-by-author"):
            if table.outcome == "reset-by-author":
                counts[table.table] = 0
            continue
        leader = leaders.get(table.step)
        if table.outcome == "migrated-by-author" and leader is not None:
            moved = _belonging(image, table, leader, definition)
        else:
            moved = _Table(table, definition).moved(image)
        if not table.part:
            leaders[table.step] = moved
        found[moved.name] = moved
        if moved is not image:
            counts[moved.name] = moved.rows.height
    return found, counts


def refuse_incompatible(verdict: Verdict, flow: str) -> None:
    """Raise MigrationFailed with the reasons and the lines to write where a table is refused."""
    if verdict.is_compatible:
        return
    told = [
        f"step {table.step!r}" + (f" ({table.part})" if table.part else "") + f": {'; '.join(table.reasons)}"
        for table in verdict.refused
    ]
    hints = [line for table in verdict.refused if table.hint for line in table.hint.splitlines()]
    many = f"the state of {len(told)} tables does not fit:\n  - "
    raise MigrationFailed(
        told[0] if len(told) == 1 else many + "\n  - ".join(told),
        flow=flow,
        step=verdict.refused[0].step if len(told) == 1 else None,
        state_left="nothing was changed",
        hint="write one of these into the flow:\n" + "\n".join(hints),
    )


class _Table:
    """One table on its way from the old layout to the new one."""

    def __init__(self, verdict: TableVerdict, definition: Definition) -> None:
        assert verdict.old is not None
        assert verdict.new is not None
        self._verdict = verdict
        self._old: StateLayout = verdict.old
        self._new: StateLayout = verdict.new
        self._flow = definition.name
        said = [one for one in definition.migrations if one.step == verdict.step]
        said = [one for one in said if verdict.since.startswith(one.since)]
        self._said = sorted(said, key=lambda one: not one.since)

    def moved(self, image: TableImage) -> TableImage:
        """The table as the new version has it."""
        if self._verdict.outcome == "same" and all(column.change == "same" for column in self._verdict.columns):
            return image
        rows = self._checked(image.rows)
        function = next((one for one in self._said if one.function is not None and one.table == self._new.part), None)
        if self._verdict.outcome == "migrated-by-author" and function is not None:
            rows = self._by_author(rows, function)
        else:
            rows = self._by_column(rows)
            rows = self._retimed(rows, image.horizon)
        key = tuple(column.name for column in self._new.key)
        return replace(image, name=self._new.table, key=key, rows=rows, scalars=_described(image, self._new))

    def _failed(self, message: str, hint: str = "") -> MigrationFailed:
        step, part = self._verdict.step, self._verdict.part
        table = f"table {part} of the state" if part else "state"
        return MigrationFailed(
            f"{table}: {message}",
            flow=self._flow,
            step=step,
            state_left=_STATE_LEFT,
            hint=hint or "correct the migration of this step and try again",
        )

    def _checked(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows as the old layout says; an image without a column is one without rows."""
        wanted = dict(self._old.schema)
        if self._old.expires:
            wanted[EXPIRES] = pl.Int64()
        if not rows.width:
            return pl.Schema(wanted).to_frame()
        for name, dtype in wanted.items():
            if rows.schema.get(name) != dtype:
                there = type_text(rows.schema[name]) if name in rows.schema else "not there"
                raise self._failed(
                    f"column {name!r} should be {type_text(dtype)}, by what is known of the old version; it is {there}",
                    "the version before ran with other columns than its manifest says; begin anew with reset=True",
                )
        return rows.select(list(wanted))

    # --- column by column ---------------------------------------------------------------------------------------------

    def _by_column(self, rows: pl.DataFrame) -> pl.DataFrame:
        verdicts = {one.name: one for one in self._verdict.columns if one.name}
        columns = {column.name: column for column in self._old.columns}
        labelled = rows.rename({column.name: column.shown for column in self._old.columns})
        made = [
            self._column(column, verdicts[column.name], columns.get(verdicts[column.name].old_name), rows, labelled)
            for column in self._new.columns
        ]
        if EXPIRES in rows.columns:
            made.append(rows[EXPIRES])
        found = pl.DataFrame(made)
        limit = self._new.fact("n") if self._new.operator == "top_n" else None
        return found if limit is None else found.filter(pl.col("__rank") <= limit.value)

    def _column(
        self,
        column: StateColumn,
        verdict: ColumnVerdict,
        was: StateColumn | None,
        rows: pl.DataFrame,
        labelled: pl.DataFrame,
    ) -> pl.Series:
        if verdict.change in ("added", "retyped"):
            return self._given(column, labelled)
        assert was is not None
        values = rows[was.name].alias(column.name)
        return values if was.dtype == column.dtype else self._widened(values, column)

    def _widened(self, values: pl.Series, column: StateColumn) -> pl.Series:
        """The values in a wider type, each of them looked at: a number beyond 2^53 is none of Float64."""
        try:
            wide = values.cast(column.dtype, strict=True)
            exact = wide.cast(values.dtype, strict=False).eq_missing(values)
        except pl.exceptions.PolarsError as error:
            raise self._failed(f"column {column.shown!r} can't become {type_text(column.dtype)}: {error}") from error
        if not exact.all():
            lost = values.filter(~exact).head(_ROWS_SHOWN).to_list()
            raise self._failed(
                f"column {column.shown!r}: {type_text(column.dtype)} does not hold {', '.join(map(str, lost))} exactly",
                f'say what becomes of them: columns={{"{column.shown}": ...}}, an expression over the old columns',
            )
        return wide

    def _given(self, column: StateColumn, labelled: pl.DataFrame) -> pl.Series:
        """What the author gives rows that are there in this column: nothing yet, a value, or an expression."""
        value = self._word(column)
        if value is None:
            return _nothing(column, labelled.height)
        expression = value if isinstance(value, pl.Expr) else pl.lit(value)
        try:
            filled = labelled.select(pl.repeat(None, pl.len()).alias("__all"), expression.alias(column.name))
            series = filled[column.name]
            return series.cast(column.dtype, strict=True)
        except pl.exceptions.PolarsError as error:
            shown = ", ".join(labelled.columns)
            raise self._failed(
                f"what columns= gives for {column.shown!r} can't be {type_text(column.dtype)}: {_first_line(error)}",
                f"the old columns are {shown}",
            ) from error

    def _word(self, column: StateColumn) -> Any:
        for one in self._said:
            for name in (column.shown, *column.results):
                if name in one.columns:
                    return one.columns[name]
        return None

    def _retimed(self, rows: pl.DataFrame, horizon: int | None) -> pl.DataFrame:
        """When rows go, by the rule of the new version."""
        old, new = self._old, self._new
        if not new.expires:
            return rows.drop(EXPIRES, strict=False)
        if not old.expires:
            return rows.with_columns(pl.lit(NEVER_US, pl.Int64).alias(EXPIRES))
        times = pl.col(EXPIRES)
        if new.operator == "process" and not new.part:
            return self._retimed_keys(rows)
        if (old.expires_base, old.expires_after_us) == (new.expires_base, new.expires_after_us):
            return rows
        if new.expires_after_us is None:
            times = pl.lit(NEVER_US, pl.Int64)
        elif new.expires_base:
            times = pl.col(new.expires_base) + new.expires_after_us
        elif old.expires_after_us is not None:
            times = _shifted(times, new.expires_after_us - old.expires_after_us)
        if new.kind == "log" and horizon is not None:
            times = pl.max_horizontal(times, pl.lit(horizon + 1, pl.Int64))  # not gone unseen: it goes next
        return rows.with_columns(times.cast(pl.Int64).alias(EXPIRES))

    def _retimed_keys(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Keys of the author's own function go by their timer, or when they were silent for too long."""
        before, after = self._old.expires_after_us, self._new.expires_after_us
        if before == after:
            return rows
        silent = pl.lit(None, pl.Int64)
        if before is not None and after is not None:
            silent = _shifted(pl.col("__ttl"), after - before)
        rows = rows.with_columns(silent.alias("__ttl"))
        return rows.with_columns(pl.min_horizontal("__timer", "__ttl").fill_null(NEVER_US).alias(EXPIRES))

    # --- by the author's function -------------------------------------------------------------------------------------

    def _by_author(self, rows: pl.DataFrame, said: Migration) -> pl.DataFrame:
        function = said.function
        assert function is not None
        named = rows.rename({column.name: column.shown for column in self._old.columns})
        name = getattr(function, "__qualname__", "the function")
        try:
            result = function(named)
            if isinstance(result, pl.LazyFrame):
                result = result.collect()
        except Exception as error:  # the author's function may raise anything
            told = self._failed(f"{name} raised {type(error).__name__}: {_first_line(error)}")
            for note in _own_lines(error, function):
                told.add_note(note)
            raise told from error
        if not isinstance(result, pl.DataFrame):
            raise self._failed(f"{name} gives a {type(result).__name__}, not a Polars DataFrame")
        return self._fitting(result, name)

    def _fitting(self, result: pl.DataFrame, name: str) -> pl.DataFrame:
        """What the author's function gave, in the columns of the new version. Raises where it is something else."""
        labels = {column.shown: column for column in self._new.columns}
        if self._new.expires and EXPIRES not in result.columns and not self._old.expires:
            result = result.with_columns(pl.lit(NEVER_US, pl.Int64).alias(EXPIRES))
        wanted = {label: column.dtype for label, column in labels.items()}
        wanted |= {EXPIRES: pl.Int64()} if self._new.expires else {}
        missing = [label for label in wanted if label not in result.columns]
        extra = [label for label in result.columns if label not in wanted and label != EXPIRES]
        if missing or extra:
            told = [f"no column {label!r}{_or_so(label, extra)}" for label in missing]
            told += [f"a column {label!r}, which the state has not" for label in extra if not missing]
            raise self._failed(f"{name} gives {', '.join(told)}", f"it has to give {', '.join(wanted)}")
        made = []
        for label, dtype in wanted.items():
            values = result[label]
            if values.dtype != dtype:
                if not is_wider(dtype, values.dtype):
                    raise self._failed(
                        f"{name} gives {label!r} as {type_text(values.dtype)}, it has to be {type_text(dtype)}",
                        f'end it with .cast: pl.col("{label}").cast(pl.{dtype.base_type().__name__})',
                    )
                values = values.cast(dtype)
            column = labels.get(label)
            if (label == EXPIRES or (column is not None and column.role == "own" and label in _NEVER_NULL)) and (
                values.null_count()
            ):
                raise self._failed(f"{name} gives rows without {label!r}")
            made.append(values.alias(EXPIRES if column is None else column.name))
        found = pl.DataFrame(made)
        key = [column.name for column in self._new.key]
        if key and (repeated := found.select(key).is_duplicated()).any():
            rows = found.select(key).filter(repeated).unique(maintain_order=True).head(_ROWS_SHOWN).rows()
            raise self._failed(
                f"{name} gives several rows for one key: {', '.join(map(str, rows))}",
                f"the key is {', '.join(key)}: put the rows of one key together",
            )
        return found


_NEVER_NULL = ("__rows", "__pane", "__time", "__id", "__number", "__first", "__last", "__rank", "__seen", "__times")
"""Columns of the operators' own that have a value in every row."""


def _belonging(image: TableImage, table: TableVerdict, leader: TableImage, definition: Definition) -> TableImage:
    """The rows of a table that belong to rows of its step's own table, which the author's function gave anew.

    Timers by the clock are in those rows too. Members of a set stay with the groups that are still there.
    """
    assert table.old is not None
    assert table.new is not None
    if table.part == "processing":
        timer = "__processing_timer"
        timed = leader.rows.filter(pl.col(timer).is_not_null()).select(*leader.key, timer)
        timed = timed.with_columns(pl.col(timer).alias(EXPIRES))
        scalars = _described(image, table.new)
        return replace(image, name=table.table, key=leader.key, rows=timed, scalars=scalars)
    if {column.name: column.dtype for column in table.old.key} != {
        column.name: column.dtype for column in table.new.key
    }:
        empty = pl.Schema({**table.new.schema, **({EXPIRES: pl.Int64()} if table.new.expires else {})}).to_frame()
        key = tuple(column.name for column in table.new.key)
        return replace(image, name=table.table, key=key, rows=empty, scalars=_described(image, table.new))
    moved = _Table(table, definition).moved(image)
    alive = moved.rows.join(leader.rows.select(leader.key), on=list(leader.key), how="semi", nulls_equal=True)
    return replace(moved, rows=alive)


def _described(image: TableImage, layout: StateLayout) -> dict[str, Any]:
    return {**image.scalars, LAYOUT: layout.as_json()}


def _shifted(times: pl.Expr, by_us: int) -> pl.Expr:
    return pl.when(times >= NEVER_US).then(times).otherwise(times + by_us)


def _nothing(column: StateColumn, height: int) -> pl.Series:
    """What a column holds before any row."""
    if column.empty == "list":
        return pl.Series(column.name, [[]] * height, dtype=column.dtype)
    if column.empty == "zero":
        return pl.repeat(0, height, dtype=pl.Int64(), eager=True).cast(column.dtype).alias(column.name)
    return pl.Series(column.name, [None], dtype=column.dtype).new_from_index(0, height)


def _or_so(label: str, extra: list[str]) -> str:
    return did_you_mean(label, extra).replace("Did you mean", "but").removesuffix("?")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _own_lines(error: BaseException, function: Any) -> list[str]:
    """The lines of the author's file that led to an error."""
    code = getattr(function, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    return [f"at {frame.filename}:{frame.lineno}: {frame.line}" for frame in own]


def renamed_plan(plan: EpochPlan, renames: Mapping[str, str]) -> EpochPlan:
    """A plan under the names that the steps have now. `renames`: old name -> new name; those that do not apply are
    passed over.
    """
    names = _applying(renames, plan.ranges)
    ranges = {names.get(step, step): entry for step, entry in plan.ranges.items()}
    redrive = [{**one, "step": renames.get(str(one["step"]), one["step"])} for one in plan.redrive]
    return replace(plan, ranges=ranges, redrive=redrive)


def renamed_facts(facts: Mapping[str, Any], renames: Mapping[str, str]) -> dict[str, Any]:
    """Facts by read step, such as `EpochRecord.watermarks_us`, under the names that the steps have now."""
    names = _applying(renames, facts)
    return {names.get(step, step): value for step, value in facts.items()}


def _applying(renames: Mapping[str, str], there: Mapping[str, Any]) -> dict[str, str]:
    return {old: new for old, new in renames.items() if old in there and new not in there}
