"""A fingerprint of each step and of the whole flow: what the author's code *is*, functions and their helpers included.

Two versions whose fingerprints agree do the same. A function counts with its source, its defaults and closure, and
every function, class and plain value of the author's own modules that it names, followed to the end.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from penstock.flow.definition import Definition, Step

__all__ = ["flow_version", "step_fingerprint"]

_LIBRARIES = tuple(str(Path(sysconfig.get_paths()[key]).resolve()) for key in ("stdlib", "purelib", "platlib"))


def flow_version(definition: Definition) -> str:
    """The version of a whole flow: 12 hexadecimal digits over its steps, names and wiring."""
    digest = hashlib.sha256()
    for step in definition.steps:
        digest.update(f"{step.name}<-{','.join(step.inputs)}:{step_fingerprint(step)}\n".encode())
    return digest.hexdigest()[:12]


def step_fingerprint(step: Step) -> str:
    """The fingerprint of one step's operation: 64 hexadecimal digits."""
    return hashlib.sha256(_describe(step.operation, set()).encode()).hexdigest()


def _describe(value: Any, seen: set[int]) -> str:
    """A text that is the same in every process for the same meaning."""
    if value is None or isinstance(value, (str, int, float, bool, bytes)):
        return repr(value)
    if isinstance(value, Mapping):
        items = (f"{_describe(key, seen)}:{_describe(item, seen)}" for key, item in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_describe(item, seen) for item in value) + "]"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(_describe(item, seen) for item in value)) + "}"
    if is_dataclass(value) and not isinstance(value, type):
        inside = ",".join(f"{field.name}={_describe(getattr(value, field.name), seen)}" for field in fields(value))
        return f"{type(value).__qualname__}({inside})"
    if isinstance(value, FunctionType):
        return _describe_function(value, seen)
    if isinstance(value, type):
        return _describe_class(value, seen)
    return _describe_object(value, seen)


def _describe_object(value: Any, seen: set[int]) -> str:
    meta = getattr(value, "meta", None)
    if meta is not None and hasattr(meta, "serialize"):
        return f"expr:{meta.serialize(format='json')}"
    if isinstance(value, ModuleType):
        return f"module:{value.__name__}"
    if inspect.ismethod(value):
        return f"method:{_describe_function(value.__func__, seen)}:{_describe(value.__self__, seen)}"
    if hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        return f"partial:{_describe(value.func, seen)}:{_describe(value.args, seen)}:{_describe(value.keywords, seen)}"
    own = _describe_class(type(value), seen)
    state = getattr(value, "__dict__", None)
    if state and _is_own(type(value)) and id(value) not in seen:
        seen.add(id(value))
        return f"object:{own}:{_describe(state, seen)}"
    return f"object:{own}"


def _describe_function(function: Any, seen: set[int]) -> str:
    if not _is_own(function):
        return f"library:{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
    if id(function) in seen:
        return f"again:{function.__qualname__}"
    seen.add(id(function))
    code: CodeType = function.__code__
    closure = {name: _cell(cell, seen) for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)}
    used = {
        name: _describe(function.__globals__[name], seen)
        for name in sorted(_names(code))
        if name in function.__globals__
    }
    parts = (_code(code), repr(closure), _describe(function.__defaults__, seen), _describe(used, seen))
    return "function:" + "|".join(parts)


def _cell(cell: Any, seen: set[int]) -> str:
    try:
        return _describe(cell.cell_contents, seen)
    except ValueError:  # a cell that is not filled yet
        return "empty"


def _describe_class(cls: type, seen: set[int]) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if not _is_own(cls) or id(cls) in seen:
        return f"class:{name}"
    seen.add(id(cls))
    members = {key: value for key, value in vars(cls).items() if isinstance(value, (FunctionType, str, int, float))}
    members.pop("__module__", None)
    members.pop("__doc__", None)
    return f"class:{cls.__qualname__}:{_describe(members, seen)}"


def _names(code: CodeType) -> set[str]:
    """The global names that a function and the functions inside it use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _code(code: CodeType) -> str:
    """The instructions and constants, without line numbers: moving a function or commenting it changes nothing."""
    constants = [_code(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return f"{code.co_code.hex()}:{constants}:{code.co_names}:{code.co_varnames}"


def _is_own(thing: Any) -> bool:
    """Whether this is the author's code, not Python's, a library's or ours."""
    module = sys.modules.get(getattr(thing, "__module__", "") or "")
    file = getattr(module, "__file__", None) or getattr(getattr(thing, "__code__", None), "co_filename", None)
    if file is None:
        return False
    path = str(Path(file).resolve())
    inside = str(Path(__file__).resolve().parent.parent)
    return not path.startswith((*_LIBRARIES, inside)) and "site-packages" not in path
