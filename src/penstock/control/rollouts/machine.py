"""The real machine behind a driver, and the driver as a duty of the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.analysis import diff_versions
from penstock.clock import Clock
from penstock.control.bundles import bundle_of
from penstock.control.gate import Bounds, SinkComparison
from penstock.control.policies import DeployPolicy
from penstock.control.project import Environment
from penstock.control.rollouts.chores import Chores
from penstock.control.rollouts.driver import Driver
from penstock.control.rollouts.judgements import judge_cut, judge_watched
from penstock.control.rollouts.world import Comparison, Evidence, Launch, Outputs
from penstock.control.supervising.crew import Crew
from penstock.control.supervising.ends import Outcome
from penstock.engine import SpillReader
from penstock.errors import ConfigError
from penstock.ledger import Ledger, Member

__all__ = ["Machine", "Rollouts"]


class Machine:
    """Processes by the crew of a server, versions by the folders of an environment."""

    def __init__(self, crew: Crew, environment: Environment) -> None:
        self._crew = crew
        self._environment = environment
        self._chores = Chores(environment.folder / "chores", crew.clock)

    @property
    def _ledger(self) -> Ledger:
        return self._crew.ledger

    def start(self, launch: Launch) -> None:
        """Start a follower, with the options that the flow has."""
        desired = self._ledger.operations.desired(launch.flow)
        options: Mapping[str, Any] = {} if desired is None else desired.options
        self._crew.start_member(
            launch.flow,
            launch.version,
            "follow",
            owner=launch.owner,
            wish={"part": launch.part, **launch.wish},
            savepoint=launch.savepoint,
            record_from=launch.record_from,
            options=options.get("run") or {},
            params=options.get("params") or {},
        )

    def kill(self, member: Member) -> None:
        """End a process that did not stop when it was asked to."""
        self._crew.kill_member(member, Outcome.KILLED, "it did not stop when it was asked to")

    def chore(self, key: str, job: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What a throwaway process answers; nothing yet while its packages are being installed. Raises ConfigError."""
        version = str(job.get("version") or "")
        kept = self._is_kept(str(job["flow"]), version)
        try:
            python = self._crew.code_of(str(job["flow"]), version).python if kept else None
        except ConfigError as error:
            if error.heals:
                return None
            raise
        place = {"env": self._environment.name, "project_root": str(self._environment.root)}
        return self._chores.ask(key, {**place, **job, "version": version if kept else ""}, python=python)

    def drop_chore(self, key: str) -> None:
        """Nobody wants the answer any more."""
        self._chores.drop(key)

    def verdict(self, flow: str, old: str, new: str) -> Mapping[str, Any]:
        """By the manifests of both; a version that was not kept can't be judged, and its state is tried as it is."""
        before, after = self._manifest(flow, old), self._manifest(flow, new)
        if not before or not after:
            unknown = old if not before else new
            note = f"{unknown} was not kept as a version, so its state is taken as it is"
            return {"compatible": True, "reasons": [], "note": note}
        diff = diff_versions(before, after)
        refused = [table for table in diff.state.tables if table.outcome == "refused"]
        return {
            "compatible": diff.state.is_compatible,
            "reasons": [f"{table.step or table.old_step}: {'; '.join(table.reasons)}" for table in refused],
            "hints": [table.hint for table in refused if table.hint],
            "state": diff.state.as_json(),
            "changes": diff.as_json(),
        }

    def outputs(self, member: Member) -> Outputs | None:
        """What a member computed, in its spill."""
        folder = member.facts.get("spill")
        return SpillReader(Path(str(folder))) if folder else None

    def comparison(self, flow: str, old: str, new: str) -> Comparison:
        """A comparison by the keys of the sinks."""
        bounds = Bounds(tolerance=self._policy.tolerance)
        return SinkComparison(self._keys(flow, old), self._keys(flow, new), bounds=bounds)

    def judge(self, evidence: Evidence) -> Mapping[str, Any]:
        """By the environment's policy."""
        return judge_cut(evidence, self._policy, env=self._environment.name, tables=self._tables(evidence))

    def judge_watch(self, evidence: Evidence) -> Mapping[str, Any]:
        """By the environment's policy, and what the author promised."""
        manifest = self._manifest(evidence.flow, evidence.new_version) or {}
        freshness_us = manifest.get("freshness_us")
        freshness_s = None if freshness_us is None else int(freshness_us) / 1e6
        return judge_watched(evidence, self._policy, tables=self._tables(evidence), freshness_s=freshness_s)

    def close(self) -> None:
        """End all chores."""
        self._chores.close()

    @property
    def _policy(self) -> DeployPolicy:
        return self._environment.deploy

    def _keys(self, flow: str, version: str) -> dict[str, tuple[str, ...]]:
        """The sinks of a version with their keys."""
        manifest = self._manifest(flow, version) or {}
        return {str(end["step"]): tuple(end["key"]) for end in manifest.get("ends", ()) if end["writes"]}

    def _tables(self, evidence: Evidence) -> tuple[str, ...]:
        """The sources that are looked up in: their rows are no rows of the stream."""
        manifest = self._manifest(evidence.flow, evidence.new_version) or {}
        return tuple(manifest.get("lookups", ()))

    def _manifest(self, flow: str, version: str) -> Mapping[str, Any] | None:
        if self._is_kept(flow, version):
            return bundle_of(self._environment, flow, version).manifest
        facts = self._ledger.operations.version(flow, version) if version else None
        return facts.manifest if facts is not None and facts.manifest else None

    def _is_kept(self, flow: str, version: str) -> bool:
        try:
            return bool(version) and bundle_of(self._environment, flow, version).id == version
        except ConfigError:
            return False


class Rollouts:
    """The handovers of a server's environment, as one of its duties (`penstock.control.Duty`)."""

    def __init__(self, environment: Environment, clock: Clock) -> None:
        self._environment = environment
        self._clock = clock
        self._driver: Driver | None = None
        self._crew: Crew | None = None

    def step(self, crew: Crew) -> bool:
        """Advance what is under way; gives whether a cut is near. Raises LedgerError."""
        if self._driver is None or self._crew is not crew:
            machine = Machine(crew, self._environment)
            self._driver, self._crew = Driver(crew.ledger, machine, self._clock), crew
        return self._driver.step()
