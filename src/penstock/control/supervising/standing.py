"""What members, ends and events say of a flow: who leads, which ends count, which scheduled run is under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.control.supervising.ends import End, Outcome
from penstock.ledger import Desired, Event, Member, Operations

__all__ = ["event_of", "is_leader", "is_over", "last_run", "own_ends", "run_is_open", "wish_key"]


def is_leader(member: Member) -> bool:
    """Whether a member leads its flow, or is about to."""
    wish, role, state = member.wish.get("role"), member.facts.get("role"), member.facts.get("state")
    if role == "leading" and wish != "follow":
        return True
    if wish != "lead" or role in ("fenced", "failed", "stopped"):
        return False
    if role == "starting" or state in ("taking-over", "rewriting"):
        return True
    # A follower that was told to lead, and has not looked yet. One that led, and was fenced, was told no generation.
    return member.wish.get("expected") is not None and not member.facts.get("refused")


def own_ends(ends: Sequence[End], desired: Desired) -> list[End]:
    """The ends that belong to the present wish; saying it again, or wishing another version, begins anew."""
    return [end for end in ends if (end.wish_us, end.version) == (desired.changed_us, desired.version)]


def is_over(ends: Sequence[End], desired: Desired) -> bool:
    """Whether the flow has done what the present wish asks: its input is read to the end, or as far as there was."""
    return any(end.outcome is Outcome.FINISHED for end in own_ends(ends, desired))


def wish_key(desired: Desired) -> dict[str, Any]:
    """What tells this wish from every other one; part of the events that are about it."""
    return {"changed_us": desired.changed_us, "version": desired.version}


def event_of(operations: Operations, desired: Desired, kind: str) -> Event | None:
    """The event of a kind about the present wish (`held`, `start-refused`); saying the wish again leaves it behind."""
    newest = next(iter(operations.events(desired.flow, kind=kind, limit=1)), None)
    return newest if newest is not None and wish_key(desired).items() <= newest.body.items() else None


def last_run(members: Sequence[Member], ends: Sequence[End]) -> int | None:
    """The time of the newest scheduled run that was ever started; None where there was none."""
    started = [member.wish.get("due_us") for member in members]
    times = [time_us for time_us in (*started, *(end.due_us for end in ends)) if time_us is not None]
    return max(times, default=None)


def run_is_open(due_us: int, members: Sequence[Member], ends: Sequence[End]) -> bool:
    """Whether a scheduled run is not over: a process works on it, or the last one that did ended badly."""
    if any(member.wish.get("due_us") == due_us and is_leader(member) for member in members):
        return True
    mine = [end for end in ends if end.due_us == due_us]
    return bool(mine) and mine[0].outcome not in (Outcome.FINISHED, Outcome.STOPPED)
