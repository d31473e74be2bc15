"""Versions as folders: all that a flow needs, held against its hash, whatever becomes of the working tree."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.control import (
    Bundle,
    LoadedFlow,
    SqlSession,
    bundle_of,
    bundles,
    find_flow,
    load_bundle,
    load_flow,
    locate,
    make_bundle,
    prepare,
    project_for,
    run_here,
    version_environment,
)
from penstock.errors import ConfigError, CorruptVersion, DefinitionError, MigrationFailed, StepFailed
from penstock.flow import ops

FLOW = '''
"""Prices with a rate from a helper, a rate from a file, and a helper that is imported late."""
import json
from pathlib import Path

import penstock as ps

import rates
from shop.money import rounded

HERE = Path(__file__).parent
TABLE = json.loads((HERE / "table.json").read_text())
DIGITS = ps.param("digits", 2)

flow = ps.Flow("prices")


def priced(row):
    from late import margin

    return {**row, "price": rounded(row["cost"] * rates.RATE * TABLE["factor"] + margin(), DIGITS)}


costs = flow.read(ps.files("data/costs.jsonl", schema={"id": int, "cost": float}))
prices = costs.map(priced, schema={"id": int, "cost": float, "price": float})
prices.write(ps.table("prices", key="id"))
'''


MONEY = """
from shop.digits import rounder


def rounded(value, digits):
    return rounder(value, digits)
"""


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules and search path that a test loads are gone after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project: a flow, helpers (one in a package), a file that it reads; and a module and files that it does not."""
    files = {
        "penstock.toml": "[project]\nname = 'shop'\n",
        "flows/prices.py": FLOW,
        "flows/table.json": '{"factor": 10}',
        "rates.py": "RATE = 2\n",
        "shop/__init__.py": "",
        "shop/money.py": MONEY,
        "shop/digits.py": "rounder = round\n",
        "late.py": "def margin():\n    return 0.5\n",
        "unused.py": "",
        "seed/other.jsonl": "",
        "data/costs.jsonl": "",
        ".env": "SECRET=1",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def loaded(root: Path, asked: str = "prices", **params: str) -> LoadedFlow:
    """The flow as it is in the working tree, loaded as a process that begins would."""
    for name in ("rates", "late", "shop", "shop.money", "shop.digits", "flows.prices"):
        sys.modules.pop(name, None)
    target = find_flow(asked, root)
    return load_flow(target, target.project.environment("dev"), params)


def made(root: Path, asked: str = "prices", **params: str) -> Bundle:
    """The version that the working tree is."""
    found = loaded(root, asked, **params)
    return make_bundle(prepare(found, found.project.environment("dev")), who="ada", clock=ManualClock())


def price_of(flow: LoadedFlow, cost: float = 1.0) -> float:
    """What the flow's own function makes of a cost."""
    operation = flow.definition.step("prices").operation
    assert isinstance(operation, ops.Map)
    return float(operation.function({"cost": cost})["price"])


def again(root: Path, version: str) -> LoadedFlow:
    """A version, loaded."""
    return load_bundle(project_for(root).environment("dev"), "prices", version)


def test_a_version_holds_what_the_flow_needs_and_nothing_else(root: Path) -> None:
    """Modules that are imported at the top, by a package or in a function; files that they name; the settings."""
    bundle = made(root)

    assert sorted(bundle.manifest["files"]) == [
        "flows/prices.py",
        "flows/table.json",
        "late.py",
        "penstock.toml",
        "rates.py",
        "shop/__init__.py",
        "shop/digits.py",
        "shop/money.py",
    ]
    kept = [path.relative_to(bundle.code).as_posix() for path in bundle.code.rglob("*") if path.is_file()]
    assert sorted(kept) == sorted(bundle.manifest["files"])


def test_a_version_runs_as_it_was_after_everything_changed(root: Path) -> None:
    """Each file of the working tree is another one or gone: the version gives what it gave, and is the same flow."""
    before = loaded(root)
    bundle = made(root)
    expected = price_of(before)
    for name in ("flows/prices.py", "rates.py", "shop", "late.py", "flows/table.json"):
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.write_text("raise SystemExit")
    (root / "rates.py").write_text("RATE = 1000\n")

    version = again(root, bundle.id)

    assert price_of(version) == expected == 20.5
    assert version.fingerprint == before.fingerprint == bundle.fingerprint
    assert version.project.root == root
    assert sys.modules["rates"].__file__ == str(bundle.code / "rates.py")


def test_a_version_runs(root: Path) -> None:
    """It reads the project's data and writes the environment's tables, as the working tree did."""
    bundle = made(root)
    (root / "data/costs.jsonl").write_text('{"id": 1, "cost": 1.0}\n{"id": 2, "cost": 2.0}\n')
    (root / "rates.py").write_text("RATE = 1000\n")
    environment = project_for(root).environment("dev")
    version = again(root, bundle.id)

    run_here(prepare(version, version_environment(version, environment)))

    with SqlSession(environment) as session:
        found = [row for batch in session.query("from prices order by id").batches for row in batch.to_pylist()]
    assert [(row["id"], row["price"]) for row in found] == [(1, 20.5), (2, 40.5)]


def test_several_make_the_same_version_at_once(root: Path) -> None:
    """There is one, whole, and nobody is disturbed."""
    found = loaded(root)
    prepared = prepare(found, found.project.environment("dev"))

    with ThreadPoolExecutor(4) as pool:
        made_by = list(pool.map(lambda _: make_bundle(prepared), range(4)))

    assert len({bundle.id for bundle in made_by}) == 1
    assert [path.name for path in made_by[0].folder.parent.iterdir()] == [made_by[0].id]
    assert price_of(again(root, made_by[0].id)) == 20.5


def test_a_late_import_comes_from_the_version_in_a_process_of_its_own(root: Path) -> None:
    """In the folder of the project, where Python would look first, a process still gets the version's modules."""
    bundle = made(root)
    (root / "late.py").write_text("def margin():\n    return 99\n")
    program = (
        "from pathlib import Path; from penstock.control import load_bundle, project_for\n"
        f"flow = load_bundle(project_for(Path.cwd()).environment('dev'), 'prices', {bundle.id!r})\n"
        "print(flow.definition.step('prices').operation.function({'cost': 1.0})['price'])\n"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout == "20.5\n"


def test_the_same_content_is_the_same_version(root: Path) -> None:
    """Made twice it is there once; each file, each parameter that was set, and the flow's place make another one."""
    first = made(root)
    stamp = (first.folder / "manifest.json").stat().st_mtime_ns
    assert made(root).id == first.id
    assert (first.folder / "manifest.json").stat().st_mtime_ns == stamp

    ids = {first.id, made(root, digits="3").id}
    (root / "unused.py").write_text("changed = 1")
    assert made(root).id == first.id
    for name in ("rates.py", "late.py", "flows/table.json", "penstock.toml"):
        (root / name).write_text((root / name).read_text() + "\n")
        ids.add(made(root).id)

    assert len(ids) == 6
    assert [bundle.id for bundle in bundles(project_for(root).environment("dev"), "prices")] == sorted(ids)
    assert not [path.name for path in first.folder.parent.iterdir() if path.name.endswith(".tmp")]


def test_what_was_set_is_part_of_the_version(root: Path) -> None:
    """`--set` is kept: the version gives what it gave with it, without being told again."""
    bundle = made(root, digits="0")
    (root / "penstock.toml").write_text("[env.dev.params]\ndigits = 1\n")

    assert again(root, bundle.id).params["digits"].value == 0


def test_the_settings_of_a_version_are_its_own(root: Path) -> None:
    """Bindings and parameters are those of its penstock.toml; folder and ledger are the environment's of today."""
    text = "[env.dev.params]\ndigits = 1\n[env.dev.bind.prices]\nkind = 'parquet'\npath = 'out'\n"
    (root / "penstock.toml").write_text(text)
    bundle = made(root)
    (root / "penstock.toml").write_text("[env.dev]\nledger = 'elsewhere'\n[env.dev.params]\ndigits = 5\n")
    now = project_for(root).environment("dev")

    version = again(root, bundle.id)
    place = version_environment(version, now)

    assert version.params["digits"].value == 1
    assert place.bindings["prices"].kind == "parquet"
    assert (place.ledger, place.root) == ("elsewhere", root)
    assert prepare(version, place).bound[1].place == "parquet out"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (
            lambda code: (code / "rates.py").chmod(0o644) or (code / "rates.py").write_text("RATE = 3\n"),
            "rates.py was changed",
        ),
        (lambda code: (code / "late.py").unlink(), "late.py is missing"),
        (lambda code: (code / "json.py").write_text(""), "json.py does not belong there"),
        (lambda code: (code.parent / "manifest.json").write_text("{"), "its manifest.json can't be read"),
        (
            lambda code: (code.parent / "manifest.json").write_text(
                (code.parent / "manifest.json").read_text().replace('"flows/prices.py",\n', '"rates.py",\n', 1)
            ),
            "its manifest.json was changed",
        ),
    ],
)
def test_a_version_that_was_tampered_with_is_refused(root: Path, harm: object, told: str) -> None:
    """A file that was changed, removed or added is found before anything of it runs."""
    bundle = made(root)
    assert callable(harm)
    harm(bundle.code)

    with pytest.raises(CorruptVersion, match=told) as caught:
        again(root, bundle.id)
    assert caught.value.code == "corrupt-version"


def test_compiled_files_are_not_what_runs(root: Path) -> None:
    """Byte code beside a version's modules, by whomever, is removed before it is loaded."""
    bundle = made(root)
    again(root, bundle.id)
    cache = bundle.code / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "rates.cpython-311.pyc").write_bytes(b"not python")

    assert price_of(again(root, bundle.id)) == 20.5


def test_errors_show_the_authors_path(root: Path) -> None:
    """A mistake in a version's module is told by the path that the author knows."""
    (root / "rates.py").write_text("import os\n\nRATE = 2 if os.path.exists('go') else 1 / 0\n")
    (root / "go").touch()
    cwd_file = root / "rates.py"
    cwd_file.write_text(f"import os\n\nRATE = 2 if os.path.exists({str(root / 'go')!r}) else 1 / 0\n")
    bundle = made(root)
    (root / "go").unlink()

    with pytest.raises(DefinitionError, match=r"flows/prices\.py can't be loaded: ZeroDivisionError") as caught:
        again(root, bundle.id)
    assert [note.split(": ")[0] for note in caught.value.__notes__] == ["at flows/prices.py:8", "at rates.py:3"]


def test_errors_of_a_step_show_the_authors_path(root: Path) -> None:
    """What is told of a step that runs from a version's folder is told as if it ran from the project's."""
    bundle = made(root)
    version = again(root, bundle.id)
    step = version.definition.step("prices")
    error = StepFailed(f"at {step.location}: no", step="prices")

    locate(error, version.definition, version.code_root)

    assert error.message == "at flows/prices.py:25: no"
    noted = MigrationFailed("it raised", step="prices")
    noted.add_note(f"at {version.code_root}/rates.py:3: return 1 / 0")
    locate(noted, version.definition, version.code_root)
    assert noted.__notes__ == ["at rates.py:3: return 1 / 0"]


def test_places_of_data_stay_in_the_project(root: Path) -> None:
    """A dataset whose place the author made from `__file__` is read where it was, not in the version's folder."""
    path = root / "flows" / "prices.py"
    path.write_text(path.read_text().replace('"data/costs.jsonl"', 'str(HERE.parent / "data/costs.jsonl")'))
    before = loaded(root)
    bundle = made(root)

    version = again(root, bundle.id)

    (read,) = version.definition.reads
    assert isinstance(read.operation, ops.Read)
    assert read.operation.dataset.options["path"] == str(root / "data/costs.jsonl")
    assert version.fingerprint == before.fingerprint


def test_files_that_no_string_names_are_included_by_the_project(root: Path) -> None:
    """`include` takes globs; one that finds nothing, or leads out of the project, is a mistake."""
    (root / "rates").mkdir()
    for country in ("nl", "de"):
        (root / "rates" / f"{country}.json").write_text("{}")
    (root / "penstock.toml").write_text('[project]\ninclude = ["rates/*.json"]\n')
    assert {"rates/de.json", "rates/nl.json"} <= set(made(root).manifest["files"])

    (root / "penstock.toml").write_text('[project]\ninclude = ["rate/*.json"]\n')
    with pytest.raises(ConfigError, match=r"no file is like 'rate/\*\.json'"):
        made(root)


def test_modules_below_a_folder_of_the_search_path(root: Path) -> None:
    """A project whose modules are in `src` is put together again as it was."""
    (root / "src").mkdir()
    (root / "rates.py").rename(root / "src" / "rates.py")
    sys.path.insert(0, str(root / "src"))
    bundle = made(root)
    (root / "src" / "rates.py").write_text("RATE = 1000\n")

    assert bundle.manifest["paths"] == ["src"]
    assert price_of(again(root, bundle.id)) == 20.5


def test_versions_are_found_by_a_beginning(root: Path) -> None:
    """A beginning that only one id has will do; others are told what there is."""
    bundle = made(root)
    environment = project_for(root).environment("dev")

    assert bundle_of(environment, "prices", bundle.id[:5]).id == bundle.id
    with pytest.raises(ConfigError, match="prices has no version 'zzz' in dev") as caught:
        bundle_of(environment, "prices", "zzz")
    assert bundle.id in str(caught.value.hint)
    shutil.copytree(bundle.folder, bundle.folder.with_name(f".{bundle.id}.1234.tmp"))  # of a process that died
    assert [one.id for one in bundles(environment)] == [bundle.id]
    with pytest.raises(ConfigError, match="other has no version"):
        bundle_of(environment, "other", bundle.id)


def test_a_manifest_says_what_a_version_is(root: Path) -> None:
    """Who made it when, from which commit; steps with their code; columns; ends; parameters."""
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    bundle = made(root)
    manifest = json.loads((bundle.folder / "manifest.json").read_text())

    assert (manifest["flow"], manifest["file"], manifest["who"]) == ("prices", "flows/prices.py", "ada")
    assert manifest["made_us"] == ManualClock().now_us()
    assert len(manifest["git"]["commit"]) == 40
    step = next(step for step in manifest["steps"] if step["name"] == "prices")
    assert step["columns"] == {"id": "Int64", "cost": "Float64", "price": "Float64"}
    assert step["location"] == "flows/prices.py:25"
    assert step["source"].startswith("prices = costs.map(priced")
    assert {"flows.prices.priced", "rates.RATE", "shop.money.rounded"} <= set(step["uses"])
    assert manifest["code"]["shop.money.rounded"]["location"] == "shop/money.py:5"
    assert manifest["params"] == {"digits": 2}
