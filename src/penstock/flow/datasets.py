"""Datasets: the named places that a flow reads from and writes to, as frozen values. Nothing here connects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Dataset",
    "console",
    "delta",
    "duckdb_table",
    "files",
    "http_push",
    "memory",
    "nats",
    "nexmark",
    "parquet",
    "postgres",
    "postgres_changes",
    "table",
    "topic",
]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A place for rows: which kind of system, under which name, with which options.

    `kind` is a row of the connector table (`penstock.connect`), or `topic`/`table` for a logical dataset that the
    environment binds to a real one. `schema` is what the author declared: a mapping of column to Polars type, a
    `pl.Schema`, or a class with annotated fields; None lets the source tell. `key`: the columns that name a row where
    results update. `options` hold plain JSON values only.
    """

    kind: str
    name: str
    schema: Any = None
    key: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_logical(self) -> bool:
        """Whether an environment has to say where it really is."""
        return self.kind in ("topic", "table")


def _dataset(kind: str, name: str, schema: Any = None, key: Sequence[str] = (), **options: Any) -> Dataset:
    given = {option: value for option, value in options.items() if value is not None}
    return Dataset(kind, name, schema, (key,) if isinstance(key, str) else tuple(key), given)


def topic(name: str, schema: Any = None) -> Dataset:
    """A logical stream of rows; `penstock.toml` says for each environment what it really is."""
    return _dataset("topic", name, schema)


def table(name: str, *, key: Sequence[str] = (), schema: Any = None) -> Dataset:
    """A logical table; with `key`, rows are put in place of those with the same key. A local Delta table by default."""
    return _dataset("table", name, schema, key)


def files(
    path: str,
    *,
    schema: Any = None,
    format: str | None = None,  # noqa: A002 - the field's word
    watch: bool = False,
    tail: bool = False,
    compression: str | None = None,
) -> Dataset:
    """Files of rows: a path, a folder or a glob.

    `format`: `ndjson`, `csv` or `parquet` (default: by the name's ending). `compression`: `gzip` or `zstd` (default:
    by the ending). `watch`: go on looking for new files, there is no end. `tail`: files may still grow.
    """
    return _dataset(
        "files", path, schema, path=path, format=format, watch=watch, tail=tail, compression=compression
    )


def parquet(path: str, *, schema: Any = None) -> Dataset:
    """A folder of Parquet files, one an epoch (sink)."""
    return _dataset("parquet", path, schema, path=path)


def delta(path: str, *, key: Sequence[str] = (), min_epoch_ms: int | None = None) -> Dataset:
    """A Delta Lake table in a folder (sink): append, or upsert by `key`."""
    return _dataset("delta", path, None, key, path=path, min_epoch_ms=min_epoch_ms)


def duckdb_table(path: str, table: str, *, key: Sequence[str] = ()) -> Dataset:
    """A table in a DuckDB file (sink). While a flow writes it, no other process can open the file, not even to read."""
    return _dataset("duckdb", f"{path}:{table}", None, key, path=path, table=table)


def postgres(
    dsn: str,
    table: str,
    *,
    key: Sequence[str] = (),
    cursor: str | None = None,
    schema: Any = None,
) -> Dataset:
    """A PostgreSQL table. As a sink: append, or upsert by `key`. As a source: rows in the order of `cursor`.

    `dsn` may be a reference (`env:NAME`, `file:PATH`) and should be, where it holds a password.
    """
    return _dataset("postgres", table, schema, key, dsn=dsn, table=table, cursor=cursor)


def postgres_changes(dsn: str, table: str, *, slot: str | None = None, schema: Any = None) -> Dataset:
    """The changes of a PostgreSQL table by logical replication (source)."""
    return _dataset("postgres_changes", table, schema, dsn=dsn, table=table, slot=slot)


def nats(url: str, stream: str, *, subject: str | None = None, schema: Any = None) -> Dataset:
    """A NATS JetStream stream of JSON messages, as source or sink."""
    return _dataset("nats", stream, schema, url=url, stream=stream, subject=subject)


def http_push(
    name: str,
    *,
    schema: Any = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
) -> Dataset:
    """Rows that others push by `POST /` (JSON lines or a JSON array); answered `202` once they are durable.

    `port` 0 takes a free one and writes it into the flow's folder. `token` may be a reference (`env:NAME`).
    """
    return _dataset("http_push", name, schema, host=host, port=port, token=token)


def nexmark(
    entity: str = "bid",
    *,
    events: int | None = None,
    rate_per_s: float | None = None,
    seed: int = 0,
    out_of_order_ms: int = 0,
    **options: Any,
) -> Dataset:
    """The auction site of the Nexmark benchmark, generated: `person`, `auction` or `bid` rows.

    `events`: how many events of all three together (None: no end). `rate_per_s`: of all three together, by the wall
    clock (None: as fast as they are read). The same seed gives the same rows.
    """
    return _dataset(
        "nexmark",
        entity,
        None,
        entity=entity,
        events=events,
        rate_per_s=rate_per_s,
        seed=seed,
        out_of_order_ms=out_of_order_ms,
        **options,
    )


def memory(name: str, *, schema: Any = None, key: Sequence[str] = ()) -> Dataset:
    """Rows in this process's memory, for tests."""
    return _dataset("memory", name, schema, key)


def console(name: str = "console", *, rows: int = 10) -> Dataset:
    """Print the first `rows` rows of each epoch (sink)."""
    return _dataset("console", name, None, (), rows=rows)
