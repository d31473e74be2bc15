"""A filter as frozen values. Two filters that say the same in the same order are equal, wherever they say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "And",
    "Anywhere",
    "Comparison",
    "InNetwork",
    "Literal",
    "Name",
    "Node",
    "Not",
    "Or",
    "Present",
    "Sample",
    "Search",
]


@dataclass(frozen=True, slots=True)
class Name:
    """A field as it was written, segment by segment, and its place `[start, end)` in the text."""

    parts: tuple[str, ...]
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as text; which type it has, the field says. `NULL_VALUE` is a word of its own only without quotes."""

    text: str
    quoted: bool = True
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)

    @property
    def is_null(self) -> bool:
        """Whether it is the value null of JSON."""
        return not self.quoted and self.text == "NULL_VALUE"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name operator literal`; the operator is one of `= != > >= < <= : =~ !~`."""

    name: Name
    operator: str
    literal: Literal


@dataclass(frozen=True, slots=True)
class Present:
    """`name:*`: the entry has the field, whatever is in it."""

    name: Name


@dataclass(frozen=True, slots=True)
class Anywhere:
    """A word or quoted text on its own: it is somewhere in the message or the attributes."""

    literal: Literal


@dataclass(frozen=True, slots=True)
class Search:
    """`SEARCH(name, "words")`: each word is there as a whole; without a name, in the message or the attributes."""

    name: Name | None
    literal: Literal


@dataclass(frozen=True, slots=True)
class Sample:
    """`sample(name, share)`: a share from 0 to 1 of the values of a field, the same ones each time."""

    name: Name
    share: Literal


@dataclass(frozen=True, slots=True)
class InNetwork:
    """`ip_in_net(name, "10.0.0.0/8")`: the field is an address of a network of IPv4."""

    name: Name
    network: Literal


@dataclass(frozen=True, slots=True)
class Not:
    """What the part does not match, also where it lacks the field."""

    part: Node


@dataclass(frozen=True, slots=True)
class And:
    """What all parts match; without parts, everything."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """What at least one part matches."""

    parts: tuple[Node, ...]


Node: TypeAlias = Comparison | Present | Anywhere | Search | Sample | InNetwork | Not | And | Or
