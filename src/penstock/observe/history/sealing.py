"""From ticks to chunks when an hour is over, and back to records when somebody asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.observe.history.records import Records, grown, unpacked_tick

__all__ = ["HOUR_US", "LEVELS", "MINUTE_US", "Level", "read_series", "seal"]

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
_DAY_US = 24 * HOUR_US


@dataclass(frozen=True, slots=True)
class Level:
    """How exact records of a level are, how long a chunk of them is, and how long they are kept."""

    span_us: int
    chunk_us: int
    keep_us: int


LEVELS = (
    Level(0, HOUR_US, _DAY_US),
    Level(MINUTE_US, _DAY_US, 14 * _DAY_US),
    Level(HOUR_US, 30 * _DAY_US, 400 * _DAY_US),
)
"""Samples, minutes, hours."""


def seal(connection: sqlite3.Connection, now_us: int) -> bool:
    """Turn the ticks of hours that are over into chunks, and forget what is too old. In the caller's transaction.

    False where there was nothing to do.
    """
    sealed = False
    open_us = now_us // HOUR_US * HOUR_US
    while True:
        oldest = connection.execute("SELECT min(at_us) FROM ticks WHERE at_us < ?", (open_us,)).fetchone()[0]
        if oldest is None:
            return sealed
        sealed = True
        start_us = oldest // HOUR_US * HOUR_US
        _seal_hour(connection, start_us)
        connection.execute("INSERT OR REPLACE INTO kept VALUES ('sealed_us', ?)", (str(start_us + HOUR_US),))
        _forget(connection, now_us)


def _seal_hour(connection: sqlite3.Connection, start_us: int) -> None:
    end_us = start_us + HOUR_US
    before = dict(connection.execute("SELECT id, sealed_value FROM series").fetchall())
    samples = _of_ticks(connection, start_us, end_us)
    for number, found in samples.items():
        last = before.get(number)
        increase = grown(found.last, None if last is None else float(last))
        whole = Records(found.at_us, found.last, found.low, found.high, found.total, found.count, increase)
        for place, level in enumerate(LEVELS):
            records = whole.by(level.span_us) if level.span_us else whole
            _add(connection, place, number, start_us // level.chunk_us * level.chunk_us, records)
        connection.execute("UPDATE series SET sealed_value = ? WHERE id = ?", (float(found.last[-1]), number))
    connection.execute("DELETE FROM ticks WHERE at_us >= ? AND at_us < ?", (start_us, end_us))


def _add(connection: sqlite3.Connection, place: int, series: int, start_us: int, records: Records) -> None:
    """Put records behind those of the chunk that is there, if any is."""
    key = (place, series, start_us)
    known = connection.execute(
        "SELECT body FROM chunks WHERE level = ? AND series = ? AND start_us = ?", key
    ).fetchone()
    if known is not None:
        records = Records.joined([Records.unpacked(known[0], samples=place == 0), records])
    connection.execute("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)", (*key, records.packed(samples=place == 0)))


def _forget(connection: sqlite3.Connection, now_us: int) -> None:
    for place, level in enumerate(LEVELS):
        oldest_us = now_us - level.keep_us - level.chunk_us
        connection.execute("DELETE FROM chunks WHERE level = ? AND start_us < ?", (place, oldest_us))
    connection.execute(
        "DELETE FROM series WHERE sealed_value IS NOT NULL AND id NOT IN (SELECT series FROM chunks WHERE level = ?)",
        (len(LEVELS) - 1,),
    )


def _of_ticks(
    connection: sqlite3.Connection, start_us: int, end_us: int, wanted: Sequence[int] | None = None
) -> dict[int, Records]:
    """Series -> its samples among the ticks of a span."""
    rows = connection.execute(
        "SELECT at_us, body FROM ticks WHERE at_us >= ? AND at_us < ? ORDER BY at_us", (start_us, end_us)
    )
    numbers, times, values = [], [], []
    chosen = None if wanted is None else np.array(sorted(wanted), np.int64)
    for at_us, body in rows:
        ids, found = unpacked_tick(body)
        if chosen is not None:
            mask = np.isin(ids, chosen)
            ids, found = ids[mask], found[mask]
        numbers.append(ids)
        times.append(np.full(len(ids), at_us, np.int64))
        values.append(found)
    if not numbers:
        return {}
    series, at, value = np.concatenate(numbers), np.concatenate(times), np.concatenate(values)
    order = np.argsort(series, kind="stable")
    series, at, value = series[order], at[order], value[order]
    first = np.flatnonzero(np.r_[True, series[1:] != series[:-1]]) if len(series) else np.empty(0, np.intp)
    stops = [*first[1:].tolist(), len(series)]
    return {
        int(series[start]): Records.of_samples(at[start:stop], value[start:stop])
        for start, stop in zip(first.tolist(), stops, strict=True)
    }


def read_series(
    connection: sqlite3.Connection, wanted: Sequence[int], start_us: int, end_us: int, step_s: float
) -> dict[int, Records]:
    """The records of series in a span, each of the level that steps of this length need, or of the one that is left."""
    ticks = _of_ticks(connection, start_us, end_us, wanted)
    exact = max(place for place, level in enumerate(LEVELS) if level.span_us <= step_s * 1e6)
    found = {}
    for number in wanted:
        parts: list[Records] = []
        upto_us = end_us
        for place in range(exact, len(LEVELS)):  # less exact ones only where the others are gone already
            records = _chunks(connection, place, number, start_us, upto_us)
            if len(records):
                parts.insert(0, records)
                upto_us = int(records.at_us[0]) // max(LEVELS[place].span_us, 1) * max(LEVELS[place].span_us, 1)
        if number in ticks:
            parts.append(ticks[number])
        found[number] = _linked(Records.joined(parts))
    return found


def _chunks(connection: sqlite3.Connection, place: int, series: int, start_us: int, end_us: int) -> Records:
    rows = connection.execute(
        "SELECT body FROM chunks WHERE level = ? AND series = ? AND start_us > ? AND start_us < ? ORDER BY start_us",
        (place, series, start_us - LEVELS[place].chunk_us, end_us),
    )
    parts = [Records.unpacked(body, samples=place == 0) for (body,) in rows]
    return Records.joined(parts).between(start_us, end_us)


def _linked(records: Records) -> Records:
    """With the growth of single samples from what came before, in whatever level that is kept."""
    single = records.count == 1
    if not len(records) or not single.any():
        return records
    increase = np.where(single, grown(records.last), records.increase)
    return Records(records.at_us, records.last, records.low, records.high, records.total, records.count, increase)
