"""Comparisons of a column that has a type of its own."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.observe.entries import ColumnType
from penstock.observe.filters.condition import Condition, Parameter, never_null
from penstock.observe.filters.fields import Column
from penstock.observe.filters.literals import Source
from penstock.observe.filters.tree import Comparison

__all__ = ["column_condition", "text_sql"]

_TEXT: Mapping[str, str] = {
    ":": "contains(lower({0}), lower(?))",
    "=~": "regexp_matches({0}, ?)",
    "!~": "not regexp_matches({0}, ?)",
    **{operator: f"lower({{0}}) {operator} lower(?)" for operator in ("=", "!=", "<", "<=", ">", ">=")},
}


def text_sql(operator: str, value: str) -> str:
    """The comparison of the text `value`, an expression of SQL, with a `?`; regardless of case but for patterns."""
    return _TEXT[operator].format(value)


def column_condition(source: Source, column: Column, comparison: Comparison) -> Condition:
    """The comparison as a condition. Raises QueryError for a value or an operator that does not fit the column."""
    operator, literal = comparison.operator, comparison.literal
    if literal.is_null:
        hint = "to find where it is missing: NOT field:*"
        raise source.fault(literal, "NULL_VALUE is a value of JSON, and this is a column", hint)
    if column.type is ColumnType.TEXT:
        return never_null(text_sql(operator, column.sql), literal.text)
    if operator in ("=~", "!~") or (operator == ":" and column.type is ColumnType.TIME):
        raise source.fault(
            comparison.name,
            f"{operator!r} compares text, and this field holds a {column.type}",
            "use = != < <= > >=, or field:* for presence",
        )
    operator = "=" if operator == ":" else operator
    parameter: Parameter
    if column.type is ColumnType.TIME:
        parameter = source.time(literal)
    elif column.type is ColumnType.SEVERITY:
        parameter = source.severity(literal)
    else:
        parameter = source.number(literal)
    # Bare comparisons, not `coalesce`: only they let DuckDB skip the parts of a file that lie outside.
    present = f"{column.sql} is not null and " if column.type is ColumnType.COUNT else ""
    return Condition(f"({present}{column.sql} {operator} ?)", (parameter,))
