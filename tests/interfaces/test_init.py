"""`penstock init` makes a project whose README is true."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from penstock.interfaces.cli.init import TEMPLATES
from tests.interfaces.user import environment, typed


def commands_of(readme: str) -> list[str]:
    """The lines of the shell blocks of a README, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_every_command_of_the_readme_works(shop: Path) -> None:
    """In a fresh project the commands of its README, typed as written, all succeed, and the first makes the table."""
    commands = commands_of((shop / "README.md").read_text())

    assert len(commands) >= 5
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "penstock":
            answer = typed(shop, *arguments)
            assert answer.code == 0, f"{command}: {answer.out}{answer.err}"
        else:
            subprocess.run([program, *arguments], cwd=shop, env=environment(), timeout=100, check=True)
    count = typed(shop, "sql", "select sum(orders) as n from revenue_by_country", "--format", "csv")
    assert count.out == "n\n220\n"


def test_the_project_holds_what_it_says(shop: Path) -> None:
    """All files are there, with the project's name in them and no placeholder left."""
    texts = {path: (shop / path).read_text() for path in TEMPLATES}

    assert 'name = "shop"' in texts["penstock.toml"]
    assert not [path for path, text in texts.items() if "{{" in text]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Where a file is in the way, nothing is written and the message names it."""
    (tmp_path / "README.md").write_text("mine")

    answer = typed(tmp_path, "init", ".")

    assert answer.code == 2
    assert "holds README.md already" in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_an_existing_empty_folder_is_taken(tmp_path: Path) -> None:
    """`penstock init .` works in an empty folder and does not tell to enter it."""
    answer = typed(tmp_path, "init", ".")

    assert answer.code == 0
    assert "cd " not in answer.out


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A file in the place of the folder is named, nothing else happens."""
    (tmp_path / "shop").write_text("")

    assert typed(tmp_path, "init", "shop").err.startswith("error [config] shop is a file")
