"""`penstock.toml` is read strictly: what is wrong is named with its line, what is right has the documented defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.control import find_project, load_project, project_for
from penstock.errors import ConfigError
from tests.control.places import project


def test_an_empty_file_is_a_project(tmp_path: Path) -> None:
    """Everything has a default: the folder's name, `flows/*.py` and `*.py`, the environment `dev`."""
    found = project(tmp_path, "")

    assert (found.name, found.root, found.seed) == (tmp_path.name, tmp_path, "seed")
    assert found.flow_globs == ("flows/*.py", "*.py")
    assert found.environment("dev").folder == tmp_path / ".penstock" / "dev"


def test_an_environment_says_where_it_is(tmp_path: Path) -> None:
    """Folder and ledger may be references, which are resolved only when they are used."""
    text = '[env.test]\nfolder = "env:PENSTOCK_TEST_NOT_SET"\nledger = "env:ALSO_NOT_SET"\nbranch = "develop"\n'

    found = project(tmp_path, text).environment("test")

    assert (found.branch, found.ledger) == ("develop", "env:ALSO_NOT_SET")
    with pytest.raises(ConfigError, match="PENSTOCK_TEST_NOT_SET"):
        _ = found.folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[env.production]", True),
        ('[env.live]\nbranch = "main"', True),
        ('[env.live]\nbranch = "develop"', False),
        ("[env.production]\nproduction = false", False),
        ("[env.live]\nproduction = true", True),
    ],
)
def test_what_counts_as_production(tmp_path: Path, text: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """By name, by branch, or as the file says."""
    name = text.split("]", maxsplit=1)[0].removeprefix("[env.")

    assert project(tmp_path, text).environment(name).production is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[projekt]\nname = "x"', ["penstock.toml:1:", "unknown key 'projekt'. Did you mean 'project'?"]),
        ('[project]\n\nnme = "x"', ["penstock.toml:3: [project] nme", "Did you mean 'name'?"]),
        ("[project]\nflows = 3", ["penstock.toml:2: [project] flows", "list", "not 3"]),
        ('[env.dev]\nephemeral = "yes"', ["penstock.toml:2: [env.dev] ephemeral", "boolean", "not 'yes'"]),
        ("[engine]\nepoch_rows = 0", ["penstock.toml:2: [engine] epoch_rows", "greater than 0"]),
        ('[env.dev.bind.a]\nkind = "filez"', ["penstock.toml:2: [env.dev.bind.a] kind", "Did you mean 'files'?"]),
        ('[env.dev.bind.a]\nkind = "files"', ["penstock.toml:1:", "needs the option 'path'"]),
        ('[env.dev.bind.a]\nkind = "files"\npat = "x"', ["penstock.toml:3: [env.dev.bind.a] pat", "'path'"]),
        ('[env.dev.bind.a]\nkind = "files"\npath = "x"\nwatch = 1', ["penstock.toml:4:", "boolean"]),
        ('[env.dev.bind.a]\npath = "x"', ["penstock.toml:1:", "no kind"]),
        ('[env.dev.bind.a]\nkind = "console"\nkey = 3', ["penstock.toml:3:", "key is a list of columns"]),
        ('[env.dev.bind.a]\nkind = "console"\nschema = {x = "Int65"}', ["penstock.toml:3:", "'Int64'"]),
        ('[env."ü"]', ["penstock.toml:1:", "can't be the name of an environment"]),
        ("x = \ny = 1", ["is not TOML", "line 1"]),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Unknown keys, wrong types, unknown kinds and options, broken TOML."""
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, text)

    assert [part for part in expected if part not in str(caught.value)] == []


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Nobody has to correct a file fault by fault."""
    with pytest.raises(ConfigError, match="2 faults") as caught:
        project(tmp_path, '[project]\nnme = "x"\n[env.dev]\nfoldr = "x"')

    assert "penstock.toml:2" in caught.value.message
    assert "penstock.toml:4" in caught.value.message


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """Garbage bytes are one clear error."""
    (tmp_path / "penstock.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_project(tmp_path / "penstock.toml")


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    """From any folder inside a project the project is found; outside there is none."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "penstock.toml").write_text("")

    assert find_project(inner) == tmp_path / "a" / "penstock.toml"
    assert project_for(inner).root == tmp_path / "a"


def test_without_a_file_there_is_dev(tmp_path: Path) -> None:
    """A folder alone is a project with one environment; another one is an error that says how to add it."""
    found = project_for(tmp_path)

    assert found.environment("dev").folder == tmp_path / ".penstock" / "dev"
    with pytest.raises(ConfigError, match="there is no environment 'staging'") as caught:
        found.environment("staging")
    assert "[env.staging]" in str(caught.value.hint)


def test_files_that_hold_no_flows_are_passed_over(tmp_path: Path) -> None:
    """Tests and private modules are not looked into for flows."""
    for name in ("a.py", "_b.py", "test_c.py", "conftest.py"):
        (tmp_path / name).write_text("")

    assert [path.name for path in project(tmp_path, "").flow_files()] == ["a.py"]
