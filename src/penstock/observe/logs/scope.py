"""Where in a flow something is logged: set by who runs an epoch, asked by what writes the entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

__all__ = ["NO_SCOPE", "AtStep", "Scope", "current_scope", "log_scope"]


class AtStep(Protocol):
    """Something that knows which step runs now."""

    @property
    def at_step(self) -> str | None:
        """The step that runs, or ran last."""
        ...


class _Nowhere:
    at_step: str | None = None


class Scope:
    """One epoch, as the entries of it are marked. Frozen but for the step, which `at` is asked for.

    `following`: the process computes the epoch and writes nothing; another one leads, and logs the same.
    """

    __slots__ = ("_at", "_ends", "_where", "epoch", "generation", "trace_id")

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
        self._at: AtStep = at or _Nowhere()
        marks = {"g": generation, "e": epoch, "r": self.trace_id, "f": 1 if following else None}
        known = {name: value for name, value in marks.items() if value is not None}
        self._where = "".join(f',"{name}":{json.dumps(value)}' for name, value in known.items())
        self._ends: dict[str | None, bytes] = {}

    @property
    def step(self) -> str | None:
        """The step that runs, where one does."""
        return self._at.at_step

    def end(self) -> bytes:
        """The end of a line of the journal that says all this: encoded once for each step."""
        step = self._at.at_step
        found = self._ends.get(step)
        if found is None:
            text = "" if step is None else f',"p":{json.dumps(step, ensure_ascii=False)}'
            found = self._ends[step] = f"{self._where}{text}}}\n".encode("utf-8", "replace")
        return found


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
