"""Runs ONE flow: compile, epoch loop, operators, state, dead letters."""

from penstock.engine.loop import run_flow
from penstock.engine.options import Progress, RunOptions, RunResult, StopSignal
from penstock.engine.points import POINTS, Probe

__all__ = ["POINTS", "Probe", "Progress", "RunOptions", "RunResult", "StopSignal", "run_flow"]
