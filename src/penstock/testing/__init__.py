"""For those who test flows and connectors: run a flow on frames, real servers on a free loopback port."""

from penstock.testing.flows import run

__all__ = ["run"]
