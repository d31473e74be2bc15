"""What an author says of the state of a flow that changes: a step has another name, a table gets a column.

Values only: whether one is needed is the verdict of `penstock.analysis`, doing it is the engine's. They are no part of
a step's fingerprint: they say how to come from another version, not what this one is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Migration", "Rename"]


@dataclass(frozen=True, slots=True)
class Rename:
    """The step `new` is what the step `old` was. Counts where the other version has `old` and lacks `new`."""

    old: str
    new: str
    location: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Migration:
    """What to do with the state of `step` where it does not fit by itself; nothing where it does.

    `table`: one of several tables of a join (`left`, `right`), empty for the step's own. `columns`: what the rows that
    are there get in new columns: a value, a Polars expression over the old columns, or None: nothing yet. `keep`: the
    state goes on although its meaning changed. `reset`: it starts empty. `function`: the old rows to the new ones.
    `since`: the fingerprint of the state that it was written for (or its beginning); for another it does not count.
    """

    step: str
    table: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = False
    reset: bool = False
    function: Callable[..., Any] | None = None
    since: str = ""
    location: str = ""
