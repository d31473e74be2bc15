"""What is different between two versions of a flow, from their manifests alone: steps, code, columns, ends, state.

A step is changed where its fingerprint is: then the functions, classes and values that it uses tell which of them it
is, and where none is, the statement in which the step is written.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias

from penstock.analysis.compatibility import MigrationFacts, Verdict, compare
from penstock.analysis.state_layout import layouts_from_json

__all__ = ["CodeChange", "ColumnsChange", "EndChange", "StepChange", "VersionDiff", "diff_versions", "state_verdict"]

Change: TypeAlias = Literal["added", "removed", "changed", "renamed"]
Manifest: TypeAlias = Mapping[str, Any]

_CONTEXT_LINES = 3


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A function, class or value that a step uses, or the statement of the step itself. `diff`: a unified diff."""

    name: str
    kind: str
    change: Change
    location: str
    diff: str


@dataclass(frozen=True, slots=True)
class ColumnsChange:
    """How the rows after a step differ: columns with their types, of retyped ones the old and the new."""

    added: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    retyped: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether the columns are the same."""
        return not (self.added or self.removed or self.retyped)


@dataclass(frozen=True, slots=True)
class StepChange:
    """One step that is not the same. `old_name`: where it was renamed. `before`/`after`: what it does, in a line.

    `inputs`: the steps that it takes rows of, before and after, where they differ. `code`: what of the author's code is
    to blame.
    """

    name: str
    kind: str
    change: Change
    old_name: str = ""
    before: str = ""
    after: str = ""
    inputs: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    code: tuple[CodeChange, ...] = ()
    columns: ColumnsChange = field(default_factory=ColumnsChange)


@dataclass(frozen=True, slots=True)
class EndChange:
    """A source or sink that is not the same: `before` and `after` say kind, place and key (empty: there was none)."""

    step: str
    writes: bool
    change: Change
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """All that is different from the version `old` to the version `new` of a flow.

    `state`: what becomes of the state of the one in the other. `settings`: parameters, packages, Python and the like,
    name -> before and after. `files`: path -> what happened.
    """

    flow: str
    old: str
    new: str
    steps: tuple[StepChange, ...] = ()
    ends: tuple[EndChange, ...] = ()
    state: Verdict = field(default_factory=Verdict)
    settings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    files: Mapping[str, Change] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether both do the same to the same data: files may differ in what does not count, such as comments."""
        return not (self.steps or self.ends or self.settings) and self.state.is_same

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(replace(self, state=Verdict()))
        return {**values, "state": self.state.as_json(), "is_empty": self.is_empty}


def diff_versions(old: Manifest, new: Manifest) -> VersionDiff:
    """What is different, from the manifest of one version to that of another."""
    return VersionDiff(
        flow=str(new["flow"]),
        old=str(old["id"]),
        new=str(new["id"]),
        steps=tuple(_steps(old, new)),
        ends=tuple(_ends(old, new)),
        state=state_verdict(old, new),
        settings=_settings(old, new),
        files=_files(old["files"], new["files"]),
    )


def state_verdict(old: Manifest, new: Manifest) -> Verdict:
    """What becomes of the state of one version in another, by their manifests."""
    return compare(
        layouts_from_json(old["state"]),
        layouts_from_json(new["state"]),
        renames=new["renames"],
        migrations=[MigrationFacts(**said) for said in new["migrations"]],
    )


def _by(entries: Sequence[Mapping[str, Any]], key: str) -> dict[str, Mapping[str, Any]]:
    return {str(entry[key]): entry for entry in entries}


def _renames(old: Manifest, new: Manifest) -> dict[str, str]:
    """New name -> old name of the steps that were renamed."""
    before, after = _by(old["steps"], "name"), _by(new["steps"], "name")
    return {to: was for was, to in new["renames"].items() if was in before and to not in before and to in after}


def _steps(old: Manifest, new: Manifest) -> list[StepChange]:
    before, after = _by(old["steps"], "name"), _by(new["steps"], "name")
    renames = _renames(old, new)
    found = []
    for name, step in after.items():
        was = before.get(renames.get(name, name))
        if was is None:
            found.append(StepChange(name, step["kind"], "added", after=step["text"], columns=_columns({}, step)))
            continue
        change = _step(was, step, renames, old, new)
        if change is not None:
            found.append(change)
    gone = [step for name, step in before.items() if name not in after and name not in renames.values()]
    found += [
        StepChange(step["name"], step["kind"], "removed", before=step["text"], columns=_columns(step, {}))
        for step in gone
    ]
    return found


def _step(
    was: Mapping[str, Any], step: Mapping[str, Any], renames: Mapping[str, str], old: Manifest, new: Manifest
) -> StepChange | None:
    columns = _columns(was, step)
    inputs = (tuple(was["inputs"]), tuple(step["inputs"]))
    rewired = inputs[0] != tuple(renames.get(name, name) for name in inputs[1])
    renamed = was["name"] != step["name"]
    changed = was["fingerprint"] != step["fingerprint"] or was["kind"] != step["kind"]
    if not (changed or rewired or renamed) and columns.is_empty:
        return None
    return StepChange(
        step["name"],
        step["kind"],
        "changed" if changed or rewired or not renamed else "renamed",
        old_name=was["name"] if renamed else "",
        before=was["text"],
        after=step["text"],
        inputs=inputs if rewired else None,
        code=_code(was, step, old, new) if changed else (),
        columns=columns,
    )


def _columns(was: Mapping[str, Any], step: Mapping[str, Any]) -> ColumnsChange:
    before, after = was.get("columns", {}), step.get("columns", {})
    return ColumnsChange(
        {name: dtype for name, dtype in after.items() if name not in before},
        {name: dtype for name, dtype in before.items() if name not in after},
        {name: (before[name], dtype) for name, dtype in after.items() if name in before and before[name] != dtype},
    )


def _code(was: Mapping[str, Any], step: Mapping[str, Any], old: Manifest, new: Manifest) -> tuple[CodeChange, ...]:
    """Which of the author's code changed: what the step uses; and its own statement, where that reads otherwise."""
    found = []
    names = sorted({*was["uses"], *step["uses"]})
    for name in names:
        before = old["code"].get(name) if name in was["uses"] else None
        after = new["code"].get(name) if name in step["uses"] else None
        if before is not None and after is not None and before["fingerprint"] == after["fingerprint"]:
            continue
        part = after or before
        if part is not None:
            change: Change = "added" if before is None else "removed" if after is None else "changed"
            diff = _unified(before, after, name)
            found.append(CodeChange(name, part["kind"], change, part["location"], diff))
    if was["source"] != step["source"]:
        diff = _unified(was, step, step["name"])
        found.append(CodeChange(step["name"], "step", "changed", step["location"], diff))
    return tuple(found)


def _unified(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, name: str) -> str:
    old, new = (part["source"].splitlines() if part is not None else [] for part in (before, after))
    was, now = (str(part["location"] or name) if part is not None else "" for part in (before, after))
    return "\n".join(difflib.unified_diff(old, new, was, now, lineterm="", n=_CONTEXT_LINES))


def _ends(old: Manifest, new: Manifest) -> list[EndChange]:
    before, after = _by(old["ends"], "step"), _by(new["ends"], "step")
    renames = _renames(old, new)
    found = []
    for step, end in after.items():
        was = before.get(renames.get(step, step))
        if was is None:
            found.append(EndChange(step, end["writes"], "added", "", _place(end)))
        elif _place(was) != _place(end):
            found.append(EndChange(step, end["writes"], "changed", _place(was), _place(end)))
    kept = {renames.get(step, step) for step in after}
    found += [
        EndChange(step, end["writes"], "removed", _place(end), "") for step, end in before.items() if step not in kept
    ]
    return found


def _place(end: Mapping[str, Any]) -> str:
    key = f", key {', '.join(end['key'])}" if end["key"] else ""
    return f"{end['place']}{key}"


def _settings(old: Manifest, new: Manifest) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for name in ("python", "penstock"):
        if old[name] != new[name]:
            found[name] = (str(old[name]), str(new[name]))
    for label, group in (("package", "packages"), ("param", "params")):
        for name in sorted({*old[group], *new[group]}):
            before, after = old[group].get(name), new[group].get(name)
            if before != after:
                found[f"{label} {name}"] = (_shown(before), _shown(after))
    if (before := _lock(old)) != (after := _lock(new)):
        found["lock"] = (before, after)
    return found


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def _lock(manifest: Manifest) -> str:
    lock = manifest["lock"]
    return "none" if lock is None else f"{lock} {manifest['files'].get(lock, '')[:8]}"


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Change]:
    found: dict[str, Change] = {}
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            found[name] = "added" if name not in before else "removed" if name not in after else "changed"
    return found
