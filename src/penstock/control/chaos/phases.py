"""The phases: what is done to a flow, one after the other, each in a place of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from penstock.control.chaos.nursery import Ending
from penstock.control.chaos.scene import NotReachedError, PhaseFailedError, Scene
from penstock.control.ledgers import opened_ledger
from penstock.engine import POINTS
from penstock.errors import ConfigError, did_you_mean
from penstock.ledger import Ledger

__all__ = ["DETERMINISM", "GROUPS", "Phase", "all_phases", "chosen_phases"]

DETERMINISM = "determinism"
GROUPS = (DETERMINISM, "kill", "random", "freeze", "disk", "sink", "handover")
_FENCED = 3
_WORLD = 12
"""The exit codes of a member: fenced; the ledger, a source or a sink failed."""
_SHORT_S = 1.0
_ONCE = ("planned", "compacted")
"""Points that a run passes once, or hardly ever: a second kill there would find nothing."""
_FROM_START = ("claimed", "loaded", "planned", "compacted")
_STORIES_MAX = 6


@dataclass(frozen=True, slots=True)
class Phase:
    """One thing that is done. `act`: does it in a scene and gives how the process ended, in words.

    Raises NotReachedError where there was nothing to try, PhaseFailedError where the flow did something wrong. What
    was written is compared afterwards. `excludes_locks`: not to be done where a sink locks other processes out.
    """

    name: str
    did: str
    act: Callable[[Scene], str]
    excludes_locks: bool = False

    @property
    def group(self) -> str:
        """The first part of its name."""
        return self.name.partition(":")[0]


def all_phases(kills: int) -> list[Phase]:
    """Every phase but the determinism check, in their order."""
    phases = [Phase(f"kill:{point}", _killed_text(point), partial(_kill, point=point)) for point in POINTS]
    after = next(number for number, phase in enumerate(phases) if phase.name == "kill:after-write")
    last = Phase("kill:after-write-last", "kill -9 after the last sink wrote, twice", _kill_after_last)
    phases.insert(after + 1, last)
    if kills:
        phases.append(
            Phase("random", f"kill -9, {kills} times at random moments", partial(_kill_at_random, kills=kills))
        )
    for point in ("before-write", "before-commit"):
        did = f"freeze at {point}, another process takes over, wake up"
        phases.append(Phase(f"freeze:{point}", did, partial(_freeze, point=point), excludes_locks=True))
    for point in ("before-write", "after-write", "before-commit"):
        did = f"no file can grow from {point} on (RLIMIT_FSIZE)"
        phases.append(Phase(f"disk:{point}", did, partial(_fill_disk, point=point)))
    phases += [
        Phase("sink:raises", "a sink fails twice, then works", _sink_raises),
        Phase("sink:away", "a sink stays away until the process gives up", _sink_away),
        Phase("sink:answer-lost", "a sink writes, and its answer is lost", _sink_loses_answer),
        Phase("handover", "another process takes over in an epoch, then the first again", _hand_over),
    ]
    return phases


def chosen_phases(phases: Sequence[Phase], asked: Collection[str]) -> tuple[list[Phase], bool]:
    """The phases that a person names, by name or group, all where none is; and whether determinism is looked at.

    Raises ConfigError for a name that there is not.
    """
    if not asked:
        return list(phases), True
    names = {phase.name for phase in phases}
    for one in asked:
        if one not in names and one not in GROUPS:
            known = sorted({*names, *GROUPS})
            raise ConfigError(
                f"there is no phase {one!r}.{did_you_mean(one, known)}", hint=f"the phases are {', '.join(known)}"
            )
    return [phase for phase in phases if phase.name in asked or phase.group in asked], DETERMINISM in asked


def _killed_text(point: str) -> str:
    return f"kill -9 at {point}" + ("" if point in _ONCE else ", twice")


def _kill(scene: Scene, point: str, nth: int = 1) -> str:
    epoch = 0 if point in _FROM_START else scene.some_epoch()
    at = f"{point}:{epoch}:{nth}:kill"
    ending = scene.run(faults={"kill": at})
    if ending.code == 0:
        raise NotReachedError(_never(point, epoch))
    _expect(ending, -signal.SIGKILL)
    if point not in _ONCE:
        _expect(scene.run(faults={"kill": at}), -signal.SIGKILL, 0)
    scene.finish()
    return f"killed from epoch {epoch} on" if epoch else "killed"


def _kill_after_last(scene: Scene) -> str:
    if scene.sinks < 2:  # noqa: PLR2004 - the last of several
        raise NotReachedError("the flow has one sink")
    return _kill(scene, "after-write", scene.sinks)


def _never(point: str, epoch: int) -> str:
    why = " (state files are merged when there are more of them)" if point == "compacted" else ""
    return f"the run never came to {point}" + (f" from epoch {epoch} on" if epoch else "") + why


def _expect(ending: Ending, *codes: int) -> None:
    if ending.code not in codes:
        raise PhaseFailedError(f"the process did not end as it should: {ending.told}")


def _kill_at_random(scene: Scene, kills: int) -> str:
    """Kills that are spread over about one run; where it ends before, the rest is for another run."""
    done, runs = 0, 1
    pause_s = 2 * scene.run_s / kills
    while done < kills:
        process = scene.start()
        if process.wait_running(scene.limit_s):
            scene.clock.sleep(scene.chance.uniform(0, pause_s))
            process.kill(signal.SIGKILL)
        ending = scene.end_of(process)
        _expect(ending, -signal.SIGKILL, 0)
        if ending.code:
            done += 1
        elif runs == _STORIES_MAX:
            break
        else:
            scene.check()
            scene.begin_again()
            runs += 1
    scene.finish()
    if not done:
        raise NotReachedError("every run ended before it could be killed")
    return f"killed {done} times" + (f" in {runs} runs" if runs > 1 else "")


def _freeze(scene: Scene, point: str) -> str:
    epoch = scene.some_epoch()
    frozen = scene.start(faults={"kill": f"{point}:{epoch}:1:stop"}, wish={"role": "lead", "when_fenced": "end"})
    if not frozen.wait_stopped(scene.limit_s):
        _expect(scene.end_of(frozen), 0)
        raise NotReachedError(_never(point, epoch))
    scene.finish()
    before = scene.sink_files()
    frozen.kill(signal.SIGCONT)
    ending = scene.end_of(frozen)
    if ending.code != _FENCED:
        raise PhaseFailedError(f"the process that woke up was not fenced: {ending.told}")
    if scene.sink_files() != before:
        changed = {name for name, _ in set(scene.sink_files().items()) ^ set(before.items())}
        raise PhaseFailedError(f"the process that woke up wrote {', '.join(sorted(changed)[:3])}")
    return "fenced when it woke up, and wrote nothing"


def _fill_disk(scene: Scene, point: str) -> str:
    epoch = scene.some_epoch()
    ending = scene.run(faults={"disk": f"{point}:{epoch}"}, options={"patience_s": _SHORT_S})
    if ending.code == 0:
        raise NotReachedError(_never(point, epoch))
    _expect(ending, _WORLD)
    scene.finish()
    return _gave_up(scene, ending)


def _gave_up(scene: Scene, ending: Ending) -> str:
    return f"gave up: {ending.told.replace(f'{scene.story}/', '')}"


def _sink_raises(scene: Scene) -> str:
    ending = scene.run(faults={"sink": {"mode": "raises", "epoch": scene.some_epoch(), "times": 2}})
    _expect(ending, 0)
    return "waited for it, and went on"


def _sink_away(scene: Scene) -> str:
    faults = {"sink": {"mode": "raises", "epoch": scene.some_epoch(), "times": None}}
    ending = scene.run(faults=faults, options={"patience_s": _SHORT_S})
    if ending.code == 0:
        raise NotReachedError("no sink got rows after that epoch")
    _expect(ending, _WORLD)
    scene.finish()
    return _gave_up(scene, ending)


def _sink_loses_answer(scene: Scene) -> str:
    ending = scene.run(faults={"sink": {"mode": "answer-lost", "epoch": scene.some_epoch(), "times": 1}})
    _expect(ending, 0)
    return "wrote the epoch again, and went on"


def _hand_over(scene: Scene) -> str:
    """A follower takes over from a leader that is frozen in an epoch, and that one, awake again, from the follower."""
    early = max(2, scene.epochs[len(scene.epochs) // 3])
    late = max(early + 2, scene.epochs[2 * len(scene.epochs) // 3])
    with opened_ledger(scene.prepared.environment) as ledger:
        scene.join(ledger, "first", {"role": "lead"})
        first = scene.start(member="first", faults={"kill": f"ran:{early}:1:stop"})
        if not first.wait_stopped(scene.limit_s):
            _expect(scene.end_of(first), 0)
            raise NotReachedError(f"the run has no epoch {early}")
        savepoint = ledger.savepoint(scene.flow, why="chaos", pinned=True)
        ends = {"when_fenced": "end"}
        scene.join(ledger, "second", {"role": "follow", **ends})
        stops = {"kill": f"before-commit:{late}:1:stop"}
        second = scene.start(member="second", role="follow", savepoint=savepoint.id, faults=stops)
        _take_over(scene, ledger, "second", ends)
        first.kill(signal.SIGCONT)
        if not second.wait_stopped(scene.limit_s):
            _expect(scene.end_of(second), 0)
            raise NotReachedError(f"the run has no epoch {late} to hand it back in")
        _take_over(scene, ledger, "first", {})
        second.kill(signal.SIGCONT)
        _expect(scene.end_of(second), _FENCED)
        _expect(scene.end_of(first), 0)
        ledger.drop_savepoints(scene.flow, [savepoint.id])
    return "both handovers were made; who was fenced wrote nothing more"


def _take_over(scene: Scene, ledger: Ledger, member: str, wish: dict[str, str]) -> None:
    """Let a follower that is ready lead, and wait until the other one is fenced."""

    def is_ready() -> bool:
        found = {one.id: one.facts for one in ledger.members(scene.flow)}.get(member, {})
        if found.get("error"):
            raise PhaseFailedError(f"{member} can't follow: {found['error'].get('message')}")
        return found.get("role") == "following" and found.get("state") == "ready"

    def generation() -> int:
        standing = ledger.standing(scene.flow)
        return 0 if standing is None else standing.generation

    scene.until(is_ready, f"{member} is not ready to take over")
    before = generation()
    ledger.wish(scene.flow, member, {"role": "lead", "expected": before, **wish})
    scene.until(lambda: generation() > before, f"{member} does not take over")
