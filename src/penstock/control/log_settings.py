"""What `penstock.toml` says of logs: `[logs]` and `[logs.metric.NAME]`. Documented in `docs/projects.md`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, field_validator

from penstock.control.policies import Seconds, Size, Table
from penstock.errors import QueryError

__all__ = ["LogMetric", "LogMetricTable", "LogPolicy", "LogsTable", "log_policy"]

_DAY_S = 86_400.0


class LogMetricTable(Table):
    """`[logs.metric.NAME]`."""

    filter: str
    value: str | None = None

    @field_validator("value")
    @classmethod
    def _has_a_group(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except re.error as error:
                raise ValueError(f"{value!r} is no regular expression: {error}") from None
            if groups != 1:
                raise ValueError(f"{value!r} needs one group in parentheses, around the number")
        return value


class LogsTable(Table):
    """`[logs]`."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    keep: Seconds | None = None
    max_bytes: Size | None = None
    lines_per_s: int | None = Field(default=None, ge=1)
    burst: int | None = Field(default=None, ge=1)
    metric: dict[str, LogMetricTable] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogMetric:
    """A saved filter that is counted over time. `value`: a regular expression whose group is a number of the message:
    then it is a distribution.
    """

    name: str
    filter: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """`[logs]`. `level`: of `logging`. `max_bytes`: of one flow. `lines_per_s`: of one process, for good; `burst`: at
    once.
    """

    level: int = logging.INFO
    keep_s: float = 30 * _DAY_S
    max_bytes: int = 5_000_000_000
    lines_per_s: int = 20_000
    burst: int = 20_000_000
    metrics: Mapping[str, LogMetric] = field(default_factory=dict)

    def metric(self, name: str) -> LogMetric:
        """The metric of this name. Raises QueryError that lists those there are."""
        found = self.metrics.get(name)
        if found is None:
            known = ", ".join(self.metrics) or "none yet"
            raise QueryError(f"there is no log metric {name!r}", hint=f"add [logs.metric.{name}]; there are: {known}")
        return found


def log_policy(table: LogsTable) -> LogPolicy:
    """What holds where the table says nothing else."""
    default = LogPolicy()
    return LogPolicy(
        level=logging.getLevelNamesMapping()[table.level],
        keep_s=table.keep or default.keep_s,
        max_bytes=table.max_bytes or default.max_bytes,
        lines_per_s=table.lines_per_s or default.lines_per_s,
        burst=table.burst or default.burst,
        metrics={name: LogMetric(name, one.filter, one.value) for name, one in table.metric.items()},
    )
