"""`docs/projects.md` names every key that `penstock.toml` may have."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from penstock.control import KINDS
from penstock.control.alerting.tables import AlertsTable
from penstock.control.log_settings import LogMetricTable, LogsTable
from penstock.control.policies import DeployTable, MetricsTable, ServerTable, SuperviseTable, UndoTable
from penstock.control.project import EngineTable, EnvironmentTable, ProjectFile, ProjectTable, load_project

PATH = Path(__file__).resolve().parents[2] / "docs" / "projects.md"
PAGE = PATH.read_text()
UPDATES = os.environ.get("PENSTOCK_UPDATE") == "1"


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        ("project", ProjectTable),
        ("engine", EngineTable),
        ("deploy", DeployTable),
        ("undo", UndoTable),
        ("supervise", SuperviseTable),
        ("server", ServerTable),
        ("alerts", AlertsTable),
        ("metrics", MetricsTable),
        ("logs", LogsTable),
        ("logs.metric.NAME", LogMetricTable),
        ("env.NAME", EnvironmentTable),
    ],
)
def test_every_key_of_a_table_is_described(heading: str, table: type[BaseModel]) -> None:
    """The section of a table has one row for each of its keys, and no others."""
    section = PAGE.split(f"## `[{heading}]`")[1].split("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [*table.model_fields]


def test_every_table_has_a_section() -> None:
    """The tables of the file are the sections above."""
    tables = {"project", "engine", "deploy", "undo", "supervise", "server", "alerts", "metrics", "logs", "env"}
    assert set(ProjectFile.model_fields) == tables


def test_every_kind_and_its_options_are_described() -> None:
    """The row of a kind has the arguments of its function; `PENSTOCK_UPDATE=1` writes the rows again."""
    expected = "".join(f"| `{kind}` | {_keys(build)} |\n" for kind, build in sorted(KINDS.items()))
    page = PATH.read_text()
    head, rows, tail = re.split(r"(?<=\| kind \| keys \|\n\|---\|---\|\n)((?:\| .*\n)*)", page)
    if UPDATES:
        PATH.write_text(head + expected + tail)
        return

    assert rows == expected


def _keys(build: Callable[..., object]) -> str:
    """The arguments that are keys of this kind alone: `schema` and `key` are for all kinds."""
    names = [name for name in inspect.signature(build).parameters if name not in ("schema", "key", "options")]
    return ", ".join(f"`{name}`" for name in names)


def test_the_example_is_a_project(tmp_path: Path) -> None:
    """The file at the top of the page loads."""
    example = PAGE.split("```toml\n")[1].split("```")[0]
    (tmp_path / "penstock.toml").write_text(example)

    assert tomllib.loads(example)["project"]["name"] == load_project(tmp_path / "penstock.toml").name == "shop"
