"""What queries are asked of and give: series of samples, and their values on a grid of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "NAME",
    "Flags",
    "Floats",
    "Grid",
    "MatchKind",
    "Matcher",
    "Series",
    "SeriesStore",
    "Times",
    "Vector",
    "label_key",
]

NAME = "__name__"
"""The label that holds the name of a metric, as Prometheus has it."""

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Times: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series of samples. `times_us`: rising; `values`: as many, none NaN."""

    labels: Mapping[str, str]
    times_us: Times
    values: Floats


class MatchKind(StrEnum):
    """How a label is compared. Regular expressions match the whole value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label; a label that is not there has the empty value."""

    label: str
    kind: MatchKind
    value: str

    def fits(self, value: str) -> bool:
        """Whether a value meets it. Regular expressions are RE2: none takes long, whoever wrote it."""
        if self.kind in (MatchKind.EQUAL, MatchKind.NOT_EQUAL):
            return (value == self.value) == (self.kind is MatchKind.EQUAL)
        found = pc.match_substring_regex(pa.array([value]), pattern=f"^(?s:{self.value})$")
        return bool(found[0].as_py()) == (self.kind is MatchKind.REGEX)


class SeriesStore(Protocol):
    """Where samples are kept."""

    def select(self, matchers: Sequence[Matcher], start_us: int, end_us: int) -> Sequence[Series]:
        """The series that meet all matchers, with their samples from `start_us` to `end_us`, both included."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """The times at which a query is worked out: `count` of them, each `step_us` after the one before."""

    start_us: int
    step_us: int = 1
    count: int = 1

    @property
    def times_us(self) -> Times:
        """The times."""
        return self.start_us + self.step_us * np.arange(self.count, dtype=np.int64)

    @property
    def end_us(self) -> int:
        """The last time."""
        return self.start_us + self.step_us * (self.count - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """Values of series at the times of a grid, as (labels, values); NaN where a series has none."""

    rows: tuple[tuple[Mapping[str, str], Floats], ...] = ()


def label_key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Labels as a value that can be compared; an empty value is none."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))
