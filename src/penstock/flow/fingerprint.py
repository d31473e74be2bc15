"""A fingerprint of each step and of the whole flow: what the author's code *is*, functions and their helpers included.

Two versions whose fingerprints agree do the same. A function counts with its source, its defaults and closure, and
every function, class and plain value of the author's own modules that it names, followed to the end. Comments, line
numbers and docstrings do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import os
import re
import sys
import sysconfig
import textwrap
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path, PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any

from penstock.flow.definition import Definition, Step

__all__ = ["CodePart", "code_parts", "flow_version", "step_fingerprint"]

_FOLDERS = ("stdlib", "purelib", "platlib")
_LIBRARIES = tuple(f"{Path(sysconfig.get_path(folder)).resolve()}{os.sep}" for folder in _FOLDERS)
_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SHOWN_CHARS = 2_000
_HIDDEN_FUNCTION = "python_udf()"
"""How Polars prints a Python function inside an expression, which it can't write out in the same way twice."""


def flow_version(definition: Definition) -> str:
    """The version of a whole flow: 12 hexadecimal digits over its steps, names and wiring, in any order."""
    lines = sorted(f"{step.name}<-{','.join(step.inputs)}:{step_fingerprint(step)}\n" for step in definition.steps)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


def step_fingerprint(step: Step) -> str:
    """The fingerprint of one step's operation: 64 hexadecimal digits."""
    return hashlib.sha256(_Reader(step.location).describe(step.operation).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CodePart:
    """A function, class or plain value of the author's that a step uses.

    `fingerprint` is of this part alone, without what it uses in turn. `source`: its text, where there is one; of a
    value what it is. `location`: file and line, empty for a value.
    """

    kind: str
    fingerprint: str
    source: str
    location: str = ""


def code_parts(step: Step) -> dict[str, CodePart]:
    """All that makes a step's fingerprint, piece by piece: `module.name` -> the piece."""
    collector = _Collector(step.location)
    collector.describe(step.operation)
    return dict(sorted(collector.parts.items()))


class _Reader:
    """Turns a value into a text that is the same in every process for the same meaning."""

    def __init__(self, location: str) -> None:
        self._file = location.rpartition(":")[0]
        self._texts: dict[int, str] = {}
        self._kept: list[Any] = []
        self._modules: set[tuple[str, frozenset[str]]] = set()

    def describe(self, value: Any) -> str:
        """The text of any value."""
        if value is None or (isinstance(value, (str, int, float, bool, bytes)) and not isinstance(value, Enum)):
            return repr(value)
        if isinstance(value, Mapping):
            items = (f"{self.describe(key)}:{self.describe(item)}" for key, item in value.items())
            return "{" + ",".join(items) + "}"
        if isinstance(value, (list, tuple)):
            return "[" + ",".join(self.describe(item) for item in value) + "]"
        if isinstance(value, (set, frozenset)):
            return "{" + ",".join(sorted(self.describe(item) for item in value)) + "}"
        if isinstance(value, FunctionType):
            return self._once(value, f"function {value.__qualname__}", self._function)
        if isinstance(value, type) and not typing.get_args(value):
            return self._once(value, f"class {value.__qualname__}", self._class)
        if is_dataclass(value) and not isinstance(value, type):
            return self._once(value, type(value).__qualname__, self._dataclass)
        return self._object(value)

    def _once(self, value: Any, name: str, describe: Callable[[Any], str]) -> str:
        """Describe a thing that may be met again, or may lead back to itself."""
        if id(value) not in self._texts:
            self._kept.append(value)  # so that no other thing gets its id
            self._texts[id(value)] = f"again:{name}"
            self._texts[id(value)] = describe(value)
        return self._texts[id(value)]

    def _dataclass(self, value: Any) -> str:
        inside = ",".join(f"{field.name}={self.describe(getattr(value, field.name))}" for field in fields(value))
        return f"{type(value).__qualname__}({inside})"

    def _object(self, value: Any) -> str:
        meta = getattr(value, "meta", None)
        if meta is not None and hasattr(meta, "serialize"):
            return self._expression(value)
        if isinstance(value, ModuleType):
            return f"module:{value.__name__}"
        if isinstance(value, PurePath):
            return f"path:{self._near(value)}"
        if inspect.ismethod(value):
            return f"method:{self.describe(value.__func__)}:{self.describe(value.__self__)}"
        if hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
            return f"partial:{self.describe(value.func)}:{self.describe(value.args)}:{self.describe(value.keywords)}"
        if isinstance(wrapped := getattr(value, "__wrapped__", None), FunctionType):  # functools.lru_cache
            return f"wrapped:{type(value).__qualname__}:{self.describe(wrapped)}"
        if typing.get_args(value):  # list[Row], Row | None
            return f"{typing.get_origin(value)}:{self.describe(typing.get_args(value))}"
        if self._is_own(type(value)) and not isinstance(value, Enum):
            return self._once(value, type(value).__qualname__, self._instance)
        for rows in ("to_dicts", "to_list", "tolist"):  # a frame, a series, an array: print would leave out most of it
            if callable(give := getattr(value, rows, None)):
                return f"values:{type(value).__qualname__}:{give()!r}"
        return f"object:{type(value).__module__}.{type(value).__qualname__}:{_ADDRESS.sub('', repr(value))}"

    def _near(self, path: PurePath) -> str:
        """A path from the folder of the step's file, where it is one in it or around it: the same in every copy."""
        folder = PurePath(self._file).parent
        if path.is_absolute() and (path.is_relative_to(folder) or folder.is_relative_to(path)):
            return os.path.relpath(path, folder)
        return str(path)

    def _instance(self, value: Any) -> str:
        slots = (name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ()))
        state = dict(getattr(value, "__dict__", {})) | {name: getattr(value, name, None) for name in slots}
        return f"instance:{self.describe(type(value))}:{self.describe(state)}"

    def _expression(self, value: Any) -> str:
        text = str(value)
        if _HIDDEN_FUNCTION in text:  # then the whole file of the step has to do for the function
            return f"expr:{text}:{self._syntax}"
        return f"expr:{value.meta.serialize(format='json')}"

    @cached_property
    def _syntax(self) -> str:
        """The file of the step without its comments and line numbers."""
        try:
            return ast.dump(ast.parse("".join(linecache.getlines(self._file))))
        except SyntaxError:
            return ""

    def _function(self, function: FunctionType) -> str:
        if not self._is_own(function):
            return f"library:{function.__module__}.{function.__qualname__}"
        code = function.__code__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        closure = {name: self._cell(cell) for name, cell in cells}
        names = frozenset(_names(code))
        parts = (
            _code(code, function.__doc__),
            repr(closure),
            self.describe(function.__defaults__),
            self.describe(function.__kwdefaults__),
            self._used(function.__globals__, names),
        )
        return "function:" + "|".join(parts)

    def _used(self, scope: Mapping[str, Any], names: frozenset[str]) -> str:
        """What these names stand for; of the author's modules, what is taken from them by any of the names."""
        texts = []
        for name in sorted(name for name in names if name in scope):
            value = scope[name]
            if isinstance(value, ModuleType) and self._is_own_file(getattr(value, "__file__", None)):
                texts.append(f"{name}:{self._taken(value, names)}")
            else:
                texts.append(f"{name}:{self._global(scope, name, value)}")
        return "{" + ",".join(texts) + "}"

    def _global(self, scope: Mapping[str, Any], name: str, value: Any) -> str:
        return self.describe(value)

    def _taken(self, module: ModuleType, names: frozenset[str]) -> str:
        """What a function takes from one of the author's modules; modules may name each other."""
        if (module.__name__, names) in self._modules:
            return f"again:module {module.__name__}"
        self._modules.add((module.__name__, names))
        return self._used(vars(module), names)

    def _cell(self, cell: Any) -> str:
        try:
            return self.describe(cell.cell_contents)
        except ValueError:  # a cell that is not filled yet
            return "empty"

    def _class(self, cls: type) -> str:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if not self._is_own(cls):
            return f"class:{name}"
        if issubclass(cls, Enum):
            return f"enum:{cls.__qualname__}:{self.describe({member.name: member.value for member in cls})}"
        members = {key: value for key, value in vars(cls).items() if _counts(key, value)}
        bases = [base for base in cls.__bases__ if self._is_own(base)]
        return f"class:{cls.__qualname__}:{self.describe(bases)}:{self._annotations(cls)}:{self._members(members)}"

    def _annotations(self, cls: type) -> str:
        """The annotated fields, which are columns where the class is a schema."""
        try:
            return self.describe(typing.get_type_hints(cls, include_extras=True))
        except (NameError, TypeError):  # names that only a type checker sees
            return self.describe(dict(vars(cls).get("__annotations__", {})))

    def _members(self, members: Mapping[str, Any]) -> str:
        plain = {}
        for name, value in members.items():
            inside = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            plain[name] = (inside.fget, inside.fset) if isinstance(inside, property) else inside
        return self.describe(plain)

    def _is_own(self, thing: Any) -> bool:
        """Whether this is the author's code, not Python's, a library's or ours."""
        module = sys.modules.get(getattr(thing, "__module__", "") or "")
        file = getattr(module, "__file__", None) or getattr(getattr(thing, "__code__", None), "co_filename", None)
        return self._is_own_file(file)

    def _is_own_file(self, file: str | None) -> bool:
        """Whether a file is the author's: in no library, or in the same library as the flow (a project installed)."""
        if file is None:
            return False
        path = str(Path(file).resolve())
        if path.startswith(_PACKAGE):
            return False
        return not _is_library(path) or path.startswith(self._home)

    @cached_property
    def _home(self) -> str:
        """The folder of the installed package that the flow is in; a path that nothing is in where it is in none."""
        path = str(Path(self._file).resolve())
        for library in sorted(_LIBRARIES, key=len, reverse=True):
            if path.startswith(library):
                return library + Path(path).relative_to(library).parts[0]
        return "\0"


class _Collector(_Reader):
    """Notes each function, class and value on the way."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.parts: dict[str, CodePart] = {}

    def _function(self, function: FunctionType) -> str:
        if self._is_own(function):
            alone = _code(function.__code__, function.__doc__)
            defaults = f"{function.__defaults__!r}{function.__kwdefaults__!r}"
            self._note(function, "function", f"{alone}{_ADDRESS.sub('', defaults)}")
        return super()._function(function)

    def _class(self, cls: type) -> str:
        if self._is_own(cls):
            members = {key: value for key, value in vars(cls).items() if _counts(key, value)}
            texts = [f"{name}:{_ADDRESS.sub('', _member_text(value))}" for name, value in sorted(members.items())]
            self._note(cls, "class", f"{texts}{sorted(vars(cls).get('__annotations__', {}).items(), key=str)}")
        return super()._class(cls)

    def _global(self, scope: Mapping[str, Any], name: str, value: Any) -> str:
        text = super()._global(scope, name, value)
        if not isinstance(value, (FunctionType, ModuleType, type)):
            fingerprint = hashlib.sha256(text.encode()).hexdigest()
            shown = _ADDRESS.sub("", repr(value))
            shown = shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}..."
            self.parts[f"{scope.get('__name__', '')}.{name}"] = CodePart("value", fingerprint, f"{name} = {shown}")
        return text

    def _note(self, thing: FunctionType | type, kind: str, text: str) -> None:
        name = f"{thing.__module__}.{thing.__qualname__}".replace(".<locals>", "")
        try:
            lines, first = inspect.getsourcelines(thing)
            file = inspect.getsourcefile(thing) or ""
        except (OSError, TypeError):  # made by exec, or at a prompt
            lines, first, file = [], 0, ""
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        place = f"{file}:{first}" if file else ""
        part = CodePart(kind, fingerprint, textwrap.dedent("".join(lines)), place)
        count = 1
        wanted = name
        while name in self.parts and self.parts[name] != part:  # several lambdas of one module
            count += 1
            name = f"{wanted}#{count}"
        self.parts[name] = part


def _member_text(value: Any) -> str:
    """A member of a class by itself: a function by its instructions, all else as it is printed."""
    inside = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    if isinstance(inside, property):
        return "".join(_member_text(part) for part in (inside.fget, inside.fset) if part is not None)
    return _code(inside.__code__, inside.__doc__) if isinstance(inside, FunctionType) else repr(inside)


def _is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES) or f"{os.sep}site-packages{os.sep}" in path


def _counts(name: str, value: Any) -> bool:
    """Whether a member of a class is the author's: functions and plain values, not what Python put there."""
    if isinstance(value, (FunctionType, staticmethod, classmethod, property)):
        code = getattr(value, "__code__", None)
        return code is None or code.co_filename != "<string>"  # dataclasses write methods of their own
    return not name.startswith("__") and isinstance(value, (str, int, float, bytes, tuple, list, dict, set, frozenset))


def _names(code: CodeType) -> set[str]:
    """The global names that a function and the functions inside it use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _code(code: CodeType, doc: str | None = None) -> str:
    """The instructions and constants, without line numbers: moving a function or commenting it changes nothing."""
    constants = [_constant(item) for item in code.co_consts]
    if doc is not None and code.co_consts and code.co_consts[0] == doc:
        constants[0] = "doc"
    return f"{code.co_code.hex()}:{constants}:{code.co_names}:{code.co_varnames}"


def _constant(item: Any) -> str:
    if isinstance(item, CodeType):
        return _code(item)
    if isinstance(item, frozenset):  # `in {"a", "b"}`; its order is another one in every process
        return f"frozenset{sorted(map(repr, item))}"
    return repr(item)
