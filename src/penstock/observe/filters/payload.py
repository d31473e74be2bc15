"""Comparisons of a place in the JSON of `attrs`: by the type of the value that is there, of a list by any element."""

from __future__ import annotations

import json

from penstock.observe.filters.columns import text_sql
from penstock.observe.filters.condition import Condition, Parameter, all_of, negated, never_null
from penstock.observe.filters.fields import PayloadPath
from penstock.observe.filters.literals import Source, number_of
from penstock.observe.filters.tree import Comparison, Literal

__all__ = ["found_in_json", "payload_condition", "payload_present"]

_LEAVES = (
    "case json_type(attrs, ?) when 'ARRAY' then json_extract(attrs, ?) else json_array(json_extract(attrs, ?)) end"
)
_TEXT = "json_extract_string(leaf, '$')"
_NUMBER = f"try_cast({_TEXT} as double)"
_IS_NUMBER = "json_type(leaf) in ('BIGINT', 'UBIGINT', 'HUGEINT', 'UHUGEINT', 'DOUBLE')"
_IS_NESTED = "json_type(leaf) in ('OBJECT', 'ARRAY')"
_POSITIVE = {"!=": "=", "!~": "=~"}


def payload_present(path: PayloadPath) -> Condition:
    """Whether there is anything at the place, null too."""
    return Condition("(json_type(attrs, ?) is not null)", (path.pointer,))


def payload_condition(source: Source, path: PayloadPath, comparison: Comparison) -> Condition:
    """The comparison as a condition; false where nothing is there. Raises QueryError for `> NULL_VALUE`.

    Text is compared with the value as text, a number and a boolean only with what reads as one. `!=` and `!~` are true
    where something is there and no element is equal.
    """
    operator = _POSITIVE.get(comparison.operator, comparison.operator)
    if comparison.literal.is_null:
        any_leaf = _any_null(source, path, operator, comparison.literal)
    else:
        any_leaf = _any_leaf(path, _leaf_test(operator, comparison.literal))
    if operator == comparison.operator:
        return any_leaf
    return all_of((payload_present(path), negated(any_leaf)))


def found_in_json(json_sql: str, value: str) -> tuple[str, str]:
    """An expression that finds text in the text of JSON, keys too, and what is bound to its `?`.

    What is looked for is escaped as JSON escapes it, so that quotes and line ends are found.
    """
    return f"contains(lower({json_sql}), lower(?))", json.dumps(value, ensure_ascii=False)[1:-1]


def _any_leaf(path: PayloadPath, test: Condition) -> Condition:
    """Whether the test is true of the value, or of an element of it where it is a list.

    An element that is null, and a value that is not there, is a null of SQL to the test.
    """
    sql = f"len(list_filter(cast({_LEAVES} as json[]), lambda leaf: {test.sql})) > 0"
    return never_null(sql, path.pointer, path.pointer, path.pointer, *test.parameters)


def _any_null(source: Source, path: PayloadPath, operator: str, literal: Literal) -> Condition:
    if operator != "=":
        raise source.fault(literal, f"NULL_VALUE is not compared by {operator!r}", "use = or !=")
    return all_of((payload_present(path), _any_leaf(path, Condition("leaf is null"))))


def _leaf_test(operator: str, literal: Literal) -> Condition:
    """A condition over one value `leaf`; null where that is."""
    if operator == "=~":
        return Condition(f"(json_type(leaf) = 'VARCHAR' and {text_sql(operator, _TEXT)})", (literal.text,))
    tests = [f"(json_type(leaf) = 'VARCHAR' and {text_sql(operator, _TEXT)})"]
    parameters: list[Parameter] = [literal.text]
    number = number_of(literal.text)
    if number is not None:
        tests.append(f"({_IS_NUMBER} and {_NUMBER} {'=' if operator == ':' else operator} ?)")
        parameters.append(float(number))
    if operator in ("=", ":") and literal.text.lower() in ("true", "false"):
        tests.append(f"(json_type(leaf) = 'BOOLEAN' and {_TEXT} = ?)")
        parameters.append(literal.text.lower())
    if operator == ":":
        found, value = found_in_json("cast(leaf as varchar)", literal.text)
        tests.append(f"({_IS_NESTED} and {found})")
        parameters.append(value)
    return Condition(f"({' or '.join(tests)})", tuple(parameters))
