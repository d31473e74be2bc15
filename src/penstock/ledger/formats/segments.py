"""The file of a segment: magic, a JSON header that lists the parts, the parts as Arrow IPC files (docs/formats.md).

Every part has a CRC-32 of its own, so that damage is found in a table and not only in a file; the whole file has one
more, which the ledger keeps: it also finds a file that was swapped for another good one.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import polars as pl

from penstock.errors import CorruptState, LedgerError
from penstock.ledger.contract import SegmentRef
from penstock.ledger.failures import permanent
from penstock.ledger.formats.records import dump_json
from penstock.ledger.tablestate import Segment, TableChange

__all__ = ["VERSION", "encode_segment", "read_segment"]

MAGIC = b"\x89PSTATE\n"
PREAMBLE = struct.Struct("<8sII")
"""Magic, length of the header in bytes, CRC-32 of the header."""
ALIGN = 64
VERSION = 1
ZEROS = bytes(ALIGN)


def _padding(length: int) -> int:
    return -length % ALIGN


def encode_segment(segment: Segment) -> tuple[list[bytes | memoryview], int, int]:
    """The pieces of the file one after the other, its size in bytes and its CRC-32.

    Raises LedgerError for a column that Arrow has no type for (Python objects), or a scalar that is not JSON.
    """
    tables = []
    body: list[bytes | memoryview] = []
    offset = 0
    for change in segment.tables:
        parts = []
        for role, frame in change.parts.items():
            data = _encode_frame(change.name, frame)
            parts.append(
                {
                    "role": role,
                    "offset": offset,
                    "length": len(data),
                    "crc32": zlib.crc32(data),
                    "rows": frame.height,
                }
            )
            body += [data, ZEROS[: _padding(len(data))]]
            offset += len(data) + _padding(len(data))
        tables.append(
            {
                "name": change.name,
                "kind": change.kind,
                "key": change.key,
                "expiry": change.expiry,
                "horizon": change.horizon,
                "scalars": change.scalars,
                "parts": parts,
            }
        )
    content = {
        "version": VERSION,
        "first": segment.first,
        "last": segment.last,
        "whole": segment.whole,
        "tables": tables,
    }
    header = dump_json(content, what=f"the state of epoch {segment.last}").encode()
    header += b" " * _padding(PREAMBLE.size + len(header))
    pieces = [PREAMBLE.pack(MAGIC, len(header), zlib.crc32(header)), header, *body]
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return pieces, sum(len(piece) for piece in pieces), crc


def _encode_frame(table: str, frame: pl.DataFrame) -> memoryview:
    buffer = io.BytesIO()
    try:
        frame.write_ipc(buffer, compression="uncompressed")  # LZ4 costs four times as much as it saves in fsync
    except pl.exceptions.PolarsError as problem:
        raise permanent(
            LedgerError(
                f"state table {table!r} can't be stored: {problem}",
                state_left="nothing was written",
                hint="give every column a Polars type (pl.String, pl.Struct, pl.Binary, ...), not Python objects",
            )
        ) from problem
    return buffer.getbuffer()


class _Damage:
    """Builds the errors of one file, so that each says what the ledger expects and what to do."""

    def __init__(self, ref: SegmentRef, where: str) -> None:
        self.ref = ref
        self.where = where

    def error(self, found: str) -> CorruptState:
        return CorruptState(
            f"state file {self.where} (epochs {self.ref.first} to {self.ref.last}): {found}",
            epoch=self.ref.last,
            state_left="the ledger and the other state files were not changed",
            hint=f"restore {self.ref.file} from a copy; without one, start over: penstock run FLOW --reset",
        )


def read_segment(opened: BinaryIO, size_bytes: int, ref: SegmentRef, where: str) -> Segment:
    """Read and check a segment from its first byte on. Raises CorruptState, naming file, part, expected and found."""
    damage = _Damage(ref, where)
    preamble = opened.read(PREAMBLE.size)
    short = f"has {size_bytes} bytes, and the ledger recorded {ref.size_bytes}"
    if len(preamble) < PREAMBLE.size or size_bytes < PREAMBLE.size:
        raise damage.error(f"{short}; the header is cut off")
    magic, header_length, header_crc = PREAMBLE.unpack(preamble)
    if magic != MAGIC:
        raise damage.error(f"does not begin as a state file (found {magic!r})")
    header = opened.read(min(header_length, size_bytes))
    if len(header) < header_length:
        raise damage.error(f"{short}; the header is cut off")
    if zlib.crc32(header) != header_crc:
        raise damage.error(f"the header is damaged: CRC-32 {zlib.crc32(header):08x}, expected {header_crc:08x}")
    content = json.loads(header)
    if content["version"] > VERSION:
        raise permanent(
            LedgerError(
                f"state file {where} has format version {content['version']}, this Penstock knows up to {VERSION}",
                state_left="nothing was changed",
                hint="use the newer Penstock that wrote it",
            )
        )
    body = _Body(opened, zlib.crc32(header, zlib.crc32(preamble)))
    try:
        tables = [_read_table(body, table) for table in content["tables"]]
        body.skip()
    except _DamagedPart as found:
        detail = f"; {short}" if size_bytes != ref.size_bytes else ""
        raise damage.error(f"{found}{detail}") from None
    if size_bytes != ref.size_bytes:
        raise damage.error(short)
    if body.crc != ref.crc32:
        raise damage.error(f"has CRC-32 {body.crc:08x}, and the ledger recorded {ref.crc32:08x}: it is another file")
    return Segment(content["first"], content["last"], content["whole"], tables)


class _DamagedPart(Exception):
    """A part is not what the header says; the text says which, and how."""


class _Body:
    """Reads parts in the order in which they lie, and computes the CRC-32 of everything that passes."""

    def __init__(self, opened: BinaryIO, crc: int) -> None:
        self.opened = opened
        self.crc = crc
        self._owed = 0

    def skip(self) -> None:
        """Pass over the padding behind the last part."""
        self.crc = zlib.crc32(self.opened.read(self._owed), self.crc)
        self._owed = 0

    def take(self, length: int) -> bytes:
        """The next part, fewer bytes where the file ends."""
        self.skip()
        data = self.opened.read(length)
        self.crc = zlib.crc32(data, self.crc)
        self._owed = _padding(length)
        return data


def _read_table(body: _Body, table: Mapping[str, Any]) -> TableChange:
    frames = {part["role"]: _read_part(body, table["name"], part) for part in table["parts"]}
    return TableChange(
        table["name"],
        table["kind"],
        tuple(table["key"]),
        upserts=frames.get("upserts"),
        deletes=frames.get("deletes"),
        appends=frames.get("appends"),
        expiry=table["expiry"],
        horizon=table["horizon"],
        scalars=table["scalars"],
    )


def _read_part(body: _Body, table: str, part: Mapping[str, Any]) -> pl.DataFrame:
    name = f"part {part['role']!r} of table {table!r}"
    data = body.take(part["length"])
    if len(data) != part["length"]:
        raise _DamagedPart(f"{name} is cut off: {len(data)} bytes of {part['length']}")
    found = zlib.crc32(data)
    if found != part["crc32"]:
        raise _DamagedPart(f"{name} is damaged: CRC-32 {found:08x}, expected {part['crc32']:08x}")
    try:
        frame = pl.read_ipc(io.BytesIO(data))
    except (OSError, pl.exceptions.PolarsError) as problem:
        raise _DamagedPart(f"{name} is whole but can't be read by this version of Polars: {problem}") from problem
    if frame.height != part["rows"]:
        raise _DamagedPart(f"{name} has {frame.height} rows, expected {part['rows']}")
    return frame
