"""The house rules, one function each. `tests/test_tidy.py` runs them, `python -m tests.tidy` prints what they find.

A rule is given one Python file and yields findings; each finding says the way out. `RULES` is the list of them all.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "penstock"
CODE_FOLDERS = ("src", "tests", "benchmarks", "examples")

LADDER: tuple[frozenset[str], ...] = (
    frozenset({"errors", "clock"}),
    frozenset({"flow"}),
    frozenset({"analysis"}),
    frozenset({"ledger"}),
    frozenset({"connect", "observe", "generate"}),
    frozenset({"engine"}),
    frozenset({"control"}),
    frozenset({"interfaces"}),
    frozenset({"testing"}),
)
"""Lowest line first. A room uses lower lines only, and nothing on its own line."""

LEVEL = {room: level for level, line in enumerate(LADDER) for room in line}

MODULE_LINES_MAX = 600
TEST_LINES_MAX = 800
FUNCTION_LINES_MAX = 70

BANNED_NAMES = frozenset({"utils", "util", "common", "core", "base", "helpers", "helper", "shared", "misc"})

BROAD_EXCEPT_ALLOWED: Mapping[str, str] = {
    # "src/penstock/<room>/<module>.py:<Class.function>": "why nothing narrower will do"
    "src/penstock/analysis/functions.py:map_batches_schema": "tries the author's function, which may raise anything",
    "src/penstock/control/chaos/victim.py:perform": "the process that is tried: whatever comes is its last word",
    "src/penstock/control/member.py:_guarded": "the supervised process: whatever comes is its log's last line",
    "src/penstock/control/loading.py:_load_module": "runs the author's module, SystemExit and all",
    "src/penstock/control/supervising/server.py:Server._step": "the server's loop: no flow ends by a bug in it",
    "src/penstock/control/rollouts/chores.py:answered": "runs the author's code once; whatever comes is told",
    "src/penstock/control/rollouts/driver.py:Driver._advance": "a bug in one handover ends it, and not the server",
    "src/penstock/engine/isolate.py:isolate.attempt": "the epoch loop meets the author's code: a bad row raises",
    "src/penstock/engine/computing.py:Computation._run": "the epoch loop: what no step foresaw stops it with its name",
    "src/penstock/engine/migrating.py:_Table._by_author": "runs the author's migration, which may raise anything",
    "src/penstock/engine/trials.py:Trials._given": "runs the author's code again: that it may fail is looked for",
    "src/penstock/engine/operators/process.py:Processed._done": "the epoch loop meets the author's code",
    "src/penstock/engine/python_rows.py:flat_mapped": "the epoch loop meets the author's code",
    "src/penstock/engine/python_rows.py:_mapped_carefully": "the epoch loop meets the author's code",
    "src/penstock/engine/python_rows.py:_mapped_chunk": "the epoch loop meets the author's code",
    "src/penstock/observe/logs/capture.py:JournalHandler.handle": "as handlers of logging do: no line stops a flow",
    "src/penstock/testing/simulation/process.py:Process.step": "a simulated process that ends by a bug is what is told",
    "src/penstock/interfaces/cli/main.py:_guarded": "CLI main: whatever comes is shown to a person",
    "src/penstock/interfaces/cli/run.py:_Run._work": "the run's thread hands whatever comes to CLI main",
    "src/penstock/interfaces/cli/up.py:_Running._work": "the server's thread hands whatever comes to CLI main",
}

DYNAMIC_IMPORT_ALLOWED: Mapping[str, str] = {
    "src/penstock/__init__.py": "the front door loads a room when its name is first used",
    "src/penstock/connect/registry.py": "a connector is loaded by name: nobody needs the clients of all",
    "src/penstock/observe/metrics/exposition.py": "prometheus-client writes text in servers; no flow waits for it",
    "src/penstock/observe/push.py": "the SDK of OpenTelemetry is an extra",
    "src/penstock/control/databases.py": "psycopg is an extra that only a PostgreSQL table needs",
    "src/penstock/interfaces/cli/main.py": "only the verb that was asked for is loaded: help does not wait for Polars",
}

CLOCK_MODULES = frozenset({"time", "random", "uuid", "secrets"})
CLOCK_CALLS = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "os.urandom"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to put in order."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class PythonFile:
    """A Python file: its path from the root of the project, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree. Raises SyntaxError."""
        return ast.parse(self.text, self.path)

    @property
    def room(self) -> str | None:
        """The room or corner stone of the package that it is in; "" for the front door; None outside."""
        parts = Path(self.path).parts
        if parts[:2] != ("src", "penstock"):
            return None
        name = parts[2].removesuffix(".py")
        return "" if name in ("__init__", "__main__") else name

    @cached_property
    def functions(self) -> tuple[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef], ...]:
        """All functions, with their names as `Class.method`."""
        return tuple((name, node) for name, node in self._walk_definitions() if not isinstance(node, ast.ClassDef))

    @cached_property
    def public(self) -> tuple[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef], ...]:
        """Classes, functions and methods that others may use: no underscore, not inside a function."""
        functions = {name for name, _ in self.functions}
        return tuple(
            (name, node)
            for name, node in self._walk_definitions()
            if not any(part.startswith("_") for part in name.split("."))
            and not any(name.startswith(f"{function}.") for function in functions)
        )

    def _walk_definitions(self) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
        waiting: list[tuple[str, ast.AST]] = [("", self.tree)]
        while waiting:
            prefix, node = waiting.pop()
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    name = f"{prefix}{child.name}"
                    yield name, child
                    waiting.append((f"{name}.", child))
                else:
                    waiting.append((prefix, child))

    def function_at(self, line: int) -> str:
        """The name of the innermost function around a line; "" for the module itself."""
        around = [(node.lineno, name) for name, node in self.functions if node.lineno <= line <= (node.end_lineno or 0)]
        return max(around)[1] if around else ""


Rule: TypeAlias = Callable[[PythonFile], Iterator[Finding]]


def _imports(file: PythonFile) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Line, module and imported names of each import; `import a.b` has no names."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "", tuple(alias.name for alias in node.names)


def _room_imports(file: PythonFile) -> Iterator[tuple[int, str, str]]:
    """Line, room and dotted path of each import of a part of the package (`from penstock import clock` too)."""
    for line, module, names in _imports(file):
        head, _, rest = module.partition(".")
        if head != "penstock":
            continue
        for path in (rest,) if rest else names or ("",):
            yield line, path.split(".")[0], path


def imports_point_down(file: PythonFile) -> Iterator[Finding]:
    """A room imports only rooms on lower lines of the ladder; nobody imports the front door."""
    if not file.room:
        return
    if file.room not in LEVEL:
        yield Finding(file.path, 1, f"{file.room!r} is no room of the ladder: put it into one, or extend LADDER")
        return
    for line, room, _ in _room_imports(file):
        if room == file.room:
            continue
        if room not in LEVEL:
            yield Finding(file.path, line, "the front door is for authors: import the room that owns the name")
        elif LEVEL[room] >= LEVEL[file.room] and LEVEL[file.room] > 0:
            yield Finding(
                file.path, line, f"{file.room} may not know {room}: move what both need down to the lower of the two"
            )
        elif LEVEL[file.room] == 0:
            yield Finding(file.path, line, f"{file.room} is a corner stone and imports no part of the package")


def rooms_have_doors(file: PythonFile) -> Iterator[Finding]:
    """Another room is entered by its `__init__` only; one's own room by module only."""
    if file.room is None:
        return
    for line, room, path in _room_imports(file):
        if room not in LEVEL or LEVEL[room] == 0:
            continue
        if room != file.room and "." in path:
            door = f"from penstock.{room} import ..."
            yield Finding(file.path, line, f"penstock.{path} is inside another room: use its door, {door}")
    for line, module, names in _imports(file):
        if module == f"penstock.{file.room}" and not all(_is_module(file.room, name) for name in names):
            yield Finding(file.path, line, f"inside {file.room} import the module, not the room's own door")


def doors_hide_modules(file: PythonFile) -> Iterator[Finding]:
    """`from penstock.room import module` is a way round the door, unless the door names it."""
    if file.room is None:
        return
    for line, module, names in _imports(file):
        parts = module.split(".")
        if len(parts) != 2 or parts[0] != "penstock" or parts[1] == file.room:
            continue
        doors = (PACKAGE / parts[1] / "__init__.pyi", PACKAGE / parts[1] / "__init__.py")
        shown = next((_all_of(door) for door in doors if door.exists()), frozenset())
        for name in names:
            if name not in shown and _is_module(parts[1], name):
                yield Finding(file.path, line, f"{name} is a module inside {parts[1]}: let the door give what you need")


def _is_module(room: str, name: str) -> bool:
    return (PACKAGE / room / f"{name}.py").exists() or (PACKAGE / room / name / "__init__.py").exists()


def _all_of(path: Path) -> frozenset[str]:
    for node in ast.parse(path.read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__" and isinstance(node, ast.Assign | ast.AnnAssign):
            return frozenset(ast.literal_eval(node.value)) if node.value else frozenset()
    return frozenset()


def imports_stand_on_top(file: PythonFile) -> Iterator[Finding]:
    """No import hides in a function; only named modules import by name."""
    for name, node in file.functions:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom) and file.function_at(inner.lineno) == name:
                yield Finding(file.path, inner.lineno, f"import inside {name}(): move it to the top of the module")
    if file.room is None or file.path in DYNAMIC_IMPORT_ALLOWED:
        return
    for call in (node for node in ast.walk(file.tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) in ("importlib.import_module", "import_module", "__import__"):
            yield Finding(
                file.path,
                call.lineno,
                "import by name: say what is needed at the top, or name this in DYNAMIC_IMPORT_ALLOWED",
            )


def modules_are_short(file: PythonFile) -> Iterator[Finding]:
    """A module fits a head: under 600 lines, 800 for tests."""
    lines = len(file.text.splitlines())
    limit = TEST_LINES_MAX if file.path.startswith("tests/") else MODULE_LINES_MAX
    if lines >= limit:
        yield Finding(file.path, lines, f"{lines} lines, the limit is {limit}: split it by noun")


def functions_are_short(file: PythonFile) -> Iterator[Finding]:
    """A function fits a screen: under 70 lines."""
    for name, node in file.functions:
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines >= FUNCTION_LINES_MAX:
            yield Finding(
                file.path, node.lineno, f"{name}() has {lines} lines, the limit is {FUNCTION_LINES_MAX}: name its parts"
            )


def names_are_nouns(file: PythonFile) -> Iterator[Finding]:
    """No folder or module is named for what nobody could name."""
    for part in Path(file.path).parts:
        if part.removesuffix(".py") in BANNED_NAMES:
            yield Finding(
                file.path,
                1,
                f"{part!r} says nothing: put each thing beside its only user, or name the module by its noun",
            )


def public_is_documented(file: PythonFile) -> Iterator[Finding]:
    """Every module has a docstring, and every public class and function of the package."""
    if file.text.strip() and not ast.get_docstring(file.tree):
        yield Finding(file.path, 1, "no docstring: say in one sentence what this module is for")
    if file.room is None:
        return
    for name, node in file.public:
        if not ast.get_docstring(node) and not _is_variant(node):
            yield Finding(file.path, node.lineno, f"{name} has no docstring: say what it gives, with units and errors")


def _is_variant(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(ast.unparse(mark).endswith(("overload", "override", ".setter")) for mark in node.decorator_list)


def tests_state_a_fact(file: PythonFile) -> Iterator[Finding]:
    """Every test says in its docstring which fact it holds."""
    if not file.path.startswith("tests/"):
        return
    for name, node in file.functions:
        if name.rsplit(".", 1)[-1].startswith("test_") and not ast.get_docstring(node):
            yield Finding(file.path, node.lineno, f"{name} has no docstring: state the fact under test in one sentence")


def no_error_is_swallowed(file: PythonFile) -> Iterator[Finding]:
    """A broad `except` stands only at the boundaries in BROAD_EXCEPT_ALLOWED, or passes the error on."""
    if file.room is None:
        return
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.ExceptHandler | ast.Call) or not _catches_all(node):
            continue
        line = node.lineno
        place = f"{file.path}:{file.function_at(line)}"
        if place not in BROAD_EXCEPT_ALLOWED:
            yield Finding(
                file.path, line, f"broad except: name the errors, or argue for {place!r} in BROAD_EXCEPT_ALLOWED"
            )


def _catches_all(node: ast.ExceptHandler | ast.Call) -> bool:
    if isinstance(node, ast.ExceptHandler):
        return _is_broad(node.type) and not _raises_again(node)
    return ast.unparse(node.func).endswith("suppress") and any(map(_is_broad, node.args))


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(_is_broad, caught.elts))
    return caught is None or ast.unparse(caught) in ("Exception", "BaseException")


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def time_comes_from_the_clock(file: PythonFile) -> Iterator[Finding]:
    """Time, randomness and ids come from `penstock.clock`, so that a test can hold them."""
    if file.room is None or file.room == "clock":
        return
    for line, module, _ in _imports(file):
        if module in CLOCK_MODULES:
            yield Finding(file.path, line, f"{module}: take a Clock, or use penstock.clock (new_id, seeded)")
    for call in (node for node in ast.walk(file.tree) if isinstance(node, ast.Call)):
        called = ast.unparse(call.func)
        if any(called == name or called.endswith(f".{name}") for name in CLOCK_CALLS):
            yield Finding(file.path, call.lineno, f"{called}(): take a Clock and use now_us()")
        if re.match(r"(np|numpy)\.random\.", called) and not (call.args or call.keywords):
            yield Finding(file.path, call.lineno, f"{called}() without a seed: give it one")


RULES: tuple[Rule, ...] = (
    imports_point_down,
    rooms_have_doors,
    doors_hide_modules,
    imports_stand_on_top,
    modules_are_short,
    functions_are_short,
    names_are_nouns,
    public_is_documented,
    tests_state_a_fact,
    no_error_is_swallowed,
    time_comes_from_the_clock,
)


def python_files() -> Iterator[PythonFile]:
    """All Python files of the project, in the order of their paths."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *CODE_FOLDERS]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in sorted({name for name in names if name.endswith(".py")}):
        if (ROOT / name).exists():
            yield PythonFile(name, (ROOT / name).read_text())


def main() -> int:
    """Print all findings; gives 1 where there are any."""
    findings = [finding for file in python_files() for rule in RULES for finding in rule(file)]
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
