"""Penstock operates dataflows: watch, recover, test and promote, change while running, undo.

This is the front door for authors: `import penstock as ps`. It loads no dataframe library and no server.
"""

from typing import TYPE_CHECKING

from penstock.clock import epoch_id, epoch_random, now
from penstock.errors import PenstockError, did_you_mean
from penstock.flow import (
    PROCESSING_TIME,
    Dataset,
    Flow,
    KeyContext,
    Metric,
    Stream,
    between,
    console,
    delta,
    duckdb_table,
    files,
    http_push,
    matches,
    memory,
    metric,
    nats,
    nexmark,
    not_null,
    one_of,
    param,
    parquet,
    postgres,
    postgres_changes,
    same_window,
    session,
    sliding,
    table,
    that,
    topic,
    tumbling,
    unique,
)

__all__ = [
    "PROCESSING_TIME",
    "Dataset",
    "Flow",
    "KeyContext",
    "Metric",
    "PenstockError",
    "Stream",
    "between",
    "console",
    "delta",
    "duckdb_table",
    "epoch_id",
    "epoch_random",
    "files",
    "http_push",
    "matches",
    "memory",
    "metric",
    "nats",
    "nexmark",
    "not_null",
    "now",
    "one_of",
    "param",
    "parquet",
    "postgres",
    "postgres_changes",
    "same_window",
    "session",
    "sliding",
    "table",
    "that",
    "topic",
    "tumbling",
    "unique",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a checker would take it for a promise that every name is there

    def __getattr__(name: str) -> object:
        """Raise AttributeError with the closest public name."""
        raise AttributeError(f"penstock has no {name!r}.{did_you_mean(name, __all__)}", name=name)
