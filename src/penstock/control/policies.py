"""What `penstock.toml` says of handing over: `[deploy]`, `[undo]`, `[supervise]`. Documented in `docs/projects.md`.

The tables are what is written, with everything optional; the policies are what holds, with every default. Times are
seconds, sizes bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from penstock.control.sizes import bytes_of
from penstock.errors import DefinitionError
from penstock.flow import duration_us
from penstock.observe import OBJECTIVE_SHARE

__all__ = [
    "ALL_SINKS",
    "TOLERANCE_LEAST",
    "Allowance",
    "Approval",
    "Checks",
    "DeployPolicy",
    "DeployTable",
    "Extent",
    "MetricsPolicy",
    "MetricsTable",
    "PushTable",
    "Seconds",
    "ServerTable",
    "Size",
    "SupervisePolicy",
    "SuperviseTable",
    "Table",
    "UndoPolicy",
    "UndoTable",
    "allowance_of",
    "deploy_policy",
    "extent_of",
    "metrics_policy",
    "supervise_policy",
    "undo_policy",
]

Approval: TypeAlias = Literal["always", "differences", "never"]
Checks: TypeAlias = Literal["no-worse", "pass", "ignore"]

ALL_SINKS = "*"
"""Stands for every sink that is not named."""
TOLERANCE_LEAST = 1e-12
"""A smaller tolerance of floats is lost in the rounding of what it is computed with."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many rows, or such a share (0..1) of those that were compared, whichever is more."""

    rows: int = 0
    share: float = 0.0

    def covers(self, rows: int, of: int) -> bool:
        """Whether `rows` of `of` rows are within it."""
        return rows <= self.rows or (self.share > 0 and rows <= self.share * of)

    def __str__(self) -> str:
        return f"{self.share * 100:g}%" if self.share else f"{self.rows:,}"


@dataclass(frozen=True, slots=True)
class Extent:
    """How long something goes on: so many epochs or seconds, whichever are over first; None for both: not at all."""

    epochs: int | None = None
    seconds_s: float | None = None


Allowances: TypeAlias = Mapping[str, Allowance]
"""By sink; `ALL_SINKS` for those that are not named."""


@dataclass(frozen=True, slots=True)
class DeployPolicy:
    """`[deploy]`: what a new version may do differently before a person is asked, and how long it is looked at."""

    approve: Approval = "differences"
    allow_changed: Allowances = field(default_factory=dict)
    allow_only_new: Allowances = field(default_factory=dict)
    allow_only_old: Allowances = field(default_factory=dict)
    allow_columns: tuple[str, ...] = ()
    ignore_sinks: tuple[str, ...] = ()
    tolerance: float = 0.0
    rows_min: int = 1
    slower_max: float = 1.5
    dead_letters_max: Allowance = Allowance()
    checks: Checks = "no-worse"
    shadow: Extent = Extent(seconds_s=30.0)
    watch_s: float = 60.0

    def allowed(self, kind: str, sink: str) -> Allowance:
        """How many rows of a kind (`changed`, `only_new`, `only_old`) a sink may have."""
        found: Allowances = getattr(self, f"allow_{kind}")
        return found.get(sink, found.get(ALL_SINKS, Allowance()))


@dataclass(frozen=True, slots=True)
class UndoPolicy:
    """`[undo]`: how far back an undo can go. `keep_s`: restore points and what they need; `hold_input_s`: input."""

    keep_s: float = 86_400.0
    hold_input_s: float = 600.0
    savepoint_every_s: float = 600.0


@dataclass(frozen=True, slots=True)
class PushPolicy:
    """`[metrics.otlp]`: where metrics are sent, too. `endpoint` and `headers` may be references."""

    endpoint: str
    headers: str = ""
    every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class MetricsPolicy:
    """`[metrics]`: how often the server keeps a sample, and which share of them is to meet a freshness objective."""

    every_s: float = 10.0
    objective_share: float = OBJECTIVE_SHARE
    otlp: PushPolicy | None = None


@dataclass(frozen=True, slots=True)
class SupervisePolicy:
    """`[supervise]`: what the server does about processes that fail.

    `restarts`: failures of one epoch before the flow is held. `backoff_s`: the wait before the second restart of a row;
    it doubles from there. `memory_max_bytes`: None for no limit. `spares`: interpreters that wait for work.
    """

    restarts: int = 3
    backoff_s: float = 0.25
    hang_after_s: float = 300.0
    memory_max_bytes: int | None = None
    spares: int = 1


def allowance_of(value: Any) -> Allowance:
    """`5` or `"1%"`. Raises ValueError that shows the form."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Allowance(rows=value)
    share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if share is not None and float(share[1]) <= 100:  # noqa: PLR2004 - per cent
        return Allowance(share=float(share[1]) / 100)
    raise ValueError(f'a number of rows or a share, e.g. 5 or "1%", not {value!r}')


def _allowances(value: Any) -> Allowances:
    if not isinstance(value, dict):
        return {ALL_SINKS: allowance_of(value)}
    found = {}
    for sink, allowed in value.items():
        try:
            found[str(sink)] = allowance_of(allowed)
        except ValueError as error:
            raise ValueError(f"for {sink}: {error}") from None
    return found


def extent_of(value: Any) -> Extent:
    """`"100 epochs"`, `"30s"`, `"100 epochs or 30s"`; `"none"`. Raises ValueError that shows the form."""
    form = '"100 epochs", "30s", "100 epochs or 30s" or "none"'
    if not isinstance(value, str):
        raise ValueError(f"{form}, not {value!r}")  # noqa: TRY004 - pydantic makes a fault of it
    if value.strip() == "none":
        return Extent()
    found = Extent()
    for part in value.split(" or "):
        epochs = re.fullmatch(r"([1-9]\d*)(\s*epochs?)?", part.strip())
        given = found.epochs if epochs else found.seconds_s
        if given is not None:
            raise ValueError(f"{form}, not {value!r}")
        if epochs:
            found = replace(found, epochs=int(epochs[1]))
        else:
            found = replace(found, seconds_s=_seconds(part.strip(), form))
    return found


def _seconds(value: Any, form: str = 'a duration of some length, e.g. "10s" or "1h30m"') -> float:
    try:
        found_us = duration_us(value) if isinstance(value, str) else 0
    except DefinitionError:
        found_us = 0
    if found_us <= 0:
        raise ValueError(f"{form}, not {value!r}")
    return found_us / 1e6


def _seconds_or_none(value: Any) -> float:
    """As `_seconds`; `"0s"` too."""
    return 0.0 if value == "0s" else _seconds(value)


def _size(value: Any) -> int:
    found = bytes_of(value) if isinstance(value, str) and value.strip()[-1:].isalpha() else None
    if found is None:
        raise ValueError(f'a size with its unit, e.g. "2GB", not {value!r}')
    return found


def _tolerance(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (value == 0 or TOLERANCE_LEAST <= value <= 1):
        raise ValueError(f"0, or a number from {TOLERANCE_LEAST:g} to 1, not {value!r}")
    return float(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"a list of names, not {value!r}")
    return tuple(value)


Size: TypeAlias = Annotated[int, PlainValidator(_size)]
Seconds: TypeAlias = Annotated[float, PlainValidator(_seconds)]
SecondsOrNone: TypeAlias = Annotated[float, PlainValidator(_seconds_or_none)]
SinkAllowances: TypeAlias = Annotated[Allowances, PlainValidator(_allowances)]
Names: TypeAlias = Annotated[tuple[str, ...], PlainValidator(_names)]


class Table(BaseModel):
    """A table of `penstock.toml`: strict, and nothing in it that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ServerTable(Table):
    """`[server]`: where `penstock up` listens. Files are named from the folder of `penstock.toml`."""

    host: str = "127.0.0.1"
    tls_cert: str | None = None
    tls_key: str | None = None
    allowed_hosts: list[str] = Field(default=[])


class DeployTable(Table):
    """`[deploy]` and `[env.NAME.deploy]`: a key of the second comes before the first."""

    approve: Approval | None = None
    allow_changed: SinkAllowances | None = None
    allow_only_new: SinkAllowances | None = None
    allow_only_old: SinkAllowances | None = None
    allow_columns: Names | None = None
    ignore_sinks: Names | None = None
    tolerance: Annotated[float, PlainValidator(_tolerance)] | None = None
    rows_min: int | None = Field(default=None, ge=0)
    slower_max: float | None = Field(default=None, ge=1)
    dead_letters_max: Annotated[Allowance, PlainValidator(allowance_of)] | None = None
    checks: Checks | None = None
    shadow: Annotated[Extent, PlainValidator(extent_of)] | None = None
    watch: SecondsOrNone | None = None


class UndoTable(Table):
    """`[undo]`."""

    keep: Seconds | None = None
    hold_input: SecondsOrNone | None = None
    savepoint_every: Seconds | None = None


class SuperviseTable(Table):
    """`[supervise]`."""

    restarts: int | None = Field(default=None, ge=1)
    backoff: Seconds | None = None
    hang_after: Seconds | None = None
    memory_max: Annotated[int, PlainValidator(_size)] | None = None
    spares: int | None = Field(default=None, ge=0, le=16)


class PushTable(Table):
    """`[metrics.otlp]`."""

    endpoint: str
    headers: str | None = None
    every: Seconds | None = None


class MetricsTable(Table):
    """`[metrics]`."""

    every: Seconds | None = None
    objective_share: float | None = Field(default=None, gt=0, lt=1)
    otlp: PushTable | None = None


_RENAMED = {
    "every": "every_s",
    "watch": "watch_s",
    "keep": "keep_s",
    "hold_input": "hold_input_s",
    "savepoint_every": "savepoint_every_s",
    "backoff": "backoff_s",
    "hang_after": "hang_after_s",
    "memory_max": "memory_max_bytes",
}

Policy = TypeVar("Policy", DeployPolicy, UndoPolicy, SupervisePolicy, MetricsPolicy, PushPolicy)


def _laid_over(policy: Policy, table: Table) -> Policy:
    """A policy with what a table says in place of its own."""
    written = {_RENAMED.get(name, name): getattr(table, name) for name in table.model_fields_set}
    change: Callable[..., Policy] = replace
    return change(policy, **{name: value for name, value in written.items() if value is not None})


def deploy_policy(*tables: DeployTable) -> DeployPolicy:
    """The policy that several tables make, later ones before earlier ones, key by key."""
    policy = DeployPolicy()
    for table in tables:
        policy = _laid_over(policy, table)
    return policy


def undo_policy(table: UndoTable) -> UndoPolicy:
    """What holds where the table says nothing else."""
    return _laid_over(UndoPolicy(), table)


def supervise_policy(table: SuperviseTable) -> SupervisePolicy:
    """What holds where the table says nothing else."""
    return _laid_over(SupervisePolicy(), table)


def metrics_policy(table: MetricsTable) -> MetricsPolicy:
    """What holds where the table says nothing else."""
    otlp = None if table.otlp is None else _laid_over(PushPolicy(table.otlp.endpoint), table.otlp)
    return replace(_laid_over(MetricsPolicy(), table), otlp=otlp)
