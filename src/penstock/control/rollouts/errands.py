"""Asking a chore and waiting for its answer, for who has nothing else to do meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.clock import Clock, new_id
from penstock.control.bundles import bundle_of
from penstock.control.project import Environment
from penstock.control.rollouts.chores import Chores
from penstock.control.version_environments import python_of
from penstock.errors import ConfigError

__all__ = ["input_of_epoch", "trial_of_letters"]

_LOOK_EVERY_S = 0.05
_PATIENCE_S = 120.0


def trial_of_letters(
    environment: Environment, flow: str, version: str, ids: list[int], edited: Mapping[int, str], clock: Clock
) -> dict[str, Any]:
    """What another try of dead letters would give, by a version that was kept; see `questions.tried_letters`.

    Raises ConfigError where the version is not here, or with what its code said.
    """
    return _answered(environment, clock, kind="letters", flow=flow, version=version, ids=ids, edited=dict(edited))


def input_of_epoch(
    environment: Environment, flow: str, version: str, epoch: int, match: Mapping[str, str], limit: int, clock: Clock
) -> dict[str, Any]:
    """The rows that an epoch read, from its sources again; see `questions.input_rows`. Raises as the one above."""
    job = {"epoch": epoch, "match": dict(match), "limit": limit}
    return _answered(environment, clock, kind="input", flow=flow, version=version, **job)


def _answered(
    environment: Environment, clock: Clock, *, kind: str, flow: str, version: str, **more: Any
) -> dict[str, Any]:
    python = str(python_of(bundle_of(environment, flow, version)))
    place = {"env": environment.name, "project_root": str(environment.root)}
    job = {"kind": kind, **place, "flow": flow, "version": version, **more}
    chores, key = Chores(environment.folder / "chores", clock), new_id()
    until_s = clock.stopwatch_s() + _PATIENCE_S
    try:
        while (answer := chores.ask(key, job, python=python)) is None:
            if clock.stopwatch_s() > until_s:
                raise ConfigError(
                    f"the version's code did not answer within {_PATIENCE_S:.0f} s",
                    flow=flow,
                    state_left="nothing was changed",
                    hint="ask for fewer rows",
                )
            clock.sleep(_LOOK_EVERY_S)
    finally:
        chores.close()
    if answer.get("ok"):
        return {name: value for name, value in answer.items() if name != "ok"}
    error = answer.get("error") or {}
    raise ConfigError(
        str(error.get("message") or "the version's code could not be asked"),
        flow=flow,
        step=error.get("step"),
        state_left="nothing was changed",
        hint=error.get("hint"),
    )
