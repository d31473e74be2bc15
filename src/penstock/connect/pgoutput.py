"""What PostgreSQL's logical decoding plugin `pgoutput` says (protocol version 1), as changes of rows.

The format is that of the chapter "Logical Replication Message Formats" of PostgreSQL's manual: integers are big-endian,
strings end with a zero byte, times count microseconds from 2000-01-01, values are text. Nothing here does I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from penstock.errors import ConnectorError

__all__ = ["UNCHANGED", "RowChange", "Transaction", "lsn_number", "lsn_text", "transactions"]

UNCHANGED = "\0unchanged"
"""Stands for a large value that an update left alone and the server did not send. No text in PostgreSQL has a NUL."""

_EPOCH_2000_US = 946_684_800_000_000
_OPS = {"I": "insert", "U": "update", "D": "delete"}


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row: `insert`, `update` (the new row), `delete` (its key, or all of it by replica identity), `truncate`."""

    op: str
    table: tuple[str, str]
    values: dict[str, str | None]


@dataclass(slots=True)
class Transaction:
    """A committed transaction: where its commit ends in the log, when it was (microseconds since 1970), what it did."""

    end: int
    committed_us: int
    changes: list[RowChange] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Relation:
    table: tuple[str, str]
    columns: tuple[str, ...]


def lsn_number(text: str) -> int:
    """`16/B374D848` as a number. Raises ValueError for anything else."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is no position in the log")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(number: int) -> str:
    """A position in the log as PostgreSQL writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


class _Reader:
    """A message, read from front to back. Raises ConnectorError where it ends too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, spelled: str) -> int:
        try:
            (value,) = struct.unpack_from(f">{spelled}", self._data, self._at)
        except struct.error as error:
            raise ConnectorError(f"a message of pgoutput is cut short: {self._data[:40]!r}") from error
        self._at += struct.calcsize(f">{spelled}")
        return int(value)

    def letter(self) -> str:
        return chr(self.number("B"))

    def string(self) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise ConnectorError(f"a message of pgoutput is cut short: {self._data[:40]!r}")
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text

    def text(self, size: int) -> str:
        if size < 0 or self._at + size > len(self._data):
            raise ConnectorError(f"a message of pgoutput is cut short: {self._data[:40]!r}")
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def row(self) -> list[str | None]:
        return [self._value() for _ in range(self.number("H"))]

    def _value(self) -> str | None:
        kind = self.letter()
        if kind == "n":
            return None
        if kind == "u":
            return UNCHANGED
        if kind == "t":
            return self.text(self.number("i"))
        raise ConnectorError(f"pgoutput sends a value of kind {kind!r}, which protocol version 1 does not have")


def transactions(messages: Iterable[bytes]) -> Iterator[Transaction]:
    """The committed transactions in a stream of messages, in the order of their commits.

    Raises ConnectorError for a message that does not follow the protocol.
    """
    relations: dict[int, _Relation] = {}
    changes: list[RowChange] = []
    for message in messages:
        reader = _Reader(message)
        kind = reader.letter()
        if kind == "B":
            changes = []
        elif kind == "R":
            _read_relation(reader, relations)
        elif kind in _OPS:
            changes.append(_read_change(kind, reader, relations))
        elif kind == "T":
            count, _ = reader.number("i"), reader.number("B")
            changes += [RowChange("truncate", _known(relations, reader.number("I")).table, {}) for _ in range(count)]
        elif kind == "C":
            reader.number("B")
            reader.number("Q")
            yield Transaction(reader.number("Q"), reader.number("q") + _EPOCH_2000_US, changes)
            changes = []
        elif kind not in {"O", "Y", "M"}:
            raise ConnectorError(f"pgoutput sends a message {kind!r}, which protocol version 1 does not have")


def _read_relation(reader: _Reader, relations: dict[int, _Relation]) -> None:
    number = reader.number("I")
    table = (reader.string(), reader.string())
    reader.number("B")  # replica identity
    columns = []
    for _ in range(reader.number("H")):
        reader.number("B")  # whether part of the key
        columns.append(reader.string())
        reader.number("I")  # type
        reader.number("i")  # its modifier
    relations[number] = _Relation(table, tuple(columns))


def _read_change(kind: str, reader: _Reader, relations: dict[int, _Relation]) -> RowChange:
    relation = _known(relations, reader.number("I"))
    old: list[str | None] = []
    part = reader.letter()
    if part == "K":
        values = reader.row()
        part = reader.letter() if kind == "U" else part
    elif part == "O":
        values = old = reader.row()
        part = reader.letter() if kind == "U" else part
    if part == "N":
        values = reader.row()
        if old:  # with replica identity full the old row has what the new one leaves out
            values = [before if now == UNCHANGED else now for now, before in zip(values, old, strict=True)]
    elif kind != "D":
        raise ConnectorError(f"pgoutput sends an {_OPS[kind]} without a new row")
    return RowChange(_OPS[kind], relation.table, dict(zip(relation.columns, values, strict=True)))


def _known(relations: dict[int, _Relation], number: int) -> _Relation:
    if number not in relations:
        raise ConnectorError(f"pgoutput sends a change of table {number} before it describes the table")
    return relations[number]
