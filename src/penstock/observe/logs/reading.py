"""Journals as tables: typed rows of `LOG_COLUMNS`, whatever state the file is in.

A process may have been killed while it wrote the last line, and a disk may lose a page: a line that is not whole is
left out, and never an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from penstock.observe.entries import LOG_COLUMNS, SEVERITIES, log_schema
from penstock.observe.logs.journal import FULL, JOURNALS, LIVE

__all__ = [
    "JournalFile",
    "count_severities",
    "empty_rows",
    "journal_files",
    "rows_of_journal",
    "rows_of_lines",
    "signature_expression",
    "to_table",
]

_LINE = pl.Schema(
    {
        "s": pl.Int64,
        "t": pl.Int64,
        "m": pl.String,
        "a": pl.String,
        "g": pl.Int64,
        "e": pl.Int64,
        "p": pl.String,
        "r": pl.String,
        "f": pl.Int64,
    }
)
_NUMBER_WIDTH = 8
_INTEGERS = 1 << 53
_SIGNATURE_FROM = SEVERITIES["WARNING"]
_SIGNATURE_CHARS = 200
_QUOTED = r"""'[^']*'|"[^"]*"|`[^`]*`"""
_UUID = r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"
_HEX = r"\b0x[0-9a-fA-F]+\b|\b[0-9a-fA-F]{12,}\b"
_DIGITS = r"\d+(?:[.,:]\d+)*"


@dataclass(frozen=True, slots=True)
class JournalFile:
    """One journal. `begun_us`: nothing in it is much older."""

    path: Path
    id: str
    live: bool

    @property
    def begun_us(self) -> int:
        """When it was begun, by its name; 0 where that tells nothing."""
        first = self.id.partition("-")[0]
        return int(first) if first.isdigit() else 0


def journal_files(folder: Path) -> list[JournalFile]:
    """The journals of a flow, by the time they were begun. `folder`: the one of the flow's logs."""
    found = {}
    try:
        paths = sorted((folder / JOURNALS).iterdir())
    except OSError:
        return []
    for path in paths:
        if path.suffix in (LIVE, FULL):
            found[path.stem] = JournalFile(path, path.stem, path.suffix == LIVE)
    return [found[name] for name in sorted(found)]


def journal_bytes(path: Path) -> bytes:
    """The whole lines of a journal, those of an unfinished one too. Empty where it is gone."""
    for candidate in (path, path.with_suffix(FULL)):  # it may have been sealed since it was listed
        try:
            data = candidate.read_bytes()
        except OSError:
            continue
        end = data.find(b"\0")
        data = data if end < 0 else data[:end]
        return data[: data.rfind(b"\n") + 1]
    return b""


def count_severities(path: Path) -> dict[int, int]:
    """How many entries of each severity a journal has, without reading them."""
    data = journal_bytes(path)
    counts = {number: data.count(b'\n{"s":%d,' % number) for number in SEVERITIES.values()}
    return {number: count for number, count in counts.items() if count}


def rows_of_journal(path: Path) -> pl.DataFrame:
    """The entries of a journal in the order in which they were logged, as the columns of `LOG_COLUMNS`."""
    data = journal_bytes(path)
    cut = data.find(b"\n") + 1
    return rows_of_lines(_header(data[:cut], path), data[cut:])


def rows_of_lines(header: Mapping[str, Any], lines: bytes, *, first: int = 0) -> pl.DataFrame:
    """Lines of a journal as rows. `first`: how many lines of it came before these, so that each keeps its name."""
    raw = _parsed(lines)
    if raw.is_empty():
        return empty_rows()
    raw = raw.with_row_index("n", offset=first).filter(pl.col("t").is_not_null() & pl.col("m").is_not_null())
    attrs = pl.when(pl.col("f").is_not_null()).then(_following(pl.col("a"))).otherwise(pl.col("a"))
    number = pl.col("n").cast(pl.String).str.zfill(_NUMBER_WIDTH)
    rows = raw.select(
        timestamp=pl.col("t").cast(pl.Datetime("us", "UTC")),
        insert_id=pl.lit(str(header["id"]) + "-") + number,
        severity=pl.col("s").fill_null(0).cast(pl.Int16),
        project=pl.lit(str(header.get("project") or "")),
        flow=pl.lit(str(header.get("flow") or "")),
        env=pl.lit(str(header.get("env") or "")),
        step=pl.col("p"),
        version=pl.lit(header.get("version") or None, dtype=pl.String),
        generation=pl.col("g"),
        epoch=pl.col("e"),
        worker=pl.lit(header.get("worker") or None, dtype=pl.String),
        trace_id=pl.col("r"),
        message=pl.col("m"),
        signature=pl.when(pl.col("s") >= _SIGNATURE_FROM).then(pl.lit("")).otherwise(None),
        attrs=attrs,
    )
    return _signed(rows)


def empty_rows() -> pl.DataFrame:
    """No entries, in all columns."""
    found = pl.from_arrow(log_schema().empty_table())
    assert isinstance(found, pl.DataFrame)
    return found


def to_table(rows: pl.DataFrame) -> pa.Table:
    """Rows with exactly the types of `log_schema`."""
    names = [column.name for column in LOG_COLUMNS]
    return rows.select(names).to_arrow().cast(log_schema())


def signature_expression(message: pl.Expr) -> pl.Expr:
    """What entries of one kind have in common: the telling line, with `#` for numbers, ids and what stands in quotes.

    Of an entry with a traceback the last line tells, `ValueError: ...`, else the first.
    """
    first = message.str.extract(r"^([^\n]*)", 1)
    last = message.str.strip_chars_end().str.extract(r"([^\n]*)$", 1)
    line = pl.when(message.str.contains("Traceback (most recent call last)", literal=True)).then(last).otherwise(first)
    # A long line is cut first: patterns over it cost time, and its beginning says enough.
    line = line.str.slice(0, 4 * _SIGNATURE_CHARS)
    for pattern in (_QUOTED, _UUID, _HEX, _DIGITS):
        line = line.str.replace_all(pattern, "#")
    return line.str.slice(0, _SIGNATURE_CHARS)


def _signed(rows: pl.DataFrame) -> pl.DataFrame:
    """With signatures. Only of the entries that have one: patterns are the most expensive part of reading."""
    if rows["signature"].null_count() == rows.height:
        return rows
    signed = rows.filter(pl.col("signature").is_not_null()).select(
        "insert_id", found=signature_expression(pl.col("message"))
    )
    return (
        rows.join(signed, on="insert_id", how="left", maintain_order="left")
        .with_columns(signature=pl.col("found"))
        .drop("found")
    )


def _following(attrs: pl.Expr) -> pl.Expr:
    """Attributes that say that the process followed: what it logged, the one that led has logged too."""
    inner = attrs.str.slice(1)
    return (
        pl.when(attrs.is_null() | (attrs == "{}"))
        .then(pl.lit('{"role":"following"}'))
        .otherwise(pl.lit('{"role":"following",') + inner)
    )


def _header(line: bytes, path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if isinstance(found, dict) and "id" in found:
        return found
    # Its first page is lost; where it lies says what it is called and whose it is.
    return {"id": path.stem, "flow": path.parent.parent.name}


def _parsed(lines: bytes) -> pl.DataFrame:
    if not lines:
        return _LINE.to_frame()
    try:
        return pl.read_ndjson(lines, schema=_LINE)
    except PolarsError:
        good = [line for line in lines.splitlines(keepends=True) if _is_entry(line)]
    return pl.read_ndjson(b"".join(good), schema=_LINE) if good else _LINE.to_frame()


def _is_entry(line: bytes) -> bool:
    try:
        values = json.loads(line)
    except ValueError:
        return False
    if not isinstance(values, dict):
        return False
    numbers = [values[name] for name in ("s", "t", "g", "e", "f") if values.get(name) is not None]
    texts = [values[name] for name in ("m", "a", "p", "r") if values.get(name) is not None]
    return all(type(number) is int and abs(number) < _INTEGERS for number in numbers) and all(
        type(text) is str for text in texts
    )
