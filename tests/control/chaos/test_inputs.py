"""What chaos reads in the place of real sources: copies of files and seed data, cut to so many rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

import penstock as ps
from penstock.control.chaos.inputs import Input, copy_inputs
from penstock.errors import ConfigError
from penstock.flow import Dataset
from tests.control.places import dev

ROWS = 10
KEPT = 4
SCHEMA = {"id": int}


def copied(folder: Path, dataset: Dataset, toml: str = "", *, table: bool = False, limit: int | None = KEPT) -> Input:
    """The copy of one dataset that a flow reads in the project `folder`."""
    project, environment = dev(folder, toml)
    flow = ps.Flow("reader")
    if table:
        stream = flow.read(ps.nexmark("bid", events=10), name="bids")
        rows = flow.table(dataset, key="id", name="rows")
        stream.join(rows, on={"auction": "id"}, name="joined").write(ps.table("out"))
    else:
        flow.read(dataset, name="rows").write(ps.table("out"))
    found = copy_inputs(flow.build(), project, environment, folder / "copies", rows_max=limit)
    return found["rows"]


def lines(count: int = ROWS) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps({"id": n}) + "\n" for n in range(count))


def read(found: Input) -> list[int]:
    """The ids in a copied file or folder of JSON lines."""
    place = Path(str(found.options["path"]))
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    texts = (
        gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text() for file in files
    )
    return [json.loads(line)["id"] for text in texts for line in text.splitlines()]


def test_files_are_cut_to_so_many_rows_whatever_they_are(tmp_path: Path) -> None:
    """A file, a folder, a glob, gzip, CSV with its header, Parquet; what was left out is counted."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text(lines(3))
    (tmp_path / "data" / "b.jsonl").write_text(lines(7))
    (tmp_path / "one.jsonl.gz").write_bytes(gzip.compress(lines().encode()))
    (tmp_path / "one.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(ROWS)))
    pl.DataFrame({"id": range(ROWS)}).write_parquet(tmp_path / "one.parquet")

    for path in ("data", "data/*.jsonl"):
        found = copied(tmp_path, ps.files(path, schema=SCHEMA))
        assert (found.rows, found.of) == (KEPT, ROWS)
        assert read(found) == [0, 1, 2, 0]
    assert read(copied(tmp_path, ps.files("one.jsonl.gz", schema=SCHEMA))) == [0, 1, 2, 3]
    csv = copied(tmp_path, ps.files("one.csv", schema=SCHEMA))
    assert Path(str(csv.options["path"])).read_text().splitlines() == ["id", "0", "1", "2", "3"]
    assert (csv.rows, csv.of) == (KEPT, ROWS)
    parquet = copied(tmp_path, ps.files("one.parquet"))
    assert pl.read_parquet(str(parquet.options["path"]))["id"].to_list() == [0, 1, 2, 3]
    assert copied(tmp_path, ps.files("one.jsonl.gz", schema=SCHEMA), limit=None).rows == ROWS
    assert copied(tmp_path, ps.files("one.csv", schema=SCHEMA), table=True).rows == ROWS


def test_seed_data_stands_for_a_source_that_is_no_file(tmp_path: Path) -> None:
    """What penstock.toml binds elsewhere, and what the author wrote so, by the dataset's name."""
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "orders.jsonl").write_text(lines())
    toml = '[env.dev.bind.orders]\nkind = "nats"\nurl = "env:NOWHERE"\nstream = "x"\n'

    assert read(copied(tmp_path, ps.topic("orders", schema=SCHEMA), toml)) == [0, 1, 2, 3]
    assert read(copied(tmp_path, ps.postgres("env:NOWHERE", "orders", cursor="id", schema=SCHEMA))) == [0, 1, 2, 3]


def test_delta_tables_and_generated_rows_are_bounded(tmp_path: Path) -> None:
    """A Delta table is copied as Parquet; Nexmark makes so many events at fixed times, as fast as they are read."""
    pl.DataFrame({"id": range(ROWS)}).write_delta(str(tmp_path / "table"))

    assert copied(tmp_path, ps.delta("table")).kind == "files"
    endless = copied(tmp_path, ps.nexmark("bid", rate_per_s=10, live=True))
    assert endless.options["events"] == KEPT
    assert endless.options["start_us"] > 0
    assert not {"rate_per_s", "live"} & set(endless.options)


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        (ps.http_push("pushed", schema=SCHEMA), "http_push pushed (author) is no file"),
        (ps.table("empty", schema=SCHEMA), "delta .penstock/dev/tables/empty (default) is empty or not there"),
        (ps.files("nothing.jsonl", schema=SCHEMA), "files nothing.jsonl (author) is empty or not there"),
        (ps.topic("unbound", schema=SCHEMA), "topic unbound is no file"),
    ],
)
def test_a_source_that_nothing_stands_for_is_refused(tmp_path: Path, dataset: Dataset, told: str) -> None:
    """Before anything runs, with the seed file to write."""
    with pytest.raises(ConfigError) as refused:
        copied(tmp_path, dataset)

    assert told in refused.value.message
    assert "seed/" in str(refused.value.hint)
