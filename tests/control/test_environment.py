"""Binding: what each end of a flow really is in an environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import penstock as ps
from penstock.control import bind
from penstock.errors import ConfigError
from penstock.flow import Definition
from tests.control.places import dev, project

SCHEMA = {"id": int}


def copies(source: ps.Dataset, *sinks: ps.Dataset) -> Definition:
    """A flow from one dataset to others."""
    flow = ps.Flow("copy")
    rows = flow.read(source)
    for sink in sinks:
        rows.write(sink)
    return flow.build()


def test_a_table_is_a_delta_table_of_the_environment(tmp_path: Path) -> None:
    """Without a word in penstock.toml; schema and key are the author's."""
    found = bind(copies(ps.table("a", schema=SCHEMA), ps.table("b", key="id")), *dev(tmp_path))

    assert [(one.step, one.writes, one.origin, one.place) for one in found] == [
        ("rows", False, "default", "delta .penstock/dev/tables/a"),
        ("write_b", True, "default", "delta .penstock/dev/tables/b"),
    ]
    assert found[0].dataset.schema == SCHEMA
    assert found[1].dataset.key == ("id",)


def test_a_binding_wins(tmp_path: Path) -> None:
    """What penstock.toml says comes before seed and default; name, schema and key are filled in from the author."""
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "a.jsonl").write_text("")
    text = (
        '[env.dev.bind.a]\nkind = "nats"\nurl = "env:NATS_URL"\n'
        '[env.dev.bind.b]\nkind = "postgres"\ndsn = "env:DSN"\nkey = ["id", "at"]\n'
    )

    found = bind(copies(ps.topic("a", schema=SCHEMA), ps.table("b", key="id")), *dev(tmp_path, text))

    assert dict(found[0].dataset.options) == {"url": "env:NATS_URL", "stream": "a"}
    assert found[0].dataset.schema == SCHEMA
    assert dict(found[1].dataset.options) == {"dsn": "env:DSN", "table": "b"}
    assert found[1].dataset.key == ("id", "at")
    assert {one.origin for one in found} == {"penstock.toml"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.ndjson", "ndjson"),
        ("a.jsonl.gz", "ndjson"),
        ("a.csv", "csv"),
        ("a.csv.zst", "csv"),
        ("a.parquet", "parquet"),
    ],
)
def test_a_seed_file_is_read(tmp_path: Path, name: str, expected: str) -> None:
    """A file in `seed/` by the dataset's name stands for what is read, in each format."""
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / name).write_text("")

    found = bind(copies(ps.topic("a", schema=SCHEMA), ps.table("b")), *dev(tmp_path))[0]

    assert (found.origin, found.place, found.dataset.options["format"]) == ("seed", f"files seed/{name}", expected)


def test_production_never_reads_seeds(tmp_path: Path) -> None:
    """In production a topic has to be bound, whatever lies in `seed/`."""
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "a.jsonl").write_text("")
    found = project(tmp_path, "[env.production]")

    with pytest.raises(ConfigError, match="the environment 'production' does not say where the topic 'a' is") as caught:
        bind(copies(ps.topic("a"), ps.table("b")), found, found.environment("production"))

    assert "[env.production.bind.a]" in str(caught.value.hint)
    assert "seed/" not in str(caught.value.hint)
    assert (caught.value.flow, caught.value.step) == ("copy", "rows")


def test_two_seed_files_are_one_too_many(tmp_path: Path) -> None:
    """Which of two was meant is not guessed."""
    (tmp_path / "seed").mkdir()
    for name in ("a.jsonl", "a.csv"):
        (tmp_path / "seed" / name).write_text("")

    with pytest.raises(ConfigError, match=r"several seed files are called 'a': a\.jsonl, a\.csv"):
        bind(copies(ps.topic("a"), ps.table("b")), *dev(tmp_path))


def test_a_topic_that_is_written_has_to_be_bound(tmp_path: Path) -> None:
    """A seed file is for reading only."""
    with pytest.raises(ConfigError, match="where the topic 'b' is"):
        bind(copies(ps.table("a"), ps.topic("b")), *dev(tmp_path))


@pytest.mark.parametrize("name", ["../a", "a/b", "/etc", ""])
def test_a_table_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    """A name that would be a path is refused."""
    with pytest.raises(ConfigError, match="can't become a folder"):
        bind(copies(ps.table("a"), ps.table(name)), *dev(tmp_path))


def test_two_writers_of_one_place_are_refused(tmp_path: Path) -> None:
    """Two tables by name that the environment binds to one folder would overwrite each other."""
    text = "".join(f'[env.dev.bind.{name}]\nkind = "delta"\npath = "out/one"\n' for name in ("b", "c"))

    with pytest.raises(ConfigError, match="both write to delta out/one"):
        bind(copies(ps.table("a"), ps.table("b"), ps.table("c")), *dev(tmp_path, text))


def test_a_concrete_dataset_stays_what_it_is(tmp_path: Path) -> None:
    """What the author wrote out is not looked up anywhere."""
    found = bind(copies(ps.files("x.jsonl"), ps.parquet("out")), *dev(tmp_path))

    assert [one.origin for one in found] == ["author", "author"]


def test_a_folder_outside_the_project_is_absolute(tmp_path: Path) -> None:
    """Tables follow the folder of the environment, wherever it is."""
    found, environment = dev(tmp_path)
    away = replace(environment, folder_text="/srv/penstock")

    assert bind(copies(ps.table("a"), ps.table("b")), found, away)[0].place == "delta /srv/penstock/tables/a"


def test_the_place_shows_no_secret(tmp_path: Path) -> None:
    """What is shown of a dataset holds no dsn, url or token."""
    text = '[env.dev.bind.a]\nkind = "http_push"\ntoken = "geheim"\n[env.dev.bind.b]\nkind="postgres"\ndsn="postgresql://u:geheim@h/d"'

    shown = [one.place for one in bind(copies(ps.topic("a"), ps.table("b")), *dev(tmp_path, text))]

    assert shown == ["http_push a", "postgres b"]
