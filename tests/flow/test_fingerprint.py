"""Fingerprints: what means the same has the same one, what means something else has another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import penstock as ps
from penstock.flow import Definition, Step, flow_version, ops, step_fingerprint

HEAD = "import penstock as ps\nimport polars as pl\n"
FLOW = "flow = ps.Flow('f')\nflow.read(ps.topic('rows')).{}.write(ps.console())\nDEFINITION = flow.build()\n"


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Author]:
    """A folder of the author's modules."""
    monkeypatch.syspath_prepend(tmp_path)
    yield Author(tmp_path)
    for name in Author.modules:
        sys.modules.pop(name, None)


class Author:
    """Writes modules and loads them afresh."""

    modules = ("author_flow", "author_rates", "author_package")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def version(self, source: str, step: str = "map(change)", **others: str) -> str:
        """The version of a flow that uses `step`; `others` are further modules by name."""
        for name in self.modules:
            sys.modules.pop(name, None)
        for name, text in others.items():
            (self.folder / f"author_{name}.py").write_text(text)
        file = self.folder / "author_flow.py"
        file.write_text(HEAD + source + "\n" + FLOW.format(step))
        module: Any = type(sys)("author_flow")
        module.__file__ = str(file)
        sys.modules["author_flow"] = module
        for stale in self.folder.glob("__pycache__/*"):
            stale.unlink()
        exec(compile(file.read_text(), str(file), "exec"), module.__dict__)  # noqa: S102 - as a module is loaded
        definition: Definition = module.DEFINITION
        return flow_version(definition)


def test_comments_lines_and_docstrings_do_not_count(author: Author) -> None:
    """Moving a function, commenting it and documenting it leaves the version as it is."""
    plain = author.version("def change(row):\n    return {**row, 'a': 1}")
    moved = author.version(
        "\n\n# about it\ndef change(row):\n    '''Says more.'''\n    # why\n    return {**row, 'a': 1}"
    )

    assert moved == author.version("def change(row):\n    '''Says less.'''\n    return {**row, 'a': 1}")
    assert plain == author.version("# other\n\n\ndef change(row):\n\n    return {**row, 'a': 1}")


USES = {
    "code": "def change(row):\n    return {**row, 'a': VALUE}",
    "default": "def change(row, by=VALUE):\n    return row",
    "keyword default": "def change(row, *, by=VALUE):\n    return row",
    "global": "RATE = VALUE\ndef change(row):\n    return RATE",
    "helper": "def inner(a):\n    return VALUE\ndef change(row):\n    return inner(row)",
    "closure": "def make(by):\n    def change(row):\n        return by\n    return change\nchange = make(VALUE)",
    "class value": "class Rates:\n    low = VALUE\ndef change(row):\n    return Rates.low",
    "static method": """
class Rates:
    @staticmethod
    def of(row):
        return VALUE
def change(row):
    return Rates.of(row)""",
    "property": """
class Rates:
    @property
    def low(self):
        return VALUE
def change(row):
    return Rates().low""",
    "base class": """
class Old:
    def of(self):
        return VALUE
class Rates(Old): ...
def change(row):
    return Rates""",
    "object": """
class Change:
    def __init__(self, by):
        self.by = by
    def __call__(self, row):
        return row
change = Change(VALUE)""",
    "object with slots": """
class Change:
    __slots__ = ('by',)
    def __call__(self, row):
        return row
change = Change()
change.by = VALUE""",
    "method": """
class Change:
    by = VALUE
    def run(self, row):
        return self.by
change = Change().run""",
    "partial": "from functools import partial\ndef full(by, row):\n    return row\nchange = partial(full, VALUE)",
    "cache": """
from functools import lru_cache
@lru_cache
def rate(a):
    return VALUE
def change(row):
    return rate(1)""",
    "enum": "from enum import Enum\nclass Tier(Enum):\n    LOW = VALUE\ndef change(row):\n    return Tier.LOW",
    "frame": "TABLE = pl.DataFrame({'a': [*range(50), VALUE, *range(50)]})\ndef change(row):\n    return TABLE",
    "pattern": "import re\nWORD = re.compile('VALUE')\ndef change(row):\n    return WORD",
    "function inside": "def change(row):\n    return [inner() for inner in (lambda: VALUE,)]",
    "set": "def change(row):\n    return row in {7, VALUE}",
}


@pytest.mark.parametrize("source", USES.values(), ids=USES)
def test_what_a_function_uses_counts(author: Author, source: str) -> None:
    """Its code, defaults, closure, constants, helpers, classes and objects: each change is a new version."""
    one, again, two = (author.version(source.replace("VALUE", value)) for value in ("1", "1", "2"))

    assert one == again
    assert one != two


def test_a_helper_in_another_module_counts(author: Author) -> None:
    """Both ways of importing a helper are followed; what is not used of its module does not count."""
    for source in (
        "import author_rates\ndef change(row):\n    return author_rates.rate(row)",
        "from author_rates import rate\ndef change(row):\n    return rate(row)",
        "import author_rates as rates\ndef change(row):\n    return [rates.rate(item) for item in row]",
    ):
        before = author.version(source, rates="def rate(row):\n    return 1\ndef other():\n    return 1")
        unused = author.version(source, rates="def rate(row):\n    return 1\ndef other():\n    return 2")
        after = author.version(source, rates="def rate(row):\n    return 2\ndef other():\n    return 1")

        assert unused == before
        assert after != before


def test_modules_and_functions_that_name_each_other_end(author: Author) -> None:
    """A circle of helpers is followed once."""
    source = "import author_rates\ndef odd(n):\n    return even(n)\ndef even(n):\n    return odd(n)\n"
    source += "class Tree:\n    def grow(self):\n        return Tree\nTREE = Tree()\nTREE.top = TREE\n"
    source += "def change(row):\n    return author_rates.rate(odd(row), TREE)"
    rates = "import author_flow, author_rates\ndef rate(row, tree):\n    return author_rates.rate(author_flow, 1)"

    assert author.version(source, rates=rates) == author.version(source, rates=rates)


def test_a_library_counts_by_name(author: Author) -> None:
    """Functions of Python and of packages are named, not read."""
    dumps = author.version("import json\nchange = json.dumps")

    assert dumps == author.version("import json\n\nchange = json.dumps")
    assert dumps != author.version("import json\nchange = json.loads")
    assert author.version("change = ps.not_null") != author.version("change = ps.unique")


def test_expressions_count_as_they_are_built() -> None:
    """Two expressions of one meaning agree however they were written; another literal is another version."""
    one = Step("x", ops.Filter(pl.col("a").is_between(1, 2) & (pl.col("b") == "c")))
    same = Step("x", ops.Filter((pl.col("a").is_between(1, 2)) & pl.col("b").eq("c")))
    other = Step("x", ops.Filter(pl.col("a").is_between(1, 3) & (pl.col("b") == "c")))

    assert step_fingerprint(one) == step_fingerprint(same)
    assert step_fingerprint(one) != step_fingerprint(other)


def test_a_function_inside_an_expression_counts_by_its_file(author: Author) -> None:
    """Polars hides the function of `map_elements`, so the file that the step is in stands for it, without comments."""
    step = "with_columns(b=pl.col('a').map_elements(change, return_dtype=pl.Int64))"
    before = author.version("def change(value):\n    return hash((value, 1))", step)

    assert before == author.version("# why\ndef change(value):\n\n    return hash((value, 1))", step)
    assert before != author.version("def change(value):\n    return hash((value, 2))", step)


def test_a_function_inside_an_expression_without_a_file() -> None:
    """Where there is no file, or none of Python, the printed expression has to do."""
    hidden = pl.col("a").map_elements(repr, return_dtype=pl.String)
    nowhere = Step("x", ops.Filter(hidden), (), "nowhere.py:1")
    prompt = Step("x", ops.Filter(hidden), (), __file__.replace("test_fingerprint.py", "../../Makefile:1"))

    assert step_fingerprint(nowhere) == step_fingerprint(Step("x", ops.Filter(hidden), (), "elsewhere.py:9"))
    assert step_fingerprint(prompt) != step_fingerprint(Step("x", ops.Filter(pl.col("a"))))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("class Row:\n    a: int\n", "class Row:\n    a: float\n"),
        ("class Row:\n    a: int\n", "class Row:\n    b: int\n"),
        ("class Row:\n    a: list[int]\n", "class Row:\n    a: list[str]\n"),
        ("class Row:\n    a: 'int'\n", "class Row:\n    a: 'float'\n"),
        ("class Row:\n    a: 'Nobody'\n", "class Row:\n    a: 'Somebody'\n"),
        (
            "class In:\n    x: int\nclass Row:\n    a: In | None\n",
            "class In:\n    x: float\nclass Row:\n    a: In | None\n",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass Row:\n    a: int\n",
            "from dataclasses import dataclass\n@dataclass\nclass Row:\n    a: bool\n",
        ),
        ("Row = {'a': pl.Datetime('us')}\n", "Row = {'a': pl.Datetime('ms')}\n"),
        ("Row = {'a': pl.Int64}\n", "Row = {'a': pl.Int32}\n"),
        ("Row = pl.Schema({'a': pl.Int64})\n", "Row = pl.Schema({'b': pl.Int64})\n"),
    ],
)
def test_a_declared_schema_counts(author: Author, before: str, after: str) -> None:
    """The fields of a class and the types of a mapping are part of the version."""
    step = "map(dict, schema=Row)"

    assert author.version(before, step) == author.version(before, step)
    assert author.version(before, step) != author.version(after, step)


def test_options_and_wiring_count() -> None:
    """Another window, key, dataset or input is another version; the order of independent lines is not."""

    def version(*steps: Step) -> str:
        return flow_version(Definition("f", steps))

    read = Step("rows", ops.Read(ps.topic("rows")))
    once = Step("once", ops.Deduplicate(("a",), 1_000), ("rows",))
    out = Step("out", ops.Write(ps.table("t")), ("once",))

    assert version(read, once, out) == version(read, out, once)
    assert len(version(read, once, out)) == 12
    for other in (
        Step("once", ops.Deduplicate(("a",), 2_000), ("rows",)),
        Step("once", ops.Deduplicate(("b",), 1_000), ("rows",)),
        Step("twice", ops.Deduplicate(("a",), 1_000), ("rows",)),
    ):
        assert version(read, other, out) != version(read, once, out)


def test_the_version_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Neither the order of sets nor addresses in memory nor the place of the file gets in."""
    source = HEAD + (
        "NAMES = {'x', 'y', 'z', 'w'}\nHELD = object()\n"
        "def change(row):\n    return row if row['a'] in {'p', 'q', 'r', 's'} else (NAMES, HELD, len)\n"
    )
    source += FLOW.format("map(change)") + "from penstock.flow import flow_version\nprint(flow_version(DEFINITION))\n"
    versions = set()
    for seed in ("1", "2", "3"):
        file = tmp_path / seed / "flow.py"
        file.parent.mkdir()
        file.write_text(source)
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, str(file)], env=environment, capture_output=True, text=True, check=True)
        versions.add(done.stdout)

    assert len(versions) == 1


def test_a_flow_in_an_installed_package_is_still_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the project is installed as a package, its own code counts and its neighbours' does not."""
    library = tmp_path / "site-packages"
    monkeypatch.setattr("penstock.flow.fingerprint._LIBRARIES", (f"{library}{os.sep}",))
    versions = []
    for package in ("own", "other"):
        for value in (1, 2):
            file = library / package / "code.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"def change(row):\n    return {value}\n")
            scope: dict[str, Any] = {"__name__": f"{package}.code"}
            exec(compile(file.read_text(), str(file), "exec"), scope)  # noqa: S102 - as a module is loaded
            step = Step("x", ops.Map(scope["change"]), (), f"{library / 'own' / 'flow.py'}:1")
            versions.append(step_fingerprint(step))

    assert versions[0] != versions[1]
    assert versions[2] == versions[3]


def test_what_is_not_there_yet_counts_as_empty() -> None:
    """A function may name a variable of its surroundings that has no value yet."""

    def change(row: object) -> object:
        return later(row)

    before = step_fingerprint(Step("x", ops.Map(change)))

    def later(row: object) -> object:
        return row

    assert step_fingerprint(Step("x", ops.Map(change))) != before


def test_classes_without_a_file_count_by_name() -> None:
    """A class that was made at run time belongs to no file of the author's."""
    made = type("Made", (), {"__module__": "nowhere"})

    assert step_fingerprint(Step("x", ops.Map(dict, made))) == step_fingerprint(Step("x", ops.Map(dict, made)))
