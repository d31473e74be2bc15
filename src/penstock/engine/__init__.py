"""Runs ONE flow: compile, epoch loop, operators, state, dead letters."""

from penstock.engine.loop import run_flow
from penstock.engine.options import Progress, RunOptions, RunResult, StopSignal

__all__ = ["Progress", "RunOptions", "RunResult", "StopSignal", "run_flow"]
