"""What a step does, as frozen values: one class an operation. Expressions and functions are held, never run.

Two families: *stateless* operations look at the rows of one epoch alone, *stateful* ones remember between epochs.
`stateful` is what the validation asks a stable name for; `updating` tells that the results of the step are a keyed
changelog (rows that replace rows), which only a sink with a key can take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from penstock.flow.checks import Check, OnFail
from penstock.flow.datasets import Dataset
from penstock.flow.windows import SameWindow, Window

__all__ = [
    "PROCESSING_TIME",
    "Aggregate",
    "Deduplicate",
    "Expect",
    "Filter",
    "FlatMap",
    "IntervalJoin",
    "JoinHow",
    "Late",
    "Lookup",
    "Map",
    "MapBatches",
    "Operation",
    "Process",
    "Read",
    "Select",
    "Sql",
    "TopN",
    "Union",
    "WindowAggregate",
    "WindowJoin",
    "WindowTop",
    "WithColumns",
    "Write",
]

PROCESSING_TIME = "processing_time"
"""As `event_time` of a read: the rows get a column of this name, the time of the epoch that took them."""

JoinHow: TypeAlias = Literal["inner", "left", "full", "semi", "anti"]


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """What one step does."""

    kind: ClassVar[str] = "operation"
    stateful: ClassVar[bool] = False
    updating: ClassVar[bool] = False

    @property
    def remembers(self) -> bool:
        """Whether this one keeps state: a stateful operation, but for windows that come whole."""
        return self.stateful


@dataclass(frozen=True, slots=True, eq=False)
class Read(Operation):
    """Rows from a dataset. `table`: read as a lookup table, wholly before other sources where it is bounded."""

    kind: ClassVar[str] = "read"
    dataset: Dataset
    event_time: str | None = None
    lateness_us: int = 0
    idle_us: int | None = None
    table: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Filter(Operation):
    """Keep the rows for which the Polars expression is true."""

    kind: ClassVar[str] = "filter"
    predicate: Any


@dataclass(frozen=True, slots=True, eq=False)
class WithColumns(Operation):
    """Add or replace columns by Polars expressions."""

    kind: ClassVar[str] = "with_columns"
    expressions: tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Select(Operation):
    """Exactly these columns, as names or Polars expressions."""

    kind: ClassVar[str] = "select"
    expressions: tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sql(Operation):
    """DuckDB SQL over the rows of one batch, which are the table `self`."""

    kind: ClassVar[str] = "sql"
    query: str


@dataclass(frozen=True, slots=True, eq=False)
class MapBatches(Operation):
    """The author's own function, DataFrame -> DataFrame."""

    kind: ClassVar[str] = "map_batches"
    function: Callable[..., Any]
    schema: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Map(Operation):
    """The author's own function, row (dict) -> row (dict), or None to drop the row."""

    kind: ClassVar[str] = "map"
    function: Callable[..., Any]
    schema: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class FlatMap(Operation):
    """The author's own function, row (dict) -> any number of rows."""

    kind: ClassVar[str] = "flat_map"
    function: Callable[..., Any]
    schema: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Union(Operation):
    """The rows of several streams with the same columns."""

    kind: ClassVar[str] = "union"


@dataclass(frozen=True, slots=True, eq=False)
class Expect(Operation):
    """Expectations on the rows that pass here."""

    kind: ClassVar[str] = "expect"
    checks: tuple[Check, ...]
    on_fail: OnFail = "warn"


@dataclass(frozen=True, slots=True, eq=False)
class Write(Operation):
    """Rows to a dataset."""

    kind: ClassVar[str] = "write"
    dataset: Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Late(Operation):
    """The rows that came too late for the (stateful) step before it."""

    kind: ClassVar[str] = "late"


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate(Operation):
    """Running aggregates by key over all time: an updating result."""

    kind: ClassVar[str] = "aggregate"
    stateful: ClassVar[bool] = True
    updating: ClassVar[bool] = True
    keys: tuple[str, ...]
    aggregates: Mapping[str, Any]
    ttl_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WindowAggregate(Operation):
    """Aggregates by key and window, given once, when the watermark passes the window's end."""

    kind: ClassVar[str] = "window"
    stateful: ClassVar[bool] = True
    keys: tuple[str, ...]
    window: Window
    aggregates: Mapping[str, Any]

    @property
    def remembers(self) -> bool:
        """Whether it has to wait for the rest of a window."""
        return not isinstance(self.window, SameWindow)


@dataclass(frozen=True, slots=True, eq=False)
class WindowTop(Operation):
    """The first `n` rows of each key and window by an order, given when the watermark passes the window's end."""

    kind: ClassVar[str] = "window_top"
    stateful: ClassVar[bool] = True
    keys: tuple[str, ...]
    window: Window
    n: int
    by: tuple[str, ...]
    descending: tuple[bool, ...]
    ties: bool = False

    @property
    def remembers(self) -> bool:
        """Whether it has to wait for the rest of a window."""
        return not isinstance(self.window, SameWindow)


@dataclass(frozen=True, slots=True, eq=False)
class TopN(Operation):
    """The first `n` rows of each key by an order, as they stand: an updating result with a column `rank` (1..n)."""

    kind: ClassVar[str] = "top_n"
    stateful: ClassVar[bool] = True
    updating: ClassVar[bool] = True
    keys: tuple[str, ...]
    n: int
    by: tuple[str, ...]
    descending: tuple[bool, ...]
    rank: str | None = "rank"
    ttl_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Deduplicate(Operation):
    """The first row of each key; rows of the same key within `within_us` of event time after it are dropped."""

    kind: ClassVar[str] = "deduplicate"
    stateful: ClassVar[bool] = True
    keys: tuple[str, ...]
    within_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class IntervalJoin(Operation):
    """Pairs of rows with equal keys and `lower <= right time - left time <= upper` (None: no bound, at any time)."""

    kind: ClassVar[str] = "join"
    stateful: ClassVar[bool] = True
    on: tuple[tuple[str, str], ...]
    lower_us: int | None = None
    upper_us: int | None = None
    how: JoinHow = "inner"
    suffix: str = "_right"


@dataclass(frozen=True, slots=True, eq=False)
class WindowJoin(Operation):
    """The join of the rows of two streams that fall into the same window, given when the window closes."""

    kind: ClassVar[str] = "window_join"
    stateful: ClassVar[bool] = True
    on: tuple[tuple[str, str], ...]
    window: Window
    how: JoinHow = "inner"
    suffix: str = "_right"


@dataclass(frozen=True, slots=True, eq=False)
class Lookup(Operation):
    """Each row of a stream with the row that a table has for its key at that moment. Inputs: stream, table."""

    kind: ClassVar[str] = "lookup"
    stateful: ClassVar[bool] = True
    on: tuple[tuple[str, str], ...]
    how: JoinHow = "left"
    suffix: str = "_right"


@dataclass(frozen=True, slots=True, eq=False)
class Process(Operation):
    """The author's own keyed function with state and timers (see `penstock.flow.process`)."""

    kind: ClassVar[str] = "process"
    stateful: ClassVar[bool] = True
    keys: tuple[str, ...]
    handler: Any
    schema: Any
    state: Mapping[str, Any] = field(default_factory=dict)
    ttl_us: int | None = None
