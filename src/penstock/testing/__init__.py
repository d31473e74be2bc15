"""For those who test flows and connectors: run a flow on frames, real servers on a free loopback port."""

from penstock.testing.flows import Results, run

__all__ = ["Results", "run"]
