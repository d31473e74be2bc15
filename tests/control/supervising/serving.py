"""A server in a thread, over real processes of real flows; waiting for facts, never for time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Pause
from threading import Thread
from typing import TypeVar

from penstock.clock import SystemClock
from penstock.control import (
    Environment,
    FlowStatus,
    Limits,
    RestartPolicy,
    Server,
    Settings,
    Wisher,
    flow_statuses,
    is_there,
    opened_ledger,
    project_for,
)
from penstock.ledger import Ledger, Member

__all__ = ["ENDLESS", "QUICK", "Served", "kill", "served", "until"]

T = TypeVar("T")

ENDLESS = '''
"""Bids without an end. A file of a certain name beside it makes it misbehave, once it has committed something."""
import os
import threading
from pathlib import Path

import numpy as np
import penstock as ps

flow = ps.Flow("endless", epoch_ms=20)


def misbehave(batch):
    if batch.is_empty() and not Path("at-load").exists():
        return batch
    if Path("abort").exists():
        os.abort()
    while Path("hang").exists():
        threading.Event().wait(0.01)
    if Path("eat").exists():
        eaten = np.ones(100_000_000)
        while Path("eat").exists():
            eaten += 1
    return batch


bids = flow.read(ps.nexmark("bid", rate_per_s=1000), event_time="date_time")
seen = bids.map_batches(misbehave, name="misbehave")
seen.write(ps.parquet("out/bids"))
'''

QUICK = Settings(
    policy=RestartPolicy(first_s=0.02, longest_s=0.1, away_first_s=0.02, away_longest_s=0.1),
    limits=Limits(hang_after_s=60.0, start_after_s=60.0),
)
"""Pauses that a test can bear."""

_PAUSE = Pause()


def until(fact: Callable[[], T | None]) -> T:
    """What `fact` gives, once it gives something. The timeout of the test is the limit."""
    while not (found := fact()):
        _PAUSE.wait(0.02)
    return found


def kill(member: Member, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a member's process a signal."""
    os.kill(member.pid, number)


class Served:
    """An environment and its server."""

    def __init__(self, environment: Environment, ledger: Ledger, server: Server, lines: list[str]) -> None:
        self.environment = environment
        self.ledger = ledger
        self.server = server
        self.lines = lines
        self.clock = SystemClock()
        self.wisher = Wisher(ledger, environment, self.clock, who="test")

    def start(self, flow: str = "endless", **options: object) -> None:
        """Let a flow of the working tree run."""
        self.wisher.start(flow, version="", options=options)
        self.server.wake()

    def status(self, flow: str = "endless") -> FlowStatus:
        """How it is."""
        return flow_statuses(self.ledger, self.environment, self.clock, flow=flow, policy=QUICK.policy)[0]

    def when(self, state: str, flow: str = "endless") -> FlowStatus:
        """How it is once it is in a state."""

        def fact() -> FlowStatus | None:
            found = self.status(flow)
            return found if found.state == state else None

        return until(fact)

    def leader(self, flow: str = "endless", *, other_than: Sequence[Member] = ()) -> Member:
        """The member that leads, once one does and has committed an epoch."""
        not_these = {member.id for member in other_than}

        def fact() -> Member | None:
            for member in self.ledger.members(flow):
                if member.facts.get("role") == "leading" and member.id not in not_these and member.facts.get("epoch"):
                    return member
            return None

        return until(fact)

    def standby(self, flow: str = "endless", *, other_than: Sequence[Member] = ()) -> Member:
        """The member that is ready to take over, once there is one."""
        not_these = {member.id for member in other_than}

        def fact() -> Member | None:
            for member in self.ledger.members(flow):
                if member.facts.get("state") == "ready" and member.id not in not_these:
                    return member
            return None

        return until(fact)

    def epoch(self, flow: str = "endless") -> int:
        """The last committed epoch."""
        standing = self.ledger.standing(flow)
        return 0 if standing is None else standing.last_epoch

    def goes_on(self, flow: str = "endless") -> None:
        """Return when it has committed more."""
        before = self.epoch(flow)
        until(lambda: self.epoch(flow) > before)

    def said(self, words: str) -> str:
        """A line of the server with these words, once it has said it."""
        return until(lambda: next((line for line in list(self.lines) if words in line), None))


@contextmanager
def served(folder: Path, *, settings: Settings = QUICK, spares: int = 1) -> Iterator[Served]:
    """A server over a folder with `endless.py`; at the end it stops its flows, and what is left is killed."""
    if not (folder / "endless.py").exists():
        (folder / "endless.py").write_text(ENDLESS)
    environment = project_for(folder).environment("dev")
    lines: list[str] = []
    with opened_ledger(environment) as ledger:
        server = Server(
            environment,
            ledger,
            settings=settings,
            spares=spares,
            tell=lambda flow, line: lines.append(f"{flow} {line}"),
        )
        thread = Thread(target=server.run, name="server")
        thread.start()
        try:
            yield Served(environment, ledger, server, lines)
        finally:
            for name in ("abort", "hang", "eat", "at-load"):
                (folder / name).unlink(missing_ok=True)
            server.stop(flows=True)
            thread.join(30)
            server.stop(flows=False)
            thread.join()
            for member in ledger.members():
                if is_there(member):
                    kill(member)
