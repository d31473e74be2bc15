"""The built-in store of metrics: one SQLite file, written by the server that leads, read by whoever asks.

Every sample of all series is one row (a *tick*) until its hour is over; then it is *sealed*: by series, as samples of
an hour, records of minutes and records of hours. Each of these is one transaction, so a process may die at any moment.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import polars as pl

from penstock.errors import ConfigError, LedgerError, did_you_mean
from penstock.observe.history.asking import FUNCTIONS, Grid, MetricSeries, SeriesAnswer, bucket_quantiles, stepped
from penstock.observe.history.records import Floats, Ids, Records, packed_tick
from penstock.observe.history.sealing import HOUR_US, MINUTE_US, read_series, seal
from penstock.observe.metrics import MetricFamily
from penstock.observe.promql import Matcher, MatchKind, Series
from penstock.observe.promql.series import NAME

__all__ = ["STEPS_MAX", "MetricHistory", "StoredName", "view_frame"]

STEPS_MAX = 11_000
SERIES_MAX = 50_000
_LOOK_BACK_US = 300_000_000
_VIEW_US = 24 * HOUR_US
_VIEW_ROWS = 5_000_000
_WAIT_S = 5.0
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, type TEXT NOT NULL, unit TEXT NOT NULL, help TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, labels TEXT NOT NULL, sealed_value REAL, UNIQUE (name, labels));
CREATE TABLE IF NOT EXISTS ticks (at_us INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    level INTEGER NOT NULL, series INTEGER NOT NULL, start_us INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (level, series, start_us)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class StoredName:
    """A metric that is stored, and how many series it has."""

    name: str
    type: str
    unit: str
    help: str
    series: int


class MetricHistory:
    """The store of one environment. Safe to use from several threads. Raises LedgerError where its file is no good."""

    def __init__(self, file: Path, *, series_max: int = SERIES_MAX) -> None:
        self.file = file
        self._series_max = series_max
        self._lock = Lock()
        self._reading_lock = Lock()
        self._ids: dict[tuple[str, str], int] = {}
        self._names: set[str] = set()
        with self._told():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connected(file)
            self._reader = _connected(file)  # whoever asks does not wait for an hour that is sealed
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last samples, no more
            self._connection.execute("PRAGMA journal_size_limit = 67108864")
            found = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            if found > _VERSION:
                raise sqlite3.DatabaseError(f"a newer Penstock wrote it (version {found})")
            self._connection.executescript(_TABLES)
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            self._learn(self._connection)

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._reading_lock:
            self._reader.close()
            self._connection.close()

    @property
    def size_bytes(self) -> int:
        """Of the file and of what is written ahead of it."""
        places = (self.file, self.file.with_name(f"{self.file.name}-wal"))
        return sum(place.stat().st_size for place in places if place.exists())

    @property
    def series_count(self) -> int:
        """How many series there are."""
        return len(self._ids)

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(self, at_us: int, families: Iterable[MetricFamily], kept: Mapping[str, str] | None = None) -> bool:
        """Keep the values of a moment, and facts that belong to them, in one transaction.

        False, and nothing is written, where time stands still or was set back: there is a sample of then. Series beyond
        the limit are left out.
        """
        given = list(families)
        with self._writing() as connection:
            newest = connection.execute("SELECT max(at_us) FROM ticks").fetchone()[0]
            sealed = connection.execute("SELECT body FROM kept WHERE name = 'sealed_us'").fetchone()
            if at_us <= max(newest or 0, 0 if sealed is None else int(sealed[0]) - 1):
                return False
            if seal(connection, at_us):
                self._learn(connection)
            ids, values = self._numbered(connection, given)
            connection.execute("INSERT INTO ticks VALUES (?, ?)", (at_us, packed_tick(ids, values)))
            for name, body in (kept or {}).items():
                _keep(connection, name, body)
        return True

    def _numbered(self, connection: sqlite3.Connection, families: Iterable[MetricFamily]) -> tuple[Ids, Floats]:
        ids, values = [], []
        for family in families:
            if family.values and family.name not in self._names:
                about = (family.name, family.type.value, family.unit, family.help)
                connection.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)", about)
                self._names.add(family.name)
            for one in family.values:
                key = (one.name, json.dumps(dict(sorted(one.labels.items()))))
                number = self._ids.get(key)
                if number is None:
                    if len(self._ids) >= self._series_max:
                        continue
                    number = self._new_series(connection, key)
                ids.append(number)
                values.append(one.value)
        return np.array(ids, np.uint32), np.array(values, np.float64)

    def _new_series(self, connection: sqlite3.Connection, key: tuple[str, str]) -> int:
        connection.execute("INSERT OR IGNORE INTO series (name, labels) VALUES (?, ?)", key)
        number = connection.execute("SELECT id FROM series WHERE name = ? AND labels = ?", key).fetchone()[0]
        self._ids[key] = int(number)
        return int(number)

    # --- facts that outlive the server --------------------------------------------------------------------------------

    def load(self, name: str) -> str | None:
        """A fact that was kept; None where there is none."""
        with self._reading() as connection:
            row = connection.execute("SELECT body FROM kept WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def save(self, name: str, body: str) -> None:
        """Keep a fact."""
        with self._writing() as connection:
            _keep(connection, name, body)

    def load_totals(self, flow: str) -> str | None:
        """The totals of a flow, as they were kept."""
        return self.load(f"totals:{flow}")

    def save_totals(self, flow: str, text: str) -> None:
        """Keep the totals of a flow."""
        self.save(f"totals:{flow}", text)

    # --- reading ------------------------------------------------------------------------------------------------------

    def names(self) -> list[StoredName]:
        """What is stored, by name; of a histogram by the metric's name."""
        with self._reading() as connection:
            about = connection.execute("SELECT name, type, unit, help FROM names ORDER BY name").fetchall()
            counts = dict(connection.execute("SELECT name, count(*) FROM series GROUP BY name").fetchall())
        return [
            StoredName(name, kind, unit, text, int(counts.get(name) or counts.get(f"{name}_count") or 0))
            for name, kind, unit, text in about
        ]

    def series(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        start_us: int,
        end_us: int,
        step_s: float,
        function: str = "last",
        quantile: float = 0.5,
    ) -> SeriesAnswer:
        """The series of a metric that have these labels, a value for each step. Raises ConfigError, LedgerError.

        Steps begin at multiples of their length. Where samples are kept by the minute or the hour only, steps that are
        shorter are empty in between.
        """
        grid = _grid(start_us, end_us, step_s, function, quantile)
        histogram = function == "quantile" and self._is_histogram(name)
        stored = f"{name}_bucket" if histogram else name
        asked = {NAME: stored, **(labels or {})}.items()
        matchers = [Matcher(label, MatchKind.EQUAL, value) for label, value in asked]
        with self._reading() as connection:
            wanted = _matching(connection, matchers)
        if not wanted and not self._is_known(stored):
            raise ConfigError(
                f"no metric {name!r} is stored.{did_you_mean(name, sorted({key[0] for key in self._known()}))}",
                hint="penstock metrics --names, or GET /v1/metrics/names, lists those that are",
            )
        with self._reading() as connection:
            connection.execute("BEGIN")
            try:
                records = read_series(connection, list(wanted), grid.start_us - _LOOK_BACK_US, grid.end_us, step_s)
            finally:
                connection.execute("COMMIT")
        if histogram:
            found = _quantiles(wanted, records, grid, quantile)
        else:
            found = [
                MetricSeries(_without_name(labels), stepped(records[number], grid, function, quantile))
                for number, labels in wanted.items()
            ]
        kept = [one for one in found if not np.isnan(one.values).all()]
        return SeriesAnswer(name, function, step_s, grid.times_us, kept)

    def select(self, matchers: Sequence[Matcher], start_us: int, end_us: int) -> list[Series]:
        """The series that meet all matchers, as exact as they are kept; of a minute or an hour, the newest sample.

        What queries of PromQL read (`penstock.observe.promql.SeriesStore`). Raises LedgerError.
        """
        with self._reading() as connection:
            connection.execute("BEGIN")
            try:
                wanted = _matching(connection, matchers)
                found = read_series(connection, list(wanted), start_us, end_us + 1, 0.0) if wanted else {}
            finally:
                connection.execute("COMMIT")
        return [
            Series(wanted[number], records.at_us, records.last) for number, records in found.items() if len(records)
        ]

    def oldest_us(self) -> int | None:
        """When the oldest sample was taken that is kept as a sample or a minute; None where none is."""
        with self._reading() as connection:
            tick = connection.execute("SELECT min(at_us) FROM ticks").fetchone()[0]
            chunk = connection.execute("SELECT min(start_us) FROM chunks WHERE level < 2").fetchone()[0]
        known = [int(one) for one in (tick, chunk) if one is not None]
        return min(known) if known else None

    def frame(self, now_us: int) -> pl.DataFrame:
        """What `penstock sql` calls `metrics`: by the minute, the last day; as `view_frame`."""
        with self._reading() as connection:
            named = connection.execute("SELECT id, name, labels FROM series ORDER BY name, labels").fetchall()
            found = read_series(connection, [row[0] for row in named], now_us - _VIEW_US, now_us + MINUTE_US, 60.0)
        parts, rows = [view_frame(None, "", "{}")], 0
        for number, name, labels in named:
            records = found[number].by(MINUTE_US)
            rows += len(records)
            if rows > _VIEW_ROWS:
                break
            if len(records):
                parts.append(view_frame(records, name, labels))
        return pl.concat(parts)

    def _is_known(self, name: str) -> bool:
        return any(key[0] == name for key in self._known())

    def _is_histogram(self, name: str) -> bool:
        return self._is_known(f"{name}_bucket")

    def _known(self) -> Mapping[tuple[str, str], int]:
        """The series; read again where this object is not the one that writes."""
        with self._reading() as connection:
            rows = connection.execute("SELECT name, labels, id FROM series").fetchall()
        return {(name, labels): number for name, labels, number in rows}

    def _learn(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT name, labels, id FROM series").fetchall()
        self._ids = {(name, labels): number for name, labels, number in rows}

    # --- the file -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                self._names.clear()
                self._learn(self._connection)
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._reading_lock, self._told():
            yield self._reader

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The file's errors in our words."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as problem:
            error = LedgerError(
                f"the store of metrics {self.file} can't be used: {problem}",
                state_left="flows, their ledger and /metrics are not touched by that",
                hint="free space there, or move the file away: a new one is begun",
            )
            error.heals = isinstance(problem, sqlite3.OperationalError)
            raise error from problem


def view_frame(records: Records | None, name: str, labels: str) -> pl.DataFrame:
    """Records of one series with the columns of the view `metrics`; None: no rows."""
    known = Records.joined([]) if records is None else records
    has = json.loads(labels)
    return pl.DataFrame(
        {
            "timestamp": pl.Series(known.at_us, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "name": pl.repeat(name, len(known), dtype=pl.String, eager=True),
            "flow": pl.repeat(has.get("flow"), len(known), dtype=pl.String, eager=True),
            "labels": pl.repeat(labels, len(known), dtype=pl.String, eager=True),
            "value": known.last,
            "low": known.low,
            "high": known.high,
            "average": np.divide(known.total, known.count),
            "increase": known.increase,
        }
    )


def _connected(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, check_same_thread=False, timeout=_WAIT_S, isolation_level=None)


def _matching(connection: sqlite3.Connection, matchers: Sequence[Matcher]) -> dict[int, dict[str, str]]:
    """The labels of the series that meet all matchers, the name among them, by number and in the order of labels."""
    named = next((one.value for one in matchers if one.label == NAME and one.kind is MatchKind.EQUAL), None)
    where, values = ("", ()) if named is None else (" WHERE name = ?", (named,))
    rows = connection.execute(
        f"SELECT id, name, labels FROM series{where} ORDER BY name, labels",  # noqa: S608 - one of two texts of ours
        values,
    )
    found = {number: {NAME: name, **json.loads(text)} for number, name, text in rows.fetchall()}
    return {
        number: labels
        for number, labels in found.items()
        if all(matcher.fits(labels.get(matcher.label, "")) for matcher in matchers)
    }


def _without_name(labels: Mapping[str, str]) -> dict[str, str]:
    return {label: value for label, value in labels.items() if label != NAME}


def _keep(connection: sqlite3.Connection, name: str, body: str) -> None:
    connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, body))


def _grid(start_us: int, end_us: int, step_s: float, function: str, quantile: float) -> Grid:
    if function not in FUNCTIONS:
        raise ConfigError(
            f"there is no function {function!r}.{did_you_mean(function, FUNCTIONS)}", hint=f"use {', '.join(FUNCTIONS)}"
        )
    if not 0 <= quantile <= 1:
        raise ConfigError(f"a quantile is between 0 and 1, not {quantile:g}")
    step_us = round(step_s * 1e6)
    if step_us <= 0 or end_us <= start_us:
        raise ConfigError("a question needs a step longer than 0, and an end after its start")
    first_us = start_us // step_us * step_us
    steps = -((first_us - end_us) // step_us)
    if steps > STEPS_MAX:
        raise ConfigError(f"{steps:,} steps, the limit is {STEPS_MAX:,}", hint="ask for a longer step or less time")
    return Grid(first_us, step_us, steps)


def _quantiles(
    wanted: Mapping[int, Mapping[str, str]], records: Mapping[int, Records], grid: Grid, quantile: float
) -> list[MetricSeries]:
    """One series for each histogram: the buckets of one have the same labels but for `le`."""
    histograms: dict[str, list[tuple[float, int]]] = {}
    for number, labels in wanted.items():
        others = json.dumps({name: value for name, value in _without_name(labels).items() if name != "le"})
        histograms.setdefault(others, []).append((float(labels["le"]), number))
    found = []
    for others, buckets in histograms.items():
        buckets.sort()
        counts = np.array([stepped(records[number], grid, "increase", quantile) for _, number in buckets])
        values = bucket_quantiles([bound for bound, _ in buckets], counts, quantile)
        found.append(MetricSeries(json.loads(others), values))
    return found
