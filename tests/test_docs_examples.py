"""The examples in the documents run, and the tables below them are what they give (`PENSTOCK_UPDATE=1` writes them)."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from penstock.connect import sink_class, source_class
from penstock.connect.registry import SINKS, SOURCES
from penstock.flow import datasets

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "authors.md"
README = ROOT / "README.md"
UPDATES = os.environ.get("PENSTOCK_UPDATE") == "1"
BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"\n((?:\|.*\n)+)")
WRITTEN = re.compile(r'\.write\(\s*ps\.table\("(\w+)"')
CONNECTORS = re.compile(r"(?<=<!-- connectors -->\n).*?(?=<!-- /connectors -->)", re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The program of the page, loaded from a file as an author's would be."""
    file = tmp_path_factory.mktemp("page") / "authors_page.py"
    file.write_text("\n\n".join(BLOCK.findall(PAGE.read_text())))
    spec = importlib.util.spec_from_file_location("authors_page", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["authors_page"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["authors_page"]
    return module


def test_tables_of_the_page_are_what_its_program_gives(page: ModuleType) -> None:
    """Below each example of docs/authors.md stand the rows of the tables that it writes."""
    text = PAGE.read_text()
    expected = with_tables(text, page.TABLES)
    if UPDATES:
        PAGE.write_text(expected)

    assert PAGE.read_text() == expected


def with_tables(text: str, tables: Mapping[str, pl.DataFrame]) -> str:
    """The page with the tables behind its blocks as they should be."""
    parts: list[str] = []
    end = 0
    for block in BLOCK.finditer(text):
        parts.append(text[end : block.end()])
        end = block.end()
        for name in WRITTEN.findall(block.group(1)):
            old = TABLE.match(text, end)
            end = old.end() if old else end
            parts.append(f"\n{markdown(name, tables[name])}")
    return "".join(parts) + text[end:]


def markdown(name: str, frame: pl.DataFrame) -> str:
    """A table of Markdown: its name in the corner above the row numbers, the rows in the order of their values."""
    rows = sorted(frame.iter_rows(), key=lambda row: tuple((cell is not None, str(cell)) for cell in row))
    lines = [[f"`{name}`", *frame.columns], ["---"] * (frame.width + 1)]
    lines += [[str(number), *map(cell_text, row)] for number, row in enumerate(rows, start=1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell_text(cell: object) -> str:
    """A value as it is printed; times without the date, which is the same on the whole page."""
    return "" if cell is None else str(cell).removeprefix("2026-03-02 ")


def test_connectors_of_the_page_are_those_of_the_registry() -> None:
    """The table of connectors says what the attributes of the connector classes say."""
    text = PAGE.read_text()
    expected = CONNECTORS.sub(connector_tables().replace("\\", r"\\"), text)
    if UPDATES:
        PAGE.write_text(expected)

    assert PAGE.read_text() == expected


def connector_tables() -> str:
    """Three tables of Markdown: what authors call, sources, sinks."""
    functions = [(name, getattr(datasets, name)) for name in sorted(datasets.__all__) if name != "Dataset"]
    sources = [(kind, source_class(kind)) for kind in SOURCES]
    sinks = [(kind, sink_class(kind)) for kind in SINKS]
    lines = ["| dataset | options | |", "|---|---|---|"]
    lines += [f"| `ps.{name}` | {options_of(found)} | {first_sentence(found)} |" for name, found in functions]
    lines += ["", "| source | replayable | |", "|---|---|---|"]
    lines += [
        f"| `{kind}` | {'yes' if found.replayable else 'through the inbox'} | {first_sentence(found)} |"
        for kind, found in sources
    ]
    lines += ["", "| sink | delivery | undoable | upserts | |", "|---|---|---|---|---|"]
    lines += [
        f"| `{kind}` | {found.delivery} | {yes(found.undoable)} | {yes(found.upserts)} | {first_sentence(found)} |"
        for kind, found in sinks
    ]
    return "\n" + "\n".join(lines) + "\n\n"


def options_of(function: Callable[..., object]) -> str:
    """The parameters of a function, as code."""
    return ", ".join(f"`{name}`" for name in inspect.signature(function).parameters)


def yes(value: object) -> str:
    """A truth as a word."""
    return "yes" if value else "no"


def first_sentence(found: object) -> str:
    """What a class or function says of itself, up to the first full stop."""
    text = " ".join((inspect.getdoc(found) or "").split())
    return text.split(". ")[0].rstrip(".").replace("|", "\\|") + "."


def test_readme_flow_runs_as_the_readme_says(tmp_path: Path) -> None:
    """The newcomer's flow of the README has at most 20 lines and runs by the command below it."""
    text = README.read_text()
    files = dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```\n", text, re.MULTILINE | re.DOTALL))
    assert set(files) == {"orders.py", "orders.jsonl"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    done = penstock("run", "orders.py", folder=tmp_path)
    shown = penstock("sql", "select country, orders, revenue from revenue order by all", "-f", "csv", folder=tmp_path)

    assert len(files["orders.py"].rstrip().splitlines()) <= 20
    assert "1 dead letter;" in done.stdout
    assert shown.stdout.splitlines() == ["country,orders,revenue", "DE,1,35.0", "NL,1,7.5", "NL,2,32.5"]


def penstock(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The real program, in a folder."""
    program = Path(sys.executable).with_name("penstock")
    return subprocess.run([program, *words], cwd=folder, check=True, capture_output=True, text=True, timeout=120)
