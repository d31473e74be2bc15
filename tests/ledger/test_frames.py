"""Epochs and dead letters as flat tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from penstock.ledger import (
    DEAD_LETTER_SCHEMA,
    EPOCH_SCHEMA,
    DeadLetter,
    EpochRecord,
    SegmentRef,
    dead_letter_frame,
    epoch_frame,
)
from tests.ledger.facts import plan, record


def test_no_facts_make_an_empty_table_of_the_same_columns() -> None:
    """A flow that has not run yet has the columns of one that has."""
    assert epoch_frame([]).schema == EPOCH_SCHEMA
    assert dead_letter_frame([]).schema == DEAD_LETTER_SCHEMA


def test_an_epoch_is_one_row_of_typed_columns() -> None:
    """Totals, times, phases and JSON text, with null for what is not known."""
    frame = epoch_frame([record(2, state=SegmentRef(2, 2, "f", 99, 1)), EpochRecord(3, 1, "v1", plan(3))])
    first, second = frame.to_dicts()

    assert frame.schema == EPOCH_SCHEMA
    assert first["watermark"] == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert (first["rows_in"], first["rows_out"], first["run_ms"], first["write_ms"]) == (10, 13, 2.25, None)
    assert (first["state_file"], first["state_bytes"]) == ("f", 99)
    assert first["ranges"] == '{"orders":{"end":{"0":20},"start":{"0":10}}}'
    assert (second["watermark"], second["state_file"], second["rows_out"]) == (None, None, 0)


def test_a_watermark_at_the_end_of_time_is_shown_as_the_last_year() -> None:
    """The largest integer is no time that tools can show."""
    frame = epoch_frame([replace(record(1), watermark_us=2**63 - 1)])

    assert frame["watermark"].dt.year().to_list() == [9999]


def test_a_dead_letter_is_one_row() -> None:
    """Its offset, and what became of it, are JSON text."""
    found = DeadLetter(4, "clean", "ValueError", "m", "s", "p", {"offset": 7}, "v1", 12, "redriven", {"epoch": 9})

    assert dead_letter_frame([found]).rows() == [
        (12, 4, "clean", "ValueError", "m", "s", "p", '{"offset":7}', "v1", "redriven", '{"epoch":9}')
    ]
