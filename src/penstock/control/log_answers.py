"""What alert rules ask of logs and tables (`penstock.control.alerting.asking.LogQueries`), answered from the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.clock import Clock
from penstock.control.log_catching import log_folder
from penstock.control.project import Environment
from penstock.control.sql import SqlSession
from penstock.observe import FlowLogs, LogQuery, LogReader, LogSpan, severity_name

__all__ = ["LogAnswers", "log_counts"]

_LINES = 3
_ROWS_MOST = 1_000
_LIMIT_S = 10.0
_BY_FLOW = f"""
select project, env, flow, count(*) as n,
       list(message order by "timestamp" desc, insert_id desc)[1:{_LINES}] as newest
from logs group by project, env, flow order by flow
"""  # noqa: S608 - a number of ours


class LogAnswers:
    """Of one environment; each answer is of the logs as they are then, and takes ten seconds at most."""

    def __init__(self, environment: Environment, clock: Clock) -> None:
        self._environment = environment
        self._clock = clock

    def by_flow(self, text: str, start_us: int, end_us: int) -> Sequence[tuple[Mapping[str, str], int, Sequence[str]]]:
        """Of the entries of a filter from `start_us` until `end_us`: labels of each flow, how many, the newest lines.

        Raises QueryError.
        """
        with LogReader(log_folder(self._environment), self._clock, limit_s=_LIMIT_S) as reader:
            rows = reader.table(LogQuery(LogSpan(start_us, end_us), text), _BY_FLOW).to_pylist()
        return [({name: row[name] for name in ("project", "env", "flow")}, row["n"], row["newest"]) for row in rows]

    def rows(self, query: str) -> Sequence[Mapping[str, Any]]:
        """The first thousand rows of one statement that reads, over tables, logs and ledger. Raises QueryError."""
        with SqlSession(self._environment) as session:
            schema, rows = session.rows(query, limit=_ROWS_MOST, limit_s=_LIMIT_S)
        return [dict(zip(schema.names, row, strict=True)) for row in rows]


def log_counts(environment: Environment) -> Callable[[str], Mapping[str, int]]:
    """A function that tells how many lines a flow ever logged, by severity; no file of entries is opened for it."""

    def counts(flow: str) -> Mapping[str, int]:
        found = FlowLogs(log_folder(environment) / flow).counts()
        return {severity_name(number): count for number, count in sorted(found.items())}

    return counts
