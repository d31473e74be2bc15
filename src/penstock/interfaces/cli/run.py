"""`penstock run`: one flow, here, with its progress."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from penstock.clock import Clock, SystemClock
from penstock.control import (
    Environment,
    PreparedRun,
    Removal,
    filed_logs,
    find_flow,
    load_flow,
    plan_reset,
    prepare,
    reset_here,
    run_here,
)
from penstock.engine import Progress, RunOptions, RunResult, StopSignal
from penstock.errors import ConfigError
from penstock.interfaces.cli.interrupts import Interrupts
from penstock.interfaces.cli.options import EnvironmentName, FlowName, ProjectFolder, given_params
from penstock.interfaces.cli.progress import STOPPING, Panel, plain_line
from penstock.interfaces.cli.screen import error_screen, screen
from penstock.interfaces.cli.summary import print_summary

__all__ = ["command"]

STOPPED_BEFORE_DRAINED = 3
REFRESH_S = 0.1
LINE_S = 1.0
QUIET_LINE_S = 10.0


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    until_drained: Annotated[
        bool, typer.Option("--until-drained", help="Stop when nothing waits any more, also where the input has no end.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set a parameter of the flow (ps.param)."),
    ] = None,
    reset: Annotated[
        bool,
        typer.Option("--reset", help="First forget its epochs, state and outputs in this environment; asks before."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --reset: do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --reset: say what it would remove, and end.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the live panel, as in a pipe.")] = False,
    project: ProjectFolder = Path(),
) -> int:
    """Run a flow here, until its input ends or you press Ctrl-C.

    Ctrl-C (or SIGTERM) finishes the epoch and stops; the next run goes on behind it. A second one stops at once.
    """
    target = find_flow(flow, project)
    environment = target.project.environment(env)
    prepared = prepare(load_flow(target, environment, given_params(set_ or [])), environment)
    if dry_run and not reset:
        raise ConfigError("--dry-run says what --reset would remove", hint="add --reset, or see: penstock show FLOW")
    if reset and not _reset(prepared, environment, yes=yes, dry_run=dry_run):
        return 0
    run = _Run(prepared, RunOptions(until_drained=until_drained), plain=plain or not sys.stdout.isatty())
    result = run.watch()
    print_summary(screen(), prepared, result, asked=flow, folder=project)
    return STOPPED_BEFORE_DRAINED if until_drained and result.stopped and not result.finished else 0


class _Run:
    """The flow in a thread of its own, so that signals and the panel never wait for a kernel."""

    def __init__(self, prepared: PreparedRun, options: RunOptions, *, plain: bool) -> None:
        self._prepared = prepared
        self._options = options
        self._plain = plain
        self._stop = StopSignal()
        self._progress: Progress | None = None
        self._result: RunResult | None = None
        self._error: BaseException | None = None
        self._clock: Clock = SystemClock()

    def watch(self) -> RunResult:
        """Run to the end and show how it goes. Raises what the run raised."""
        worker = Thread(target=self._work, name="flow", daemon=True)
        with Interrupts(self._stop) as interrupts:
            if self._plain:
                worker.start()
                self._lines(worker, interrupts)
            else:
                self._panel(worker, interrupts)
        if self._result is None:
            raise self._error or RuntimeError("the flow's thread ended without a result")
        return self._result

    def _work(self) -> None:
        try:
            prepared = self._prepared
            with filed_logs(prepared.loaded.project, prepared.environment, prepared.flow, self._clock):
                self._result = run_here(
                    prepared, options=self._options, stop=self._stop, on_progress=self._take, clock=self._clock
                )
        except BaseException as error:
            self._error = error

    def _take(self, progress: Progress) -> None:
        self._progress = progress

    def _panel(self, worker: Thread, interrupts: Interrupts) -> None:
        panel = Panel(self._prepared.flow, self._prepared.environment.name)
        start_s = self._clock.stopwatch_s()
        with Live(console=Console(highlight=False), auto_refresh=False, transient=True) as live:
            worker.start()  # it catches what the author prints, on its way to the panel and not behind that
            while worker.is_alive():
                seconds = self._clock.stopwatch_s() - start_s
                shown = panel.show(
                    self._progress, now_us=self._clock.now_us(), seconds=seconds, stopping=interrupts.asked
                )
                live.update(shown, refresh=True)
                worker.join(REFRESH_S)

    def _lines(self, worker: Thread, interrupts: Interrupts) -> None:
        """A line a second while something happens, one in ten seconds while nothing does."""
        told_stopping, last, printed_s = False, "", self._clock.stopwatch_s()
        while worker.is_alive():
            worker.join(REFRESH_S)
            if interrupts.asked and not told_stopping:
                told_stopping = True
                error_screen().print(STOPPING)
            progress, waited_s = self._progress, self._clock.stopwatch_s() - printed_s
            if progress is None or waited_s < LINE_S:
                continue
            line = plain_line(progress, now_us=self._clock.now_us())
            if progress.phase != "idle" or waited_s >= QUIET_LINE_S or not last.endswith("idle"):
                last, printed_s = progress.phase, self._clock.stopwatch_s()
                sys.stdout.write(line + "\n")
                sys.stdout.flush()


def _reset(prepared: PreparedRun, environment: Environment, *, yes: bool, dry_run: bool) -> bool:
    """Show what goes, ask, and do it. False where it was only shown or refused."""
    removals = plan_reset(prepared)
    out = screen()
    out.print(f"reset of {prepared.flow} in {environment.name}" + ("" if removals else ": there is nothing to remove"))
    for removal in removals:
        out.print(f"  - {removal}", markup=False)
    if dry_run:
        out.print("nothing was removed (--dry-run)")
        return False
    if removals and not (yes or environment.ephemeral) and not _agreed(removals):
        return False
    reset_here(prepared, removals)
    return True


def _agreed(removals: tuple[Removal, ...]) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"--reset removes {len(removals)} things and nobody is there to ask",
            state_left="nothing was removed",
            hint="add --yes",
        )
    if typer.confirm("Remove them?"):
        return True
    screen().print("nothing was removed")
    return False
