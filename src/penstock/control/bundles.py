"""Versions as folders: `versions/<id>/` in an environment's folder holds the manifest of one version, and its files in
`code/`.

A version never changes: its id is the hash of what is in it, and what is on disk is held against the id whenever it is
loaded. Code comes from the version's folder alone, data from the project's, so that a version runs as it did after
everything in the working tree has changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock.clock import Clock, SystemClock, new_id
from penstock.control.bundle_files import bundle_files
from penstock.control.loading import LoadedFlow, Target, load_flow
from penstock.control.manifests import MANIFEST, as_manifest, content_id, file_hashes
from penstock.control.project import FILE_NAME, Environment, Project, load_project
from penstock.control.running import VERSIONS, PreparedRun
from penstock.errors import ConfigError, CorruptVersion, did_you_mean
from penstock.flow import Dataset, Definition, ops
from penstock.ledger import Ledger, VersionFacts

__all__ = ["Bundle", "bundle_of", "bundles", "load_bundle", "make_bundle", "version_environment"]

CODE = "code"
_PENSTOCK = Path(__file__).resolve().parents[2]
_ID = re.compile(r"[0-9a-f]{12}")
_LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
_TEMPORARY = ".tmp"
_CACHES = "__pycache__"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version of a flow on disk. `root`: the project's folder, which its data paths are relative to."""

    folder: Path
    root: Path
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        """12 hexadecimal digits over all that it consists of."""
        return str(self.manifest["id"])

    @property
    def flow(self) -> str:
        """The flow's name."""
        return str(self.manifest["flow"])

    @property
    def fingerprint(self) -> str:
        """What its steps are, as `flow_version` said when it was made."""
        return str(self.manifest["fingerprint"])

    @property
    def code(self) -> Path:
        """The folder of its files, as the project's folder was."""
        return self.folder / CODE

    @property
    def lock(self) -> Path | None:
        """The file that pins its packages."""
        name = self.manifest.get("lock")
        return None if name is None else self.code / str(name)


def make_bundle(
    prepared: PreparedRun, *, who: str = "", why: str = "", ledger: Ledger | None = None, clock: Clock | None = None
) -> Bundle:
    """Keep a flow, as it was loaded, as a version; a version that is there already stays as it is.

    With `ledger` it is noted there too. Raises what `as_manifest` raises, and ConfigError where the folder can't be
    written.
    """
    environment = prepared.environment
    if prepared.loaded.version:
        return bundle_of(environment, prepared.flow, prepared.loaded.version)
    manifest = as_manifest(prepared, clock or SystemClock(), who=who, why=why)
    folder = environment.folder / VERSIONS / manifest["id"]
    if not (folder / MANIFEST).is_file():
        _write(folder, manifest, bundle_files(prepared.loaded), prepared.flow)
    bundle = Bundle(folder, environment.root, _manifest(folder))
    if ledger is not None:
        ledger.operations.add_version(VersionFacts(bundle.flow, bundle.id, bundle.manifest, bundle.manifest["made_us"]))
    return bundle


def bundles(environment: Environment, flow: str | None = None) -> tuple[Bundle, ...]:
    """The versions that an environment holds, of one flow or of all, oldest first; damaged ones are passed over."""
    found = []
    for path in (environment.folder / VERSIONS).glob(f"*/{MANIFEST}"):
        if not _ID.fullmatch(path.parent.name):  # one that is being written, or was not finished
            continue
        with suppress(CorruptVersion):  # who asks for it by its id is told
            found.append(Bundle(path.parent, environment.root, _manifest(path.parent)))
    kept = [bundle for bundle in found if flow is None or bundle.flow == flow]
    return tuple(sorted(kept, key=lambda bundle: (bundle.manifest["made_us"], bundle.id)))


def bundle_of(environment: Environment, flow: str, version: str) -> Bundle:
    """A version of a flow by its id, or by a beginning of it that only one has.

    Raises ConfigError where there is none, CorruptVersion where its manifest can't be read.
    """
    folder = environment.folder / VERSIONS / version
    if _ID.fullmatch(version) and (folder / MANIFEST).is_file():
        whole = Bundle(folder, environment.root, _manifest(folder))
        if whole.flow == flow:
            return whole
    known = bundles(environment, flow)
    found = [bundle for bundle in known if version and bundle.id.startswith(version)]
    if len(found) == 1:
        return found[0]
    ids = [bundle.id for bundle in found or known]
    shown = ", ".join(ids[-10:])
    if found:
        raise ConfigError(
            f"{len(found)} versions of {flow} begin with {version!r}", hint=f"give more of one of {shown}"
        )
    raise ConfigError(
        f"{flow} has no version {version!r} in {environment.name}.{did_you_mean(version, ids)}",
        hint=f"the newest are {shown}; all: penstock versions {flow}" if ids else "none was made yet: penstock deploy",
    )


def load_bundle(environment: Environment, flow: str, version: str) -> LoadedFlow:
    """Load a version from its folder: modules come from there and from nowhere else of the project.

    Raises CorruptVersion where a file of it is not what it was, ConfigError where there is no such version, and what
    `load_flow` raises. To be called once in a process that runs the flow: modules of the project that were loaded
    before are dropped, and its folder stays the first on the search path.
    """
    bundle = bundle_of(environment, flow, version)
    _verify(bundle)
    project = _project_of(bundle)
    code = bundle.code.resolve()
    manifest = bundle.manifest
    target = Target(project, code / manifest["file"], flow, manifest["variable"], code)
    _clear_the_way(code, bundle.root.resolve(), manifest["paths"])
    loaded = load_flow(target, _environment_in(project, environment), manifest["given"])
    definition = _with_data_of(loaded.definition, code, bundle.root)
    return replace(loaded, definition=definition, version=bundle.id)


def version_environment(loaded: LoadedFlow, environment: Environment) -> Environment:
    """The environment as a version knows it: its own bindings and parameters; folder and ledger as they are now."""
    return environment if not loaded.version else _environment_in(loaded.project, environment)


def _environment_in(project: Project, environment: Environment) -> Environment:
    own = project.environments.get(environment.name)
    if own is None:
        return environment
    return replace(environment, params=own.params, bindings=own.bindings)


def _project_of(bundle: Bundle) -> Project:
    """The project as the version's own penstock.toml says, with its data where it is."""
    file = bundle.code / FILE_NAME
    if not file.is_file():
        return Project(bundle.root.name or "project", bundle.root)
    project = load_project(file)
    places = {name: replace(one, root=bundle.root) for name, one in project.environments.items()}
    return replace(project, root=bundle.root, environments=places)


def _clear_the_way(code: Path, root: Path, paths: Sequence[str]) -> None:
    """Let modules be found in the version's folder: first on the path, the project's own off it, nothing loaded."""
    others = [entry for entry in sys.path if not _is_projects(Path(entry or ".").resolve(), root)]
    own = [str(code), *(str(code / path) for path in paths)]
    sys.path[:] = [*own, *(entry for entry in others if entry not in own)]
    tops = {_top_of(path.relative_to(base)) for base in map(Path, own) for path in base.rglob("*.py")}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in tops and _is_authors(module, root, code.parent.parent):
            del sys.modules[name]


def _is_projects(path: Path, root: Path) -> bool:
    """Whether a folder or file is the project's own: no library's inside of it, not Python's, and not Penstock's."""
    if not path.is_relative_to(root) or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(library) for library in (_PENSTOCK, *_LIBRARIES))


def _top_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def _is_authors(module: object, root: Path, versions: Path) -> bool:
    places = [getattr(module, "__file__", None), *_paths_of(module)]
    paths = [Path(place).resolve() for place in places if place]
    return any(_is_projects(path, root) or path.is_relative_to(versions) for path in paths)


def _paths_of(module: object) -> Iterator[str]:
    with suppress(TypeError, KeyError):  # a namespace package whose parent is gone can't tell its folders
        yield from getattr(module, "__path__", ())


def _with_data_of(definition: Definition, code: Path, root: Path) -> Definition:
    """Places of datasets that the author made from `__file__` are the project's, not those of the version's folder."""
    steps = []
    for step in definition.steps:
        operation = step.operation
        if isinstance(operation, (ops.Read, ops.Write)):
            operation = replace(operation, dataset=_moved(operation.dataset, f"{code}/", f"{root}/"))
            steps.append(replace(step, operation=operation))
        else:
            steps.append(step)
    return replace(definition, steps=tuple(steps))


def _moved(dataset: Dataset, old: str, new: str) -> Dataset:
    options = {
        name: new + value.removeprefix(old) if isinstance(value, str) and value.startswith(old) else value
        for name, value in dataset.options.items()
    }
    name = new + dataset.name.removeprefix(old) if dataset.name.startswith(old) else dataset.name
    return replace(dataset, name=name, options=options)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _corrupt(folder, f"its {MANIFEST} can't be read: {error}") from error
    return found


def _verify(bundle: Bundle) -> None:
    """Raise CorruptVersion unless the files are those that the id was made of."""
    folder, code = bundle.folder, bundle.code
    for cache in code.rglob(_CACHES):
        shutil.rmtree(cache, ignore_errors=True)  # what runs is what was checked, not what was compiled of it
    present = {path.relative_to(code).as_posix(): path for path in code.rglob("*") if path.is_file()}
    try:
        hashes = file_hashes(present)
    except OSError as error:
        raise _corrupt(folder, f"{error.filename} can't be read: {error.strerror}") from error
    known = bundle.manifest["files"]
    wrong = [name for name in sorted({*known, *hashes}) if known.get(name) != hashes.get(name)]
    if wrong:
        name = wrong[0]
        what = "is missing" if name not in hashes else "does not belong there" if name not in known else "was changed"
        raise _corrupt(folder, f"{name} {what}" + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""))
    if folder.name != bundle.id or content_id(bundle.manifest, hashes) != bundle.id:
        raise _corrupt(folder, f"its {MANIFEST} was changed")


def _corrupt(folder: Path, what: str) -> CorruptVersion:
    return CorruptVersion(
        f"version {folder.name} is not what it was: {what}",
        state_left="nothing has run",
        hint=f"bring back {folder} from a copy, or remove it and deploy the same code again",
    )


def _write(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, Path], flow: str) -> None:
    """Write a version whole or not at all."""
    staged = folder.with_name(f".{folder.name}.{new_id()[:8]}{_TEMPORARY}")
    try:
        for name, path in files.items():
            copy = staged / CODE / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            _put(copy, path.read_bytes())
            copy.chmod(path.stat().st_mode & 0o555)
        _put(staged / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False, default=str).encode())
        if file_hashes({name: staged / CODE / name for name in files}) != manifest["files"]:
            raise ConfigError(
                "the project's files change while they are copied",
                flow=flow,
                state_left="no version was made",
                hint="try again when they are still",
            )
        try:
            staged.rename(folder)
        except OSError:
            if not (folder / MANIFEST).is_file():  # else somebody made the same version at the same time
                raise
        _sync(folder.parent)
    except OSError as error:
        raise ConfigError(
            f"a version can't be kept: {error.filename or folder}: {error.strerror}",
            flow=flow,
            state_left="no version was made",
            hint="free space, or correct the permissions of the environment's folder",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _put(file: Path, content: bytes) -> None:
    with file.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
