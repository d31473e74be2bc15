"""Projects as files, for the tests of the control room."""

from __future__ import annotations

from pathlib import Path

from penstock.control import Environment, Project, load_project

FLOW = """
import penstock as ps

flow = ps.Flow("copy")
rows = flow.read(ps.topic("rows", schema={"id": int}))
rows.write(ps.table("copies", key="id"))
"""


def project(folder: Path, text: str) -> Project:
    """The project of a `penstock.toml` with this text."""
    path = folder / "penstock.toml"
    path.write_text(text)
    return load_project(path)


def dev(folder: Path, text: str = "") -> tuple[Project, Environment]:
    """The same, and its environment `dev`."""
    found = project(folder, text)
    return found, found.environment("dev")
