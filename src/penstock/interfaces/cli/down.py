"""`penstock down`: end the server of an environment, and its flows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from penstock.clock import Clock, SystemClock
from penstock.control import Environment, ServerFacts, is_there, living_server, read_ledger
from penstock.errors import FlowBusy, PenstockError
from penstock.interfaces.cli.options import EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.screen import counted, screen
from penstock.interfaces.cli.steering import Timeout
from penstock.interfaces.cli.up import END_SERVER, END_SERVER_AND_FLOWS
from penstock.ledger import Ledger, Member

__all__ = ["command"]

_LOOK_EVERY_S = 0.05


def command(
    *,
    env: EnvironmentName = "dev",
    flows: Annotated[
        bool,
        typer.Option("--flows/--keep-flows", help="Stop the flows cleanly too, or let them go on without a server."),
    ] = True,
    timeout: Timeout = 300.0,
    project: ProjectFolder = Path(),
) -> None:
    """End the server, and stop its flows cleanly.

    To stop a flow for good: penstock stop FLOW.
    """
    _, environment = environment_of(project, env)
    down = _Down(environment, SystemClock(), timeout)
    server = living_server(environment)
    if server is not None:
        down.end(server, flows=flows)
    left = down.stop_members() if flows else 0
    out = screen()
    if server is None and not left:
        out.print(f"nothing runs in {env}")
    if server is not None:
        out.print(f"the server of {env} (process {server.pid}) has ended" + ("" if flows else "; its flows go on"))
    if left:
        out.print(f"{counted(left, 'process')[:-1] + 'es' if left > 1 else '1 process'} that no server watched stopped")


class _Down:
    """Ends things and waits for their end."""

    def __init__(self, environment: Environment, clock: Clock, timeout_s: float) -> None:
        self._environment = environment
        self._clock = clock
        self._deadline_s = clock.stopwatch_s() + timeout_s
        self._timeout_s = timeout_s

    def end(self, server: ServerFacts, *, flows: bool) -> None:
        """Ask a server of this machine to end. Raises FlowBusy for one of another machine."""
        if server.is_alive is None:
            raise FlowBusy(
                f"the server runs on {server.host}",
                state_left="nothing was changed",
                hint=f"penstock down on {server.host}",
            )
        os.kill(server.pid, END_SERVER_AND_FLOWS if flows else END_SERVER)
        self._wait(lambda: server.is_alive is False, f"the server, process {server.pid}, to end")

    def stop_members(self) -> int:
        """Stop the processes that go on without a server; gives how many there were."""
        with read_ledger(self._environment) as ledger:
            if ledger is None:
                return 0
            members = [member for member in ledger.members() if is_there(member)]
            for member in members:
                ledger.wish(member.flow, member.id, {**member.wish, "role": "stop"})
            self._wait(lambda: not any(is_there(member) for member in self._still(ledger, members)), "flows to stop")
            for member in members:
                ledger.leave(member.flow, member.id, "stopped")
            return len(members)

    @staticmethod
    def _still(ledger: Ledger, members: list[Member]) -> list[Member]:
        known = {member.id for member in members}
        return [member for member in ledger.members() if member.id in known]

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        while not is_so():
            if self._clock.stopwatch_s() > self._deadline_s:
                error = PenstockError(
                    f"waited {self._timeout_s:g} s for {what}",
                    state_left="it was asked, and still can",
                    hint="penstock status; what was committed is never lost, so kill -9 is safe too",
                )
                error.heals = True
                raise error
            self._clock.sleep(_LOOK_EVERY_S)
