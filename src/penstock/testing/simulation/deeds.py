"""What people and the server do with a flow in a run: deploys, rollbacks, undos, failovers, second tries.

Each deed is a generator that is stepped between the processes, so several are under way at once, and any of them may be
given up half-way: its author's server died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from penstock.clock import new_id
from penstock.errors import LedgerError
from penstock.ledger import BEGINNING, Rewrite, Savepoint, Standing, restore_point
from penstock.testing.simulation.process import Process
from penstock.testing.simulation.versions import Version

if TYPE_CHECKING:
    from penstock.testing.simulation.world import World

__all__ = ["DEEDS", "Deed", "rescue"]

Deed = Iterator[None]
_PATIENCE_STEPS = 120
_LOOK_S = 0.02
"""After so long, a process looks at its wishes."""


def deploy(world: World) -> Deed:
    """Another version follows, takes over, is watched; then the old one goes, or takes over again."""
    standing = world.standing()
    if standing is None or standing.last_epoch == 0 or standing.rewrite is not None:
        return
    version = world.chance.random.choice(world.versions.all)
    title = f"deploy of {version}"
    yield from _held(world, title, standing.last_epoch + 1)
    savepoint = _savepoint(world, title)
    follower = None if savepoint is None else _follower(world, title, version, savepoint)
    if follower is not None:
        yield from _deployed(world, title, follower, standing.version)
    _tidied(world, title, follower)
    if savepoint is not None:
        world.ledger.drop_savepoints(world.flow, [savepoint.id])


def _held(world: World, title: str, epoch: int) -> Deed:
    """Let nobody forget input from an epoch on, and wait until those who lead have looked at it."""
    world.hold(title, epoch)
    since_s = world.clock.stopwatch_s() + _LOOK_S
    yield from _until(lambda: all(one.looked_s >= since_s for one in world.processes if one.is_leading))


def rescue(world: World) -> Deed:
    """The version that leads can't take its input: the first one takes over, from the state as it is now."""
    standing = world.standing()
    if standing is not None and standing.rewrite is not None:
        yield from undo(world, world.versions.all[0], standing.rewrite.first)
        return
    yield from _held(world, "rescue", 1 if standing is None else standing.last_epoch + 1)
    savepoint = _savepoint(world, "rescue")
    follower = None if savepoint is None else _follower(world, "rescue", world.versions.all[0], savepoint)
    if follower is not None and standing is not None:
        yield from _until(lambda: follower.facts["state"] == "ready" or not follower.is_alive)
        yield from lead(world, "rescue", follower, world.standing() or standing)
    _tidied(world, "rescue", follower)


def _deployed(world: World, title: str, follower: Process, old: str) -> Deed:
    yield from _until(lambda: follower.facts["state"] == "ready" or not follower.is_alive)
    yield from _wait(world, 12)
    if not follower.is_alive or follower.facts["state"] != "ready":
        world.note(f"{title}: {follower} is not ready")
        return
    now = world.standing()
    assert now is not None
    if now.version != old and world.chance.happens(0.7):
        world.note(f"{title}: refused, production has changed")
        return
    yield from lead(world, title, follower, now)
    yield from _wait(world, 25)
    yield from _afterwards(world, title, follower, old)


def _tidied(world: World, title: str, follower: Process | None) -> None:
    """The end of a deed: nothing is held for it, and what follows for nothing goes."""
    world.free(title)
    if follower is not None and follower.is_alive and not follower.is_leading and not follower.has_led:
        world.wish(follower, role="stop")


def _afterwards(world: World, title: str, new: Process, old: str) -> Deed:
    """A cut that stays, or is taken back by the old version that followed hidden."""
    hidden = world.hidden(old)
    if hidden is None or not new.is_leading:
        return
    now = world.standing()
    if now is not None and now.version == new.version.name and world.chance.happens(0.5):
        yield from lead(world, f"rollback of {title}", hidden, now)
    elif world.chance.happens(0.7):
        world.wish(hidden, role="stop")


def lead(world: World, title: str, follower: Process, now: Standing, **more: Any) -> Deed:
    """Wish a follower to lead, and see what comes of it."""
    world.note(f"{title}: {follower} is to take over from generation {now.generation}")
    world.wish(follower, role="lead", expected=now.generation, **more)

    def is_over() -> bool:
        standing = world.standing()
        return not follower.is_alive or follower.is_leading or standing is None or standing.generation > now.generation

    yield from _until(is_over)
    if follower.is_alive and not follower.is_leading:
        world.wish(follower, role="follow", expected=None, rewrite=None)


def undo(world: World, version: Version | None = None, upto: int | None = None) -> Deed:
    """The last epochs are written anew by a version, from the state before them; those from `upto` on at least."""
    standing = world.standing()
    if standing is None or standing.last_epoch < 2:  # noqa: PLR2004
        return
    first = world.chance.random.randint(max(1, standing.last_epoch - 15), standing.last_epoch)
    first = first if upto is None else min(first, upto)
    found = restore_point(world.ledger.savepoints(world.flow), first - 1)
    version = version or world.chance.random.choice(world.versions.all)
    title = f"undo from {first} by {version}"
    start = BEGINNING if found is None else world.ledger.savepoint(world.flow, why=title, pinned=True, of=found.id)
    if found is not None:
        world.saved(start, world.line_of(found))
    yield from _held(world, title, start.epoch + 1)
    follower = _follower(world, title, version, start, record_from=first)
    if follower is not None:
        yield from _until(lambda: follower.facts["state"] == "ready" or not follower.is_alive)
        now = world.standing()
        if follower.is_alive and now is not None and now.last_epoch >= first:
            yield from _taken_back(world, title, follower, now, first=first, start=start)
    _tidied(world, title, follower)
    world.ledger.drop_savepoints(world.flow, [start.id])


def _taken_back(world: World, title: str, follower: Process, now: Standing, *, first: int, start: Savepoint) -> Deed:
    rewrite = Rewrite(new_id()[:8], first, now.last_epoch, follower.version.name, start.id, title)
    yield from lead(world, title, follower, now, rewrite=asdict(rewrite))
    yield from _until(lambda: (world.standing() or now).rewrite is None)


def undo_by_hidden(world: World) -> Deed:
    """The old version, which followed hidden, takes the epochs of the new one back: it has computed the right ones."""
    standing = world.standing()
    if standing is None or standing.rewrite is not None:
        return
    hidden = next((one for one in world.processes if one.is_hidden), None)
    if hidden is None:
        return
    first = int(hidden.facts["start_epoch"]) + 1
    start = restore_point(_of(world, hidden.version), first - 1)
    if start is None or first > standing.last_epoch:
        return
    title = f"undo from {first} by hidden {hidden}"
    yield from _held(world, title, start.epoch + 1)
    now = world.standing()
    if now is not None and now.rewrite is None and hidden.is_hidden and world.is_there(start.epoch + 1):
        yield from _taken_back(world, title, hidden, now, first=first, start=start)
    world.free(title)


def _of(world: World, version: Version) -> list[Savepoint]:
    """The savepoints of a version's state."""
    lines = ((one, world.line_of(one)) for one in world.ledger.savepoints(world.flow))
    return [one for one, line in lines if line is not None and line.version is version]


def standby(world: World) -> Deed:
    """A second process of the version that leads."""
    standing = world.standing()
    if standing is None or standing.last_epoch == 0:
        return
    process = world.start(world.versions.named(standing.version), "follow")
    world.note(f"{process} starts as a standby")
    yield


def failover(world: World) -> Deed:
    """The leader goes away in one manner or another, and who is ready takes its place."""
    leader = world.leader()
    standing = world.standing()
    if leader is None or standing is None:
        return
    if world.chance.happens(0.5):
        leader.kill("by somebody")
    else:
        leader.frozen_until = world.steps + world.chance.random.randint(5, 40)
        world.note(f"{leader} is frozen until step {leader.frozen_until}")
    ready = [one for one in world.processes if one.is_alive and one.facts["state"] == "ready"]
    if ready:
        successor = world.chance.random.choice(ready)
        yield from _held(world, "failover", int(successor.facts["epoch"]))
        yield from lead(world, "failover", successor, standing)
        world.free("failover")
    elif world.chance.happens(0.5):
        process = world.start(world.versions.named(standing.version), "lead")
        world.note(f"{process} starts in doubt, to lead")


def try_again(world: World) -> Deed:
    """Some dead letters get another try, or are given up."""
    letters = [one for one in world.ledger.dead_letters(world.flow) if one.status == "open" and one.id is not None]
    chosen = [one for one in letters if world.chance.happens(0.5)]
    if not chosen:
        return
    ids = [one.id for one in chosen if one.id is not None]
    if world.chance.happens(0.8):
        try:
            world.ledger.request_redrive(world.flow, [(id_, None) for id_ in ids])
        except LedgerError as refused:
            world.note(f"another try of letters {ids}: {refused.message}")
            return
        world.note(f"letters {ids} get another try")
    else:
        dropped = world.ledger.drop_dead_letters(world.flow, ids, {"who": "somebody"})
        world.note(f"{dropped} of letters {ids} are given up")
    yield


def pause(world: World) -> Deed:
    """The leader plans no epoch for a while."""
    leader = world.leader()
    if leader is None:
        return
    world.note(f"{leader} is to pause")
    world.wish(leader, paused=True)
    yield from _wait(world, 10)
    world.wish(leader, paused=False)


def restart(world: World) -> Deed:
    """The leader is asked to end, and the supervisor starts another."""
    leader = world.leader()
    if leader is not None:
        world.note(f"{leader} is to stop")
        world.wish(leader, role="stop")
    yield


def keep(world: World) -> Deed:
    """Somebody names the state."""
    _savepoint(world, "somebody", pinned=False)
    yield


def roll_up(world: World) -> Deed:
    """Old records go to Parquet."""
    standing = world.standing()
    if standing is not None and standing.last_epoch > 8:  # noqa: PLR2004
        before = standing.last_epoch - world.chance.random.randint(2, 8)
        world.note(f"{world.ledger.roll_up(world.flow, before)} epochs before {before} are rolled up")
    yield


DEEDS: Mapping[Callable[[World], Deed], int] = {
    deploy: 8,
    undo: 4,
    undo_by_hidden: 2,
    standby: 3,
    failover: 3,
    try_again: 4,
    pause: 1,
    restart: 1,
    keep: 2,
    roll_up: 2,
}
"""How often each is begun, beside the others."""


def _savepoint(world: World, title: str, *, pinned: bool = True) -> Savepoint | None:
    try:
        savepoint = world.ledger.savepoint(world.flow, why=title, pinned=pinned)
    except LedgerError as refused:
        world.note(f"{title}: no savepoint: {refused.message}")
        return None
    world.saved(savepoint)
    return savepoint


def _follower(
    world: World, title: str, version: Version, savepoint: Savepoint, record_from: int | None = None
) -> Process | None:
    """A process that follows from a savepoint; None where its state can't become this version's."""
    line = world.line_of(savepoint)
    own = version if line is None else line.version
    if not world.versions.verdict(own, version).is_compatible:
        world.note(f"{title}: refused, the state of {own} does not fit")
        return None
    process = world.start(version, "follow", savepoint=savepoint, record_from=record_from)
    world.note(f"{title}: {process} follows from epoch {savepoint.epoch} ({own})")
    return process


def _until(is_over: Callable[[], bool]) -> Deed:
    for _ in range(_PATIENCE_STEPS):
        if is_over():
            return
        yield


def _wait(world: World, steps: int) -> Deed:
    for _ in range(world.chance.random.randint(0, steps)):
        yield
