"""The logs of an environment as one table of DuckDB, asked by filters of Cloud Logging and by SQL alike.

The table is a view over the Parquet files that may matter, by their times and flows, and over the journals as they are
at this moment: an entry is seen as soon as it was logged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeAlias

import duckdb
import polars as pl
import pyarrow as pa

from penstock.clock import Clock, to_datetime
from penstock.errors import QueryError
from penstock.observe.entries import SEVERITIES
from penstock.observe.filters import Condition, compile_filter, time_bounds
from penstock.observe.logs.reading import empty_rows, journal_files, rows_of_journal, to_table
from penstock.observe.logs.store import FlowLogs, flows_with_logs

__all__ = ["LOG_QUERY_S", "LogQuery", "LogReader", "LogSpan", "matching", "open_logs", "severity_name", "time_limit"]

_Ask: TypeAlias = Callable[..., pa.Table]
"""A question in SQL, with its parameters."""
LOG_QUERY_S = 30.0
"""A query that takes longer is ended."""
_LIVE = "penstock_log_journals"
_NAMES: Mapping[int, str] = MappingProxyType({number: name for name, number in SEVERITIES.items()})


def severity_name(number: int) -> str:
    """The name of a severity; of a number between two, that of the lower one."""
    return _NAMES[max((one for one in _NAMES if one <= number), default=0)]


@dataclass(frozen=True, slots=True)
class LogSpan:
    """Which part of the logs: from `since_us` (inclusive) to `until_us` (exclusive), of some flows; None: of all."""

    since_us: int | None = None
    until_us: int | None = None
    flows: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What is asked for: a span, entries of at least a severity, and a filter of the Cloud Logging language.

    `before`: time (microseconds) and insert_id of an entry; only those that come after it in a list that has the newest
    first. So a page goes on where the one before ended, whatever was logged meanwhile.
    """

    span: LogSpan = field(default_factory=LogSpan)
    filter: str = ""
    severity: int | None = None
    before: tuple[int, str] | None = None

    def condition(self, now_us: int) -> Condition:
        """As the WHERE of SQL, with its parameters. Raises QueryError that shows the place in the filter."""
        parts: list[str] = []
        given: list[Any] = []

        def both(sql: str, *values: Any) -> None:
            parts.append(sql)
            given.extend(values)

        if self.span.since_us is not None:
            both('"timestamp" >= ?', to_datetime(self.span.since_us))
        if self.span.until_us is not None:
            both('"timestamp" < ?', to_datetime(self.span.until_us))
        if self.span.flows is not None:
            both(f"flow in ({', '.join('?' * len(self.span.flows)) or 'null'})", *self.span.flows)
        if self.severity is not None:
            both("severity >= ?", self.severity)
        if self.before is not None:
            moment = to_datetime(self.before[0])
            both('("timestamp" < ? or ("timestamp" = ? and insert_id < ?))', moment, moment, self.before[1])
        if self.filter.strip():
            found = compile_filter(self.filter, now_us=now_us)
            both(found.sql, *found.parameters)
        return Condition(" and ".join(parts) or "true", tuple(given))

    def bounded(self, now_us: int) -> LogQuery:
        """The same with a span as narrow as its filter and page allow, so that fewer files are opened."""
        since_us, until_us = time_bounds(self.filter, now_us=now_us) if self.filter.strip() else (None, None)
        page_us = None if self.before is None else self.before[0] + 1
        starts = [one for one in (self.span.since_us, since_us) if one is not None]
        ends = [one for one in (self.span.until_us, until_us, page_us) if one is not None]
        span = LogSpan(max(starts, default=None), min(ends, default=None), self.span.flows)
        return replace(self, span=span)


def open_logs(
    connection: duckdb.DuckDBPyConnection, root: Path, span: LogSpan | None = None, name: str = "logs"
) -> None:
    """Make the logs of an environment a view of a connection, as they are now. `root`: the folder of its logs."""
    files, live = _parts(root, span or LogSpan())
    journal = f"{_LIVE}_{name}"
    connection.register(journal, live)
    entries = connection.view(journal)
    if files:
        entries = connection.read_parquet([str(path) for path in files]).union(entries)
    entries.create_view(name, replace=True)


def _parts(root: Path, span: LogSpan) -> tuple[list[Path], pa.Table]:
    """Parquet files, and the entries of the journals that are in none of them."""
    files: list[Path] = []
    live = [empty_rows()]
    for logs in _flows(root, span.flows):
        journals = [one for one in journal_files(logs.folder) if span.until_us is None or one.begun_us < span.until_us]
        known = logs.index().covered
        read = {one.id: rows_of_journal(one.path) for one in journals if one.id not in known}
        index = logs.index()  # after the journals were read: one that was moved meanwhile is in it
        live += [rows for name, rows in read.items() if name not in index.covered]
        files += [logs.path_of(one) for one in index.files if one.overlaps(span.since_us, span.until_us)]
    return files, to_table(pl.concat(live))


def _flows(root: Path, names: Sequence[str] | None) -> list[FlowLogs]:
    found = flows_with_logs(root)
    return found if names is None else [one for one in found if one.flow in names]


@contextmanager
def time_limit(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Inside, a query of the connection is ended after so many seconds. Raises QueryError then."""
    if seconds is None:
        yield
        return
    late = threading.Event()

    def end() -> None:
        late.set()
        connection.interrupt()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except duckdb.InterruptException:
        if not late.is_set():
            raise
        raise QueryError(
            f"the query was ended after {seconds:g} s", hint="ask for less time, fewer flows, or a rarer word"
        ) from None
    finally:
        timer.cancel()


def matching(connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame, condition: Condition) -> list[dict[str, Any]]:
    """Those of some rows that a condition is true of, in their order."""
    if rows.is_empty():
        return []
    connection.register("penstock_log_news", rows.with_row_index("penstock_order").to_arrow())
    text = f"select * from penstock_log_news where {condition.sql} order by penstock_order"  # noqa: S608 - bound
    found = connection.sql(text, params=list(condition.parameters)).to_arrow_table()
    return list(found.drop_columns(["penstock_order"]).to_pylist())


class LogReader:
    """Asks the logs of an environment; use it in a `with`. One question at a time; each sees the logs as they are then.

    `root`: the folder of the environment's logs. `limit_s`: how long a question may take.
    """

    def __init__(self, root: Path, clock: Clock, *, limit_s: float | None = LOG_QUERY_S) -> None:
        self.root = root
        self._clock = clock
        self._limit_s = limit_s
        self._connection = duckdb.connect(
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        self._connection.execute("set timezone = 'UTC'")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def table(self, query: LogQuery, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """The result of SQL over `logs`, where that holds the entries of a query only. Raises QueryError.

        `sql` is ours; what a person wrote is in the query and in `parameters`, which are bound.
        """
        return self._asked(query, lambda ask: ask(sql, parameters))

    def _asked(self, query: LogQuery, work: Callable[[_Ask], pa.Table]) -> pa.Table:
        """What `work` makes of questions to one state of the logs; it is done again where files went meanwhile."""
        now_us = self._clock.now_us()
        condition = query.condition(now_us)
        span = query.bounded(now_us).span

        def ask(sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
            text = f"with logs as (select * from all_logs where {condition.sql}) {sql}"  # noqa: S608 - bound
            found: pa.Table = self._connection.sql(text, params=[*condition.parameters, *parameters]).to_arrow_table()
            return found

        for last in (False, True):
            try:
                open_logs(self._connection, self.root, span, "all_logs")
                with time_limit(self._connection, self._limit_s):
                    return work(ask)
            except duckdb.IOException:  # a file was merged away since it was listed
                if last:
                    raise
            except duckdb.Error as error:
                raise QueryError(f"the logs can't be asked that: {error}", hint="narrow the filter") from None
        raise AssertionError

    def newest(self, query: LogQuery, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest entries of a query, newest first, with `timestamp` as an aware UTC datetime."""

        def work(ask: _Ask) -> pa.Table:
            # Where they begin first: that reads a few columns, and lets the rest of the files be skipped then.
            edge = ask('select min("timestamp") from (select "timestamp" from logs order by 1 desc limit ?)', [limit])
            return ask(
                'select * from logs where "timestamp" >= ? order by "timestamp" desc, insert_id desc limit ?',
                [edge.column(0)[0].as_py(), limit],
            )

        return list(self._asked(query, work).to_pylist())

    def around(self, entry: Mapping[str, Any], *, count: int) -> list[dict[str, Any]]:
        """The entries that the same process logged before and after an entry, `count` of each, in their order."""
        moment: datetime = entry["timestamp"]
        span = LogSpan(None, None, (str(entry["flow"]),))
        given = [entry["worker"], moment, moment, entry["insert_id"]]
        before = self.table(
            LogQuery(span),
            'select * from logs where worker = ? and ("timestamp" < ? or ("timestamp" = ? and insert_id <= ?)) '
            'order by "timestamp" desc, insert_id desc limit ?',
            [*given, count + 1],
        )
        after = self.table(
            LogQuery(span),
            'select * from logs where worker = ? and ("timestamp" > ? or ("timestamp" = ? and insert_id > ?)) '
            'order by "timestamp", insert_id limit ?',
            [*given, count],
        )
        return [*reversed(before.to_pylist()), *after.to_pylist()]

    def histogram(self, query: LogQuery, *, buckets: int) -> list[dict[str, Any]]:
        """How many entries of each severity, in `buckets` parts of the query's span: `start_us`, `end_us`, `counts`.

        The span must have both ends. `counts` has the names of severities; those with nothing are left out.
        """
        since_us, until_us = query.span.since_us, query.span.until_us
        assert since_us is not None
        assert until_us is not None
        width = max(-(-(until_us - since_us) // buckets), 1)
        found = self.table(
            query,
            'select (epoch_us("timestamp") - ?) // ? as part, severity, count(*) as n from logs group by 1, 2',
            [since_us, width],
        )
        parts: list[dict[str, Any]] = [
            {
                "start_us": since_us + number * width,
                "end_us": min(since_us + (number + 1) * width, until_us),
                "counts": {},
            }
            for number in range(buckets)
            if since_us + number * width < until_us
        ]
        for row in found.to_pylist():
            counts = parts[min(int(row["part"]), len(parts) - 1)]["counts"]
            name = severity_name(row["severity"])
            counts[name] = counts.get(name, 0) + row["n"]
        return parts
