"""What is looked at before anything is started: does a version load, fit its columns and its ends; is the input there;
which of its sinks can take rows back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.clock import SystemClock
from penstock.connect import Sink
from penstock.control.bundles import load_bundle, version_environment
from penstock.control.ledgers import opened_ledger
from penstock.control.loading import LoadedFlow, find_flow, load_flow
from penstock.control.project import Environment, project_for
from penstock.control.running import PreparedRun, locate, prepare
from penstock.engine import Assembly, Patience, StopSignal
from penstock.errors import ConnectorError, PenstockError

__all__ = ["assembled", "check", "load_version", "place_of"]

PATIENCE_S = 3.0


def check(job: Mapping[str, Any]) -> dict[str, Any]:
    """Load a version, put it together as a member would, and look at its ends. Raises what any of that raises.

    Gives `steps`, `sinks` (step -> kind, place, delivery, undoable, corrects) and, with `input_from`, `input` (source
    step -> there, message): whether the sources still give the epochs from that one on.
    """
    environment = place_of(job)
    loaded = load_version(job, environment)
    prepared = prepare(loaded, version_environment(loaded, environment))
    places = {one.step: one for one in prepared.bound}
    with assembled(prepared) as assembly:
        assembly.prepare()
        sinks = {
            step: {
                "kind": places[step].dataset.kind,
                "place": places[step].place,
                "delivery": sink.delivery.value,
                "undoable": sink.undoable,
                "corrects": type(sink).correct is not Sink.correct,
            }
            for step, sink in assembly.sinks.items()
        }
        found: dict[str, Any] = {"steps": len(loaded.definition.steps), "sinks": sinks}
        if job.get("input_from") is not None:
            found["input"] = _input(job, environment, assembly)
    return found


def place_of(job: Mapping[str, Any]) -> Environment:
    """The environment of a job."""
    return project_for(Path(str(job["project_root"]))).environment(str(job["env"]))


def load_version(job: Mapping[str, Any], environment: Environment) -> LoadedFlow:
    """The flow of a job: a version that was kept, or (version "") the working tree."""
    flow, version = str(job["flow"]), str(job.get("version") or "")
    if version:
        return load_bundle(environment, flow, version)
    return load_flow(find_flow(str(job.get("target") or flow), environment.root), environment)


@contextmanager
def assembled(prepared: PreparedRun) -> Iterator[Assembly]:
    """The parts of a flow, as a member has them; errors name the author's line."""
    definition, clock = prepared.loaded.definition, SystemClock()
    try:
        assembly = Assembly(
            definition,
            {one.step: one.dataset for one in prepared.bound},
            folder=prepared.folder / "steps",
            root=prepared.loaded.project.root,
            clock=clock,
            patience=Patience(definition.name, clock, StopSignal(), PATIENCE_S, lambda _: None),
        )
        try:
            yield assembly
        finally:
            assembly.close()
    except PenstockError as error:
        locate(error, definition, prepared.loaded.code_root)
        raise


def _input(job: Mapping[str, Any], environment: Environment, assembly: Assembly) -> dict[str, Any]:
    """Whether each source still gives its range of the first epoch: what is after it is younger still."""
    first = int(job["input_from"])
    with opened_ledger(environment, SystemClock()) as ledger:
        records = ledger.epochs(str(job["flow"]), first=first, last=first)
    found: dict[str, Any] = {}
    for step, source in assembly.sources.items():
        taken = records[0].plan.ranges.get(step) if records else None
        found[step] = {"there": True, "message": ""}
        if taken is None or taken["start"] == taken["end"]:
            continue
        try:
            source.read(taken["start"], taken["end"])
        except ConnectorError as error:
            found[step] = {"there": False, "message": error.message}
    return found
