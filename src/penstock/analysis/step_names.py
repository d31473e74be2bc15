"""The names that one step has in the versions of a flow, by what their authors say was renamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.analysis.compatibility import renames_of
from penstock.flow import Definition

__all__ = ["StepNames"]


class StepNames:
    """Tells which step of one version another version's plan means, and where a step keeps what outlives its name.

    `others`: what the authors of other versions say, old name -> new name; more may come with `add`.
    """

    def __init__(self, definition: Definition, others: Iterable[Mapping[str, str]] = ()) -> None:
        self._steps = {step.name for step in definition.steps}
        self._pairs: set[tuple[str, str]] = set()
        self._own: dict[str, str] = {}
        for renames in (renames_of(definition), *others):
            self.add(renames)

    def add(self, renames: Mapping[str, str]) -> None:
        """Take in what the author of another version says: old name -> new name."""
        new = set(renames.items()) - self._pairs
        if new:
            self._pairs |= new
            self._own = self._found()

    @property
    def own(self) -> Mapping[str, str]:
        """Names that are no step of this version -> the step of this version that they mean."""
        return self._own

    def first(self, step: str) -> str:
        """The first name that a step of this version had: under it lies what is kept for the step at the edges."""
        name, passed = step, {step}
        while True:
            before = sorted(old for old, new in self._pairs if new == name and old not in self._steps | passed)
            if not before:
                return name
            name = before[0]
            passed.add(name)

    def _found(self) -> dict[str, str]:
        """For every name that is connected with exactly one step of this version, that step."""
        found: dict[str, str] = {}
        for name in {one for pair in self._pairs for one in pair} - self._steps:
            reached, waiting = {name}, [name]
            while waiting:
                here = waiting.pop()
                for pair in self._pairs:
                    if here in pair and here not in self._steps:
                        waiting += [one for one in pair if one not in reached]
                        reached.update(pair)
            steps = reached & self._steps
            if len(steps) == 1:
                found[name] = steps.pop()
        return found
