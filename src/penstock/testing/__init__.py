"""For those who test flows and connectors: run a flow on frames, simulate its life, real servers on a free port."""

from penstock.testing.flows import Results, run
from penstock.testing.simulation.run import Outcome, simulate

__all__ = ["Outcome", "Results", "run", "simulate"]
