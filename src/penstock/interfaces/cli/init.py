"""`penstock init`: a project that a person would keep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from penstock.errors import ConfigError
from penstock.interfaces.cli.screen import screen

__all__ = ["TEMPLATES", "command"]

TEMPLATES: Mapping[str, str] = {
    "README.md": "readme.md.txt",
    "penstock.toml": "penstock.toml.txt",
    "flows/revenue.py": "flow.py.txt",
    "seed/orders.jsonl": "orders.jsonl.txt",
    "tests/test_revenue.py": "test_flow.py.txt",
    ".gitignore": "gitignore.txt",
}
"""Path in the new project -> template in the package. `{{project}}` stands for the project's name."""


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder; '.' for this one.")],
) -> None:
    """Make a project: a flow, seed data, environments, a test, a README.

    Files that are there already are never touched: if one of them is in the way, nothing is written.
    """
    name = re.sub(r"[^A-Za-z0-9_\-]+", "-", folder.resolve().name).strip("-") or "project"
    in_the_way = [path for path in TEMPLATES if (folder / path).exists()]
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", state_left="nothing was written", hint="name a new folder")
    if in_the_way:
        raise ConfigError(
            f"{folder} holds {', '.join(in_the_way)} already",
            state_left="nothing was written",
            hint="name a new folder",
        )
    templates = files("penstock.interfaces.cli") / "templates"
    try:
        for path, template in TEMPLATES.items():
            text = (templates / template).read_text(encoding="utf-8").replace("{{project}}", name)
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: {error.strerror}",
            state_left="some files of the project may be there",
            hint="remove the folder and try another place",
        ) from error
    out = screen()
    out.print(f"made the project {name} in {folder}", markup=False)
    for path in TEMPLATES:
        out.print(f"  {path}", markup=False)
    out.print("\nnext:")
    if folder.resolve() != Path.cwd():
        out.print(f"  cd {folder}", markup=False)
    out.print("  penstock run revenue")
