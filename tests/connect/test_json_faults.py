"""What is wrong with a line of JSON is said in few words, and one cause in the same words wherever it strikes."""

from __future__ import annotations

import polars as pl
import pytest

from penstock.connect.ndjson import JsonLines

LINES = JsonLines(pl.Schema({"id": pl.Int64, "name": pl.String, "price": pl.Float64}))
WHOLE = r'{"id": 12, "name": "a\u00e9\n", "price": -1.5e+1, "is_new": true, "gone": null, "sizes": [1, {"a": false}]}'


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_line_that_is_cut_off_is_called_so(length: int) -> None:
    """Wherever a line ends too early, the error is the same, so that all such lines are one group of dead letters."""
    rows, bad = LINES.parse(f"{WHOLE[:length]}\n{WHOLE}\n".encode())

    assert [line.error for line in bad] == ["not JSON: the line is cut off"]
    assert rows.rows() == [(12, "aé\n", -15.0)]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("id=3", "not JSON: expecting value at column 1"),
        ('{"id": 1}}', "not JSON: extra data at column 10"),
        ('{"id" 1}', "not JSON: expecting ':' delimiter at column 7"),
        ('{"id": 1, "name": "a\tb"}', "not JSON: invalid control character at column 21"),
        ('{"id": 1, "price": NaN}', "not JSON: NaN is no number of JSON"),
        ("[1]", "a line is a JSON object, not an array"),
    ],
)
def test_other_faults_are_told_with_their_place(line: str, error: str) -> None:
    """What is no JSON is told with its place in the line, what JSON does not know by its name."""
    _, bad = LINES.parse(f"{line}\n".encode())

    assert [one.error for one in bad] == [error]
