"""Declarations of columns: what authors may write, and what they are told when it means nothing."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NotRequired, Optional, TypedDict

import polars as pl
import pydantic
import pytest

from penstock.analysis import to_schema
from penstock.errors import SchemaError


class Tier(enum.Enum):
    """An enum of one type."""

    LOW = "low"
    HIGH = "high"


class Mixed(enum.Enum):
    """An enum of two types."""

    ONE = 1
    TWO = "two"


class Place(TypedDict):
    """A part of a row."""

    lat: float


@dataclass
class Order:
    """A row of all the types that have a Python name."""

    known: ClassVar[int] = 0
    a: int
    b: float
    c: str
    d: bool
    e: bytes
    f: datetime
    g: date
    h: time
    i: timedelta
    j: Decimal
    k: list[int]
    l: int | None  # noqa: E741
    m: Optional[str]  # noqa: UP045 - authors write it
    n: Tier
    o: Place
    p: Annotated[int, pl.Int8()]
    q: Annotated[int, "no type"]
    r: Literal["x", "y"]
    s: Sequence[date]
    t: pl.UInt8


ORDER = {
    "a": pl.Int64,
    "b": pl.Float64,
    "c": pl.String,
    "d": pl.Boolean,
    "e": pl.Binary,
    "f": pl.Datetime("us"),
    "g": pl.Date,
    "h": pl.Time,
    "i": pl.Duration("us"),
    "j": pl.Decimal(38, 9),
    "k": pl.List(pl.Int64),
    "l": pl.Int64,
    "m": pl.String,
    "n": pl.String,
    "o": pl.Struct({"lat": pl.Float64}),
    "p": pl.Int8,
    "q": pl.Int64,
    "r": pl.String,
    "s": pl.List(pl.Date),
    "t": pl.UInt8,
}


class Small(TypedDict):
    """A row as a TypedDict."""

    id: int
    note: NotRequired[str]


class Pair(NamedTuple):
    """A row as a NamedTuple."""

    id: int
    note: str


class Plain:
    """A row as a plain class, with a method and a constant that are no columns."""

    limit: ClassVar = 3
    id: int
    note: str

    def shout(self) -> str:
        """No column."""
        return self.note.upper()


class Model(pydantic.BaseModel):
    """A row as a pydantic model."""

    model_config = pydantic.ConfigDict(frozen=True)
    id: int
    note: str


class Hidden:
    """A row whose type nobody imported."""

    id: Nowhere  # type: ignore[name-defined]  # noqa: F821


def test_python_types_are_columns() -> None:
    """Each Python type has one Polars type."""
    assert to_schema(Order) == ORDER


@pytest.mark.parametrize(
    "declared", [Small, Pair, Plain, Model, {"id": int, "note": str}, {"id": "int", "note": "String"}]
)
def test_every_kind_of_class_is_a_schema(declared: Any) -> None:
    """TypedDict, NamedTuple, plain class, pydantic and mappings say the same."""
    assert to_schema(declared) == {"id": pl.Int64, "note": pl.String}


def test_polars_says_it_itself() -> None:
    """Schemas, frames, types, type classes and their names."""
    schema = pl.Schema({"a": pl.Int8()})

    assert to_schema(schema) == schema
    assert to_schema(pl.DataFrame(schema=schema)) == schema
    assert to_schema(pl.LazyFrame(schema=schema)) == schema
    assert to_schema({"a": pl.Datetime, "b": pl.Duration, "c": pl.Decimal, "d": "Datetime", "e": "datetime"}) == {
        "a": pl.Datetime("us"),
        "b": pl.Duration("us"),
        "c": pl.Decimal(38, 9),
        "d": pl.Datetime("us"),
        "e": pl.Datetime("us"),
    }


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (7, "a schema is a mapping, a pl.Schema or a class with annotated fields, not 7"),
        ({}, "the schema {} has no columns"),
        ({"": int}, "a column's name is a string that is not empty, not ''"),
        ({"a": "Int65"}, "column 'a': there is no type 'Int65'. Did you mean 'Int64'?"),
        ({"a": pl.List}, "column 'a': List needs to say of what"),
        ({"a": int | str}, "column 'a': a column has one type, not int | str"),
        ({"a": Mixed}, "column 'a': Mixed is no type that a column can have"),
        ({"a": Literal[1, "x"]}, "column 'a': typing.Literal[1, 'x'] is no type that a column can have"),
        ({"a": object}, "column 'a': object is no type that a column can have"),
        ({"a": dict[str, int]}, "column 'a': dict[str, int] is no type that a column can have"),
        ({"a": 5}, "column 'a': 5 is no type that a column can have"),
        ({"a": "x" * 200}, f"column 'a': there is no type {'x' * 200!r}."),
        (Hidden, "class Hidden has an annotation that can't be resolved: name 'Nowhere' is not defined"),
    ],
)
def test_what_means_nothing_is_told(declared: Any, expected: str) -> None:
    """The column and what was written for it."""
    with pytest.raises(SchemaError) as caught:
        to_schema(declared)

    assert str(caught.value).splitlines()[0] == expected


def test_a_long_declaration_is_cut() -> None:
    """An error stays on one line."""
    with pytest.raises(SchemaError) as caught:
        to_schema(["x"] * 100)

    assert str(caught.value).splitlines()[0].endswith("...")


def test_a_class_without_a_module_may_name_polars_types() -> None:
    """Annotations that are text are understood without the imports of a module."""
    made = type("Made", (), {"__module__": "nowhere", "__annotations__": {"id": "Int8", "at": "pl.Date"}})

    assert to_schema(made) == {"id": pl.Int8, "at": pl.Date}
