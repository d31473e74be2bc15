"""Types of columns as JSON values and back; and which type holds every value of another."""

from __future__ import annotations

from typing import Any

import polars as pl

__all__ = ["is_wider", "type_from_json", "type_json"]

_UNITS = ("ms", "us", "ns")
_SIGNED: dict[pl.DataType, int] = {pl.Int8(): 8, pl.Int16(): 16, pl.Int32(): 32, pl.Int64(): 64, pl.Int128(): 128}
_UNSIGNED: dict[pl.DataType, int] = {pl.UInt8(): 8, pl.UInt16(): 16, pl.UInt32(): 32, pl.UInt64(): 64}


def type_json(dtype: pl.DataType) -> Any:
    """A type as a text, or as a mapping of its kind to what it is made of."""
    if isinstance(dtype, pl.Datetime):
        return {"Datetime": [dtype.time_unit, dtype.time_zone]}
    if isinstance(dtype, pl.Duration):
        return {"Duration": dtype.time_unit}
    if isinstance(dtype, pl.Decimal):
        return {"Decimal": [dtype.precision, dtype.scale]}
    if isinstance(dtype, pl.Enum):
        return {"Enum": dtype.categories.to_list()}
    if isinstance(dtype, pl.Array):
        return {"Array": [type_json(_instance(dtype.inner)), dtype.size]}
    if isinstance(dtype, pl.List):
        return {"List": type_json(_instance(dtype.inner))}
    if isinstance(dtype, pl.Struct):
        return {"Struct": {field.name: type_json(_instance(field.dtype)) for field in dtype.fields}}
    return dtype.base_type().__name__


def type_from_json(value: Any) -> pl.DataType:
    """The type of `type_json`."""
    if isinstance(value, str):
        found: pl.DataType = getattr(pl, value)()
        return found
    ((kind, made_of),) = value.items()
    if kind == "Datetime":
        return pl.Datetime(made_of[0], made_of[1])
    if kind == "Duration":
        return pl.Duration(made_of)
    if kind == "Decimal":
        return pl.Decimal(made_of[0], made_of[1])
    if kind == "Enum":
        return pl.Enum(made_of)
    if kind == "Array":
        return pl.Array(type_from_json(made_of[0]), made_of[1])
    if kind == "List":
        return pl.List(type_from_json(made_of))
    assert kind == "Struct", kind
    return pl.Struct({name: type_from_json(inner) for name, inner in made_of.items()})


def is_wider(new: pl.DataType, old: pl.DataType) -> bool:
    """Whether `new` holds the values of `old` without loss, as far as types tell.

    Two cases depend on the values and have to be looked at one by one: whole numbers of 64 bits as Float64 (exact to
    2^53), and times in a finer unit or made of dates (in a shorter range).
    """
    if new == old:
        return False
    if isinstance(old, pl.Null):
        return True
    if old in _SIGNED or old in _UNSIGNED or isinstance(old, pl.Float32):
        return _wider_number(new, old)
    if isinstance(new, pl.Datetime):
        if isinstance(old, pl.Date):
            return new.time_zone is None
        return isinstance(old, pl.Datetime) and old.time_zone == new.time_zone and _finer(new.time_unit, old.time_unit)
    if isinstance(new, pl.Duration) and isinstance(old, pl.Duration):
        return _finer(new.time_unit, old.time_unit)
    if isinstance(new, pl.String):
        return isinstance(old, (pl.Categorical, pl.Enum))
    if isinstance(new, pl.Enum) and isinstance(old, pl.Enum):
        return set(old.categories) <= set(new.categories)
    if isinstance(new, pl.Decimal) and isinstance(old, pl.Decimal):
        return _wider_decimal(new, old)
    if isinstance(new, pl.List) and isinstance(old, pl.List):
        return is_wider(_instance(new.inner), _instance(old.inner))
    if isinstance(new, pl.Struct) and isinstance(old, pl.Struct):
        return _wider_struct(new, old)
    return False


def _wider_number(new: pl.DataType, old: pl.DataType) -> bool:
    bits = _SIGNED.get(old) or _UNSIGNED.get(old) or 0
    if isinstance(new, pl.Float64):
        return True
    if isinstance(new, pl.Float32):
        return 0 < bits <= 16  # noqa: PLR2004 - 24 bits of mantissa
    if new in _SIGNED and bits:
        return _SIGNED[new] > bits
    return new in _UNSIGNED and old in _UNSIGNED and _UNSIGNED[new] > bits


def _wider_decimal(new: pl.Decimal, old: pl.Decimal) -> bool:
    """At least as many digits on both sides of the point."""
    whole = [(one.precision or 38) - one.scale for one in (new, old)]
    return new.scale >= old.scale and whole[0] >= whole[1]


def _wider_struct(new: pl.Struct, old: pl.Struct) -> bool:
    """The same fields, each the same or wider."""
    fields = [[(field.name, _instance(field.dtype)) for field in one.fields] for one in (new, old)]
    if [name for name, _ in fields[0]] != [name for name, _ in fields[1]]:
        return False
    return all(a == b or is_wider(a, b) for (_, a), (_, b) in zip(fields[0], fields[1], strict=True))


def _finer(new: str, old: str) -> bool:
    return _UNITS.index(new) > _UNITS.index(old)


def _instance(dtype: Any) -> pl.DataType:
    found: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return found
