"""Where an environment's metrics are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import polars as pl

from penstock.clock import Clock, SystemClock, new_id
from penstock.control.project import Environment
from penstock.errors import LedgerError
from penstock.observe import MetricHistory, view_frame

__all__ = ["HISTORY_FILE", "has_history", "metrics_frame", "opened_history", "read_history"]

HISTORY_FILE = "metrics.db"


def has_history(environment: Environment) -> bool:
    """Whether a server ever kept samples here."""
    return (environment.folder / HISTORY_FILE).is_file()


@contextmanager
def opened_history(environment: Environment, *, anew: Callable[[str], None] | None = None) -> Iterator[MetricHistory]:
    """The store of metrics, begun where there is none; closed at the end. Raises LedgerError.

    `anew`: one that is damaged is put aside, and this is told so: a server starts all the same.
    """
    file = environment.folder / HISTORY_FILE
    try:
        history = MetricHistory(file)
    except LedgerError as error:
        if anew is None or error.heals:
            raise
        aside = file.with_name(f"{file.name}.damaged-{new_id()[:8]}")
        for suffix in ("-wal", "-shm"):
            file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)
        file.rename(aside)
        anew(f"{error.message}; it is {aside.name} now, and a new one is begun")
        history = MetricHistory(file)
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
