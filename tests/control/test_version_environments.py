"""A version's own packages: two versions of a flow that need different ones run beside each other."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from penstock.control import Bundle, find_flow, load_flow, make_bundle, prepare, python_of
from penstock.control import version_environments as environments
from penstock.errors import ConfigError

FLOW = """
import penstock as ps

flow = ps.Flow("copy")


def sized(row):
    import tinysizes

    return {**row, "size": tinysizes.SIZE}


rows = flow.read(ps.topic("rows", schema={"id": int}))
sizes = rows.map(sized, schema={"id": int, "size": int})
sizes.write(ps.table("copies", key="id"))
"""
ASK = """
import json, sys
from pathlib import Path
from penstock.control import load_bundle, project_for

flow = load_bundle(project_for(Path.cwd()).environment("dev"), "copy", sys.argv[1])
row = flow.definition.step("sizes").operation.function({"id": 1})
import tinysizes, polars
print(json.dumps({"size": row["size"], "from": tinysizes.__file__, "polars": polars.__file__}))
"""


def wheel(folder: Path, name: str, version: str, text: str) -> None:
    """A wheel with one module."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for path, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""])
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose flow needs a package that this Python lacks; wheels of two versions of it. No network."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    for size in (1, 2):
        wheel(tmp_path / "wheels", "tinysizes", f"{size}.0", f"SIZE = {size}\n")
    (tmp_path / "copy.py").write_text(FLOW)
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "rows.jsonl").write_text("")
    locked(tmp_path, "1.0")
    return tmp_path


def locked(root: Path, version: str, name: str = "requirements.txt") -> None:
    """Pin the package."""
    text = f"--no-index\n--find-links {root / 'wheels'}\ntinysizes=={version}\n"
    (root / name).write_text(text)


def made(root: Path) -> Bundle:
    """The version that the working tree is."""
    target = find_flow("copy.py", root)
    environment = target.project.environment("dev")
    return make_bundle(prepare(load_flow(target, environment), environment))


def plain() -> dict[str, str]:
    """The variables of this process, without what leads to its packages."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def asked(root: Path, bundle: Bundle) -> dict[str, object]:
    """What the flow of a version finds, run by its own Python."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python_of(bundle), "-P", "-c", ASK, bundle.id],
        cwd=root,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_two_versions_with_different_packages(root: Path) -> None:
    """Each runs by its own Python with its own package; Penstock and its packages are those of this one, in no lock."""
    first = made(root)
    locked(root, "2.0")
    second = made(root)

    answers = [asked(root, bundle) for bundle in (first, second, first)]

    assert [answer["size"] for answer in answers] == [1, 2, 1]
    assert python_of(first) != python_of(second)
    assert str(answers[0]["from"]).startswith(str(root / ".penstock/dev/envs"))
    assert answers[0]["polars"] == pl.__file__


def test_one_lock_is_one_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made once, for every version with the same lock; another call does not ask uv."""
    first = made(root)
    python = python_of(first)
    (root / "copy.py").write_text(FLOW.replace("size", "length"))
    second = made(root)
    monkeypatch.setattr(environments, "_uv", lambda: pytest.fail("asked uv"))

    assert first.id != second.id
    assert python_of(second) == python
    assert [path.name for path in python.parents[1].parent.iterdir() if path.name.endswith(".tmp")] == []


def test_several_at_once(root: Path) -> None:
    """Processes that want the same environment at the same time get the same one, whole."""
    bundle = made(root)

    with ThreadPoolExecutor(3) as pool:
        pythons = set(pool.map(python_of, [bundle] * 3))

    assert len(pythons) == 1
    assert asked(root, bundle)["size"] == 1


def test_half_an_environment_is_made_again(root: Path) -> None:
    """What a process that died left behind is no environment."""
    bundle = made(root)
    python = python_of(bundle)
    (python.parents[1] / "penstock-ready.json").unlink()
    python.unlink()

    assert python_of(bundle) == python
    assert python.exists()


def test_without_a_lock_it_is_this_python(root: Path) -> None:
    """Nothing is made; an empty name in penstock.toml says so where there is a file of that name."""
    (root / "penstock.toml").write_text('[project]\nlock = ""\n')
    bundle = made(root)

    assert python_of(bundle) == Path(sys.executable)
    assert not (root / ".penstock/dev/envs").exists()
    assert "requirements.txt" not in bundle.manifest["files"]


def test_another_file_may_be_the_lock(root: Path) -> None:
    """The project names it; files that it names in turn belong to the version."""
    locked(root, "2.0", "pins.txt")
    (root / "all.txt").write_text("-r pins.txt\n")
    (root / "penstock.toml").write_text('[project]\nlock = "all.txt"\n')
    bundle = made(root)

    assert {"all.txt", "pins.txt"} <= set(bundle.manifest["files"])
    assert asked(root, bundle)["size"] == 2
    locked(root, "1.0", "pins.txt")
    assert made(root).id != bundle.id


def test_the_lock_of_uv(root: Path) -> None:
    """`uv.lock` with its `pyproject.toml` gives the same; both belong to the version."""
    (root / "requirements.txt").unlink()
    (root / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = ["tinysizes==2.0"]\n'
        f'[tool.uv]\nno-index = true\nfind-links = ["{root / "wheels"}"]\n'
    )
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "lock", "--quiet", "--python", sys.executable], cwd=root, check=True, env=plain())
    bundle = made(root)

    assert {"uv.lock", "pyproject.toml"} <= set(bundle.manifest["files"])
    assert asked(root, bundle)["size"] == 2


def test_a_lock_that_is_not_there(root: Path) -> None:
    """A wrong name is told before anything is made."""
    (root / "penstock.toml").write_text('[project]\nlock = "pins.txt"\n')

    with pytest.raises(ConfigError, match=r"\[project\] lock: there is no file pins.txt"):
        made(root)


def test_a_package_that_can_not_be_found(root: Path) -> None:
    """What uv says is shown, nothing is left behind, and the version with the right lock works."""
    locked(root, "3.0")
    bundle = made(root)

    with pytest.raises(ConfigError, match="can't be installed") as caught:
        python_of(bundle)
    assert "tinysizes" in caught.value.message
    assert caught.value.hint == "correct requirements.txt and deploy again"
    assert [path.name for path in (root / ".penstock/dev/envs").iterdir() if not path.name.endswith(".lock")] == []


def test_without_uv_it_is_told_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for beside this Python, on the path, and as a module."""
    bundle = made(root)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "executable", str(root / "python"))

    with pytest.raises(ConfigError, match="uv, which installs them for each version, is not there") as caught:
        python_of(bundle)
    assert "-m pip install uv" in str(caught.value.hint)
