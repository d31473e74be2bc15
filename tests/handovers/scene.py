"""A scene: a project with a stateful flow, its versions, `penstock up`, rows that keep coming, and three kinds of sink.

What is done is asked as the command line asks it (`Asker`, `Wisher`), in this process; who does it is a real server
with real processes. A scene waits for facts, never for time: the timeout of the test is the limit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TypeVar

from penstock.clock import SystemClock
from penstock.control import (
    Asker,
    Environment,
    FlowStatus,
    Manner,
    Wisher,
    find_flow,
    flow_folder,
    is_there,
    load_flow,
    make_bundle,
    opened_ledger,
    prepare,
    project_for,
    read_server,
)
from penstock.ledger import Deployment, DeploymentStatus, Ledger, Member, SegmentRef
from tests.handovers import misfortune
from tests.handovers.rows import Writer

__all__ = ["FLOW", "Scene", "kill", "scene", "until"]

T = TypeVar("T")

FLOW = "story"
ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
QUICK = Manner(shadow_epochs=2, shadow_s=None, watch_s=0.2, approve="policy")
"""Every stage, none for long."""

PROJECT = """[project]
name = "handovers"

[deploy]
slower_max = 100.0

[supervise]
backoff = "50ms"
restarts = 3

[env.dev.bind.rows]
kind = "files"
path = "rows/*.ndjson"
format = "ndjson"
watch = true
tail = {tail}

[env.dev.bind.totals]
kind = "postgres"
dsn = "{dsn}"
table = "totals"

[env.dev.bind.each]
kind = "postgres"
dsn = "{dsn}"
table = "each"

[env.dev.bind.windows]
kind = "delta"
path = "windows"
min_epoch_ms = 150
"""

TEXT = '''"""Rows, each id once; their sums by key and by window. Version {name}."""

import random
import threading

import polars as pl

import misfortune
import penstock as ps

NAME = "{name}"
misfortune.begin(NAME)
{head}
worked_rows = ps.metric("worked_rows", help="Rows that a process had in its hands, each once.")
ROW = {{"id": int, "key": int, "amount": int, "at": pl.Datetime("us")}}


def share(row):
    """Raises where there is nothing to share."""
    {share}
    return {{**row, "share": 1_000 // row["amount"]}}


def work(batch):
    """Where a process may hang."""
    misfortune.work(NAME, batch)
    {work}
    worked_rows.inc(batch.height)
    return batch


flow = ps.Flow("story", epoch_rows=400)
rows = flow.read(ps.topic("rows", schema=ROW), event_time="at", lateness="5s", name="rows")
once = rows.deduplicate({once}, within="1h", name="once")
worked = once.map_batches(work, schema=ROW, name="worked")
shared = worked.map(share, schema={{**ROW, "share": int}}, name="shared")
windows = shared.group_by("key").window(ps.tumbling("10s")).agg(
    n=pl.len(), total=pl.col("amount").sum(), name="windows")
totals = shared.group_by("key").agg(n=pl.len(), total=pl.col("amount").sum(), name="totals")
shown = shared.with_columns(amount=pl.col("amount") + {wrong}, name="shown")
windows.write(ps.table("windows"), name="windows_out")
totals.write(ps.table("totals", key="key"), name="totals_out")
shown.write(ps.table("each"), name="each_out")
'''

_PAUSE = Event()


def until(fact: Callable[[], T | None]) -> T:
    """What `fact` gives, once it gives something. The timeout of the test is the limit."""
    while not (found := fact()):
        _PAUSE.wait(0.02)
    return found


def kill(who: Member | int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a process a signal; nothing happens where it is gone."""
    with suppress(ProcessLookupError):
        os.kill(who if isinstance(who, int) else who.pid, number)


@dataclass
class Scene:
    """A scene that is set. `wrong`: by version what it adds to each amount; the oracle has to know."""

    folder: Path
    environment: Environment
    ledger: Ledger
    dsn: str
    writer: Writer
    spares: int = 1
    server: subprocess.Popen[bytes] | None = None
    names: dict[str, str] = field(default_factory=dict)
    """From the id of a version to its name."""
    wrong: dict[str, int] = field(default_factory=dict)

    # --- versions -----------------------------------------------------------------------------------------------------

    def version(
        self, name: str, *, head: str = "", share: str = "", work: str = "", once: str = '"id"', wrong: int = 0
    ) -> str:
        """Keep a version of the flow; gives its id. Lines for the module's head and two functions may be given."""
        parts = {"head": head, "share": share or "pass", "work": work or "pass", "once": once, "wrong": wrong}
        (self.folder / "flows" / f"{FLOW}.py").write_text(TEXT.format(name=name, **parts), encoding="utf-8")
        loaded = load_flow(find_flow(FLOW, self.folder), self.environment)
        found = make_bundle(prepare(loaded, self.environment), ledger=self.ledger).id
        self.names[found] = name
        if wrong:
            self.wrong[found] = wrong
        return found

    def other(self) -> str:
        """The version that does not lead: `v0` or `v1`."""
        standing = self.ledger.standing(FLOW)
        assert standing is not None
        return next(found for found, name in self.names.items() if name in ("v0", "v1") and found != standing.version)

    # --- the server ---------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Let a server run, where none does; return when it leads."""
        if self.server is not None and self.server.poll() is None:
            return
        command = [sys.executable, "-m", "tests.handovers.up", str(self.folder), "--spares", str(self.spares)]
        with (self.folder / "server.txt").open("ab") as log:
            self.server = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        until(self._is_up)

    def _is_up(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, self.said()
        found = read_server(self.environment.folder)
        return found is not None and found.pid == self.server.pid

    def said(self) -> str:
        """What the server said last."""
        return (self.folder / "server.txt").read_text(encoding="utf-8", errors="replace")[-4000:]

    def kill_server(self) -> None:
        """`kill -9`."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    # --- the flow -----------------------------------------------------------------------------------------------------

    @property
    def wisher(self) -> Wisher:
        """Who says what should be of the flow."""
        return Wisher(self.ledger, self.environment, CLOCK, who="test")

    @property
    def asker(self) -> Asker:
        """Who asks for handovers."""
        return Asker(self.ledger, self.environment, CLOCK, who="test", why="a test")

    def start(self, version: str, **options: object) -> Member:
        """Let the flow run; gives the process that leads, once it has committed."""
        self.wisher.start(FLOW, version=version, options=options)
        return self.at_work()

    def restart(self) -> Member:
        """Let another process of the same version lead, after an orderly stop."""
        version = self.at_work().version
        self.wisher.stop(FLOW)
        until(lambda: not self.members())
        self.wisher.start(FLOW, version=version)
        return self.at_work()

    def members(self) -> Sequence[Member]:
        """The processes that the ledger believes to be there."""
        return self.ledger.members(FLOW)

    def leader(self) -> Member | None:
        """The process that leads by the ledger's word and by its own."""
        standing = self.ledger.standing(FLOW)
        for member in self.members():
            holds = standing is not None and standing.holder.startswith(f"{member.id} ")
            if holds and member.facts.get("role") == "leading":
                return member
        return None

    def at_work(self) -> Member:
        """The process that leads, once it has committed an epoch of its own."""

        def fact() -> Member | None:
            found, standing = self.leader(), self.ledger.standing(FLOW)
            if found is None or standing is None or standing.last_epoch == 0:
                return None
            (record,) = self.ledger.epochs(FLOW, first=standing.last_epoch, last=standing.last_epoch)
            return found if record.generation == standing.generation else None

        return until(fact)

    def part(self, part: str) -> Member:
        """The process that plays a part (`new`, `old`) in the deployment, once it is there."""
        return until(
            lambda: next((one for one in self.members() if is_there(one) and one.wish.get("part") == part), None)
        )

    def hidden(self) -> Member:
        """The process that follows after a cut, once it does."""
        return until(lambda: next((one for one in self.members() if one.facts.get("role") == "following"), None))

    def last_epoch(self) -> int:
        """The last epoch that is committed."""
        standing = self.ledger.standing(FLOW)
        return 0 if standing is None else standing.last_epoch

    def goes_on(self, epochs: int = 1) -> None:
        """Return when so many more epochs are committed."""
        before = self.last_epoch()
        until(lambda: self.last_epoch() >= before + epochs)

    def checker(self) -> int | None:
        """The process that looks at a version for the server."""
        assert self.server is not None
        for pid in _children(self.server.pid):
            with suppress(OSError):
                if b"penstock.control.rollouts.chores" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def is_idle(self) -> None:
        """Return when all that was written is committed; the writer has to be paused."""
        until(lambda: self.rows_in() >= self.writer.lines)

    def state_of(self, segment: SegmentRef) -> Path:
        """The file of a part of the state."""
        return flow_folder(self.environment, FLOW) / "state" / segment.file

    # --- handovers ----------------------------------------------------------------------------------------------------

    def deploy(self, version: str, manner: Manner = QUICK) -> Deployment:
        """Ask for a deploy."""
        return self.asker.begin(self.asker.deploy(FLOW, version, manner))

    def undo(self, to: str, manner: Manner = QUICK) -> Deployment:
        """Ask for an undo."""
        asker = self.asker
        return asker.begin(asker.undo(asker.preview_undo(FLOW, to), FLOW, manner))

    def rollback(self) -> Deployment:
        """Ask for a rollback."""
        return self.asker.begin(self.asker.rollback(FLOW))

    def known(self, deployment: Deployment) -> Deployment:
        """A deployment as it is now."""
        found = self.ledger.operations.deployment(deployment.id)
        assert found is not None
        return found

    def reaches(self, deployment: Deployment, stage: str) -> Deployment:
        """A deployment once it is in a stage; one that ends before is an error."""

        def fact() -> Deployment | None:
            now = self.known(deployment)
            assert now.status is DeploymentStatus.RUNNING or now.stage == stage, now.receipt
            return now if now.stage == stage else None

        return until(fact)

    def ended(self, deployment: Deployment) -> Deployment:
        """A deployment once it is over. A server that dies meanwhile is started again."""

        def fact() -> Deployment | None:
            self.up()
            now = self.known(deployment)
            return None if now.status is DeploymentStatus.RUNNING else now

        return until(fact)

    def at_rest(self) -> FlowStatus:
        """The flow once it runs, or is held."""
        return until(
            lambda: status if (status := self.wisher.status(FLOW)) and status.state in ("running", "held") else None
        )

    def settled(self, deployment: Deployment) -> Deployment:
        """A deployment once it is over, after looking that all is as it has to be then (`is_whole`)."""
        done = self.ended(deployment)
        taken = done.status is DeploymentStatus.DONE
        leads = done.new_version if taken else done.old_version
        assert done.receipt["leads"] == leads, (done.status, done.receipt)
        assert not done.facts.get("holds")
        self.is_whole(leads)
        return done

    def is_whole(self, leads: str) -> None:
        """Wait until one process of a version leads and nobody else is there; then look that all is as it has to be.

        It commits; the flow is wished to be what it is; nothing is held or pinned, and no process is left over.
        """
        self.up()
        until(lambda: (found := self.leader()) is not None and found.version == leads)
        self.goes_on()
        until(lambda: len(self.members()) == 1)
        leader = self.at_work()
        desired = self.ledger.operations.desired(FLOW)
        assert desired is not None
        assert (leader.version, desired.version) == (leads, leads)
        left = {name: leader.wish.get(name) for name in ("hold_from", "spill", "expected", "rewrite", "until", "part")}
        assert {name: value for name, value in left.items() if value} == {}
        assert leader.wish.get("owner") == "supervisor"
        assert [one for one in self.ledger.savepoints(FLOW) if one.pinned] == []
        assert self.ledger.operations.deployments(FLOW, running=True) == []
        until(lambda: self.orphans(leader) == [])

    def orphans(self, leader: Member) -> list[int]:
        """Processes of this project that nobody needs: all but the server, its spares, and the leader."""
        assert self.server is not None
        spares = [pid for pid in _children(self.server.pid) if pid != leader.pid]
        known = {leader.pid, self.server.pid, *spares[: self.spares]}
        return [pid for pid in _processes_in(self.folder) if pid not in known]

    # --- misfortunes --------------------------------------------------------------------------------------------------

    @property
    def misfortunes(self) -> Path:
        """The folder in which processes find what is to befall them."""
        return self.folder / misfortune.FOLDER

    def stand_still(self, stage: str, when: str) -> None:
        """Let the server stand still at the next deed of a stage, `before` or `after` it."""
        (self.misfortunes / f"at.{stage}.{when}").touch()

    @contextmanager
    def reached(self, stage: str, when: str) -> Iterator[None]:
        """Inside, the server stands still at a deed of a stage. Call `stand_still` before it comes there."""
        file = self.misfortunes / f"reached.{stage}.{when}"
        until(file.exists)
        try:
            yield
        finally:
            file.unlink()

    def kill_at(self, name: str, point: str, *, times: int = 1) -> None:
        """Let the next processes of a version, by name, kill themselves at a point: `PENSTOCK_KILL_AT` of member."""
        for number in range(times):
            (self.misfortunes / f"{name}.kill-at.{number:02}").write_text(point)

    def befalls(self, name: str, what: str) -> Path:
        """Let every process of a version `hang` or `eat` memory until the file that this gives is gone."""
        file = self.misfortunes / f"{name}.{what}"
        file.touch()
        return file

    def set_clock(self, offset_us: int) -> None:
        """Let the clocks of the server and of all processes of the flow be off by so much."""
        staged = self.misfortunes / "next-clock"
        staged.write_text(str(offset_us))
        staged.rename(self.misfortunes / "clock")

    # --- the end ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """End the input, wait until all of it is committed, and stop the flow."""
        self.writer.stop()
        self.up()
        self.is_idle()
        self.wisher.stop(FLOW)
        until(lambda: not self.members())

    def rows_in(self) -> int:
        """How many lines were taken."""
        return sum(sum(record.rows_in.values()) for record in self.ledger.epochs(FLOW))


@contextmanager
def scene(
    folder: Path, dsn: str, *, seed: int, spares: int = 1, tail: bool = True, project: Mapping[str, str] | None = None
) -> Iterator[Scene]:
    """Set the scene: a server that has nothing to do yet, and rows that come. `project`: texts in penstock.toml ->
    others in their place. At the end nothing that was started is left.
    """
    for name in ("flows", "rows", str(misfortune.FOLDER)):
        (folder / name).mkdir()
    shutil.copy(misfortune.__file__, folder / "misfortune.py")
    text = PROJECT.format(dsn=dsn, tail=str(tail).lower())
    for old, new in (project or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "penstock.toml").write_text(text, encoding="utf-8")
    environment = project_for(folder).environment("dev")
    with ExitStack() as held:
        ledger = held.enter_context(opened_ledger(environment))
        writer = Writer(folder / "rows", seed=seed, tail=tail)
        made = Scene(folder, environment, ledger, dsn, writer, spares)
        held.callback(_end, made)
        made.up()
        writer.start()
        yield made


def _end(made: Scene) -> None:
    made.writer.stop()
    shutil.rmtree(made.misfortunes)
    if made.server is not None:
        made.server.kill()
        made.server.wait()
    for pid in _processes_in(made.folder):
        kill(pid)
    for member in made.ledger.members():
        if is_there(member):
            kill(member)


def _processes_in(folder: Path) -> list[int]:
    """The processes whose working folder is this one."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


def _children(pid: int) -> list[int]:
    """The processes that a process started, by whichever thread."""
    with suppress(OSError):
        texts = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
        return [int(child) for text in texts for child in text.split()]
    return []
