"""From what a person types to a definition."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from penstock.control import find_flow, known_flows, load_flow, project_for
from penstock.errors import ConfigError, DefinitionError
from tests.control.places import FLOW, project


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules and search path that a test loads are gone after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def load(folder: Path, asked: str, **params: str) -> str:
    """The name of the flow that was loaded."""
    target = find_flow(asked, folder)
    return load_flow(target, target.project.environment("dev"), params).definition.name


@pytest.mark.parametrize("asked", ["copy", "jobs", "flows/jobs.py", "flows/jobs.py:flow"])
def test_a_flow_is_found_by_name_file_or_variable(tmp_path: Path, asked: str) -> None:
    """Four ways to ask for one flow."""
    project(tmp_path, "")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "jobs.py").write_text(FLOW)

    assert load(tmp_path, asked) == "copy"


def test_flows_are_listed_without_running_anything(tmp_path: Path) -> None:
    """Names come from the text: a module that would fail, or write, is only read."""
    (tmp_path / "a.py").write_text(f"{FLOW}\nraise SystemExit")
    (tmp_path / "b.py").write_text('NAME = "x"\nflow = ps.Flow(NAME)')
    (tmp_path / "c.py").write_text("nothing = 1")

    assert [(flow.name, flow.file.name) for flow in known_flows(project_for(tmp_path))] == [
        ("copy", "a.py"),
        ("b", "b.py"),
    ]


def test_of_several_flows_one_has_to_be_named(tmp_path: Path) -> None:
    """A file with two flows: by name or by variable it is clear, by file it is not."""
    (tmp_path / "two.py").write_text(FLOW + FLOW.replace("flow", "other").replace('"copy"', '"second"'))

    assert load(tmp_path, "second") == "second"
    assert load(tmp_path, "two.py:other") == "second"
    with pytest.raises(ConfigError, match=r"two\.py has 2 flows: copy, second") as caught:
        load(tmp_path, "two.py")
    assert "two.py:flow" in str(caught.value.hint)


def test_one_name_in_two_files(tmp_path: Path) -> None:
    """Which of two files was meant is not guessed."""
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(FLOW)

    with pytest.raises(ConfigError, match=r"2 files hold a flow 'copy': a\.py, b\.py"):
        load(tmp_path, "copy")


def test_a_file_without_a_flow(tmp_path: Path) -> None:
    """It is said what was looked for."""
    (tmp_path / "empty.py").write_text("")

    with pytest.raises(ConfigError, match="has no flow at the top of the module") as caught:
        load(tmp_path, "empty.py")
    assert 'ps.Flow("name")' in str(caught.value.hint)


def test_modules_of_the_project_can_be_imported(tmp_path: Path) -> None:
    """A flow may import from its project's root, as its tests do."""
    project(tmp_path, "")
    (tmp_path / "flows").mkdir()
    (tmp_path / "penstock_test_names.py").write_text('NAME = "named"')
    named = FLOW.replace("import penstock", "from penstock_test_names import NAME\nimport penstock")
    (tmp_path / "flows" / "a.py").write_text(named.replace('"copy"', "NAME"))

    assert load(tmp_path, "flows/a.py") == "named"


def test_only_the_authors_lines_are_shown(tmp_path: Path) -> None:
    """An exception deep in a library is told with the author's own lines."""
    (tmp_path / "bad.py").write_text("import json\n\n\ndef read():\n    return json.loads('{')\n\n\nread()\n")

    with pytest.raises(DefinitionError, match=r"bad\.py can't be loaded: json\.decoder\.JSONDecodeError") as caught:
        load(tmp_path, "bad.py")
    assert caught.value.__notes__ == ["at bad.py:8: read()", "at bad.py:5: return json.loads('{')"]


@pytest.mark.parametrize("name", ["json.py", "polars.py", "01-first.py"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    """A file called like a library, or like no module, is loaded without standing in anyone's way."""
    (tmp_path / name).write_text(FLOW)
    before = sys.modules.get(name.removesuffix(".py"))

    assert load(tmp_path, name) == "copy"
    assert sys.modules.get(name.removesuffix(".py")) is before


def test_the_environment_gives_parameters(tmp_path: Path) -> None:
    """`[env.NAME.params]` comes before the default, `--set` before both; one that the flow lacks is ignored."""
    found = project(tmp_path, "[env.dev.params]\nlimit = 5\nother = true\n")
    (tmp_path / "a.py").write_text(f'{FLOW}\nlimit = ps.param("limit", 1)\n')
    target = find_flow("copy", tmp_path)

    by_environment = load_flow(target, found.environment("dev"))
    by_person = load_flow(target, found.environment("dev"), {"limit": "7"})

    assert (by_environment.params["limit"].value, by_person.params["limit"].value) == (5, 7)


def test_a_parameter_that_nobody_asks_for(tmp_path: Path) -> None:
    """A typo in --set is an error that lists the parameters there are."""
    (tmp_path / "a.py").write_text(f'{FLOW}\nlimit = ps.param("limit", 1)\n')

    with pytest.raises(ConfigError, match="Did you mean 'limit'"):
        load(tmp_path, "copy", limt="7")
