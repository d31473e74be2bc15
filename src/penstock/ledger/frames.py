"""Facts as flat, typed tables: what `penstock ledger` prints, `penstock sql` asks, and rolled up epochs are kept as."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from penstock.ledger.contract import DeadLetter, EpochRecord
from penstock.ledger.formats.records import dump_json

__all__ = ["DEAD_LETTER_SCHEMA", "EPOCH_SCHEMA", "dead_letter_frame", "epoch_frame"]

PHASES = ("read", "run", "write", "state", "commit")
TIME = pl.Datetime("us", "UTC")
LAST_TIME_US = 253_402_300_799_999_999
"""The end of the year 9999, where a watermark "at the end of time" is put: most tools show nothing later."""

EPOCH_SCHEMA = pl.Schema(
    {
        "epoch": pl.Int64(),
        "generation": pl.Int64(),
        "version": pl.String(),
        "committed_at": TIME,
        "planned_at": TIME,
        "watermark": TIME,
        "final": pl.Boolean(),
        "rows_in": pl.Int64(),
        "rows_out": pl.Int64(),
        "rows_late": pl.Int64(),
        "rows_dead": pl.Int64(),
        **{f"{phase}_ms": pl.Float64() for phase in PHASES},
        "state_file": pl.String(),
        "state_bytes": pl.Int64(),
        **dict.fromkeys(
            (
                "rows_in_by_step",
                "rows_out_by_step",
                "ranges",
                "watermarks",
                "checks",
                "receipts",
                "timings",
            ),
            pl.String(),
        ),
    }
)
"""One row an epoch. `rows_in`/`rows_out` are totals; the last columns hold JSON text."""

DEAD_LETTER_SCHEMA = pl.Schema(
    {
        "id": pl.Int64(),
        "epoch": pl.Int64(),
        **dict.fromkeys(
            ("step", "error", "message", "signature", "payload", "offset", "version", "status", "detail"), pl.String()
        ),
    }
)
"""One row a dead letter; `offset` and `detail` are JSON text."""


def _time(time_us: int | None) -> int | None:
    return None if time_us is None else max(-LAST_TIME_US, min(time_us, LAST_TIME_US))


def _frame(rows: Iterable[Sequence[Any]], schema: pl.Schema) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    series = []
    for (name, dtype), values in zip(schema.items(), columns, strict=True):
        # Times come as integers of microseconds since 1970.
        physical = pl.Series(name, values, dtype=pl.Int64() if dtype == TIME else dtype)
        series.append(physical.cast(dtype))
    return pl.DataFrame(series)


def _epoch_row(record: EpochRecord) -> tuple[Any, ...]:
    plan, segment = record.plan, record.segment
    what = f"epoch {record.epoch}"
    details = (
        record.rows_in,
        record.rows_out,
        plan.ranges,
        record.watermarks_us,
        record.checks,
        record.receipts,
        record.timings_ms,
    )
    return (
        record.epoch,
        record.generation,
        record.version,
        _time(record.committed_us),
        _time(plan.now_us),
        _time(record.watermark_us),
        plan.final,
        sum(record.rows_in.values()),
        sum(record.rows_out.values()),
        record.rows_late,
        record.rows_dead,
        *(record.timings_ms.get(phase) for phase in PHASES),
        None if segment is None else segment.file,
        None if segment is None else segment.size_bytes,
        *(dump_json(value, what=what) for value in details),
    )


def epoch_frame(records: Iterable[EpochRecord]) -> pl.DataFrame:
    """Epochs as a table with the columns of EPOCH_SCHEMA, also where there are none."""
    return _frame([_epoch_row(record) for record in records], EPOCH_SCHEMA)


def dead_letter_frame(letters: Iterable[DeadLetter]) -> pl.DataFrame:
    """Dead letters as a table with the columns of DEAD_LETTER_SCHEMA, also where there are none."""
    rows = [
        (
            letter.id,
            letter.epoch,
            letter.step,
            letter.error,
            letter.message,
            letter.signature,
            letter.payload,
            dump_json(letter.offset, what="an offset"),
            letter.version,
            letter.status,
            dump_json(letter.detail, what="the detail of a dead letter"),
        )
        for letter in letters
    ]
    return _frame(rows, DEAD_LETTER_SCHEMA)
