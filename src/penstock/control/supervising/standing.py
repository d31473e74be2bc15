"""What members, ends and events say of a flow: who leads, which ends count, which scheduled run is under way."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.control.supervising.ends import End, Outcome
from penstock.ledger import Desired, Event, Member, Operations

__all__ = ["held_event", "is_leader", "is_over", "last_run", "own_ends", "run_is_open"]


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


def held_event(operations: Operations, desired: Desired) -> Event | None:
    """The event that says that the flow is held, where the present wish is; saying it again ends that."""
    newest = next(iter(operations.events(desired.flow, kind="held", limit=1)), None)
    wish = {"changed_us": desired.changed_us, "version": desired.version}
    return newest if newest is not None and wish.items() <= newest.body.items() else None


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
