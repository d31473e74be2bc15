"""Where a process is to die or freeze: `PENSTOCK_KILL_AT`, for tests and for people who want to see what happens.

`PENSTOCK_KILL_AT=POINT[:EPOCH[:NTH[:ACTION]]]`: at the NTH time (1) that POINT is passed in EPOCH (0) or a later one,
the process kills itself (`kill`, the default: nothing is tidied up) or freezes (`stop`, until SIGCONT). Points are
those of `penstock.engine.POINTS` and `HANDOVER_POINTS`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.engine import HANDOVER_POINTS, POINTS, Probe
from penstock.errors import ConfigError, did_you_mean

__all__ = ["ACTIONS", "VARIABLE", "KillPoint", "probe_of"]

VARIABLE = "PENSTOCK_KILL_AT"
ACTIONS: Mapping[str, signal.Signals] = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class KillPoint:
    """At the `nth` time that `point` is passed in `epoch` or a later one, the process does `action` to itself."""

    point: str
    epoch: int = 0
    nth: int = 1
    action: str = "kill"

    @classmethod
    def parsed(cls, text: str) -> KillPoint:
        """From `point:epoch:nth:action`; what is left out at the end is as above. Raises ConfigError."""
        point, *rest = text.split(":")
        known = (*POINTS, *HANDOVER_POINTS)
        if point not in known:
            raise ConfigError(
                f"{VARIABLE}: there is no point {point!r}.{did_you_mean(point, known)}",
                hint=f"the points are {', '.join(known)}",
            )
        epoch, nth, action, *more = [*rest, *("0", "1", "kill")[len(rest) :]]
        if more or action not in ACTIONS or not (epoch.isdigit() and nth.isdigit()):
            raise ConfigError(
                f"{VARIABLE}: {text!r} is not point:epoch:nth:action", hint="write for example before-commit:3:1:kill"
            )
        return cls(point, int(epoch), int(nth), action)

    def probe(self) -> Probe:
        """The probe that does it, once."""
        passed = 0

        def probe(here: str, at: int) -> None:
            nonlocal passed
            if here == self.point and at >= self.epoch:
                passed += 1
                if passed == self.nth:
                    os.kill(os.getpid(), ACTIONS[self.action])

        return probe


def probe_of(variables: Mapping[str, str]) -> Probe:
    """The probe of a process with these variables of the environment. Raises ConfigError."""
    text = variables.get(VARIABLE, "")
    return KillPoint.parsed(text).probe() if text else lambda _point, _epoch: None
