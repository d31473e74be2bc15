"""How faults are found and told: one clear sentence, the columns there are, the place, and the library's own words."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

import duckdb
import polars as pl

from penstock.analysis.facts import StepFacts
from penstock.errors import SchemaError, did_you_mean
from penstock.flow import Definition, Step, ops

__all__ = ["POLARS_ERRORS", "Fault", "Here", "StepFaulty", "columns_text", "report", "shortened", "type_text"]

Op_co = TypeVar("Op_co", bound=ops.Operation, covariant=True)

POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError, OverflowError)
"""What building or running a Polars expression on an empty frame may raise."""

_COLUMNS_SHOWN = 40
_MISSING_POLARS = re.compile(r'unable to find column "(?P<name>.*?)"; valid columns', re.DOTALL)
_MISSING_DUCKDB = (
    re.compile(r'Referenced column "(?P<name>.+?)" not found'),
    re.compile(r'does not have a column named "(?P<name>.+?)"'),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a step. `original`: what Polars, DuckDB or the author's function said."""

    message: str
    hint: str | None = None
    schema: pl.Schema | None = None
    original: str = ""


class StepFaulty(Exception):
    """Stops the rule of a step whose faults make it pointless to go on."""


@dataclass(slots=True)
class Here(Generic[Op_co]):
    """The step under analysis: its inputs' facts, and the faults found so far.

    `whereabouts` tells of a column that is not there which step before let it go (a clause, or an empty string).
    """

    step: Step
    operation: Op_co
    inputs: tuple[StepFacts, ...]
    whereabouts: Callable[[str], str]
    faults: list[Fault] = field(default_factory=list)

    @property
    def first(self) -> StepFacts:
        """The facts of the first (left, or only) input."""
        return self.inputs[0]

    def fault(
        self, message: str, *, hint: str | None = None, schema: pl.Schema | None = None, original: str = ""
    ) -> None:
        """Note a fault and go on."""
        self.faults.append(Fault(message, hint, schema, original))

    def fail(
        self, message: str, *, hint: str | None = None, schema: pl.Schema | None = None, original: str = ""
    ) -> NoReturn:
        """Note a fault and leave the step."""
        self.fault(message, hint=hint, schema=schema, original=original)
        raise StepFaulty

    def stop_if_faulty(self) -> None:
        """Leave the step where something is wrong already."""
        if self.faults:
            raise StepFaulty

    def missing(self, column: str, schema: pl.Schema, *, of: str = "", original: str = "") -> None:
        """Note that `column` is not in `schema`; `of` says whose columns these are where a step has two inputs."""
        close = did_you_mean(column, schema.names())
        message = f"there is no column {column!r}{of}.{close}"
        gone = self.whereabouts(column)
        self.fault(f"{message} {gone}" if gone else message, schema=schema, original=original)

    def need(self, columns: Sequence[Any], schema: pl.Schema, *, of: str = "") -> None:
        """Note every one of `columns` that is not in `schema`; leave the step where one is no name at all."""
        for column in columns:
            if not isinstance(column, str):
                self.fail(
                    f"{_short(column)} is no name of a column",
                    hint='give names here, e.g. "country"; make a new column with .with_columns(...) first',
                )
            if column not in schema:
                self.missing(column, schema, of=of)

    def polars(self, error: BaseException, schema: pl.Schema, *, expression: str = "") -> None:
        """Note what Polars had against an expression, in words of ours."""
        text = str(error)
        original = shortened(text)
        first, _, rest = original.partition("\n")
        found = _MISSING_POLARS.search(text)
        if isinstance(error, pl.exceptions.ColumnNotFoundError):
            name = found["name"] if found else text.splitlines()[0].strip()
            self.missing(name, schema, of=f" for {expression}" if expression else "", original=original)
            return
        subject = expression or "the condition"
        sentence = _sentence(error, first)
        cause = rest.strip() if first.startswith(sentence) else original
        self.fault(f"{subject} does not fit: {sentence}", schema=schema, original=cause)

    def duckdb(self, error: duckdb.Error, schema: pl.Schema, query: str) -> None:
        """Note what DuckDB had against a query, in words of ours."""
        text = str(error)
        for pattern in _MISSING_DUCKDB:
            if found := pattern.search(text):
                self.missing(found["name"], schema, of=" in the SQL", original=text)
                return
        first = text.splitlines()[0].split(": ", 1)[-1]
        suggested = re.search(r'Did you mean "(.+?)"', text)
        close = f" Did you mean {suggested[1]!r}?" if suggested else ""
        message, hint = f"the SQL is not right: {first.rstrip('.')}.{close}", None
        if isinstance(error, duckdb.PermissionException):
            message = "the SQL reaches outside of its batch, to a file or the network"
            hint = "the only table is `self`; read other data with flow.table(...) and .join(...)"
        elif "Table with name" in first:
            message = f"the SQL names a table that is not there: {first.split('name ', 1)[-1].removesuffix('!')}"
            hint = f"the rows of the batch are the table `self`: {_short(query.strip())}"
        self.fault(message, hint=hint, schema=schema, original=text)


def _sentence(error: BaseException, first: str) -> str:
    if isinstance(error, pl.exceptions.StructFieldNotFoundError):
        return f"the struct has no field {first!r}"
    if isinstance(error, pl.exceptions.DuplicateError):
        return "two of its columns have the same name"
    return first.rstrip(".") or type(error).__name__


def shortened(text: str) -> str:
    """Polars' message without its query plan, which says nothing of an empty frame."""
    return text.split("\n\nResolved plan until failure", 1)[0].split("; valid columns:", 1)[0].strip()


def _short(value: object, length: int = 80) -> str:
    text = value if isinstance(value, str) else repr(value) if not isinstance(value, pl.Expr) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."


def type_text(dtype: pl.DataType) -> str:
    """A type as short as it can be said: `Int64`, `Datetime[us, UTC]`, `List[String]`."""
    if isinstance(dtype, pl.Datetime):
        return f"Datetime[{dtype.time_unit}{f', {dtype.time_zone}' if dtype.time_zone else ''}]"
    if isinstance(dtype, pl.Duration):
        return f"Duration[{dtype.time_unit}]"
    if isinstance(dtype, pl.List):
        return f"List[{_inner(dtype.inner)}]"
    if isinstance(dtype, pl.Struct):
        return f"Struct[{', '.join(f'{inner.name} {_inner(inner.dtype)}' for inner in dtype.fields)}]"
    return str(dtype)


def _inner(dtype: object) -> str:
    return type_text(dtype) if isinstance(dtype, pl.DataType) else str(dtype)


def columns_text(schema: Mapping[str, pl.DataType]) -> str:
    """The columns of a schema with their types, in one line."""
    shown = [f"{name} {type_text(dtype)}" for name, dtype in list(schema.items())[:_COLUMNS_SHOWN]]
    rest = len(schema) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def report(definition: Definition, faults: Sequence[tuple[Step, Fault]]) -> SchemaError:
    """One error for all faults of a flow."""
    if len(faults) == 1:
        step, fault = faults[0]
        details = _details(step, fault, "  ")
        return SchemaError("\n".join((fault.message, *details)), flow=definition.name, step=step.name, hint=fault.hint)
    lines = [f"{len(faults)} faults"]
    for step, fault in faults:
        lines.append(f"  step {step.name}: {fault.message}")
        lines += _details(step, fault, "    ")
        if fault.hint:
            lines.append(f"    next:    {fault.hint}")
    return SchemaError("\n".join(lines), flow=definition.name)


def _written(step: Step) -> str:
    """Where the author wrote a step, and the line itself where its file is there."""
    file, _, line = step.location.rpartition(":")
    text = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
    return f"{step.location}: {text}" if text else step.location


def _details(step: Step, fault: Fault, indent: str) -> list[str]:
    lines = [f"{indent}at:      {_written(step)}"] if step.location else []
    if fault.schema is not None:
        lines.append(f"{indent}columns: {columns_text(fault.schema) or 'none'}")
    if fault.original:
        original = fault.original.strip().splitlines()
        lines.append(f"{indent}cause:   {original[0]}")
        lines += [f"{indent}         {line}".replace("\t", "    ").rstrip() for line in original[1:] if line.strip()]
    return lines
