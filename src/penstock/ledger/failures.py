"""What a database's or a disk's failure means: one table from error codes to words, and whether it heals."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from penstock.errors import LedgerError, PenstockError

__all__ = ["disk_failure", "ledger_failure", "permanent"]

E = TypeVar("E", bound=PenstockError)

DISK_FULL = "the disk is full"
ROOM = "make room on the disk; the flow goes on by itself or with `penstock run`"

# SQLite's primary result code -> what happened, does it heal, what to do.
SQLITE: dict[int, tuple[str, bool, str]] = {
    5: ("another process holds the write lock", True, "if that process is stopped or hangs, end it"),
    6: ("another process holds the write lock", True, "if that process is stopped or hangs, end it"),
    8: ("it can't be written: it is read-only", True, "check the owner and mode of the file and its folder"),
    10: ("reading or writing the disk failed", True, "look at the disk (kernel log, quota), then start the flow again"),
    11: ("the file is damaged", False, "move it away and restore a copy, or try `sqlite3 FILE .recover`"),
    13: (DISK_FULL, True, ROOM),
    14: ("the file can't be opened", True, "check that its folder is there and may be written"),
    26: ("the file is damaged: it is not a SQLite database", False, "move it away and restore a copy"),
}

# PostgreSQL's SQLSTATE, whole or its class -> the same.
POSTGRES: dict[str, tuple[str, bool, str]] = {
    "55P03": ("another process holds the lock of this flow", True, "if that process is stopped or hangs, end it"),
    "53100": ("the disk of the database is full", True, "make room on the database's disk; the flow goes on by itself"),
    "53300": ("the database has no connection left", True, "raise max_connections or end idle clients"),
    "25006": ("the database is read-only (a standby?)", True, "name the primary in the ledger's address"),
    "25P03": ("the session was idle in a transaction and was ended", True, "try again"),
    "28": ("the database refused the user or password", False, "check the ledger's address in penstock.toml"),
    "3D": ("the database does not exist", False, "create it, or correct the ledger's address in penstock.toml"),
    "42501": (
        "the user may not do this in the database",
        False,
        "grant CREATE on the database, and USAGE on `penstock`",
    ),
    "40": ("two transactions stood in each other's way", True, "try again"),
    "57": ("the database is going down or coming up", True, "wait for the database; the flow goes on by itself"),
    "58": ("the database could not use its disk", True, "look at the database's log and disk"),
    "XX": ("the database reports damaged data", False, "look at the database's log; restore a copy"),
}
AWAY = ("the database is away", True, "start the database, or check the network; the flow goes on by itself")


def permanent(error: E) -> E:
    """The same error, marked as one that trying again does not heal."""
    error.heals = False
    return error


def _meaning(original: BaseException | None) -> tuple[str, bool, str]:
    sqlite_code = getattr(original, "sqlite_errorcode", None)
    if isinstance(sqlite_code, int):
        return SQLITE.get(sqlite_code & 0xFF, ("it refused the statement", False, "report this: it is a bug"))
    if type(original).__module__ == "sqlite3":
        return ("the file can't be understood", False, "move it away and restore a copy")
    state = getattr(original, "sqlstate", None)
    if isinstance(state, str):
        unknown = ("it refused the statement", False, "report this: it is a bug")
        return POSTGRES.get(state) or POSTGRES.get(state[:2], AWAY if state.startswith("08") else unknown)
    return AWAY


def ledger_failure(
    failure: sa.exc.DBAPIError, where: str, *, flow: str | None, epoch: int | None, left: str
) -> LedgerError:
    """The LedgerError for a failure that SQLAlchemy wrapped. `where`: file or address; `left`: the state left."""
    what, heals, hint = _meaning(failure.orig)
    said = " ".join(str(failure.orig).split())
    error = LedgerError(f"{where}: {what} ({said})", flow=flow, epoch=epoch, state_left=left, hint=hint)
    error.heals = heals
    return error


def disk_failure(
    problem: OSError, file: Path, *, left: str, flow: str | None = None, epoch: int | None = None
) -> LedgerError:
    """The LedgerError for a file that could not be written: disk full, quota, too large, I/O error."""
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = DISK_FULL if full else "reading or writing the disk failed"
    hint = ROOM if full else "look at the disk (kernel log, mount, permissions), then start the flow again"
    return LedgerError(f"{file}: {what} ({problem.strerror})", flow=flow, epoch=epoch, state_left=left, hint=hint)
