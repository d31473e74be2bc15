"""Rows in the body of a request: JSON lines, one JSON object, or a JSON array of objects; kept as they were written."""

from __future__ import annotations

import json
import re
from json import JSONDecodeError

from penstock.errors import PenstockError

__all__ = ["BadBody", "as_json_lines"]

BLANK = re.compile(r"[ \t\r\n]*")
LINE_ENDS = str.maketrans("\r\n", "  ")


class BadBody(PenstockError):
    """The body of a request is no rows; `line` is the first line that is none."""

    code = "bad-body"

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


def as_json_lines(body: bytes) -> tuple[bytes, int]:
    """The body as JSON lines, each an object and with a newline, and how many. Raises BadBody."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadBody(f"not UTF-8: byte {body[error.start]:#04x}", body.count(b"\n", 0, error.start) + 1) from None
    try:
        if text.lstrip(" \t\r\n").startswith("["):
            return _joined(_elements(text))
        try:
            return _joined(_lines(text))
        except BadBody:
            # One object may be spread over lines.
            return _joined([_whole_object(text)])
    except RecursionError:
        raise BadBody("nested too deeply") from None


def _joined(lines: list[str]) -> tuple[bytes, int]:
    return "".join(f"{line}\n" for line in lines).encode(), len(lines)


def _lines(text: str) -> list[str]:
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" \t\r")
        if not stripped:
            continue
        try:
            found = DECODER.decode(stripped)
        except ValueError as error:
            raise BadBody(_reason(error), number) from None
        if not isinstance(found, dict):
            raise BadBody(f"a row is a JSON object, not {type(found).__name__}", number)
        lines.append(stripped.replace("\r", " "))
    return lines


def _whole_object(text: str) -> str:
    stripped = text.strip(" \t\r\n")
    try:
        found = DECODER.decode(stripped)
    except ValueError:
        _lines(text)  # says which line
        raise BadBody("not JSON") from None
    if not isinstance(found, dict):
        raise BadBody(f"a row is a JSON object, not {type(found).__name__}", 1)
    return stripped.translate(LINE_ENDS)


def _elements(text: str) -> list[str]:
    """The objects of an array, each as its own text, so that no number is written anew."""
    place = text.index("[") + 1
    elements: list[str] = []
    place = _skip(text, place)
    if text[place : place + 1] == "]":
        _check_end(text, place + 1)
        return elements
    while True:
        begin = _skip(text, place)
        try:
            found, place = DECODER.raw_decode(text, begin)
        except ValueError as error:
            at = error.pos if isinstance(error, JSONDecodeError) else begin
            raise BadBody(_reason(error), text.count("\n", 0, at) + 1) from None
        if not isinstance(found, dict):
            raise BadBody(f"a row is a JSON object, not {type(found).__name__}", text.count("\n", 0, begin) + 1)
        elements.append(text[begin:place].translate(LINE_ENDS))
        place = _skip(text, place)
        mark = text[place : place + 1]
        place += 1
        if mark == "]":
            _check_end(text, place)
            return elements
        if mark != ",":
            raise BadBody("not JSON: expected ',' or ']'", text.count("\n", 0, place) + 1)


def _check_end(text: str, place: int) -> None:
    if _skip(text, place) != len(text):
        raise BadBody("not JSON: something follows the array", text.count("\n", 0, place) + 1)


def _skip(text: str, place: int) -> int:
    found = BLANK.match(text, place)
    return place if found is None else found.end()


def _reason(error: ValueError) -> str:
    return (
        f"not JSON: {error.msg} at column {error.colno}" if isinstance(error, JSONDecodeError) else f"not JSON: {error}"
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


DECODER = json.JSONDecoder(parse_constant=_no_constant)
