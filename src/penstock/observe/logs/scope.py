"""Where in a flow something is logged: set by who runs an epoch, asked by what writes the entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType
from typing import Any, NamedTuple, Protocol, TypeAlias

__all__ = ["NO_SCOPE", "AtStep", "Scope", "Site", "StepMark", "Tail", "current_scope", "log_scope"]


Site: TypeAlias = tuple[str, int, str] | tuple[int, int, str]
"""What logs: a file and its line, or a code object's identity and how far it has run; and the name of the logger."""


class Tail(NamedTuple):
    """The end of all lines that one site logs in one step of one epoch."""

    line: str
    place: Mapping[str, Any]
    """Logger, file and line."""
    code: CodeType | None
    """Kept, so that no other code object has its identity meanwhile."""


class AtStep(Protocol):
    """Something that knows which step runs now."""

    @property
    def at_step(self) -> str | None:
        """The step that runs, or ran last."""
        ...


class StepMark:
    """Says which step is at work where no operator does: a sink that is written."""

    def __init__(self, step: str | None = None) -> None:
        self.at_step = step


class Scope:
    """One epoch, as the entries of it are marked. Frozen but for the step, which `at` is asked for.

    `following`: the process computes the epoch and writes nothing; another one leads, and logs the same.
    """

    __slots__ = ("_at", "_tails", "_where", "epoch", "generation", "trace_id")

    def __init__(
        self,
        flow: str = "",
        *,
        generation: int | None = None,
        epoch: int | None = None,
        at: AtStep | None = None,
        following: bool = False,
    ) -> None:
        self.generation = generation
        self.epoch = epoch
        # The same for every process that runs the epoch, and when it runs again: it is one piece of work.
        trace = f"{flow}\0{epoch}".encode()
        self.trace_id = None if epoch is None else hashlib.md5(trace, usedforsecurity=False).hexdigest()
        self._at: AtStep = at or StepMark()
        marks: dict[str, Any] = {"g": generation, "e": epoch, "r": self.trace_id, "f": 1 if following else None}
        self._where = {name: value for name, value in marks.items() if value is not None}
        self._tails: dict[str | None, dict[Site, Tail]] = {}

    @property
    def step(self) -> str | None:
        """The step that runs, where one does."""
        return self._at.at_step

    def tails(self) -> dict[Site, Tail]:
        """For the step that runs: the ends of lines of the journal that were encoded already, by the site that logs.

        One for each site, since most lines come from few of them; whoever misses one puts `tail` there.
        """
        step = self._at.at_step
        found = self._tails.get(step)
        if found is None:
            found = self._tails[step] = {}
        return found

    def tail(self, attrs: str, *, trace_id: str | None = None) -> str:
        """The end of a line with these attributes (a JSON string of JSON) and all that the scope says."""
        marks = dict(self._where)
        if self._at.at_step is not None:
            marks["p"] = self._at.at_step
        if trace_id is not None:
            marks["r"] = trace_id
        text = "".join(f',"{name}":{json.dumps(value, ensure_ascii=False)}' for name, value in marks.items())
        return f',"a":{attrs}{text}}}\n'


NO_SCOPE = Scope()
"""Outside of any epoch."""

_SCOPE: ContextVar[Scope | None] = ContextVar("penstock_log_scope", default=None)
_process_scope: list[Scope] = [NO_SCOPE]


def current_scope() -> Scope:
    """The scope of this thread; in a thread that the author's code started, that of the epoch which the process runs.

    Polars calls functions in threads of its own too, and no context variable reaches them.
    """
    return _SCOPE.get() or _process_scope[-1]


@contextmanager
def log_scope(scope: Scope) -> Iterator[Scope]:
    """Inside, what is logged belongs to `scope`."""
    token = _SCOPE.set(scope)
    _process_scope.append(scope)
    try:
        yield scope
    finally:
        _SCOPE.reset(token)
        _process_scope.remove(scope)
