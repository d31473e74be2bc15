"""The stage for handovers: a project with a stateful flow, `penstock up`, a steady input, and a real PostgreSQL.

A running count and sum by key. Every key is put in first; then rows of keys drawn at random come at a steady rate, each
line written by a process of its own. PostgreSQL notes when each transaction was committed, so the gaps between visible
outputs are known exactly and afterwards, without a reader that would need a core.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray

from benchmarks.places import say, work_folder
from benchmarks.running import CLOCK
from penstock.control import Environment, Project, load_flow, make_bundle, opened_ledger, prepare, project_for
from penstock.control import find_flow as target_of
from penstock.errors import ConnectorError
from penstock.ledger import Ledger, Member
from penstock.testing.servers import PostgresServer, postgres

__all__ = ["FLOW", "Stage", "end", "stage"]

T = TypeVar("T")

FLOW = "sums"
SEED = 20261125
PATIENCE_S = 120.0
POLL_S = 0.01
SETTLE_S = 3.0

FLOW_TEXT = '''"""A running count and sum by key. Version {version}: it gives what the others give."""

import polars as pl

import penstock as ps

flow = ps.Flow("sums")
rows = flow.read(ps.topic("rows", schema={{"key": int, "amount": int}}), name="rows")
sums = rows.group_by("key").agg(total=pl.col("amount").sum(), rows=pl.len(), name="sums")
shown = sums.with_columns(total=pl.col("total") + 0 * {version}, name="shown")
shown.write(ps.table("sums", key="key"), name="out")
'''

PROJECT_TEXT = """[project]
name = "handovers"

[deploy]
slower_max = 10.0

[env.bench.bind.rows]
kind = "files"
path = "rows"
format = "ndjson"
watch = true
tail = true

[env.bench.bind.sums]
kind = "postgres"
dsn = "{dsn}"
table = "sums"
"""

GENERATOR = """
import random, sys, time
path, keys, rate, seed = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
chance, written, began = random.Random(seed), 0, time.perf_counter()
with open(path, "a", encoding="ascii") as out:
    while True:
        due = int((time.perf_counter() - began) * rate)
        while written < due:
            out.write('{"key": %d, "amount": %d}\\n' % (chance.randrange(keys), written % 10))
            written += 1
        out.flush()
        time.sleep(0.004)
"""


@dataclass(frozen=True, slots=True)
class Final:
    """When each epoch became visible (seconds since 1970, in order), and what is wrong in the table."""

    commits_s: NDArray[np.float64]
    differences: Mapping[str, int]


@dataclass
class Stage:
    """The running stage."""

    folder: Path
    environment: Environment
    ledger: Ledger
    project: Project
    dsn: str
    keys: int
    final: Final = field(default_factory=lambda: Final(np.array([]), {}))
    """What the table came to; there once the stage is over."""

    def write_version(self, number: int) -> str:
        """Write another version of the flow's code and keep it; gives its id."""
        (self.folder / "flows" / f"{FLOW}.py").write_text(FLOW_TEXT.format(version=number), encoding="utf-8")
        # In a process of its own: a module that is loaded stays what it was.
        made = subprocess.run(
            [sys.executable, "-m", "benchmarks.handovers.keep", str(self.folder)],
            check=True,
            capture_output=True,
            text=True,
        )
        return made.stdout.strip().splitlines()[-1]

    def leader(self) -> Member | None:
        """The process that leads, if one does."""
        return next((one for one in self.ledger.members(FLOW) if one.facts.get("role") == "leading"), None)

    def wait(self, what: str, found: Callable[[], T | None]) -> T:
        """Wait for something; raises ConnectorError where it does not come."""
        until_s = CLOCK.stopwatch_s() + PATIENCE_S
        while CLOCK.stopwatch_s() < until_s:
            value = found()
            if value:
                return value
            CLOCK.sleep(POLL_S)
        log = (self.folder / "server.txt").read_text(encoding="utf-8", errors="replace")[-3000:]
        raise ConnectorError(f"waited in vain for {what}; the server said:\n{log}")

    def commits_s(self) -> NDArray[np.float64]:
        """When each epoch became visible in the table, in seconds since 1970, in order."""
        with psycopg.connect(self.dsn) as session:
            (images,) = session.execute(
                "select tablename from pg_tables where tablename like 'penstock_before%'"
            ).fetchall()
            query = (
                "select extract(epoch from max(pg_xact_commit_timestamp(xmin))) from "
                f'"{images[0]}" group by _by order by _by'
            )
            return np.array([float(row[0]) for row in session.execute(query.encode()).fetchall()])

    def differences(self) -> Mapping[str, int]:
        """What the table lacks of the input, and what it has too often, in rows."""
        files = sorted((self.folder / "rows").glob("*.ndjson"))
        wanted = pl.concat(pl.read_ndjson(file).group_by("key").agg(wanted=pl.len().cast(pl.Int64)) for file in files)
        wanted = wanted.group_by("key").agg(pl.col("wanted").sum())
        with psycopg.connect(self.dsn) as session:
            rows = session.execute("select key, rows from sums").fetchall()
        there = pl.DataFrame(rows, schema={"key": pl.Int64, "there": pl.Int64}, orient="row")
        both = wanted.join(there, on="key", how="full", coalesce=True).fill_null(0)
        over = both["there"] - both["wanted"]
        return {"lost": int(-over.clip(upper_bound=0).sum()), "duplicated": int(over.clip(lower_bound=0).sum())}


@contextmanager
def stage(*, keys: int, rate_per_s: int, spares: int = 1, options: Mapping[str, Any] | None = None) -> Iterator[Stage]:
    """Set the stage: server up, flow started by a version that is kept, every key in, rows coming."""
    with ExitStack() as held:
        server = held.enter_context(postgres())
        _note_commits(server)
        folder = held.enter_context(work_folder("handovers"))
        for name in ("flows", "rows"):
            (folder / name).mkdir()
        (folder / "penstock.toml").write_text(PROJECT_TEXT.format(dsn=server.dsn), encoding="utf-8")
        chance = np.random.default_rng(SEED)
        pl.DataFrame({"key": chance.permutation(keys), "amount": 1}).write_ndjson(folder / "rows" / "0000.ndjson")
        project = project_for(folder)
        environment = project.environment("bench")
        ledger = held.enter_context(opened_ledger(environment))
        made = Stage(folder, environment, ledger, project, server.dsn, keys)
        version = made.write_version(0)
        held.callback(_stop, made)
        held.callback(_await, _penstock(made, "up", "--port", "0", "--spares", str(spares), "--stop-flows"))
        held.callback(_run, made, "down", "--flows")
        standby = ["--standby"] if (options or {}).get("standby") else []
        made.wait("the server", (environment.folder / "server.json").is_file)
        _run(made, "start", FLOW, "--version", version, *standby)
        say(f"{keys:,} keys: putting them in")
        made.wait("all keys", lambda: _rows_in(made) >= keys)
        generator = subprocess.Popen(
            [sys.executable, "-c", GENERATOR, str(folder / "rows" / "0001.ndjson"), *map(str, (keys, rate_per_s, SEED))]
        )
        held.callback(end, generator)
        CLOCK.sleep(SETTLE_S)
        yield made
        end(generator)
        made.wait("the rest of the rows", lambda: _is_drained(made))
        made.final = Final(made.commits_s(), made.differences())


def keep(folder: Path) -> str:
    """Keep the flow of the working tree as a version."""
    environment = project_for(folder).environment("bench")
    loaded = load_flow(target_of(FLOW, folder), environment)
    with opened_ledger(environment) as ledger:
        return make_bundle(prepare(loaded, environment), ledger=ledger).id


def _note_commits(server: PostgresServer) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as session:
        session.execute("alter system set track_commit_timestamp = on")
    server.stop()
    server.start()


def _penstock(made: Stage, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "penstock.interfaces.cli", *words, "--env", "bench", "-C", str(made.folder)]
    with (made.folder / "server.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def _run(made: Stage, *words: str) -> None:
    process = _penstock(made, *words)
    if process.wait(PATIENCE_S) != 0:
        log = (made.folder / "server.txt").read_text(encoding="utf-8", errors="replace")[-3000:]
        raise ConnectorError(f"penstock {' '.join(words)} failed:\n{log}")


def _stop(made: Stage) -> None:
    """Where `down` could not do it: nothing that was started here may stay."""
    for member in made.ledger.members(FLOW):
        with suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)


def _await(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was told to end."""
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process at once."""
    process.kill()
    process.wait()


def _rows_in(made: Stage) -> int:
    return sum(sum(record.rows_in.values()) for record in made.ledger.epochs(FLOW))


def _is_drained(made: Stage) -> bool:
    wanted = sum(file.read_bytes().count(b"\n") for file in (made.folder / "rows").glob("*.ndjson"))
    return _rows_in(made) >= wanted
