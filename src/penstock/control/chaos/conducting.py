"""A whole performance: the uninterrupted run, every epoch twice, then phase after phase; gives a verdict for each."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from penstock.clock import Clock, SystemClock, seeded
from penstock.control.chaos.inputs import Input, copy_inputs
from penstock.control.chaos.nursery import Nursery
from penstock.control.chaos.phases import DETERMINISM, Phase, all_phases, chosen_phases
from penstock.control.chaos.remains import Remains, remains_of
from penstock.control.chaos.scene import NotReachedError, PhaseFailedError, Scene
from penstock.control.chaos.script import Script, place_of, throwaway
from penstock.control.chaos.verdicts import Baseline, Outcome, Report, Verdict
from penstock.control.loading import LoadedFlow
from penstock.control.project import Environment
from penstock.errors import ConnectorError, DefinitionError, PenstockError, StepFailed

__all__ = ["Performance", "Wanted"]

EPOCHS_LEAST = 8
_PATIENCE_S = 20.0
_LIMIT_S = 60.0
_LIMIT_RUNS = 30
_TABLE_EPOCHS_MAX = 100
_WRITING_LEAST = 3
_SCRIPT = "script.json"
_LOG_LINES = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for. `rows_max`: of each input (None: all). `phases`: names or groups; none: all.

    `target`: the flow, as `find_flow` takes it. `command`: what was typed, for the command that repeats a phase.
    """

    target: str
    seed: int
    kills: int = 10
    epochs: int = 20
    rows_max: int | None = 20_000
    phases: Sequence[str] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()


class Performance:
    """One run of chaos over a flow that was loaded; to be closed, or used in a `with`."""

    def __init__(
        self,
        loaded: LoadedFlow,
        environment: Environment,
        wanted: Wanted,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._loaded = loaded
        self._environment = environment
        self._wanted = wanted
        self._tell: Callable[[str, str], None] = lambda _name, _did: None
        self._show: Callable[[Verdict], None] = lambda _: None
        self._clock = clock or SystemClock()
        chosen, self._looks_twice = chosen_phases(all_phases(wanted.kills), wanted.phases)
        self._phases: list[Phase] = chosen
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-chaos-"))
        self.keeps_folder = False
        self._nurseries: list[Nursery] = []

    def listen(self, tell: Callable[[str, str], None], show: Callable[[Verdict], None]) -> None:
        """`tell` hears of each phase that begins (its name and what is done), `show` of each verdict."""
        self._tell, self._show = tell, show

    @property
    def steps(self) -> int:
        """How many times `tell` will be called at most."""
        return 1 + len(self._phases) + self._looks_twice

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes and remove what was made, but not what a failed phase left."""
        for nursery in self._nurseries:
            nursery.close()
        if not self.keeps_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self) -> Report:
        """Do all of it.

        Raises ConfigError for a source that can't be replaced, PenstockError where the flow fails without any fault.
        """
        wanted = self._wanted
        root = self._loaded.project.root
        # Two processes that hash text differently; they import what they need while the inputs are copied.
        nursery = self._nursery(root, 1)
        other = self._nursery(root, 2) if self._looks_twice else None
        script = self._script()
        self._tell("uninterrupted", "run to the end of the input")
        script, expected, run_s = self._uninterrupted(nursery, script)
        verdicts: list[Verdict] = []
        determinism: dict[str, Any] | None = None
        if other is not None:
            determinism = self._determinism(nursery, other, verdicts)
        scene = partial(self._scene, nursery, script, expected, run_s)
        for number, phase in enumerate(self._phases):
            if verdicts and verdicts[0].outcome is Outcome.FAILED and verdicts[0].phase == DETERMINISM:
                verdicts.append(Verdict(phase.name, phase.did, "", Outcome.SKIPPED, why=("see determinism",)))
            else:
                self._tell(phase.name, phase.did)
                verdicts.append(self._perform(phase, partial(scene, phase, number)))
            self._show(verdicts[-1])
        return Report(
            flow=self._loaded.definition.name,
            env=self._environment.name,
            seed=wanted.seed,
            command=wanted.command,
            baseline=self._baseline(script, expected, run_s),
            stand_ins=self._stand_ins(script),
            verdicts=verdicts,
            determinism=determinism,
        )

    # --- what is run --------------------------------------------------------------------------------------------------

    def _nursery(self, root: Path, hash_seed: int) -> Nursery:
        self._nurseries.append(Nursery(root, hash_seed=hash_seed))
        return self._nurseries[-1]

    def _script(self) -> Script:
        """The flow with copies of its inputs, in as many epochs as are wanted."""
        wanted, loaded = self._wanted, self._loaded
        inputs = copy_inputs(
            loaded.definition, loaded.project, self._environment, self.folder / "inputs", rows_max=wanted.rows_max
        )
        rows = _rows_of_epoch(inputs, wanted.epochs)
        return Script(
            root=str(loaded.project.root),
            env=self._environment.name,
            target=wanted.target,
            params=dict(wanted.params),
            inputs=inputs,
            # An epoch ends by its rows alone, never by the time that it takes: so all runs have the same epochs.
            options={"until_drained": True, "epoch_rows": rows, "epoch_ms": 86_400_000, "patience_s": _PATIENCE_S},
            start_us=self._clock.now_us(),
        )

    def _make(self, script: Script, story: Path) -> Any:
        return throwaway(self._loaded, self._environment, story, script.inputs)

    def _uninterrupted(self, nursery: Nursery, script: Script) -> tuple[Script, Remains, float]:
        """The run that all others are compared with; with smaller epochs where there were too few."""
        while True:
            (self.folder / _SCRIPT).write_text(script.text(), encoding="utf-8")
            story = self.folder / "uninterrupted"
            shutil.rmtree(story, ignore_errors=True)
            job = {"do": "serve", "script": str(self.folder / _SCRIPT), "story": str(story), "member": "m1"}
            process = nursery.start({**job, "role": "lead"})
            try:
                if process.wait_running(_LIMIT_S):
                    begun_s = self._clock.stopwatch_s()
                    ending = process.wait(10 * _LIMIT_S)
                    run_s = self._clock.stopwatch_s() - begun_s
                else:
                    ending, run_s = process.wait(_LIMIT_S), 0.0
            except TimeoutError as error:
                raise self._unfit(str(error)) from None
            if ending.code:
                raise self._unfit(ending.told, nursery.log, ending.code)
            expected = remains_of(self._make(script, story))
            rows = int(script.options["epoch_rows"])
            if len(expected.records) >= EPOCHS_LEAST or rows == 1:
                return script, expected, run_s
            script = replace(script, options={**script.options, "epoch_rows": max(1, rows // 2)})

    def _unfit(self, why: str, log: str = "", code: int = 0) -> PenstockError:
        kind = {10: DefinitionError, 11: StepFailed, 12: ConnectorError}.get(code, PenstockError)
        error = kind(
            f"the flow does not get to the end of its input, even without faults: {why}",
            flow=self._loaded.definition.name,
            state_left="the throwaway place is removed; nothing else was touched",
            hint=f"mend that first: penstock run {self._wanted.target}",
        )
        for line in log.splitlines()[-_LOG_LINES:]:
            error.add_note(line)
        return error

    def _baseline(self, script: Script, expected: Remains, run_s: float) -> Baseline:
        return Baseline(
            epochs=len(expected.records),
            rows_in=expected.rows_in.total(),
            rows=expected.rows,
            letters=len(expected.letters),
            late=expected.rows_late,
            seconds=run_s,
            inputs={step: (one.rows, one.of) for step, one in script.inputs.items()},
        )

    def _stand_ins(self, script: Script) -> dict[str, str]:
        """By step, what is used here in the place of another kind of system."""
        found = {}
        place = self._make(script, self.folder / "nowhere")
        for one in place.bound:
            real = place_of(self._loaded, self._environment, one.step)
            if real.kind != one.dataset.kind:
                found[one.step] = f"{one.dataset.kind} for {real.kind} {real.name}"
        return found

    # --- determinism --------------------------------------------------------------------------------------------------

    def _determinism(self, nursery: Nursery, other: Nursery, verdicts: list[Verdict]) -> dict[str, Any] | None:
        did = "every epoch three times, in two processes: what each step gives"
        self._tell(DETERMINISM, did)
        begun_s = self._clock.stopwatch_s()
        outputs, answer = self.folder / "outputs", self.folder / "answer.json"
        job = {
            "script": str(self.folder / _SCRIPT),
            "story": str(self.folder / "uninterrupted"),
            "outputs": str(outputs),
            "answer": str(answer),
        }
        found: dict[str, Any] | None = None
        why: tuple[str, ...] = ()
        for place, do in ((nursery, "record"), (other, "repeat")):
            try:
                ending = place.start({**job, "do": do}).wait(10 * _LIMIT_S)
            except TimeoutError as error:
                why = (str(error),)
                break
            if ending.code:
                why = (f"an epoch that runs again fails: {ending.said or ending.told}",)
                break
        else:
            found = json.loads(answer.read_text(encoding="utf-8"))
            assert found is not None
            why = _told(found)
        shutil.rmtree(outputs, ignore_errors=True)
        outcome = Outcome.FAILED if why else Outcome.PASSED
        ended = "" if found is None else f"{found['steps']} steps, {found['epochs']} epochs"
        seconds = self._clock.stopwatch_s() - begun_s
        verdicts.append(Verdict(DETERMINISM, did, ended, outcome, why=why, seconds=seconds))
        self._show(verdicts[-1])
        return found

    # --- phases -------------------------------------------------------------------------------------------------------

    def _scene(
        self, nursery: Nursery, script: Script, expected: Remains, run_s: float, phase: Phase, number: int
    ) -> Scene:
        name = re.sub(r"[^a-z\-]", "-", phase.name)
        return Scene(
            script=self.folder / _SCRIPT,
            story=self.folder / f"{number + 1:02d}-{name}",
            make=partial(self._make, script),
            nursery=nursery,
            # Of the phase's own, so that it is the same whichever others are chosen.
            chance=seeded(self._wanted.seed * 1_000_003 + _number_of(phase.name)),
            expected=expected,
            epochs=_interesting(expected, script),
            run_s=run_s,
            limit_s=_LIMIT_S + _LIMIT_RUNS * run_s,
        )

    def _perform(self, phase: Phase, make: Callable[[], Scene]) -> Verdict:
        begun_s = self._clock.stopwatch_s()
        scene = make()
        outcome, ended = Outcome.PASSED, ""
        why: tuple[str, ...] = ()
        if phase.excludes_locks and scene.locks_out:
            told = "a DuckDB file is open in one process at a time: another one can't take over while that is frozen"
            return Verdict(phase.name, phase.did, told, Outcome.SKIPPED)
        try:
            ended = phase.act(scene)
            scene.check()
        except NotReachedError as error:
            outcome, ended = Outcome.NOT_REACHED, str(error)
        except (PhaseFailedError, PenstockError, TimeoutError) as error:
            outcome, why = Outcome.FAILED, tuple(str(error).splitlines())
        finally:
            scene.clear()
        folder = ""
        if outcome is Outcome.FAILED:
            self.keeps_folder, folder = True, str(scene.story)
        else:
            for story in {scene.story, scene.story.with_name(scene.story.name.removesuffix("-again"))}:
                shutil.rmtree(story, ignore_errors=True)
        seconds = self._clock.stopwatch_s() - begun_s
        return Verdict(phase.name, phase.did, ended, outcome, scene.rows, why, seconds, folder)


def _interesting(expected: Remains, script: Script) -> Sequence[int]:
    """The epochs in which something can go wrong: not the first, not the last, and rows come out of them.

    Where that are too few, those in which streams are read.
    """
    middle = expected.records[1:-1]
    streams = {step for step, one in script.inputs.items() if not one.table}
    writing = [record.epoch for record in middle if sum(record.rows_out.values())]
    reading = [record.epoch for record in middle if any(record.rows_in.get(step) for step in streams)]
    if len(writing) >= _WRITING_LEAST:
        return writing
    return reading or [record.epoch for record in middle] or [1]


def _rows_of_epoch(inputs: Mapping[str, Input], epochs: int) -> int:
    """So many rows an epoch that the whole input makes about so many, and its largest stream at least eight.

    Lookup tables are loaded first, in epochs of the same size: a large one holds that up, within bounds.
    """
    tables = max((one.rows for one in inputs.values() if one.table), default=0)
    streams = max((one.rows for one in inputs.values() if not one.table), default=tables)
    wanted = min(math.ceil(max(tables, streams) / epochs), math.ceil(streams / EPOCHS_LEAST))
    return max(1, wanted, math.ceil(tables / _TABLE_EPOCHS_MAX))


def _number_of(name: str) -> int:
    """A number that is the same for a name everywhere."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")


def _told(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong, in words: the first step that gives other rows."""
    different = found["different"]
    if different is None:
        return ()
    where = f" ({different['location']})" if different["location"] else ""
    columns = f" in {', '.join(different['columns'])}" if different["columns"] else ""
    counts = [
        f"{different['changed']:,} of {different['rows']:,} rows are others{columns}" if different["changed"] else "",
        f"{different['only_first']:,} are missing" if different["only_first"] else "",
        f"{different['only_second']:,} are new" if different["only_second"] else "",
    ]
    told = ", ".join(part for part in counts if part)
    lines = [f"step {different['step']}{where} gives other rows when epoch {different['epoch']} runs again: {told}"]
    if different["line"]:
        lines.append(f"  {different['line']}")
    for sample in different["samples"]:
        lines += [f"  once   {sample['first']}", f"  again  {sample['second']}"]
    if found["reordered"]:
        lines.append(f"the rows of {', '.join(found['reordered'])} come in another order: the step may depend on it")
    return tuple(lines)
