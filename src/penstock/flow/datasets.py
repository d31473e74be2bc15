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
    delimiter: str | None = None,
    null_values: Sequence[str] = (),
) -> Dataset:
    """Files of rows. `path`: a file, a folder or a glob (source), or a folder that gets one file an epoch (sink).

    `format`: `ndjson`, `csv` or, only to read, `parquet` (default: by the name's ending). `compression`: `gzip` or
    `zstd` (default: by the ending). `watch`: go on looking for new files, there is no end. `tail`: files may still
    grow. Of CSV that is read: `delimiter` between fields (default: a comma, for `.tsv` a tab), `null_values`, the texts
    that stand for null beside the empty field.
    """
    return _dataset(
        "files",
        path,
        schema,
        path=path,
        format=format,
        watch=watch,
        tail=tail,
        compression=compression,
        delimiter=delimiter,
        null_values=[null_values] if isinstance(null_values, str) else list(null_values) or None,
    )


def parquet(path: str, *, schema: Any = None, compression: str | None = None) -> Dataset:
    """A folder `path` of Parquet files, one an epoch (sink). To read Parquet files use `files`.

    `compression`: `lz4` (the default), `zstd`, `snappy` or `uncompressed`.
    """
    return _dataset("parquet", path, schema, path=path, compression=compression)


def delta(
    path: str,
    *,
    key: Sequence[str] = (),
    min_epoch_ms: int | None = None,
    compact_files: int | None = None,
    retention_hours: int | None = None,
    bounded: bool | None = None,
    changes: str | None = None,
) -> Dataset:
    """A Delta Lake table in the folder `path`. As a sink: append, or upsert by `key`. As a source: rows appended to it.

    Sink: `min_epoch_ms`, how long an epoch is at least, as each is a commit (1000); `compact_files`, so many small
    files start a compaction (32; 0: never); `retention_hours`, how far an undo and slow readers can go back (24).
    Source: `bounded`, end at the version that the table has at the start; `changes`, what to do where rows were
    changed or deleted: `fail` (the default) or `skip`.
    """
    return _dataset(
        "delta",
        path,
        None,
        key,
        path=path,
        min_epoch_ms=min_epoch_ms,
        compact_files=compact_files,
        retention_hours=retention_hours,
        bounded=bounded,
        changes=changes,
    )


def duckdb_table(
    path: str,
    table: str,
    *,
    key: Sequence[str] = (),
    keep_epochs: int | None = None,
    keep_hours: float | None = None,
) -> Dataset:
    """A table in a DuckDB file (sink). While a flow writes it, no other process can open the file, not even to read.

    `path`: the file, which is created when missing, as is `table`.
    With a `key`, rows that were overwritten are kept, so that epochs can be taken back: for `keep_hours` (24), or those
    of the last `keep_epochs`, or both.
    """
    return _dataset(
        "duckdb",
        f"{path}:{table}",
        None,
        key,
        path=path,
        table=table,
        keep_epochs=keep_epochs,
        keep_hours=keep_hours,
    )


def postgres(
    dsn: str,
    table: str,
    *,
    key: Sequence[str] = (),
    cursor: str | None = None,
    wait_for: str | None = None,
    keep_epochs: int | None = None,
    keep_hours: float | None = None,
    schema: Any = None,
) -> Dataset:
    """A PostgreSQL table. As a sink: append, or upsert by `key`. As a source: rows in the order of `cursor`.

    `dsn` may be a reference (`env:NAME`, `file:PATH`) and should be, where it holds a password. `table`: its name, or
    `schema.name`.
    Source: `wait_for` says which open transactions a row waits for, `writers` or `all` (default: writers where the
    cursor is a number or text, all where it is a time or the table is a view).
    Sink: with a `key`, rows that were overwritten are kept, so that epochs can be taken back: for `keep_hours` (24), or
    those of the last `keep_epochs`, or both.
    """
    return _dataset(
        "postgres",
        table,
        schema,
        key,
        dsn=dsn,
        table=table,
        cursor=cursor,
        wait_for=wait_for,
        keep_epochs=keep_epochs,
        keep_hours=keep_hours,
    )


def postgres_changes(dsn: str, table: str, *, slot: str | None = None, schema: Any = None) -> Dataset:
    """The changes of a PostgreSQL table by logical replication (source).

    `dsn` and `table` as in `postgres`. `slot`: the name of the replication slot (default: from flow and step).
    """
    return _dataset("postgres_changes", table, schema, dsn=dsn, table=table, slot=slot)


def nats(url: str, stream: str, *, subject: str | None = None, schema: Any = None) -> Dataset:
    """A NATS JetStream stream of JSON messages, as source or sink.

    `url` may be a reference (`env:NAME`). A missing `stream` is created by the sink. `subject`: read only messages to
    it; publish to it (default: the stream's name).
    """
    return _dataset("nats", stream, schema, url=url, stream=stream, subject=subject)


def http_push(
    name: str,
    *,
    schema: Any = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    body_bytes: int | None = None,
    backlog_bytes: int | None = None,
    key_retention_s: float | None = None,
) -> Dataset:
    """Rows that others push by `POST /` (JSON lines or a JSON array); answered `202` once they are durable.

    `host`: another than loopback needs a token. `port` 0 takes a free one and writes it into the flow's folder. `token`
    may be a reference (`env:NAME`). `body_bytes`: the longest request that is taken. `backlog_bytes`: with so much
    waiting in the inbox, requests are answered `503` until the flow has caught up. `key_retention_s`: how long an
    idempotency key is remembered.
    """
    return _dataset(
        "http_push",
        name,
        schema,
        host=host,
        port=port,
        token=token,
        body_bytes=body_bytes,
        backlog_bytes=backlog_bytes,
        key_retention_s=key_retention_s,
    )


def nexmark(
    entity: str = "bid",
    *,
    events: int | None = None,
    rate_per_s: float | None = None,
    seed: int = 0,
    out_of_order_ms: int = 0,
    event_rate_per_s: float | None = None,
    start_us: int | None = None,
    live: bool | None = None,
) -> Dataset:
    """The auction site of the Nexmark benchmark, generated: `person`, `auction` or `bid` rows by `entity`.

    `events`: how many events of all three together (None: no end). `rate_per_s`: of all three together, by the wall
    clock (None: as fast as they are read). The same `seed` gives the same rows. `out_of_order_ms`: event times are at
    most so much early. `event_rate_per_s`: events in a second of event time. `start_us`: the first event time, in
    microseconds since 1970. `live`: event time is the wall-clock time at which the event is there.
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
        event_rate_per_s=event_rate_per_s,
        start_us=start_us,
        live=live,
    )


def memory(name: str, *, schema: Any = None, key: Sequence[str] = ()) -> Dataset:
    """Rows in this process's memory, for tests."""
    return _dataset("memory", name, schema, key)


def console(name: str = "console", *, rows: int = 10) -> Dataset:
    """Print the first `rows` rows of each epoch (sink)."""
    return _dataset("console", name, None, (), rows=rows)
