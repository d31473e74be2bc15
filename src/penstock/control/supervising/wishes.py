"""What people may wish of a flow, and what is refused: the rules behind `penstock start`, `stop`, `pause` and the REST.

Each gives the new desired state after it is durable; what becomes of it is told by the facts that follow.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from penstock.clock import Clock
from penstock.control.project import Environment
from penstock.control.supervising.schedule import Schedule
from penstock.control.supervising.status import FlowStatus, flow_statuses
from penstock.errors import ConfigError, FlowBusy
from penstock.ledger import Desired, Ledger, Want

__all__ = ["Wisher"]


class Wisher:
    """Says what should be of flows, in the name of `who`. Raises ConfigError, FlowBusy, LedgerError."""

    def __init__(self, ledger: Ledger, environment: Environment, clock: Clock, *, who: str = "", why: str = "") -> None:
        self._ledger = ledger
        self._environment = environment
        self._clock = clock
        self._who = who or getpass.getuser()
        self._why = why

    @property
    def _option(self) -> str:
        return "" if self._environment.name == "dev" else f" --env {self._environment.name}"

    def status(self, flow: str) -> FlowStatus | None:
        """How the flow is now; None where nobody ever said or did anything with it."""
        return next(iter(flow_statuses(self._ledger, self._environment, self._clock, flow=flow)), None)

    def start(
        self, flow: str, *, version: str | None = None, retry: bool = False, options: Mapping[str, Any] | None = None
    ) -> Desired:
        """Let it run: `version`, or the one it has. `options` are laid over those that it has; None takes one away.

        Refused where it is held and `retry` is not given, where it has another version's state (that takes a deploy),
        and where `penstock run` runs it.
        """
        return self._say(flow, lambda now: self._running(flow, now, version, retry=retry, options=options))

    def _running(
        self, flow: str, now: Desired | None, version: str | None, *, retry: bool, options: Mapping[str, Any] | None
    ) -> Desired:
        status = self.status(flow)
        if status is not None and status.state == "held" and not retry and version in (None, now and now.version):
            raise ConfigError(
                status.note,
                flow=flow,
                state_left="the flow stays held",
                hint="\n".join(status.choices),
            )
        if status is not None and status.state == "busy":
            raise FlowBusy(status.note, flow=flow, hint="stop it first (Ctrl-C there), then start it here")
        wanted = version if version is not None else now.version if now is not None else None
        if wanted is None:
            raise ConfigError(
                f"{flow} has no version in {self._environment.name}", flow=flow, hint=f"penstock deploy {flow}"
            )
        # While a deploy is at its cut, the version that leads and the one that is wished may be two: it settles that.
        is_settled = (
            now is not None and wanted == now.version and self._ledger.operations.deployments(flow, running=True)
        )
        if not is_settled:
            self._refuse_other_version(flow, wanted, status)
        laid = {**(now.options if now is not None else {}), **(options or {})}
        kept = {name: value for name, value in laid.items() if value is not None}
        if "schedule" in kept and (now is None or now.want is not Want.RUNNING or "schedule" not in now.options):
            kept["schedule_from_us"] = self._clock.now_us()
        return Desired(flow, Want.RUNNING, wanted, kept)

    def schedule(self, flow: str, schedule: Schedule | None, *, version: str | None = None) -> Desired:
        """Let it run by the clock, from now on; None takes the schedule away and stops it."""
        if schedule is None:
            return self._say(flow, lambda now: _unscheduled(self._known(flow, now)))
        options = {**schedule.as_options(), "schedule_from_us": self._clock.now_us()}
        return self.start(flow, version=version, retry=True, options=options)

    def stop(self, flow: str) -> Desired:
        """Let it finish its epoch and end."""

        def stopped(now: Desired | None) -> Desired:
            members = self._ledger.members(flow) if now is None else ()
            if members:  # Nobody wished for it, and it is there: a deployment of its own started it.
                return Desired(flow, Want.STOPPED, members[0].version)
            return replace(self._known(flow, now), want=Want.STOPPED)

        return self._say(flow, stopped)

    def pause(self, flow: str) -> Desired:
        """Let its process stay and plan no epoch."""

        def paused(now: Desired | None) -> Desired:
            known = self._known(flow, now)
            if known.want is Want.STOPPED:
                raise ConfigError(f"{flow} is stopped", flow=flow, hint=f"penstock start {flow}{self._option}")
            return replace(known, want=Want.PAUSED)

        return self._say(flow, paused)

    def resume(self, flow: str) -> Desired:
        """Let it go on after a pause."""

        def resumed(now: Desired | None) -> Desired:
            known = self._known(flow, now)
            if known.want is not Want.PAUSED:
                raise ConfigError(
                    f"{flow} is not paused: it should be {known.want.value}",
                    flow=flow,
                    hint=f"penstock start {flow}{self._option}" if known.want is Want.STOPPED else None,
                )
            return self._running(flow, known, None, retry=True, options=None)

        return self._say(flow, resumed)

    def drain(self, flow: str) -> Desired:
        """Let it read what is there, and end."""
        return self._say(flow, lambda now: replace(self._known(flow, now), want=Want.DRAINED))

    def _say(self, flow: str, change: Callable[[Desired | None], Desired]) -> Desired:
        """Say what `change` makes of what should be; anew where somebody else said something at the same moment."""
        while True:
            now = self._ledger.operations.desired(flow)
            over = 0 if now is None else now.changed_us
            # Ends are counted for the wish that they belong to, by this number: it never comes twice.
            now_us = max(self._clock.now_us(), over + 1)
            said = replace(change(now), who=self._who, why=self._why, changed_us=now_us)
            if self._ledger.operations.desire(said, over=over):
                return said

    def _known(self, flow: str, now: Desired | None) -> Desired:
        if now is None:
            raise ConfigError(
                f"{flow} was never started in {self._environment.name}",
                flow=flow,
                state_left="nothing was changed",
                hint=f"penstock start {flow}{self._option}",
            )
        return now

    def _refuse_other_version(self, flow: str, wanted: str, status: FlowStatus | None) -> None:
        """Starting another version than the one whose state is there is a deploy: with a gate, and a way back."""
        standing = self._ledger.standing(flow)
        leads = None if status is None or status.leader is None else status.leader.version
        stands = standing.version if standing is not None and standing.last_epoch else None
        known = {facts.version for facts in self._ledger.operations.versions(flow) if facts.manifest}
        held = leads if leads is not None else stands if stands in known else None
        if held is None or held == wanted:
            return
        raise ConfigError(
            f"{flow} has the state of version {held}, not of {wanted}",
            flow=flow,
            state_left="nothing was changed",
            hint=f"let {wanted} take over, with a gate before and a way back: penstock deploy {flow}{self._option}",
        )


_SCHEDULE = ("schedule", "catch_up", "zone", "schedule_from_us")


def _unscheduled(known: Desired) -> Desired:
    kept = {name: value for name, value in known.options.items() if name not in _SCHEDULE}
    return replace(known, want=Want.STOPPED, options=kept)
