"""Datasets are plain values: kind, name, key, options that were given."""

from __future__ import annotations

import pytest

import penstock as ps


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (ps.topic("orders"), ("topic", "orders", (), {})),
        (ps.table("t", key="id"), ("table", "t", ("id",), {})),
        (ps.table("t", key=["a", "b"]), ("table", "t", ("a", "b"), {})),
        (
            ps.files("in/*.csv", format="csv"),
            ("files", "in/*.csv", (), {"path": "in/*.csv", "format": "csv", "watch": False, "tail": False}),
        ),
        (ps.parquet("out"), ("parquet", "out", (), {"path": "out"})),
        (ps.delta("out", key="id"), ("delta", "out", ("id",), {"path": "out"})),
        (ps.duckdb_table("a.db", "t"), ("duckdb", "a.db:t", (), {"path": "a.db", "table": "t"})),
        (ps.postgres("env:DSN", "t", key="id"), ("postgres", "t", ("id",), {"dsn": "env:DSN", "table": "t"})),
        (ps.postgres_changes("env:DSN", "t"), ("postgres_changes", "t", (), {"dsn": "env:DSN", "table": "t"})),
        (ps.nats("nats://h", "S"), ("nats", "S", (), {"url": "nats://h", "stream": "S"})),
        (ps.http_push("hook"), ("http_push", "hook", (), {"host": "127.0.0.1", "port": 0})),
        (ps.memory("m"), ("memory", "m", (), {})),
        (ps.console(), ("console", "console", (), {"rows": 10})),
    ],
)
def test_a_dataset_is_what_was_written(dataset: ps.Dataset, expected: tuple[object, ...]) -> None:
    """Kind, name, key and the options that were given; those that were not are left to the connector."""
    assert (dataset.kind, dataset.name, dataset.key, dict(dataset.options)) == expected


def test_the_generator_takes_its_numbers_as_options() -> None:
    """Nexmark is told how much, how fast and from which seed."""
    dataset = ps.nexmark("auction", events=5, seed=3)

    assert (dataset.kind, dataset.name) == ("nexmark", "auction")
    assert dict(dataset.options) == {"entity": "auction", "events": 5, "seed": 3, "out_of_order_ms": 0}


def test_topics_and_tables_are_logical() -> None:
    """An environment has to bind a topic or a table, and nothing else."""
    assert [ps.topic("a").is_logical, ps.table("a").is_logical, ps.files("a").is_logical] == [True, True, False]
