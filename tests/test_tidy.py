"""The house rules hold, and each of them turns red on a sample that breaks it."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tidy

HEAVY = [
    "deltalake",
    "duckdb",
    "httptools",
    "matplotlib",
    "nats",
    "numpy",
    "polars",
    "psycopg",
    "pyarrow",
    "pydantic",
    "rich",
    "sqlalchemy",
    "starlette",
    "structlog",
    "typer",
    "uvicorn",
    "uvloop",
]

FILE_BYTES_MAX = 200_000
LARGE_ALLOWED = {"requirements.lock"}

# Written in pieces, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile(
    r"(?<![\w.:/-])/(?:" + "|".join(("wor" + "k", "home", "Users", "root", "t" + "mp")) + r")/[\w.]"
)
REGISTRIES = re.compile(
    "|".join(("py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.org", "deb" + r"\.debian\.org"))
)


def project_files() -> list[Path]:
    """All files that belong to the project: those that git tracks or would track."""
    git = shutil.which("git")
    if git is None or not (tidy.ROOT / ".git").exists():
        hidden = re.compile(r"(^|/)(\.(?!ci/|gitignore)|__pycache__|build/|dist/)")
        found = (path for path in tidy.ROOT.rglob("*") if path.is_file())
        return sorted(path for path in found if not hidden.search(path.relative_to(tidy.ROOT).as_posix()))
    command = [git, "-C", str(tidy.ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sorted(tidy.ROOT / name for name in names.split("\0") if name and (tidy.ROOT / name).is_file())


def name_of(path: Path) -> str:
    """The path from the root of the project."""
    return path.relative_to(tidy.ROOT).as_posix()


def headings(markdown: str) -> list[tuple[int, str]]:
    """Level and text of each heading outside code blocks."""
    text = re.sub(r"^(```|~~~).*?^\1", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return [(len(marks), title.strip()) for marks, title in re.findall(r"^(#+) (.*)$", text, flags=re.MULTILINE)]


def outside_addresses(text: str) -> list[str]:
    """Paths of a machine and hosts of a package registry in a text."""
    return [found.group() for pattern in (MACHINE_PATHS, REGISTRIES) for found in pattern.finditer(text)]


def unresolved(markdown: str) -> list[str]:
    """Names in backticks that look like ours and are not there: `penstock.room.name`, `tests/file.py::test_name`."""
    names = re.findall(r"`(penstock(?:\.\w+)+)(?:\(\))?`", markdown)
    missing = [name for name in names if name != "penstock.toml" and not resolves(name)]
    for path, _, test in re.findall(r"`((?:src|tests|docs|examples|benchmarks)/[\w./-]+)(::(\w+))?`", markdown):
        place = tidy.ROOT / path
        if not place.exists() or (test and f"def {test}(" not in place.read_text()):
            missing.append(f"{path}::{test}" if test else path)
    return missing


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


@pytest.mark.parametrize("rule", tidy.RULES, ids=lambda rule: rule.__name__)
def test_house_rule(rule: tidy.Rule) -> None:
    """No Python file of the project breaks the rule."""
    findings = [str(finding) for file in tidy.python_files() for finding in rule(file)]

    assert findings == [], "\n" + "\n".join(findings)


SAMPLES: list[tuple[tidy.Rule, str, str, str]] = [
    (tidy.imports_point_down, "src/penstock/flow/x.py", "from penstock.engine import run", "flow may not know engine"),
    (tidy.imports_point_down, "src/penstock/connect/x.py", "import penstock.observe", "connect may not know observe"),
    (tidy.imports_point_down, "src/penstock/errors.py", "from penstock.clock import Clock", "corner stone"),
    (tidy.imports_point_down, "src/penstock/engine/x.py", "import penstock", "front door is for authors"),
    (tidy.imports_point_down, "src/penstock/engine/x.py", "from penstock import Flow", "front door is for authors"),
    (tidy.imports_point_down, "src/penstock/attic/x.py", "", "no room of the ladder"),
    (tidy.rooms_have_doors, "src/penstock/engine/x.py", "from penstock.flow.ops import Map", "use its door"),
    (tidy.rooms_have_doors, "src/penstock/__init__.py", "from penstock.flow.ops import Map", "use its door"),
    (tidy.rooms_have_doors, "src/penstock/flow/x.py", "from penstock.flow import Dataset", "not the room's own door"),
    (tidy.doors_hide_modules, "src/penstock/engine/x.py", "from penstock.connect import contract", "inside connect"),
    (tidy.imports_stand_on_top, "src/penstock/flow/x.py", "def f():\n    import json", "move it to the top"),
    (
        tidy.imports_stand_on_top,
        "tests/test_x.py",
        "def f():\n    def g():\n        import json",
        "import inside f.g()",
    ),
    (tidy.imports_stand_on_top, "src/penstock/flow/x.py", "importlib.import_module('json')", "import by name"),
    (tidy.modules_are_short, "src/penstock/flow/x.py", "x = 1\n" * 600, "split it by noun"),
    (tidy.modules_are_short, "tests/test_x.py", "x = 1\n" * 800, "split it by noun"),
    (tidy.functions_are_short, "benchmarks/x.py", "def f():\n" + "    x = 1\n" * 69, "name its parts"),
    (tidy.names_are_nouns, "src/penstock/utils/x.py", "", "says nothing"),
    (tidy.names_are_nouns, "tests/helpers.py", "", "says nothing"),
    (tidy.public_is_documented, "src/penstock/flow/x.py", "x = 1", "what this module is for"),
    (tidy.public_is_documented, "src/penstock/flow/x.py", '"""X."""\ndef f(): ...', "f has no docstring"),
    (
        tidy.public_is_documented,
        "src/penstock/flow/x.py",
        '"""X."""\nclass A:\n    """A."""\n    def f(self): ...',
        "A.f",
    ),
    (tidy.tests_state_a_fact, "tests/test_x.py", '"""X."""\ndef test_f(): ...', "state the fact"),
    (tidy.no_error_is_swallowed, "src/penstock/flow/x.py", "try: f()\nexcept Exception: pass", "name the errors"),
    (tidy.no_error_is_swallowed, "src/penstock/flow/x.py", "try: f()\nexcept: pass", "name the errors"),
    (tidy.no_error_is_swallowed, "src/penstock/flow/x.py", "try: f()\nexcept (OSError, Exception): pass", "name the"),
    (tidy.no_error_is_swallowed, "src/penstock/flow/x.py", "with suppress(Exception): f()", "name the errors"),
    (tidy.time_comes_from_the_clock, "src/penstock/engine/x.py", "import time", "take a Clock"),
    (tidy.time_comes_from_the_clock, "src/penstock/engine/x.py", "from uuid import uuid4", "take a Clock"),
    (tidy.time_comes_from_the_clock, "src/penstock/engine/x.py", "x = dt.datetime.now(UTC)", "take a Clock"),
    (tidy.time_comes_from_the_clock, "src/penstock/engine/x.py", "np.random.default_rng()", "give it one"),
]


@pytest.mark.parametrize(("rule", "path", "text", "message"), SAMPLES)
def test_house_rule_turns_red(rule: tidy.Rule, path: str, text: str, message: str) -> None:
    """A sample that breaks the rule is found, and the message names the way out."""
    findings = [str(finding) for finding in rule(tidy.PythonFile(path, text))]

    assert len(findings) == 1, findings
    assert message in findings[0]


GOOD = [
    ("src/penstock/engine/x.py", "from penstock.flow import Dataset\nfrom penstock.clock import Clock"),
    ("src/penstock/engine/x.py", "from penstock import errors\nfrom penstock.engine.y import z"),
    ("src/penstock/flow/x.py", "from penstock.flow import ops"),
    ("src/penstock/engine/x.py", "try: f()\nexcept BaseException:\n    g()\n    raise"),
    ("src/penstock/engine/x.py", "def _f():\n" + "    x = 1\n" * 68),
    ("src/penstock/engine/x.py", "class _A:\n    def f(self):\n        def g(): ..."),
    ("src/penstock/engine/x.py", "rng = np.random.default_rng(seed)"),
    ("src/penstock/clock.py", "import time"),
    ("tests/test_x.py", "import time\nfrom penstock.flow.ops import Map"),
]


@pytest.mark.parametrize(("path", "text"), GOOD)
def test_house_rules_let_good_code_be(path: str, text: str) -> None:
    """What the rules allow is not found by any of them."""
    file = tidy.PythonFile(path, f'"""X."""\n{text}')

    assert [str(finding) for rule in tidy.RULES for finding in rule(file)] == []


def test_allow_lists_name_what_is_there() -> None:
    """An exception to a rule goes when the code that needed it goes."""
    places = {f"{file.path}:{name}" for file in tidy.python_files() for name, _ in (*file.functions, ("", None))}
    files = {file.path for file in tidy.python_files()}

    assert set(tidy.BROAD_EXCEPT_ALLOWED) - places == set()
    assert set(tidy.DYNAMIC_IMPORT_ALLOWED) - files == set()


def test_no_addresses_of_machines_or_registries() -> None:
    """No file names a folder of somebody's machine or the host of a package registry."""
    found = {}
    for path in project_files():
        try:
            addresses = outside_addresses(path.read_text())
        except UnicodeDecodeError:
            continue
        if addresses:
            found[name_of(path)] = addresses

    assert found == {}


def test_addresses_of_machines_and_registries_are_seen() -> None:
    """The rule finds a path and a host, and leaves relative paths and programs' folders alone."""
    bad = "see /ho" + "me/ann/x and https://py" + "pi.org/simple"

    assert len(outside_addresses(bad)) == 2
    assert outside_addresses("examples/home/x ./home/y /usr/lib/postgresql http://127.0.0.1:1/root/x") == []


def test_no_large_files() -> None:
    """Git holds text that people read; data is made or fetched."""
    large = {name_of(path) for path in project_files() if path.stat().st_size > FILE_BYTES_MAX}

    assert large - LARGE_ALLOWED == set()


def test_each_document_has_one_title() -> None:
    """A Markdown document has one heading of the first level, and it is the first."""
    documents = [path for path in project_files() if path.suffix == ".md"]
    wrong = [
        name_of(path)
        for path in documents
        if [level for level, _ in headings(path.read_text())].count(1) != 1 or not path.read_text().startswith("# ")
    ]

    assert documents
    assert wrong == []
    assert headings("# A\n```\n# not a title\n```\n## B\n") == [(1, "A"), (2, "B")]


def test_the_map_names_the_rooms_that_are_there() -> None:
    """The code map of ARCHITECTURE.md, `ls src/penstock` and the ladder name the same rooms."""
    there = {path.parent.name for path in tidy.PACKAGE.glob("*/__init__.py")}
    there |= {path.stem for path in tidy.PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    text = (tidy.ROOT / "ARCHITECTURE.md").read_text()
    code_map = text.split("\n## Code map\n")[1].split("\n## ")[0]
    drawn = {room for level, title in headings(code_map) if level == 3 for room in re.findall(r"`(\w+)`", title)}

    assert drawn == there, "ARCHITECTURE.md has one ### heading in its code map for each room"
    assert there <= set(tidy.LEVEL)


def test_names_in_documents_resolve() -> None:
    """Modules, names, files and tests that the documents name are there."""
    documents = [path for path in project_files() if path.suffix == ".md" and path.name != "CHANGELOG.md"]
    missing = {name_of(path): names for path in documents if (names := unresolved(path.read_text()))}

    assert missing == {}
    assert unresolved("`penstock.errors.NoSuch` `penstock.nowhere` `tests/no.py` `tests/test_tidy.py::test_no`") == [
        "penstock.errors.NoSuch",
        "penstock.nowhere",
        "tests/no.py",
        "tests/test_tidy.py::test_no",
    ]
    assert unresolved("`penstock.clock.Clock.now_us` `tests/test_tidy.py::test_no_large_files` `penstock.toml`") == []


def test_every_lint_exception_has_its_reason() -> None:
    """Each rule that ruff is told to leave says why in a comment."""
    lists = re.findall(
        r"^(?:ignore|\".*\*\") = \[\n(.*?)^\]", (tidy.ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL
    )
    bare = [line for block in lists for line in block.splitlines() if "#" not in line]

    assert len(lists) > 1
    assert bare == []


def test_importing_penstock_loads_nothing_heavy() -> None:
    """`import penstock` loads no kernels, no server and no client: it stays fast."""
    script = "import json, sys, penstock; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)

    assert sorted(set(loaded) & set(HEAVY)) == []
