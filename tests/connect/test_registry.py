"""The connector table, secrets and the console: what goes wrong says what to do."""

from __future__ import annotations

import importlib
import io
import sys
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from penstock.clock import SystemClock
from penstock.connect import Change, Context, Sink, Source, resolve, sink_class, source_class
from penstock.connect import registry as registry_module
from penstock.connect.console import ConsoleSink
from penstock.connect.memory import MemorySource
from penstock.connect.registry import EXTRAS, SINKS, SOURCES
from penstock.errors import ConfigError
from penstock.flow import Dataset


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_of_the_table_loads(kind: str) -> None:
    """The table names classes that exist."""
    assert issubclass(source_class(kind), Source)


@pytest.mark.parametrize("kind", SINKS)
def test_every_sink_of_the_table_loads(kind: str) -> None:
    """The table names classes that exist."""
    assert issubclass(sink_class(kind), Sink)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("file", r"no source of kind 'file'\. Did you mean 'files'\?"),
        ("duckdb", "can only be written, not read"),
        ("table", "bind it in penstock.toml"),
    ],
)
def test_what_can_not_be_read_says_why(kind: str, message: str) -> None:
    """A typo, a kind of sink and a logical dataset are three different errors."""
    with pytest.raises(ConfigError, match=message):
        source_class(kind)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a connector's package is not installed the hint is the command that installs it."""
    for name in [name for name in sys.modules if name.startswith(("psycopg", "penstock.connect.postgres"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.startswith("penstock.connect.postgres"):
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ConfigError, match="needs the package 'psycopg'") as raised:
        source_class("postgres")
    assert raised.value.hint == 'pip install "penstock[postgres]"'


def test_extras_that_are_named_exist() -> None:
    """The hint for a missing package names an extra of the project, for a kind of the table."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
    assert set(EXTRAS) <= {*SOURCES, *SINKS}


def test_other_packages_bring_connectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point of the group adds a kind."""
    point = EntryPoint("source.mine", "penstock.connect.memory:MemorySource", registry_module.GROUP)

    def found(**wanted: Any) -> EntryPoints:
        return EntryPoints([point]).select(**wanted)

    monkeypatch.setattr(registry_module, "entry_points", found)
    assert source_class("mine") is MemorySource
    with pytest.raises(ConfigError):
        sink_class("mine")


def test_secrets_are_looked_up_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference gives the variable or the file without its newline; anything else is itself."""
    monkeypatch.setenv("PENSTOCK_TEST_SECRET", "from the environment")
    (tmp_path / "secret").write_text("from a file\n")
    assert resolve("env:PENSTOCK_TEST_SECRET", tmp_path) == "from the environment"
    assert resolve("file:secret", tmp_path) == "from a file"
    assert resolve("postgresql://db/x", tmp_path) == "postgresql://db/x"


@pytest.mark.parametrize("reference", ["env:PENSTOCK_NOT_THERE", "env:", "file:none", "file:empty", "file:."])
def test_a_missing_secret_names_the_reference(tmp_path: Path, reference: str) -> None:
    """What is missing is named by its reference."""
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError, match=reference):
        resolve(reference, tmp_path)


def test_the_console_prints_the_first_rows(tmp_path: Path) -> None:
    """Each epoch prints its count and its first rows; an empty one prints nothing."""
    schema = pl.Schema({"id": pl.Int64})
    context = Context("flow", "show", tmp_path, tmp_path, SystemClock(), schema)
    out = io.StringIO()
    sink = ConsoleSink(Dataset("console", "seen", options={"rows": 2}), context, out)
    sink.open(1)
    sink.write(1, 1, Change(pl.DataFrame({"id": [11, 12, 13]})))
    sink.write(2, 1, Change(schema.to_frame()))
    assert "seen epoch 1: 3 rows" in out.getvalue()
    assert "12" in out.getvalue()
    assert "13" not in out.getvalue()
    assert "epoch 2" not in out.getvalue()
