"""The ledger of an environment: a folder of SQLite files by default, PostgreSQL where `penstock.toml` names one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.clock import Clock, SystemClock
from penstock.connect import resolve
from penstock.control.project import Environment
from penstock.ledger import Ledger, open_ledger

__all__ = ["has_ledger", "is_shared", "opened_ledger", "read_ledger"]


def has_ledger(environment: Environment) -> bool:
    """Whether anything was ever written down here. Asking must not create a ledger."""
    where = _where(environment)
    return isinstance(where, str) or (where / "ledger.db").is_file()


def is_shared(environment: Environment) -> bool:
    """Whether several machines may share the ledger: it is in a database server, not in files."""
    return isinstance(_where(environment), str)


def _where(environment: Environment) -> Path | str:
    """A folder, or the address of a database. Raises ConfigError where a reference leads nowhere."""
    if environment.ledger is None:
        return environment.folder
    found = resolve(environment.ledger, environment.root)
    return found if "://" in found else environment.root / found


@contextmanager
def opened_ledger(environment: Environment, clock: Clock | None = None) -> Iterator[Ledger]:
    """The ledger, created where it is missing; closed at the end. Raises LedgerError, ConfigError."""
    ledger = open_ledger(
        _where(environment), env=environment.name, folder=environment.folder, clock=clock or SystemClock()
    )
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def read_ledger(environment: Environment) -> Iterator[Ledger | None]:
    """The ledger for reading; None where nothing ever ran, so that asking creates no file."""
    if not has_ledger(environment):
        yield None
        return
    with opened_ledger(environment) as ledger:
        yield ledger
