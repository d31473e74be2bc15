"""CSV: rows from bytes where a quoted field may hold newlines, and bad rows told one by one.

A quote opens a field only at the field's start and closes it only at its end (RFC 4180). A row that breaks this is cut
at its first newline, so that a stray quote never swallows the rows after it; parsed alone, it may still be a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from penstock.connect.contract import Budget
from penstock.connect.file_bytes import FileBytes
from penstock.connect.line_cuts import Cut
from penstock.connect.ndjson import RAW_LIMIT, BadLine
from penstock.connect.row_types import Conversion, text_conversion
from penstock.errors import ConnectorError, did_you_mean

__all__ = ["CsvRows", "Header", "cut_rows", "read_header"]

NEWLINE, RETURN, QUOTE = 10, 13, 34
PIECE, SMALL_PIECE = 4 * 1024 * 1024, 16 * 1024
ROW_LIMIT = 64 * 1024 * 1024
"""A row longer than this is taken for a quote that was never closed."""
ERROR_LIMIT = 300
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Header:
    """The first row of a file: its bytes (one line, newline included), its length in the file, its names."""

    line: bytes
    size: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a piece: where each ends, and which broke the rules of quotes."""

    ends: npt.NDArray[np.int64]
    suspect: bool


def _scan(piece: npt.NDArray[np.uint8], delimiter: int, *, last: bool) -> _Rows:
    """Row ends from the start of `piece`, which is the start of a row, up to the first row that breaks the rules.

    Such a row comes alone, as far as its first newline. `last`: nothing follows the piece, all of it is rows.
    """
    newlines = np.flatnonzero(piece == NEWLINE)
    quotes = np.flatnonzero(piece == QUOTE)
    plain, broken, is_open = newlines, None, False
    if len(quotes):
        plain = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        broken = _first_broken(piece, quotes, delimiter)
        is_open = len(quotes) % 2 == 1
    if broken is not None:
        plain = plain[plain < broken]
    elif last and not is_open and (not len(plain) or plain[-1] + 1 < len(piece)):
        plain = np.append(plain, len(piece) - 1)
    if len(plain):
        return _Rows(plain + 1, suspect=False)
    if broken is None and not last:
        return _Rows(plain, suspect=False)
    if len(newlines):
        return _Rows(newlines[:1] + 1, suspect=True)
    return _Rows(np.array([len(piece)] if last else [], np.int64), suspect=True)


def _first_broken(piece: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64], delimiter: int) -> int | None:
    """The place of the first quote that stands where none may, None where all are right."""
    opening, closing = quotes[0::2], quotes[1::2]
    previous = np.where(opening > 0, piece[opening - 1], NEWLINE)
    opens = (previous == delimiter) | (previous == NEWLINE) | (previous == QUOTE)
    # A quote that follows a closing one is the second half of an escaped quote; one that follows nothing is stray.
    after_quote = np.flatnonzero(previous == QUOTE)
    opens[after_quote[after_quote == 0]] = False
    inner = after_quote[after_quote > 0]
    opens[inner] &= closing[inner - 1] == opening[inner] - 1
    following = piece[np.minimum(closing + 1, len(piece) - 1)]
    closes = (following == delimiter) | (following == NEWLINE) | (following == RETURN) | (following == QUOTE)
    closes |= closing + 1 == len(piece)
    wrong = [
        int(places[first]) for places, ok in ((opening, opens), (closing, closes)) if (first := _first(~ok)) is not None
    ]
    return min(wrong, default=None)


def _first(mask: npt.NDArray[np.bool_]) -> int | None:
    return int(np.argmax(mask)) if mask.any() else None


def _row_pieces(block: bytes, delimiter: int, *, last: bool) -> Iterator[tuple[int, _Rows]]:
    """The rows of a block that begins at a row's start: (place, rows) until no further row ends in it."""
    letters = np.frombuffer(block, np.uint8)
    place, size = 0, PIECE
    while place < len(block):
        piece = letters[place : place + size]
        is_last = place + len(piece) >= len(block)
        rows = _scan(piece, delimiter, last=is_last and last)
        if not len(rows.ends):
            if is_last:
                return
            size *= 4
            continue
        yield place, rows
        place += int(rows.ends[-1])
        size = SMALL_PIECE if rows.suspect else min(PIECE, max(size, SMALL_PIECE) * 4)


def cut_rows(data: FileBytes, start: int, budget: Budget, delimiter: str, *, growing: bool) -> Cut:
    """The end of the next range of whole rows from `start`, within the budget or one row.

    Raises ConnectorError where the data is damaged right at `start`.
    """
    size = max(1, budget.size_bytes)
    while True:
        reach = data.reach(start + size + 1)
        at_end = reach <= start + size
        whole = at_end and not growing and data.damage is None
        block = data.read(start, min(reach, start + size) - start)
        end = start + _whole_rows(block, max(1, budget.rows), delimiter, last=whole)
        if end > start or at_end:
            break
        if size >= ROW_LIMIT:
            # A quote that is never closed: reading will find that this row is none.
            newline = block.find(b"\n")
            end = start + (newline + 1 if newline >= 0 else len(block))
            break
        size *= 4
    if end == start and at_end and data.damage is not None:
        raise data.damage
    return Cut(end, at_end=whole and end == reach)


def _whole_rows(block: bytes, rows: int, delimiter: str, *, last: bool) -> int:
    """The place in the block after `rows` rows, or after as many as end in it."""
    end = 0
    for place, found in _row_pieces(block, ord(delimiter), last=last):
        if len(found.ends) >= rows:
            return place + int(found.ends[rows - 1])
        rows -= len(found.ends)
        end = place + int(found.ends[-1])
    return end


def read_header(data: FileBytes, delimiter: str, path: str) -> Header:
    """The names in the first row of a file. Raises ConnectorError where there is none or it is not text."""
    size = SMALL_PIECE
    while True:
        start = data.read(0, size)
        skipped = len(BOM) if start.startswith(BOM) else 0
        for _, rows in _row_pieces(start[skipped:], ord(delimiter), last=len(start) < size):
            end = skipped + int(rows.ends[0])
            break
        else:
            end = len(start) if len(start) < size else 0
        if end or size > ROW_LIMIT:
            break
        size *= 16
    line = start[skipped:end].rstrip(b"\r\n")
    if not line:
        raise ConnectorError(f"{path} has no header", hint="write the names of the columns in its first line")
    try:
        frame = pl.read_csv(line + b"\n", has_header=False, infer_schema=False, separator=delimiter)
    except PolarsError as error:
        raise ConnectorError(f"the header of {path} can't be read: {str(error).splitlines()[0]}") from error
    names = tuple(str(name or "").strip() for name in frame.row(0))
    return Header(line + b"\n", end, names)


class CsvRows:
    """Parses blocks of whole rows into frames of one schema.

    An empty field is null (an empty string in quotes is one where the column is text), as are `null_values`. Columns
    that are not declared are left out; a row that is too short has nulls at its end, one that is too long is bad.
    """

    def __init__(self, schema: pl.Schema, delimiter: str = ",", null_values: Sequence[str] = ()) -> None:
        self.delimiter = delimiter
        self._null_values = list(null_values)
        self._conversion: Conversion = text_conversion(schema)

    @property
    def schema(self) -> pl.Schema:
        """The columns that come out."""
        return self._conversion.declared

    def check(self, names: Sequence[str], path: str) -> None:
        """Raises ConnectorError where a file's header lacks a column or has a declared one twice."""
        for name in self.schema:
            if name not in names:
                raise ConnectorError(
                    f"{path} has no column {name!r}.{did_you_mean(name, names)} Its columns: {', '.join(names)[:500]}",
                    hint="declare the columns as the header names them, or set the delimiter",
                )
            if list(names).count(name) > 1:
                raise ConnectorError(f"{path} has the column {name!r} twice", hint="give its columns different names")

    def parse(self, block: bytes, names: Sequence[str]) -> tuple[pl.DataFrame, list[BadLine]]:
        """The rows of a block, whose fields stand in the order of `names`, and the rows that are bad."""
        frames: list[pl.DataFrame] = [self.schema.to_frame()]
        bad: list[BadLine] = []
        run: list[npt.NDArray[np.int64]] = []
        for place, rows in _row_pieces(block, ord(self.delimiter), last=True):
            begins = np.concatenate(([0], rows.ends[:-1])) + place
            bounds = np.stack((begins, rows.ends + place), axis=1)
            if rows.suspect:
                self._parse_run(block, run, names, frames, bad)
                run = []
                self._parse_run(block, [bounds], names, frames, bad)
            else:
                run.append(bounds)
        self._parse_run(block, run, names, frames, bad)
        return pl.concat(frames, rechunk=False), bad

    def _parse_run(
        self,
        block: bytes,
        run: list[npt.NDArray[np.int64]],
        names: Sequence[str],
        frames: list[pl.DataFrame],
        bad: list[BadLine],
    ) -> None:
        """Parse neighbouring rows; halve them where one makes Polars raise."""
        if not run:
            return
        bounds = _without_blank(block, np.concatenate(run))
        stack = [bounds] if len(bounds) else []
        while stack:
            part = stack.pop()
            try:
                frame, misfits = self._conversion.apply(self._texts(block, part, names))
            except PolarsError as error:
                if len(part) > 1:
                    middle = len(part) // 2
                    stack += [part[middle:], part[:middle]]
                else:
                    begin, end = part[0].tolist()
                    bad.append(BadLine(begin, _raw(block[begin:end]), str(error).splitlines()[0][:ERROR_LIMIT]))
                continue
            frames.append(frame)
            places = part[[misfit.row for misfit in misfits]].tolist() if misfits else []
            for (begin, end), misfit in zip(places, misfits, strict=True):
                bad.append(BadLine(begin, _raw(block[begin:end]), misfit.error))

    def _texts(self, block: bytes, bounds: npt.NDArray[np.int64], names: Sequence[str]) -> pl.DataFrame:
        """Every field as text. Raises PolarsError where a row can't be cut into fields, or not into as many rows."""
        if np.array_equal(bounds[:-1, 1], bounds[1:, 0]):
            body = block[int(bounds[0, 0]) : int(bounds[-1, 1])]
        else:
            body = b"".join(block[begin:end] for begin, end in bounds.tolist())
        # With a first line of our own, Polars learns how many fields there are from it and not from the first row.
        places = [f"c{number}" for number in range(len(names))]
        texts = pl.read_csv(
            self.delimiter.join(places).encode() + b"\n" + body,
            separator=self.delimiter,
            infer_schema=False,
            null_values=self._null_values or None,
            columns=[places[list(names).index(name)] for name in self.schema],
        )
        if texts.height != len(bounds):
            raise pl.exceptions.ComputeError(f"{len(bounds)} rows were read as {texts.height}")
        return texts.select(
            pl.col(places[list(names).index(name)]).alias(name)
            if kind == pl.String
            else pl.col(places[list(names).index(name)]).replace("", None).alias(name)
            for name, kind in self.schema.items()
        )


def _without_blank(block: bytes, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The rows that hold more than their newline."""
    short = np.flatnonzero(bounds[:, 1] - bounds[:, 0] <= len("\r\n")).tolist()
    blank = [number for number in short if not block[slice(*bounds[number])].strip(b"\r\n")]
    return np.delete(bounds, blank, axis=0) if blank else bounds


def _raw(row: bytes) -> str:
    return row[:RAW_LIMIT].decode("utf-8", errors="backslashreplace").rstrip("\r\n")
