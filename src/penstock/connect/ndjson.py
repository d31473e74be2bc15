"""JSON lines: where a range may end, and rows from bytes with the bad lines told one by one.

Polars parses a whole block and raises at the first bad line, so a block that raises is halved until only the bad lines
are left. A line is always judged by the same parser in the same way: what is beside it never matters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from penstock.connect.row_types import Conversion, Misfit, json_conversion

__all__ = ["RAW_LIMIT", "BadLine", "JsonLines", "count_lines", "is_object", "nth_newline"]

Bounds: TypeAlias = npt.NDArray[np.int64]
"""Begin and end of lines in a block, a line a row."""

NEWLINE = 10
BLOCK = 128 * 1024
LEAF_LINES = 2048
"""A failing block of so many lines is first cleared of what Python alone can tell to be bad, which is quicker."""
RAW_LIMIT = 64 * 1024
"""How much of a bad line is kept, in bytes."""
SURROGATES = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]|(\\u[dD][89a-fA-F])")
"""An escaped backslash, a whole pair, or (group 1) a half."""
CUT_REST = re.compile(r"|-|\.|\.?\d*[eE][+-]?|t|tr|tru|f|fa|fal|fals|n|nu|nul|\\?(u[0-9a-fA-F]{0,3})?")
"""What is left of a line behind the place of its fault, where the fault is that the line ends."""
ERROR_LIMIT = 300
NAMED_ERRORS = 100
"""For so many bad lines of a block the column is searched; it takes a parse for each column."""
INTEGERS = {
    "Int32": (-(2**31), 2**31 - 1),
    "Int64": (-(2**63), 2**63 - 1),
    "UInt32": (0, 2**32 - 1),
    "UInt64": (0, 2**64 - 1),
}


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no row: where it begins (a byte of the block), the line (cut at 64 KiB), and why."""

    place: int
    raw: str
    error: str


@dataclass(slots=True)
class _Found:
    """What halving has found so far, in the order of the lines."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


class JsonLines:
    """Parses blocks of whole lines into frames of one schema.

    A field that is missing is null, a field that is not declared is ignored, a line that is empty or blank is no row.
    """

    def __init__(self, schema: pl.Schema) -> None:
        self._conversion: Conversion = json_conversion(schema)

    @property
    def schema(self) -> pl.Schema:
        """The columns that come out."""
        return self._conversion.declared

    def parse(self, block: bytes) -> tuple[pl.DataFrame, list[BadLine]]:
        """The rows of whole lines, and the lines that are none, in order. Never raises for what is in the lines."""
        if _has_half_surrogate(block):
            return self._parse_each(block)
        try:
            parsed = pl.read_ndjson(block, schema=self._conversion.parsed)
            frame, misfits = self._conversion.apply(parsed)
        except (PolarsError, pl.exceptions.PanicException):
            found = _Found()
            self._halve(block, _line_bounds(block), found)
            whole = pl.concat(found.frames, rechunk=False) if found.frames else self.schema.to_frame()
            return whole, found.bad
        if not misfits:
            return frame, []
        return frame, _misfit_lines(block, _line_bounds(block), misfits)

    def _parse_each(self, block: bytes) -> tuple[pl.DataFrame, list[BadLine]]:
        """As `parse`, with a look at every line for what Polars would not notice."""
        found = _Found()
        bounds = _line_bounds(block)
        for begin in range(0, len(bounds), LEAF_LINES):
            self._leaf(block, bounds[begin : begin + LEAF_LINES], found)
        return pl.concat([self.schema.to_frame(), *found.frames], rechunk=False), found.bad

    def _halve(self, block: bytes, bounds: Bounds, found: _Found) -> None:
        """Parse the lines of `block` at `bounds` (begin, end), which failed as a whole."""
        if len(bounds) <= LEAF_LINES:
            self._leaf(block, bounds, found)
            return
        middle = len(bounds) // 2
        for part in (bounds[:middle], bounds[middle:]):
            if not self._try(block, part, found):
                self._halve(block, part, found)

    def _try(self, block: bytes, bounds: Bounds, found: _Found) -> bool:
        """Parse these lines, which need not be neighbours; False where one of them makes Polars raise."""
        begins, ends = bounds[:, 0], bounds[:, 1]
        if np.array_equal(ends[:-1], begins[1:]):
            lines = block[int(begins[0]) : int(ends[-1])]
        else:
            lines = b"".join(block[begin:end] for begin, end in bounds.tolist())
        try:
            frame, misfits = self._conversion.apply(pl.read_ndjson(lines, schema=self._conversion.parsed))
        except (PolarsError, pl.exceptions.PanicException):
            return False
        found.frames.append(frame)
        found.bad.extend(_misfit_lines(block, bounds, misfits))
        return True

    def _leaf(self, block: bytes, bounds: Bounds, found: _Found) -> None:
        """Some lines with at least one bad one: set aside what is surely bad, parse the rest together."""
        here = _Found()
        good: list[int] = []
        for number, (begin, end) in enumerate(bounds.tolist()):
            why = _surely_bad(block[begin:end], self._conversion.parsed)
            if why is None:
                good.append(number)
            else:
                here.bad.append(BadLine(begin, _raw(block[begin:end]), why))
        self._good(block, bounds[good], here)
        found.frames.extend(here.frames)
        found.bad.extend(sorted(here.bad, key=lambda line: line.place))

    def _good(self, block: bytes, bounds: Bounds, found: _Found) -> None:
        """Lines that look good; those that are not after all are found by halves."""
        if not len(bounds) or self._try(block, bounds, found):
            return
        if len(bounds) == 1:
            line = block[slice(*bounds[0])]
            error = self._why(line) if len(found.bad) < NAMED_ERRORS else "the line is no row of this schema"
            found.bad.append(BadLine(int(bounds[0, 0]), _raw(line), error))
            return
        middle = len(bounds) // 2
        self._good(block, bounds[:middle], found)
        self._good(block, bounds[middle:], found)

    def _why(self, line: bytes) -> str:
        """What Polars says, with the column where one alone is to blame."""
        for name, kind in self._conversion.parsed.items():
            one = Conversion(pl.Schema({name: self._conversion.declared[name]}), {name: kind})
            try:
                one.apply(pl.read_ndjson(line, schema=one.parsed))
            except (PolarsError, pl.exceptions.PanicException) as error:
                text = str(error).splitlines()[0][:ERROR_LIMIT]
                return _parsers_words(line, text) if "parsing line" in text else f"column {name!r}: {text}"
        return "the line is no row of this schema"


def _has_half_surrogate(text: bytes) -> bool:
    r"""Whether there is an escape like `\ud83d` without its other half, for which Polars would put a NUL."""
    if b"\\" not in text or (b"\\ud" not in text and b"\\uD" not in text):
        return False
    return any(found[1] for found in SURROGATES.finditer(text))


def is_object(line: bytes) -> bool:
    """Whether a line is a JSON object, whatever its fields are."""
    return _surely_bad(line, pl.Schema()) is None


def _misfit_lines(block: bytes, bounds: Bounds, misfits: list[Misfit]) -> list[BadLine]:
    """The lines (one for each row of a parsed frame, at `bounds`) whose values did not fit."""
    places = bounds[[misfit.row for misfit in misfits]].tolist() if misfits else []
    return [
        BadLine(begin, _raw(block[begin:end]), misfit.error)
        for (begin, end), misfit in zip(places, misfits, strict=True)
    ]


def _surely_bad(line: bytes, schema: pl.Schema) -> str | None:
    """Why a line can't be a row, where plain Python can tell without doubt; None where Polars has to judge."""
    if _has_half_surrogate(line):
        return "not Unicode: half of a surrogate pair"
    try:
        found = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte {line[error.start]:#04x} at {error.start}"
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return _not_json(error)
    if not isinstance(found, dict):
        return f"a line is a JSON object, not {_json_name(found)}"
    for name, kind in schema.items():
        value = found.get(name)
        if value is None or kind == pl.String or kind.is_nested():
            continue
        allowed = bool if kind == pl.Boolean else (int, float) if kind.is_float() else int
        fits = isinstance(value, allowed) and (kind == pl.Boolean or not isinstance(value, bool))
        bounds = INTEGERS.get(str(kind))
        if not fits or (bounds and not bounds[0] <= value <= bounds[1]):
            shown = json.dumps(value)
            shown = shown if len(shown) <= ERROR_LIMIT else f"{shown[:ERROR_LIMIT]}..."
            return f"column {name!r}: {shown} ({_json_name(value)}) is no {kind}"
    return None


def _not_json(error: ValueError) -> str:
    """One short text for one cause: a line that was cut off breaks in many places, and is called the same in all."""
    if not isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error}"[:ERROR_LIMIT]
    line = error.doc.rstrip()
    rest = line[error.pos :]
    if CUT_REST.fullmatch(rest) or error.msg.startswith("Unterminated string"):
        return "not JSON: the line is cut off"
    what = error.msg.removesuffix(" at")
    return f"not JSON: {what[0].lower()}{what[1:]} at column {error.pos + 1}"


def _parsers_words(line: bytes, text: str) -> str:
    """Why Polars refuses a line that Python can read: NaN and its like, or what Polars calls it."""
    try:
        json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except ValueError as error:
        return _not_json(error)
    return f"not JSON: {text.partition('parsing line: ')[2]}"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _json_name(value: object) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _raw(line: bytes) -> str:
    return line[:RAW_LIMIT].decode("utf-8", errors="backslashreplace").rstrip("\r\n")


def _line_bounds(block: bytes) -> Bounds:
    """Begin and end (with its newline) of each line that is not blank; two columns."""
    letters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(letters == NEWLINE) + 1
    if not len(ends) or ends[-1] != len(block):
        ends = np.append(ends, len(block))
    begins = np.concatenate(([0], ends[:-1]))
    if not len(block):
        return np.empty((0, 2), np.int64)
    # Only a line that begins with white space can be blank; there are few, so look at each.
    suspects = np.flatnonzero(letters[begins] <= ord(" "))
    blank = [number for number in suspects.tolist() if not block[begins[number] : ends[number]].strip(b" \t\r\n")]
    bounds: Bounds = np.stack((begins, ends), axis=1).astype(np.int64)
    return np.delete(bounds, blank, axis=0) if blank else bounds


def count_lines(block: bytes | memoryview) -> int:
    """How many newlines there are."""
    return sum(count for _, count in _counts(np.frombuffer(block, np.uint8)))


def nth_newline(block: bytes | memoryview, number: int) -> int | None:
    """The place after the `number`-th newline (from 1), None where there are fewer."""
    letters = np.frombuffer(block, np.uint8)
    seen = 0
    for begin, count in _counts(letters):
        if seen + count >= number:
            return begin + int(np.flatnonzero(letters[begin : begin + BLOCK] == NEWLINE)[number - seen - 1]) + 1
        seen += count
    return None


def _counts(letters: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Newlines of each stretch that fits the processor's cache: twice as quick as all at once."""
    for begin in range(0, len(letters), BLOCK):
        yield begin, int(np.count_nonzero(letters[begin : begin + BLOCK] == NEWLINE))
