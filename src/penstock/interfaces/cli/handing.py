"""What the verbs of handovers have in common: they ask by the ledger, and watch the facts follow."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.live import Live

from penstock.control import (
    Asker,
    Extent,
    Intent,
    Manner,
    bundle_of,
    extent_of,
    find_flow,
    living_server,
    load_flow,
    make_bundle,
    manner_of,
    prepare,
    python_of,
    short,
)
from penstock.errors import ConfigError
from penstock.flow import duration_us
from penstock.interfaces.cli.interrupts import STOPPED_AT_ONCE
from penstock.interfaces.cli.rollout_screen import (
    StagesPanel,
    closing_lines,
    is_asking,
    plan_lines,
    print_gate_of,
    stage_lines,
)
from penstock.interfaces.cli.screen import age_text, error_screen, print_json, screen
from penstock.interfaces.cli.steering import Steering, steering
from penstock.ledger import Deployment, DeploymentStatus

__all__ = [
    "AutoApprove",
    "Detach",
    "Force",
    "Handing",
    "ShadowLength",
    "VersionId",
    "WatchLength",
    "carried_out",
    "followed",
    "handing",
    "manner",
    "nothing_to_do",
    "show_plan",
    "values",
    "version_of",
]

VersionId: TypeAlias = Annotated[
    str | None, typer.Option("--version", metavar="ID", help="A version that is kept, instead of the code as it is.")
]
ShadowLength: TypeAlias = Annotated[
    str | None,
    typer.Option("--shadow", metavar="LENGTH", help='How long rows are compared: "100 epochs", "30s", or "none".'),
]
WatchLength: TypeAlias = Annotated[
    str | None, typer.Option("--watch", metavar="TIME", help="How long the old version is kept warm; 0s: not at all.")
]
AutoApprove: TypeAlias = Annotated[
    bool, typer.Option("--auto-approve", help="Ask nobody: the policy of the environment says yes or no.")
]
Force: TypeAlias = Annotated[
    bool, typer.Option("--force", help="Go on where the gate does not pass; needs --why, which the receipt keeps.")
]
Detach: TypeAlias = Annotated[bool, typer.Option("--detach", "-d", help="Say what is to be done, and end.")]

_CODES: Mapping[DeploymentStatus, int] = {
    DeploymentStatus.DONE: 0,
    DeploymentStatus.FAILED: 1,
    DeploymentStatus.REFUSED: 5,
    DeploymentStatus.ROLLED_BACK: 6,
}
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Handing:
    """A flow, and what it takes to ask for its handover."""

    steered: Steering
    asker: Asker

    @property
    def flow(self) -> str:
        """Its name."""
        return self.steered.flow

    @property
    def env(self) -> str:
        """The environment's name."""
        return self.steered.environment.name

    @property
    def option(self) -> str:
        """What has to be typed for this environment."""
        return "" if self.env == "dev" else f" --env {self.env}"


@contextmanager
def handing(asked: str, folder: Path, env: str, *, why: str = "", new: bool = False) -> Iterator[Handing]:
    """Open the ledger for a flow. Raises ConfigError where nobody knows it, unless it may be `new`."""
    with steering(asked, folder, env, why=why, new=new) as steered:
        yield Handing(steered, Asker(steered.ledger, steered.environment, steered.clock, why=why))


def manner(
    asked: Handing, *, shadow: str | None, watch: str | None, auto_approve: bool, force: bool, why: str
) -> Manner:
    """How it is to be done: by the environment's policy and the options. Raises ConfigError."""
    extent: Extent | None = None
    if shadow is not None:
        try:
            extent = extent_of(shadow)
        except ValueError as error:
            raise ConfigError(f"--shadow: {error}") from None
    return manner_of(
        asked.steered.environment.deploy,
        shadow=extent,
        watch_s=None if watch is None else duration_us(watch, what="--watch") / 1e6,
        auto_approve=auto_approve,
        force=force,
        why=why,
    )


def version_of(
    asked: Handing, typed: str, folder: Path, version: str | None, params: dict[str, str], *, why: str
) -> str:
    """The version that was asked for, or one made of the code as it is now, with its packages. Raises ConfigError."""
    steered = asked.steered
    if version is not None:
        bundle = bundle_of(steered.environment, steered.flow, version)
    else:
        loaded = load_flow(find_flow(typed, folder), steered.environment, params)
        prepared = prepare(loaded, steered.environment)
        bundle = make_bundle(prepared, why=why, ledger=steered.ledger, clock=steered.clock)
    if bundle.lock is not None:
        error_screen().print(f"{bundle.flow}: looking for the packages of {bundle.lock.name}", markup=False)
        python_of(bundle)
    return bundle.id


def show_plan(asked: Handing, intent: Intent) -> None:
    """Print a plan."""
    out = screen()
    old, new = short(intent.old_version) if intent.old_version else "nothing", short(intent.ask.version)
    out.print(f"{asked.flow} in {asked.env}: {intent.kind}, {old} -> {new}", markup=False)
    for line in plan_lines(intent.plan):
        out.print(line, markup=False, soft_wrap=True)


def nothing_to_do(asked: Handing, told: str, *, as_json: bool) -> int:
    """Say that there is nothing to do; gives the exit code."""
    if as_json:
        print_json({"flow": asked.flow, "env": asked.env, "plan": [], "why": told})
    else:
        screen().print(f"{asked.flow} in {asked.env}: {told}", markup=False)
    return 0


def carried_out(asked: Handing, intent: Intent, *, detach: bool, as_json: bool) -> int:
    """Begin it and watch it to its end; gives the exit code.

    Refused where no server is there that would do it, unless nobody waits for it.
    """
    if not detach and living_server(asked.steered.environment) is None:
        raise ConfigError(
            f"no server runs in {asked.env}, and it is the server that does this",
            flow=asked.flow,
            state_left="nothing was changed",
            hint=f"penstock up{asked.option}, in another terminal; or --detach, and a server does it when it comes",
        )
    deployment = asked.asker.begin(intent)
    if detach:
        if as_json:
            print_json(values(deployment))
        else:
            screen().print(
                f"{intent.kind} {deployment.id} is noted; follow it: {_how(asked, deployment)}", markup=False
            )
        return 0
    return followed(asked, deployment.id, as_json=as_json, wanted_back=intent.said_to is not None)


def followed(asked: Handing, deployment: str, *, as_json: bool, wanted_back: bool = False) -> int:
    """Watch a deployment to its end, and ask for approval where there is somebody to ask; gives the exit code.

    `wanted_back`: it is to be taken back, so that this is no failure.
    """
    quiet = as_json or not sys.stdout.isatty()
    watcher: _Lines | _Live = _Lines(asked, silent=as_json) if quiet else _Live(asked)
    try:
        found = watcher.watch(deployment)
    except KeyboardInterrupt:
        known = asked.asker.known(deployment)
        error_screen().print(
            f"\nit goes on without you; follow it: {_how(asked, known)}\n"
            f"take it back: penstock rollback {asked.flow}{asked.option}",
            markup=False,
        )
        return STOPPED_AT_ONCE
    if as_json:
        print_json(values(found))
    else:
        if found.status is DeploymentStatus.REFUSED and not (found.facts.get("gate") or {}).get("passed", True):
            screen().print()
            print_gate_of(screen(), found)
            screen().print()
        for line in closing_lines(found, environment=asked.env):
            screen().print(line, soft_wrap=True)
    back = found.status in (DeploymentStatus.ROLLED_BACK, DeploymentStatus.REFUSED)
    return 0 if wanted_back and back else _CODES.get(found.status, 1)


def values(deployment: Deployment) -> dict[str, Any]:
    """A deployment as plain JSON values."""
    return {**asdict(deployment), "status": deployment.status.value}


def _how(asked: Handing, deployment: Deployment) -> str:
    return f"penstock deployments {deployment.id}{asked.option} --follow"


class _Lines:
    """A line for each stage that is done: for logs. Nobody is asked anything."""

    def __init__(self, asked: Handing, *, silent: bool) -> None:
        self._asked = asked
        self._silent = silent
        self._told: set[str] = set()

    def watch(self, deployment: str) -> Deployment:
        """Look until it is over."""
        clock = self._asked.steered.clock
        while True:
            found = self._asked.asker.known(deployment)
            over = found.status is not DeploymentStatus.RUNNING
            if not self._silent:
                self._tell(found, clock.now_us(), over=over)
            if over:
                return found
            clock.sleep(_LOOK_EVERY_S)

    def _tell(self, found: Deployment, now_us: int, *, over: bool) -> None:
        for line in stage_lines(found, now_us):
            waits = line.name == "approve" and line.state == "now" and bool(line.detail)
            done = line.state == "failed" or (line.state == "done" and (over or line.seconds is not None))
            if line.name not in self._told and (done or waits):
                self._told.add(line.name)
                seconds = "" if line.seconds is None else age_text(line.seconds)
                word = "waits" if waits else line.state
                screen().print(f"{line.name:<11} {word:<7} {seconds:>7}  {line.detail}", markup=False)
                sys.stdout.flush()


class _Live:
    """The live list of stages on a terminal; asks for approval there."""

    def __init__(self, asked: Handing) -> None:
        self._asked = asked
        self._declined = False

    def watch(self, deployment: str) -> Deployment:
        """Look until it is over."""
        while True:
            found = self._until_asked(deployment)
            if found.status is not DeploymentStatus.RUNNING:
                return found
            self._ask(found)

    def _until_asked(self, deployment: str) -> Deployment:
        asked, clock = self._asked, self._asked.steered.clock
        found = asked.asker.known(deployment)
        panel = StagesPanel(f"{asked.flow} in {asked.env}: {found.kind} {found.id}")
        with Live(panel.show(found, clock.now_us()), console=screen(), refresh_per_second=10) as live:
            while found.status is DeploymentStatus.RUNNING and (self._declined or not is_asking(found)):
                clock.sleep(_LOOK_EVERY_S)
                found = asked.asker.known(deployment)
                gone = living_server(asked.steered.environment) is None
                note = f"no server runs: penstock up{asked.option}" if gone else ""
                live.update(panel.show(found, clock.now_us(), note=note))
        return found

    def _ask(self, found: Deployment) -> None:
        out, asked = screen(), self._asked
        judged: Mapping[str, Any] = found.facts.get("gate") or {}
        out.print()
        print_gate_of(out, found)
        out.print()
        if not typer.confirm(f"Let {short(found.new_version)} lead?", default=False):
            asked.asker.approve(found.id, yes=False)
            return
        asker = asked.asker
        if not judged.get("passed", True):
            why = typer.prompt("Why, though the gate did not pass?")
            asker = Asker(asked.steered.ledger, asked.steered.environment, asked.steered.clock, why=why)
        asker.approve(found.id, yes=True)
        self._declined = True
