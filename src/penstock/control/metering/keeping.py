"""Where an environment's metrics are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from penstock.clock import Clock, SystemClock
from penstock.control.project import Environment
from penstock.observe import MetricHistory, view_frame

__all__ = ["HISTORY_FILE", "has_history", "metrics_frame", "opened_history", "read_history"]

HISTORY_FILE = "metrics.db"


def has_history(environment: Environment) -> bool:
    """Whether a server ever kept samples here."""
    return (environment.folder / HISTORY_FILE).is_file()


@contextmanager
def opened_history(environment: Environment) -> Iterator[MetricHistory]:
    """The store of metrics, begun where there is none; closed at the end. Raises LedgerError."""
    history = MetricHistory(environment.folder / HISTORY_FILE)
    try:
        yield history
    finally:
        history.close()


@contextmanager
def read_history(environment: Environment) -> Iterator[MetricHistory | None]:
    """The store for reading; None where there is none, so that asking creates no file."""
    if not has_history(environment):
        yield None
        return
    with opened_history(environment) as history:
        yield history


def metrics_frame(environment: Environment, clock: Clock | None = None) -> pl.DataFrame:
    """The view `metrics` of `penstock sql`: what is stored of the last day, by the minute; no rows without a store."""
    with read_history(environment) as history:
        if history is None:
            return view_frame(None, "", "{}")
        return history.frame((clock or SystemClock()).now_us())
