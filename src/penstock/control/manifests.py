"""What a version is, as plain JSON values: its steps, their code and columns, its ends, its state, where it came from.

Two manifests are all that is needed to tell two versions apart (`penstock.analysis.diff_versions`), without loading
either. `as_manifest` names the keys.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from penstock.analysis import Analysis, describe, layouts_json, migration_facts, renames_of, type_text
from penstock.clock import Clock
from penstock.control.bundle_files import bundle_files, import_paths, lock_file
from penstock.control.inspecting import inspect_state
from penstock.control.loading import LoadedFlow
from penstock.control.running import PreparedRun
from penstock.engine import lookup_tables
from penstock.errors import ConfigError
from penstock.flow import Step, code_parts, flow_version, statement_of, step_fingerprint

__all__ = ["MANIFEST", "as_manifest", "content_id", "file_hashes", "identity"]

MANIFEST = "manifest.json"
FORMAT = 1
_IDENTITY = ("flow", "file", "variable", "given", "paths")
_PACKAGES = ("polars", "duckdb", "pyarrow", "numpy", "deltalake")
_GIT_PATIENCE_S = 10


def as_manifest(prepared: PreparedRun, clock: Clock, *, who: str = "", why: str = "") -> dict[str, Any]:
    """The manifest of a flow as it was loaded; reads its files, and asks sources for their columns.

    Raises SchemaError for a wrong column, ConnectorError where a source that has to tell its columns is away, and
    ConfigError where a file that belongs to the version is not there.
    """
    loaded = prepared.loaded
    analysis, layouts = inspect_state(prepared)
    definition = loaded.definition
    hashes = _hashes_now(loaded)
    about = identity(loaded)
    lock = lock_file(loaded.project)
    return {
        "format": FORMAT,
        **about,
        "id": content_id(about, hashes),
        "fingerprint": flow_version(definition),
        "owner": definition.owner,
        "freshness_us": definition.freshness_us,
        "lookups": sorted(lookup_tables(definition)),
        "env": prepared.environment.name,
        "steps": [_step(step, analysis, loaded) for step in definition.steps],
        "code": _code(loaded),
        "ends": [
            {
                "step": one.step,
                "dataset": one.logical,
                "writes": one.writes,
                "kind": one.dataset.kind,
                "place": one.place,
                "key": list(one.dataset.key),
                "bound_by": one.origin,
            }
            for one in prepared.bound
        ],
        "state": layouts_json(layouts),
        "renames": renames_of(definition),
        "migrations": [asdict(said) for said in migration_facts(definition)],
        "params": {name: found.value for name, found in loaded.params.items()},
        "python": platform.python_version(),
        "penstock": version("penstock"),
        "packages": {name: found for name in _PACKAGES if (found := _installed(name))},
        "lock": None if lock is None else lock.relative_to(loaded.project.root).as_posix(),
        "files": hashes,
        "made_us": clock.now_us(),
        "who": who or _user(),
        "why": why,
        "git": _git(loaded.project.root),
    }


def identity(loaded: LoadedFlow) -> dict[str, Any]:
    """What a version's id covers beside its files: which flow it is, and what was set for it."""
    target = loaded.target
    return {
        "flow": loaded.definition.name,
        "file": target.file.relative_to(target.code_root).as_posix(),
        "variable": target.variable,
        "given": dict(sorted(loaded.given.items())),
        "paths": list(import_paths(target)),
    }


def _hashes_now(loaded: LoadedFlow) -> dict[str, str]:
    try:
        return file_hashes(bundle_files(loaded))
    except OSError as error:
        raise ConfigError(
            f"{error.filename} belongs to the flow and can't be read: {error.strerror}",
            flow=loaded.definition.name,
            hint="bring the file back, then try again",
        ) from error


def file_hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """Path -> sha256 of the content."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())}


def content_id(about: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """The id of a version: 12 hexadecimal digits over which flow it is and all of its files."""
    said = "".join(f"{name}={about[name]!r}\n" for name in _IDENTITY)
    text = said + "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _step(step: Step, analysis: Analysis, loaded: LoadedFlow) -> dict[str, Any]:
    facts = analysis.steps[step.name]
    return {
        "name": step.name,
        "kind": step.operation.kind,
        "inputs": list(step.inputs),
        "fingerprint": step_fingerprint(step),
        "text": describe(step),
        "source": statement_of(step.location),
        "location": _place(step.location, loaded),
        "columns": {name: type_text(dtype) for name, dtype in facts.schema.items()},
        "event_time": facts.event_time,
        "key": list(facts.key),
        "updating": facts.updating,
        "stateful": step.operation.remembers,
        "uses": list(code_parts(step)),
    }


def _code(loaded: LoadedFlow) -> dict[str, dict[str, str]]:
    """The functions, classes and values that the steps use, by name."""
    parts = {name: part for step in loaded.definition.steps for name, part in code_parts(step).items()}
    return {
        name: {
            "kind": part.kind,
            "fingerprint": part.fingerprint,
            "source": part.source,
            "location": _place(part.location, loaded),
        }
        for name, part in sorted(parts.items())
    }


def _place(location: str, loaded: LoadedFlow) -> str:
    file, _, line = location.rpartition(":")
    path, root = Path(file), loaded.code_root
    return f"{path.relative_to(root).as_posix()}:{line}" if path.is_relative_to(root) else location


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return str(os.getuid())


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _git(root: Path) -> dict[str, Any] | None:
    """The commit that the project's folder is at, and whether files differ from it; None where there is none."""
    program = shutil.which("git")
    if program is None:
        return None
    commit = _said(program, root, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _said(program, root, "status", "--porcelain", "--", ".")
    return {
        "commit": commit,
        "branch": _said(program, root, "rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": changed != "",
    }


def _said(program: str, root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            [program, *words], cwd=root, capture_output=True, text=True, timeout=_GIT_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
