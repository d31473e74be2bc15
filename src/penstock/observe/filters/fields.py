"""Which columns the names of a filter mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from penstock.errors import did_you_mean
from penstock.observe.entries import ColumnType
from penstock.observe.filters.faults import fault
from penstock.observe.filters.tree import Name

__all__ = ["FIELDS", "Column", "Field", "PayloadPath", "field_of"]


@dataclass(frozen=True, slots=True)
class Column:
    """A field with a type of its own: an expression of SQL over the columns of an entry."""

    sql: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class PayloadPath:
    """A place in the JSON of `attrs`, as a JSON Pointer (RFC 6901); `$` is the whole. Its type is that of its value."""

    pointer: str


Field: TypeAlias = Column | PayloadPath

_MESSAGE = Column("message", ColumnType.TEXT)
_LABELS = {
    "project": Column("project", ColumnType.TEXT),
    "flow": Column("flow", ColumnType.TEXT),
    "env": Column("env", ColumnType.TEXT),
    "step": Column("step", ColumnType.TEXT),
    "version": Column("version", ColumnType.TEXT),
    "worker": Column("worker", ColumnType.TEXT),
    "generation": Column("generation", ColumnType.COUNT),
    "epoch": Column("epoch", ColumnType.COUNT),
}

FIELDS: Mapping[str, Column] = MappingProxyType(
    {
        "timestamp": Column('"timestamp"', ColumnType.TIME),
        "severity": Column("severity", ColumnType.SEVERITY),
        "message": _MESSAGE,
        "textPayload": _MESSAGE,
        "jsonPayload.message": _MESSAGE,
        "insertId": Column("insert_id", ColumnType.TEXT),
        "trace": Column("trace_id", ColumnType.TEXT),
        "signature": Column("signature", ColumnType.TEXT),
        "logName": Column("('projects/' || project || '/logs/' || flow)", ColumnType.TEXT),
        "resource.type": Column("(case when step is null then 'flow' else 'flow_step' end)", ColumnType.TEXT),
        **_LABELS,
        **{f"resource.labels.{name}": column for name, column in _LABELS.items()},
    }
)
"""The names with a column of their own, as they are shown; letters may be of either case."""

_SHORT = ", ".join(name for name in FIELDS if name not in _LABELS and not name.startswith("resource.labels."))
_HINT = f"fields: {_SHORT}, resource.labels.({' '.join(_LABELS)}), jsonPayload.*, labels.*"
_BY_LOWER = {name.lower(): column for name, column in FIELDS.items()}
_PAYLOADS = ("jsonpayload", "labels")


def field_of(text: str, name: Name) -> Field:
    """What a name means. Raises QueryError for one that is not there, with the closest one."""
    column = _BY_LOWER.get(".".join(name.parts).lower())
    if column is not None:
        return column
    if name.parts[0].lower() in _PAYLOADS:
        rest = name.parts[1:]
        return PayloadPath("".join(f"/{_escaped(part)}" for part in rest) if rest else "$")
    written = ".".join(name.parts)
    raise fault(
        text,
        name.start,
        name.end,
        f"an entry has no field {written}.{did_you_mean(written, tuple(FIELDS))}",
        hint=_HINT,
    )


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
