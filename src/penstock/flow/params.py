"""Parameters of a flow: what `penstock run --set name=value` gives to the author's module.

`ps.param("rate", 10)` is 10, or what was set, as an int: the default's type decides. Nothing is global but a context
variable, which is set only while the author's module is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, overload

from penstock.errors import ConfigError, did_you_mean

__all__ = ["Param", "ParamScope", "ParamValue", "giving", "param"]

ParamValue: TypeAlias = str | int | float | bool
T = TypeVar("T", str, int, float, bool)

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _boolean(text: str) -> bool:
    return _WORDS[text.strip().lower()]


_READERS: Mapping[type, tuple[Callable[[str], Any], str]] = {
    bool: (_boolean, "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "text"),
}


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter that the author's module asked for. `default` None: it has to be set."""

    name: str
    default: ParamValue | None
    value: ParamValue
    help: str = ""


@dataclass(slots=True)
class ParamScope:
    """What was set, and what the module asked for while it was loaded.

    `given`: from the command line, every one must be asked for. `defaults`: from the environment, for all flows, so
    that a flow may ignore them.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, ParamValue] = field(default_factory=dict)
    asked: dict[str, Param] = field(default_factory=dict)

    def check(self, flow: str | None = None) -> None:
        """Raise ConfigError where something was set that the module never asked for."""
        for name in self.given:
            if name not in self.asked:
                known = sorted(self.asked)
                raise ConfigError(
                    f"--set {name}=...: the flow has no parameter {name!r}.{did_you_mean(name, known)}",
                    flow=flow,
                    hint=f"it has: {', '.join(known)}" if known else 'it has none; an author adds ps.param("name", 10)',
                )


_SCOPE: ContextVar[ParamScope | None] = ContextVar("penstock_params", default=None)


@contextmanager
def giving(given: Mapping[str, str], defaults: Mapping[str, ParamValue] | None = None) -> Iterator[ParamScope]:
    """While it lasts, `param` answers from these values."""
    scope = ParamScope(given, defaults or {})
    token = _SCOPE.set(scope)
    try:
        yield scope
    finally:
        _SCOPE.reset(token)


@overload
def param(name: str, *, help: str = ...) -> str: ...
@overload
def param(name: str, default: T, *, help: str = ...) -> T: ...
def param(name: str, default: ParamValue | None = None, *, help: str = "") -> ParamValue:  # noqa: A002 - as above
    """A value that `penstock run --set name=value` may change; its type is that of `default` (str, int, float, bool).

    Without a default it is text and has to be set. Raises ConfigError where it is not set or not of that type.
    """
    if default is not None and type(default) not in _READERS:
        raise ConfigError(
            f"the default of parameter {name!r} is a {type(default).__name__}",
            hint="use str, int, float or bool; write a duration as text, e.g. '10s'",
        )
    scope = _SCOPE.get()
    given = None if scope is None else scope.given.get(name, scope.defaults.get(name))
    value = default if given is None else _read(name, given, str if default is None else type(default))
    if value is None:
        raise ConfigError(f"the parameter {name!r} has no default and is not set", hint=f"add --set {name}=...")
    if scope is not None:
        scope.asked[name] = Param(name, default, value, help)
    return value


def _read(name: str, given: ParamValue, kind: type) -> ParamValue:
    reader, words = _READERS[kind]
    try:
        value: ParamValue = reader(str(given))
    except (ValueError, KeyError):
        raise ConfigError(
            f"the parameter {name!r} is {given!r}, which is not {words}", hint=f"write --set {name}=... as {words}"
        ) from None
    return value
