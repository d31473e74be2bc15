"""Looks at the members that are there: one whose epoch takes too long, one that wants too much memory, one that is
silent on a machine that nobody sees, one that does not stop.

It compares what it saw with what it sees, by the stopwatch: a clock that is set forward makes nobody late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.clock import Clock
from penstock.control.supervising.crew import Crew
from penstock.control.supervising.ends import End, Outcome
from penstock.control.supervising.launching import rotate_log
from penstock.ledger import Member

__all__ = ["Limits", "Watchdog", "limits_of"]

_LOGS_EVERY_S = 10.0
_PATIENT_S = 10.0
_UNREADY = frozenset({"loading", "catching-up"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a member may do. `hang_after_s`: how long one epoch may take, and how long a process may be silent.

    `start_after_s`: how long it may take to say its first word, `stop_after_s`: to stop. `memory_bytes`: how much it
    may have in use.
    """

    hang_after_s: float = 300.0
    start_after_s: float = 300.0
    stop_after_s: float = 300.0
    memory_bytes: int | None = None


def limits_of(options: Mapping[str, Any], default: Limits) -> Limits:
    """The limits of a flow: those in the options of its desired state, else the default."""
    return replace(
        default,
        hang_after_s=float(options.get("hang_after_s") or default.hang_after_s),
        memory_bytes=options.get("memory_bytes") or default.memory_bytes,
    )


class Watchdog:
    """Remembers since when each member shows the same; kills those of this machine, gives up those of others."""

    def __init__(self, crew: Crew, clock: Clock, *, remote_s: float) -> None:
        self._crew = crew
        self._clock = clock
        self._remote_s = remote_s
        self._since: dict[tuple[str, str], tuple[Any, float]] = {}
        self._logs_s = 0.0
        self._hurried: set[str] = set()

    def look(self, member: Member, limits: Limits) -> End | None:
        """Do what has to be done about a member; gives its end where it is given up."""
        if not self._crew.is_here(member):
            if self._same_for_s(member, "told", member.facts_us) > self._remote_s:
                self._crew.stop_member(member)  # should its machine only have been frozen, it ends when it wakes up
                return self._crew.ended(member, None)
            return None
        facts = member.facts
        running_s = self._same_for_s(member, "epoch", facts.get("epoch_since_us"))
        silent_s = self._same_for_s(member, "beat", facts.get("beat_us") or "none yet")
        patience_s = limits.hang_after_s if facts.get("beat_us") else limits.start_after_s
        stopping_s = self._same_for_s(member, "stop", member.wish.get("role") == "stop" or None)
        self._hurry(member)
        used = self._crew.memory_bytes(member) if limits.memory_bytes is not None else None
        if used is not None and limits.memory_bytes is not None and used > limits.memory_bytes:
            why = f"{used / 1e9:.2f} GB in use, the limit is {limits.memory_bytes / 1e9:.2f} GB"
            self._crew.kill_member(member, Outcome.MEMORY, why, dump=True)
        elif running_s > limits.hang_after_s:
            self._crew.kill_member(member, Outcome.HUNG, f"longer than {limits.hang_after_s:g} s", dump=True)
        elif silent_s > patience_s:
            what = f"silent for {patience_s:g} s" if facts.get("beat_us") else f"not begun after {patience_s:g} s"
            self._crew.kill_member(member, Outcome.HUNG, what, dump=True)
        elif stopping_s > limits.stop_after_s:
            self._crew.kill_member(member, Outcome.STOPPED, f"killed: it did not stop in {limits.stop_after_s:g} s")
        return None

    def forget_others(self, members: Sequence[Member]) -> None:
        """Forget what is known of members that are gone; look after the logs of those that are there, now and then."""
        known = {member.id for member in members}
        self._since = {key: seen for key, seen in self._since.items() if key[0] in known}
        self._hurried &= known
        now_s = self._clock.stopwatch_s()
        if now_s - self._logs_s > _LOGS_EVERY_S:
            self._logs_s = now_s
            for member in members:
                if self._crew.is_here(member):
                    rotate_log(self._crew.log_of(member.flow, member.id))

    def _hurry(self, member: Member) -> None:
        """Give one that gets ready its full share, where it takes long: on a busy machine a tenth may be too little."""
        unready = member.facts.get("state") in _UNREADY or None
        if self._same_for_s(member, "unready", unready) <= _PATIENT_S:
            self._hurried.discard(member.id)
        elif member.id not in self._hurried:
            self._hurried.add(member.id)
            self._crew.hurry_member(member)

    def _same_for_s(self, member: Member, what: str, value: Any) -> float:
        """How long a value has been the same, as far as was seen; 0 for None."""
        now_s = self._clock.stopwatch_s()
        before = self._since.get((member.id, what))
        if before is None or before[0] != value:
            self._since[member.id, what] = (value, now_s)
            return 0.0
        return 0.0 if value is None else now_s - before[1]
