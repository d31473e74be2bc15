"""`penstock versions`: the versions of a flow that are kept."""

from __future__ import annotations

from pathlib import Path

from penstock.control import KnownVersion, known_versions
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder
from penstock.interfaces.cli.screen import NUMBER, TEXT, fitting_table, print_json, screen, time_text
from penstock.interfaces.cli.steering import flow_named

__all__ = ["command"]

_COLUMNS = (
    ("version", TEXT),
    ("made (UTC)", TEXT),
    ("by", TEXT),
    ("commit", TEXT),
    ("steps", NUMBER),
    ("packages", TEXT),
    ("why", TEXT),
    ("is", TEXT),
)
_COMMIT_DIGITS = 8


def command(
    flow: FlowName, *, env: EnvironmentName = "dev", as_json: AsJson = False, project: ProjectFolder = Path()
) -> None:
    """List the versions of a flow that are kept.

    A version is all that a flow consists of: its code with what that imports, the files that it names, the lock of its
    packages, penstock.toml. Its id is the hash of these; the same content is the same version.
    """
    name, environment = flow_named(flow, project, env)
    known = known_versions(environment, name)
    if as_json:
        print_json({"flow": name, "env": env, "versions": [_as_values(version) for version in known]})
        return
    out = screen()
    if not known:
        out.print(f"{name} in {env}: no version is kept yet; penstock deploy {name} makes one", markup=False)
        return
    rows = [_row(version) for version in known]
    out.print(fitting_table(out, _COLUMNS, rows, expendable=["packages", "steps", "why", "commit"]))


def _row(version: KnownVersion) -> tuple[str, ...]:
    manifest = version.manifest
    git = manifest["git"]
    commit = "" if git is None else git["commit"][:_COMMIT_DIGITS] + (" +changes" if git["dirty"] else "")
    marks = ["current"] if version.is_current else []
    marks += [] if version.is_here else ["not on this machine"]
    return (
        version.id,
        time_text(manifest["made_us"]),
        manifest["who"],
        commit,
        str(len(manifest["steps"])),
        manifest["lock"] or "",
        manifest["why"],
        ", ".join(marks),
    )


def _as_values(version: KnownVersion) -> dict[str, object]:
    names = ("id", "fingerprint", "made_us", "who", "why", "git", "python", "penstock", "lock", "params", "file")
    return {name: version.manifest[name] for name in names} | {
        "steps": [step["name"] for step in version.manifest["steps"]],
        "current": version.is_current,
        "here": version.is_here,
    }
