"""Which versions of a flow there are, and what a person means by one: an id, `running`, or `working`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.clock import SystemClock
from penstock.control.bundles import bundle_of, bundles
from penstock.control.ledgers import read_ledger
from penstock.control.loading import find_flow, load_flow
from penstock.control.manifests import as_manifest
from penstock.control.project import Environment
from penstock.control.running import prepare
from penstock.errors import ConfigError

__all__ = ["RUNNING", "WORKING", "KnownVersion", "known_versions", "version_manifest"]

RUNNING, WORKING = "running", "working"


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version of a flow. `is_current`: the flow's last epochs are its. `is_here`: its files are on this machine."""

    manifest: Mapping[str, Any]
    is_current: bool
    is_here: bool

    @property
    def id(self) -> str:
        """12 hexadecimal digits."""
        return str(self.manifest["id"])


def known_versions(environment: Environment, flow: str) -> tuple[KnownVersion, ...]:
    """The versions of a flow that are on this machine or in the ledger, oldest first."""
    found = {bundle.id: bundle.manifest for bundle in bundles(environment, flow)}
    here = set(found)
    current = ""
    with read_ledger(environment) as ledger:
        if ledger is not None:
            standing = ledger.standing(flow)
            current = "" if standing is None else standing.version
            for facts in ledger.operations.versions(flow):
                if facts.manifest:  # else it ran as a working tree, and was never kept
                    found.setdefault(facts.version, facts.manifest)
    ordered = sorted(found.values(), key=lambda manifest: (manifest["made_us"], manifest["id"]))
    return tuple(KnownVersion(one, _is(one, current), one["id"] in here) for one in ordered)


def version_manifest(
    asked: str, flow: str, environment: Environment, start: Path, *, params: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """The manifest of the version that a person means.

    `asked`: an id or a beginning of one; `running`: whose epochs are the last; `working`: what the working tree would
    be, which loads the flow (`start`, `params`) and keeps nothing. `flow`: its name, or its file for `working`.
    Raises ConfigError, and for `working` what `as_manifest` raises.
    """
    if asked == WORKING:
        loaded = load_flow(find_flow(flow, start), environment, params)
        return as_manifest(prepare(loaded, environment), SystemClock())
    known = known_versions(environment, flow)
    if asked == RUNNING:
        current = next((version for version in known if version.is_current), None)
        if current is not None:
            return current.manifest
        raise ConfigError(
            f"what {flow} ran last in {environment.name} was not kept as a version, or it never ran",
            flow=flow,
            hint=f"compare versions by their ids (penstock versions {flow}); penstock deploy keeps what it runs",
        )
    in_ledger = [version for version in known if not version.is_here and version.id.startswith(asked)]
    if len(in_ledger) == 1 and not any(version.id.startswith(asked) for version in known if version.is_here):
        return in_ledger[0].manifest
    return bundle_of(environment, flow, asked).manifest


def _is(manifest: Mapping[str, Any], version: str) -> bool:
    """Whether epochs of `version` are those of a manifest: by its id, or as the working tree that it was made of."""
    return bool(version) and version in (manifest["id"], manifest["fingerprint"])
