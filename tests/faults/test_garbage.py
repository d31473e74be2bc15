"""Rows that a step can't take, and files that are not what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.clock import SystemClock, seeded
from penstock.connect import Context, open_source
from penstock.flow import Dataset, Definition
from penstock.ledger import DeadLetter
from tests.faults.story import SCHEMA, Story

ROWS = 100_000
POISON = (7_001, 50_003, 99_999)


def careful(batch: pl.DataFrame) -> pl.DataFrame:
    """An author's function that raises where a number is negative."""
    if batch.filter(pl.col("amount") < 0).height:
        raise ValueError("a negative amount")
    return batch.with_columns(pl.col("amount") * 2)


def windows(source: Dataset) -> Definition:
    """Filter, an author's function, windows."""
    flow = ps.Flow("story")
    rows = flow.read(source, name="rows", event_time="at")
    kept = rows.filter(pl.col("id") % 2 == 1).map_batches(careful, name="careful")
    counted = kept.group_by("key").window(ps.tumbling("1m")).agg(n=pl.len(), total=pl.col("amount").sum())
    counted.write(ps.table("out"), name="out")
    return flow.build()


def test_three_poison_rows_of_100000_lose_no_other_row(tmp_path: Path) -> None:
    """Exactly three dead letters, each with the place where its row is read again; all other rows are counted."""
    at = pl.from_epoch(pl.int_range(ROWS) // 100, time_unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S")
    poison = pl.int_range(ROWS).is_in(POISON)
    rows = pl.select(
        id=pl.int_range(ROWS), key=pl.int_range(ROWS) % 10, amount=pl.when(poison).then(-1).otherwise(1), at=at
    )
    rows.write_ndjson(tmp_path / "rows.jsonl")
    schema = pl.Schema({"id": pl.Int64(), "key": pl.Int64(), "amount": pl.Int64(), "at": pl.Datetime("us")})
    source = ps.files(str(tmp_path / "rows.jsonl"), schema=schema)
    story = Story(tmp_path, ps.parquet("out"), source, windows)
    result = story.run(epoch_rows=30_000)

    letters = dead_letters(story)
    assert result.rows_dead == len(letters) == 3
    assert [json.loads(letter.payload)["id"] for letter in letters] == list(POISON)
    assert {(letter.step, letter.error, letter.message) for letter in letters} == {
        ("careful", "ValueError", "a negative amount")
    }
    context = Context("story", "rows", story.place("steps") / "rows", tmp_path, SystemClock(), schema)
    reading = open_source(source, context)
    assert [row_at(reading, letter.offset)["id"] for letter in letters] == list(POISON)
    out = pl.read_parquet(tmp_path / "out" / "*.parquet")
    assert out["n"].sum() == ROWS // 2 - len(POISON)
    assert out["total"].sum() == 2 * out["n"].sum()


def row_at(source: Any, offset: Mapping[str, Any]) -> dict[str, Any]:
    """The row that a dead letter points to, read again."""
    place = offset["partition"]
    (part,) = source.read({place: offset["start"]}, {place: offset["end"]})
    found: dict[str, Any] = part.frame.row(offset["row"], named=True)
    return found


def dead_letters(story: Story) -> list[DeadLetter]:
    """All dead letters."""
    ledger = story.ledger()
    found = list(ledger.dead_letters("story"))
    ledger.close()
    return found


GOOD = [{"id": number, "word": f"w {number}"} for number in range(100)]
NOISE = seeded(20_261_122).randbytes(50_000)
JSON_LINES = "".join(json.dumps(row) + "\n" for row in GOOD).encode()
CSV = b"id,word\n" + b"".join(b'%d,"w %d"\n' % (number, number) for number in range(100))
FILES: dict[str, tuple[bytes, bytes]] = {
    "binary.jsonl": (JSON_LINES, NOISE),
    "binary.csv": (CSV, b"id,word\n" + NOISE),
    "empty.jsonl": (JSON_LINES, b""),
    "empty.csv": (CSV, b""),
    "zeros.jsonl": (JSON_LINES, bytes(50_000)),
    "quotes.csv": (CSV, b'id,word\n1,"good"\n2,"broken\n3,half "quoted" \n4,"x" y\n5,"""\n'),
    "one-line.jsonl": (JSON_LINES, b"x" * 5_000_000),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_garbage_is_dead_letters_and_no_crash(name: str, tmp_path: Path) -> None:
    """The flow finishes; rows of the good files before and after it are all there, what is no row is a dead letter."""
    good, bad = FILES[name]
    folder = tmp_path / "in"
    folder.mkdir()
    ending = Path(name).suffix
    (folder / f"a{ending}").write_bytes(good)
    (folder / f"b{ending}").write_bytes(bad)
    (folder / f"c{ending}").write_bytes(good.replace(b"w ", b"v "))
    story = Story(tmp_path, ps.parquet("out"), ps.files("in", schema=SCHEMA), plain)
    result = story.run()

    letters = dead_letters(story)
    assert result.finished
    assert len(letters) == result.rows_dead
    assert bool(letters) == (not name.startswith("empty"))
    words = pl.read_parquet(tmp_path / "out" / "*.parquet")["word"].to_list()
    assert {f"{letter} {number}" for letter in "wv" for number in range(100)} <= set(words)
    assert all(letter.offset["offset"]["file"] == 1 for letter in letters)


def plain(source: Dataset) -> Definition:
    """Rows as they are."""
    flow = ps.Flow("story")
    flow.read(source, name="rows").write(ps.table("out"), name="out")
    return flow.build()
