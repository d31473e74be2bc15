"""What is asked for and is not there."""

from __future__ import annotations

from penstock.clock import Clock
from penstock.control import Environment, FlowStatus, flow_statuses
from penstock.errors import ConfigError
from penstock.ledger import Ledger

__all__ = ["NotThere", "known_flow"]


class NotThere(ConfigError):
    """There is nothing of this name; answered with 404."""


def known_flow(flow: str, environment: Environment, ledger: Ledger, clock: Clock) -> FlowStatus:
    """How a flow is. Raises NotThere where there is none of this name."""
    found = flow_statuses(ledger, environment, clock, flow=flow)
    if not found:
        raise NotThere(f"there is no flow {flow!r} in {environment.name}", hint="GET /v1/flows lists them")
    return found[0]
