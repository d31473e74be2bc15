"""What is wrong with a filter: the sentence, the place as line and column, the line itself with a caret under it."""

from __future__ import annotations

from penstock.errors import QueryError

__all__ = ["fault"]

_SHOWN_MAX = 100


def fault(text: str, start: int, end: int, message: str, *, hint: str | None = None) -> QueryError:
    """The error to raise for `text[start:end]` of a filter; its message ends with the line and a caret line.

    Of a long line a window around the place is shown. Characters that would move the carets are shown as `?`.
    """
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    number = text.count("\n", 0, start) + 1
    column = start - line_start
    first = max(0, column - _SHOWN_MAX // 2)
    shown = text[line_start + first : min(line_end, line_start + first + _SHOWN_MAX)]
    shown = "".join(letter if letter.isprintable() else " " if letter == "\t" else "?" for letter in shown)
    width = max(1, min(end - start, line_start + first + len(shown) - start))
    carets = " " * (column - first) + "^" * width
    place = f"line {number}, column {column + 1}" if "\n" in text else f"column {column + 1}"
    found = QueryError(f"the filter is wrong at {place}: {message}\n    {shown}\n    {carets}", hint=hint)
    found.start, found.end = start, end
    return found
