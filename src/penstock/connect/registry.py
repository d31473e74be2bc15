"""The connector table: which class serves which kind of dataset, loaded by name when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from penstock.connect.contract import Context, Sink, Source
from penstock.errors import ConfigError, did_you_mean
from penstock.flow import Dataset

__all__ = ["SINKS", "SOURCES", "open_sink", "open_source", "preload", "sink_class", "source_class"]

GROUP = "penstock.connectors"
"""Entry points of this group add connectors: name `source.<kind>` or `sink.<kind>`, value `module:Class`."""

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "delta": "penstock.connect.delta:DeltaSource",
        "files": "penstock.connect.files:FilesSource",
        "http_push": "penstock.connect.http_push:HttpPushSource",
        "memory": "penstock.connect.memory:MemorySource",
        "nats": "penstock.connect.nats:NatsSource",
        "nexmark": "penstock.connect.nexmark:NexmarkSource",
        "postgres": "penstock.connect.postgres:PostgresSource",
        "postgres_changes": "penstock.connect.postgres_changes:PostgresChangesSource",
    }
)

SINKS: Mapping[str, str] = MappingProxyType(
    {
        "console": "penstock.connect.console:ConsoleSink",
        "delta": "penstock.connect.delta:DeltaSink",
        "duckdb": "penstock.connect.duckdb:DuckdbSink",
        "files": "penstock.connect.files_sink:FilesSink",
        "memory": "penstock.connect.memory:MemorySink",
        "nats": "penstock.connect.nats:NatsSink",
        "parquet": "penstock.connect.parquet:ParquetSink",
        "postgres": "penstock.connect.postgres:PostgresSink",
    }
)

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "http_push": "http",
        "postgres": "postgres",
        "postgres_changes": "postgres",
    }
)
"""Which extra of the package brings what a connector imports; kinds that need none are not here."""


def preload() -> None:
    """Load every connector whose client is installed, for a process that must start quickly later."""
    for target in {*SOURCES.values(), *SINKS.values()}:
        with suppress(ModuleNotFoundError):  # an extra that this installation does without
            importlib.import_module(target.partition(":")[0])


def source_class(kind: str) -> type[Source]:
    """The class that reads datasets of `kind`.

    Raises ConfigError for an unknown kind, for one that can only be written, and where its extra is not installed.
    """
    found = _load(kind, "source", SOURCES, SINKS)
    if not issubclass(found, Source):
        raise ConfigError(f"connector {kind!r}: {found.__module__}.{found.__qualname__} is no Source")
    return found


def sink_class(kind: str) -> type[Sink]:
    """The class that writes datasets of `kind`.

    Raises ConfigError for an unknown kind, for one that can only be read, and where its extra is not installed.
    """
    found = _load(kind, "sink", SINKS, SOURCES)
    if not issubclass(found, Sink):
        raise ConfigError(f"connector {kind!r}: {found.__module__}.{found.__qualname__} is no Sink")
    return found


def open_source(dataset: Dataset, context: Context) -> Source:
    """Build the source of `dataset`. Raises ConfigError as `source_class`, and where an option is wrong."""
    return source_class(dataset.kind)(dataset, context)


def open_sink(dataset: Dataset, context: Context) -> Sink:
    """Build the sink of `dataset`; its `open` is still to be called. Raises ConfigError as `sink_class`."""
    return sink_class(dataset.kind)(dataset, context)


def _load(kind: str, role: str, table: Mapping[str, str], opposite: Mapping[str, str]) -> type:
    if kind in ("topic", "table"):
        raise ConfigError(
            f"{kind!r} is a logical dataset; no environment says which real one it is",
            hint="bind it in penstock.toml",
        )
    if kind in table:
        return _imported(kind, table[kind])
    point = _entry_point(kind, role)
    if point is not None:
        return _imported(kind, point.value)
    if kind in opposite:
        verb = "written, not read" if role == "source" else "read, not written"
        raise ConfigError(f"a dataset of kind {kind!r} can only be {verb}")
    known = sorted(table)
    raise ConfigError(
        f"there is no {role} of kind {kind!r}.{did_you_mean(kind, known)}",
        hint=f"use one of {', '.join(known)}, or install a package that brings {role}.{kind} in {GROUP}",
    )


def _entry_point(kind: str, role: str) -> EntryPoint | None:
    found = entry_points(group=GROUP, name=f"{role}.{kind}")
    return next(iter(sorted(found, key=lambda point: point.value)), None)


def _imported(kind: str, target: str) -> type:
    module_name, _, class_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as missing:
        if missing.name == module_name:
            raise ConfigError(f"connector {kind!r}: module {module_name} is not installed") from missing
        extra = EXTRAS.get(kind)
        raise ConfigError(
            f"connector {kind!r} needs the package {missing.name!r}, which is not installed",
            hint=f'pip install "penstock[{extra}]"' if extra else f"pip install {missing.name}",
        ) from missing
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise ConfigError(f"connector {kind!r}: {module_name} has no class {class_name!r}")
    return found
