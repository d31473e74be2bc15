"""Where a range of lines may end: after a newline, within the budget, counted exactly where rows are what limits."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.connect.contract import Budget
from penstock.connect.file_bytes import FileBytes
from penstock.connect.ndjson import count_lines, nth_newline

__all__ = ["Cut", "cut_lines"]

TAIL = 64 * 1024
PIECE = 1024 * 1024
SAMPLES, SAMPLE = 32, 4096
SURE = 1.25
"""The sampled count of lines times this is taken for an upper bound."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of a range, and whether the file has no more after it."""

    end: int
    at_end: bool


def cut_lines(data: FileBytes, start: int, budget: Budget, *, growing: bool) -> Cut:
    """The end of the next range from `start`, within the budget or one line.

    `growing`: a last line without its newline is not complete yet; else it is a row.
    Raises ConnectorError where the data is damaged right at `start`.
    """
    limit = start + max(1, budget.size_bytes)
    reach = data.reach(limit + 1)
    at_end = reach <= limit
    if at_end and data.damage is None and not growing:
        end = reach
    else:
        end = _after_last_newline(data, start, min(reach, limit))
        if end == start:
            end, at_end = _after_next_newline(data, min(reach, limit))
            if at_end and (growing or data.damage is not None):
                end = start
    if end == start:
        if at_end and data.damage is not None:
            raise data.damage
        return Cut(start, at_end=at_end and not growing)
    by_rows = _row_limit(data, start, end, budget.rows)
    if by_rows < end:
        return Cut(by_rows, at_end=False)
    return Cut(end, at_end=at_end and not growing and data.damage is None)


def _after_last_newline(data: FileBytes, start: int, end: int) -> int:
    """The place after the last newline in start..end; `start` where there is none."""
    while end > start:
        begin = max(start, end - TAIL)
        found = data.read(begin, end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return start


def _after_next_newline(data: FileBytes, place: int) -> tuple[int, bool]:
    """The place after the first newline from `place` on, or the end of the data and True."""
    while True:
        piece = data.read(place, PIECE)
        found = piece.find(b"\n")
        if found >= 0:
            return place + found + 1, False
        place += len(piece)
        if len(piece) < PIECE:
            return place, True


def _row_limit(data: FileBytes, start: int, end: int, rows: int) -> int:
    """The place after the `rows`-th line from `start`, or `end` where there are not so many.

    Counting costs a twentieth of parsing, so it is left out where samples show that rows are far below the limit.
    """
    size = end - start
    if size > SAMPLES * SAMPLE * 4:
        step = size // SAMPLES
        lines = sum(count_lines(data.read(start + number * step, SAMPLE)) for number in range(SAMPLES))
        if (lines + 1) * (size / (SAMPLES * SAMPLE)) * SURE < rows:
            return end
    place, left = start, max(1, rows)
    while place < end:
        piece = data.read(place, min(PIECE, end - place))
        if not piece:
            return end
        count = count_lines(piece)
        if count >= left:
            found = nth_newline(piece, left)
            return end if found is None else place + found
        left -= count
        place += len(piece)
    return end
