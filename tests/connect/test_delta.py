"""Delta tables: replace, retract, upsert, the fence, types, and care that runs beside the writer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from penstock.clock import SystemClock
from penstock.connect import Budget, Change, Context
from penstock.connect.delta import DeltaSink, DeltaSource
from penstock.connect.delta_log import read_commit
from penstock.errors import ConnectorError, Fenced
from penstock.flow import Dataset

APPEND = pl.Schema({"n": pl.Int64()})
KEYED = pl.Schema({"k": pl.Int64(), "v": pl.String()})


def context_at(folder: Path, schema: pl.Schema | None, key: tuple[str, ...] = (), step: str = "write") -> Context:
    """What a connector gets that works in `folder`."""
    return Context("orders", step, folder / "own", folder, SystemClock(), schema, key)


def sink_at(
    folder: Path, schema: pl.Schema | None = APPEND, key: tuple[str, ...] = (), step: str = "write", **options: int
) -> DeltaSink:
    """A sink on `folder/t`, not opened; no compaction unless asked for."""
    given = {"path": "t", "compact_files": 0, **options}
    return DeltaSink(Dataset("delta", "t", options=given), context_at(folder, schema, key, step))


def source_at(folder: Path, **options: object) -> DeltaSource:
    """A source on `folder/t`."""
    return DeltaSource(Dataset("delta", "t", options={"path": "t", **options}), context_at(folder, None))


def rows(*numbers: int) -> Change:
    """An epoch that appends these numbers."""
    return Change(pl.DataFrame({"n": numbers}, schema=APPEND))


def upsert(deleted: tuple[int, ...] | None = None, /, **values: str) -> Change:
    """An epoch that puts `k1="x"` at key 1, and deletes keys."""
    frame = pl.DataFrame({"k": [int(name[1:]) for name in values], "v": list(values.values())}, schema=KEYED)
    gone = None if deleted is None else pl.DataFrame({"k": deleted}, schema={"k": pl.Int64})
    return Change(frame, gone)


def table_in(folder: Path, version: int | None = None) -> pl.DataFrame:
    """What a reader sees."""
    return pl.read_delta(str(folder / "t"), version=version)


def numbers_in(folder: Path, version: int | None = None) -> list[int]:
    """The numbers that a reader sees, sorted."""
    return sorted(table_in(folder, version)["n"].to_list())


def pairs_in(folder: Path) -> dict[int, str]:
    """The keyed rows that a reader sees."""
    return dict(sorted(table_in(folder).iter_rows()))


def test_epoch_is_replaced_in_one_commit(tmp_path: Path) -> None:
    """An epoch written again with other rows is one version later, and no version between them lacks rows."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1, 2))
    first = sink.write(2, 1, rows(3, 4))
    second = sink.write(2, 1, rows(3, 5))
    sink.close()

    assert numbers_in(tmp_path) == [1, 2, 3, 5]
    assert second["version"] == first["version"] + 1
    assert sink.last_epoch() == 2


def test_same_rows_again_change_nothing(tmp_path: Path) -> None:
    """An epoch that comes again with the same rows, in another order and to another process, makes no version."""
    sink = sink_at(tmp_path)
    sink.open(1)
    first = sink.write(1, 1, rows(1, 2, 2))
    again = sink_at(tmp_path)
    again.open(1)
    second = again.write(1, 1, rows(2, 1, 2))

    assert second["repeated"]
    assert second["version"] == first["version"]
    assert numbers_in(tmp_path) == [1, 2, 2]


def test_epoch_replaced_by_nothing(tmp_path: Path) -> None:
    """An epoch that comes again without rows leaves none behind; an empty new epoch makes no version."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    sink.write(2, 1, rows(2))
    version = sink.write(2, 1, rows())["version"]
    sink.write(3, 1, rows())

    assert numbers_in(tmp_path) == [1]
    assert DeltaTable(tmp_path / "t").version() == version


def test_commit_says_whose_it_is(tmp_path: Path) -> None:
    """A commit carries flow, step, epoch and generation, and the epoch as application transaction."""
    sink = sink_at(tmp_path)
    sink.open(3)
    sink.write(12, 3, rows(1))
    table = DeltaTable(tmp_path / "t")
    note = table.history(1)[0]["penstock"]

    assert table.transaction_version("orders/write") == 12
    assert (note["flow"], note["step"], note["epoch"], note["generation"]) == ("orders", "write", 12, 3)


def test_retract_then_write_then_retract(tmp_path: Path) -> None:
    """Undoing epochs, writing them anew and undoing the last of the new ones keeps what is before it."""
    sink = sink_at(tmp_path)
    sink.open(1)
    for epoch in range(1, 6):
        sink.write(epoch, 1, rows(epoch))
    sink.retract(3, 1)
    assert (numbers_in(tmp_path), sink.last_epoch()) == ([1, 2], 2)
    sink.write(3, 1, rows(30))
    sink.write(4, 1, rows(40))
    sink.retract(4, 1)
    assert numbers_in(tmp_path) == [1, 2, 30]
    sink.write(4, 1, rows(41))
    sink.write(4, 1, rows(42))
    assert numbers_in(tmp_path) == [1, 2, 30, 42]
    sink.retract(1, 1)

    assert (numbers_in(tmp_path), sink.last_epoch()) == ([], None)


def test_undo_keeps_rows_that_others_appended(tmp_path: Path) -> None:
    """Rows that somebody else appended between two epochs stay when the epochs are taken back."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    write_deltalake(tmp_path / "t", rows(100).rows, mode="append")
    sink.write(2, 1, rows(2))
    sink.retract(1, 1)

    assert numbers_in(tmp_path) == [100]


def test_undo_over_a_foreign_delete_is_refused(tmp_path: Path) -> None:
    """An undo that would bring back rows that somebody deleted is refused and leaves the table as it is."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    sink.write(2, 1, rows(2, 3))
    DeltaTable(tmp_path / "t").delete("n = 3")

    with pytest.raises(ConnectorError, match="changed by others in version"):
        sink.retract(2, 1)
    assert numbers_in(tmp_path) == [1, 2]


def test_upsert_and_delete_by_key(tmp_path: Path) -> None:
    """Rows with a known key are put in place, deleted keys go, also where the key is null."""
    sink = sink_at(tmp_path, KEYED, ("k",))
    sink.open(1)
    sink.write(1, 1, upsert(k1="a", k2="b", k3="c"))
    sink.write(2, 1, upsert((3,), k2="B", k4="d"))
    assert pairs_in(tmp_path) == {1: "a", 2: "B", 4: "d"}
    null = pl.DataFrame({"k": [None], "v": ["null"]}, schema=KEYED)
    sink.write(3, 1, Change(null))
    sink.write(4, 1, Change(null.with_columns(v=pl.lit("again"))))

    assert sorted(table_in(tmp_path)["v"].to_list()) == ["B", "a", "again", "d"]


def test_upsert_epoch_is_replaced_and_taken_back(tmp_path: Path) -> None:
    """Replacing or undoing an upsert brings the rows as they were before it back."""
    sink = sink_at(tmp_path, KEYED, ("k",))
    sink.open(1)
    sink.write(1, 1, upsert(k1="a", k2="b"))
    sink.write(2, 1, upsert((1,), k2="B"))
    sink.write(2, 1, upsert(k1="A"))
    assert pairs_in(tmp_path) == {1: "A", 2: "b"}
    sink.retract(2, 1)

    assert pairs_in(tmp_path) == {1: "a", 2: "b"}


def test_upsert_leaves_files_without_the_key_alone(tmp_path: Path) -> None:
    """A file whose keys are all elsewhere is not written again."""
    sink = sink_at(tmp_path, KEYED, ("k",))
    sink.open(1)
    sink.write(1, 1, upsert(k1="a", k2="b"))
    sink.write(2, 1, upsert(k10="c"))
    before = set(DeltaTable(tmp_path / "t").file_uris())
    sink.write(3, 1, upsert(k10="C"))

    assert len(before & set(DeltaTable(tmp_path / "t").file_uris())) == 1


def test_older_generation_is_fenced(tmp_path: Path) -> None:
    """After a newer generation opened, the older one can neither write, nor retract, nor open; also without schema."""
    old, new = sink_at(tmp_path), sink_at(tmp_path)
    old.open(7)
    old.write(1, 7, rows(1))
    new.open(8)
    with pytest.raises(Fenced, match="generation 8"):
        old.write(2, 7, rows(2))
    with pytest.raises(Fenced):
        old.retract(1, 7)
    with pytest.raises(Fenced):
        sink_at(tmp_path).open(7)
    with pytest.raises(Fenced):
        sink_at(tmp_path, None).open(7)
    new.write(2, 8, rows(20))

    assert numbers_in(tmp_path) == [1, 20]


def test_process_frozen_before_its_commit_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that stops right before its commit and wakes up when it was replaced finds its version taken."""
    old, new = sink_at(tmp_path), sink_at(tmp_path)
    old.open(1)
    link = os.link

    def freeze_then_link(staged: Path, final: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        new.open(2)
        new.write(1, 2, rows(20))
        link(staged, final)

    monkeypatch.setattr(os, "link", freeze_then_link)
    with pytest.raises(Fenced):
        old.write(1, 1, rows(10))

    assert numbers_in(tmp_path) == [20]
    left = {path.name for path in (tmp_path / "t").glob("*.parquet")}
    assert left == {Path(uri).name for uri in DeltaTable(tmp_path / "t").file_uris()}


def test_foreign_commit_in_between_is_read_first(tmp_path: Path) -> None:
    """A commit of somebody else, checkpoint included, does not stop the writer and is not lost."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    write_deltalake(tmp_path / "t", rows(100).rows, mode="append")
    DeltaTable(tmp_path / "t").create_checkpoint()
    sink.write(2, 1, rows(2))
    again = sink_at(tmp_path)
    again.open(2)

    assert numbers_in(tmp_path) == [1, 2, 100]
    assert again.last_epoch() == 2


def test_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    """A table with another type, a missing or a surplus column is refused with column and both types."""
    other = sink_at(tmp_path, pl.Schema({"n": pl.String()}))
    other.open(1)
    with pytest.raises(ConnectorError, match="'n' is String there, the rows have Int64"):
        sink_at(tmp_path).open(1)
    with pytest.raises(ConnectorError, match="no column 'm'"):
        sink_at(tmp_path, pl.Schema({"n": pl.String(), "m": pl.Int64()})).open(1)
    with pytest.raises(ConnectorError, match="key column 'z'"):
        sink_at(tmp_path, pl.Schema({"n": pl.String()}), ("z",)).open(1)


def test_partitioned_table_is_refused(tmp_path: Path) -> None:
    """A table that is partitioned is refused instead of being written wrong."""
    write_deltalake(tmp_path / "t", upsert(k1="a").rows, partition_by="k")

    with pytest.raises(ConnectorError, match="partitioned by k"):
        sink_at(tmp_path, KEYED).open(1)


def test_types_come_back_as_documented(tmp_path: Path) -> None:
    """Each Polars type that Delta lacks is kept in the documented one, nulls included."""
    noon = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "u32": pl.Series([2**32 - 1, None], dtype=pl.UInt32),
            "u64": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
            "cat": pl.Series(["a", None], dtype=pl.Categorical),
            "naive": pl.Series([noon.replace(tzinfo=None), None], dtype=pl.Datetime("us")),
            "paris": pl.Series([noon, None], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone("Europe/Paris"),
            "day": [date(2026, 1, 2), None],
            "clock": [time(1, 2, 3), None],
            "took": [timedelta(seconds=2), None],
            "list": pl.Series([[1], None], dtype=pl.List(pl.UInt8)),
            "nothing": [None, None],
        }
    )
    sink = sink_at(tmp_path, frame.schema)
    sink.open(1)
    sink.write(1, 1, Change(frame))
    found = table_in(tmp_path).row(0, named=True)

    assert found["u32"] == 2**32 - 1
    assert found["u64"] == 2**64 - 1
    assert found["cat"] == "a"
    assert found["naive"] == noon.replace(tzinfo=None)
    assert found["paris"] == noon
    assert (found["day"], found["clock"], found["took"]) == (date(2026, 1, 2), "01:02:03.000000000", 2_000_000)
    assert (found["list"], found["nothing"]) == ([1], None)
    assert table_in(tmp_path).row(1) == (None,) * 10


def test_compaction_beside_a_writer_keeps_every_row_once(tmp_path: Path) -> None:
    """While files are merged, the log is checkpointed and epochs are replaced, each row is there exactly once."""
    sink = sink_at(tmp_path, compact_files=4)
    sink.open(1)
    seen: list[list[int]] = []
    done = threading.Event()

    def read_all_the_time() -> None:
        while not done.is_set():
            seen.append(numbers_in(tmp_path))

    reader = threading.Thread(target=read_all_the_time)
    reader.start()
    for epoch in range(1, 121):
        if epoch % 7 == 0:
            sink.write(epoch, 1, rows(-epoch, -epoch))
        sink.write(epoch, 1, rows(epoch))
    done.set()
    reader.join()
    sink.close()
    compactions = sum(entry["operation"] == "OPTIMIZE" for entry in DeltaTable(tmp_path / "t").history())

    assert numbers_in(tmp_path) == list(range(1, 121))
    assert compactions > 0
    assert list((tmp_path / "t/_delta_log").glob("*.checkpoint.parquet"))
    for numbers in seen:
        positive = [n for n in numbers if n > 0]
        assert positive == list(range(1, len(positive) + 1))


def test_undo_goes_back_over_a_compaction(tmp_path: Path) -> None:
    """Epochs that were merged into one file with others can still be taken back."""
    sink = sink_at(tmp_path, compact_files=3)
    sink.open(1)
    for epoch in range(1, 4):
        sink.write(epoch, 1, rows(epoch))
    assert sink._care is not None
    sink._care.compact()
    sink.write(4, 1, rows(4))
    sink.retract(2, 1)

    assert numbers_in(tmp_path) == [1]


def test_compaction_is_given_up_where_its_files_went_away(tmp_path: Path) -> None:
    """A compaction whose input was replaced while it ran changes nothing and leaves no file."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    sink.write(2, 1, rows(2))
    assert (sink._care, sink._log) != (None, None)
    care = sink._care
    assert care is not None
    small = care._small()
    adds = care._files.write(care._files.read(small), changes_data=False)
    sink.write(2, 1, rows(3))

    assert not care._swap(small, adds)
    assert numbers_in(tmp_path) == [1, 3]


def test_vacuum_keeps_what_an_undo_needs(tmp_path: Path) -> None:
    """Within its retention a vacuum deletes nothing of the past; the table stays whole."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    sink.write(2, 1, rows(2))
    sink.write(2, 1, rows(3))
    assert sink._care is not None
    sink._care.checkpoint()
    sink._care.vacuum()
    sink.write(3, 1, rows(4))
    sink.retract(3, 1)

    assert numbers_in(tmp_path) == [1, 3]


def test_epochs_are_replaced_in_one_commit(tmp_path: Path) -> None:
    """However many epochs: one version, whose note says which file is of which; repeated, it is none."""
    sink = sink_at(tmp_path)
    sink.open(1)
    for epoch in range(1, 5):
        sink.write(epoch, 1, rows(epoch))
    before = DeltaTable(tmp_path / "t").version()
    changes = [(epoch, rows(10 * epoch)) for epoch in range(2, 7)]
    sink.replace(2, 1, iter(changes))
    again = sink.replace(2, 1, iter(changes))

    assert DeltaTable(tmp_path / "t").version() == before + 1
    assert again["repeated"]
    assert numbers_in(tmp_path, before) == [1, 2, 3, 4]
    assert numbers_in(tmp_path) == [1, 20, 30, 40, 50, 60]
    commit = read_commit(tmp_path / "t", before + 1)
    assert commit is not None
    note = commit.note("orders", "write")
    assert note is not None
    assert note.epoch == 6
    assert note.replacement is not None
    assert [part.epoch for part in note.replacement.parts] == [2, 3, 4, 5, 6]
    assert len(list((tmp_path / "t").glob("*.parquet"))) == 4 + 5


def test_files_that_never_were_live_survive_for_an_undo(tmp_path: Path) -> None:
    """What an epoch of a replacement wrote and a later one wrote anew comes back, after vacuum and compaction too."""
    sink = sink_at(tmp_path, KEYED, ("k",), compact_files=2)
    sink.open(1)
    sink.write(1, 1, upsert(k1="a", k2="b"))
    sink.write(2, 1, upsert(k1="bad"))
    sink.replace(2, 1, [(2, upsert(k1="good")), (3, upsert((2,), k1="better")), (4, upsert(k1="best", k3="c"))])
    for epoch in range(5, 12):
        sink.write(epoch, 1, upsert(**{f"k{epoch}": "later"}))
    assert sink._care is not None
    sink._care.compact()
    sink._care.vacuum()
    sink.retract(4, 1)
    assert pairs_in(tmp_path) == {1: "better"}
    sink.retract(3, 1)
    assert pairs_in(tmp_path) == {1: "good", 2: "b"}
    sink.write(3, 1, upsert(k2="B"))
    sink.retract(2, 1)
    assert pairs_in(tmp_path) == {1: "a", 2: "b"}


def test_rows_that_others_append_in_a_replacement_are_kept(tmp_path: Path) -> None:
    """A commit of others in between is read first and stays; one that removes what was built on is an error."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    sink.write(2, 1, rows(2))

    def beside() -> Iterator[tuple[int, Change]]:
        yield 2, rows(20)
        write_deltalake(tmp_path / "t", pl.DataFrame({"n": [99]}), mode="append")
        yield 3, rows(30)

    sink.replace(2, 1, beside())
    assert numbers_in(tmp_path) == [1, 20, 30, 99]

    def against() -> Iterator[tuple[int, Change]]:
        yield 2, rows(200)
        DeltaTable(tmp_path / "t").delete("n = 1")

    with pytest.raises(ConnectorError, match="changed by others"):
        sink.replace(2, 1, against())
    assert numbers_in(tmp_path) == [20, 30, 99]
    assert len(list((tmp_path / "t").glob("*.parquet"))) == 5


def test_table_that_was_made_anew_after_it_was_prepared(tmp_path: Path) -> None:
    """What was loaded ahead is not used for another table in its place, however many versions that one has."""
    first = sink_at(tmp_path)
    first.open(1)
    late = sink_at(tmp_path)
    late.prepare()
    first.close()
    shutil.rmtree(tmp_path / "t")
    write_deltalake(tmp_path / "t", pl.DataFrame({"n": [7]}))
    write_deltalake(tmp_path / "t", pl.DataFrame({"n": [8]}), mode="append")
    late.open(2)
    late.write(1, 2, rows(9))
    assert numbers_in(tmp_path) == [7, 8, 9]


def test_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full ends in a ConnectorError, leaves no file behind, and the epoch can be written later."""
    sink = sink_at(tmp_path)
    sink.open(1)
    (tmp_path / "t/penstock-full.parquet").symlink_to("/dev/full")
    monkeypatch.setattr("penstock.connect.delta_files.new_id", lambda: "full")
    with pytest.raises(ConnectorError, match="No space left"):
        sink.write(1, 1, rows(1))
    monkeypatch.undo()
    assert not list((tmp_path / "t").glob("*.parquet"))
    sink.write(1, 1, rows(1))

    assert numbers_in(tmp_path) == [1]


WRITER = """
import sys
from pathlib import Path
import polars as pl
from penstock.clock import SystemClock
from penstock.connect import Change, Context
from penstock.connect.delta import DeltaSink
from penstock.flow import Dataset

root, first = Path(sys.argv[1]), int(sys.argv[2])
schema = pl.Schema({"n": pl.Int64()})
context = Context("orders", "write", root / "own", root, SystemClock(), schema)
sink = DeltaSink(Dataset("delta", "t", options={"path": "t", "compact_files": 4}), context)
sink.open(first)
epoch = (sink.last_epoch() or 0) or 1
print("ready", flush=True)
while True:
    sink.write(epoch, first, Change(pl.DataFrame({"n": [epoch, epoch]}, schema=schema)))
    epoch += 1
"""


@pytest.mark.crash
def test_killed_writers_leave_each_epoch_once(tmp_path: Path) -> None:
    """Ten processes, each killed while it writes, leave a table in which every epoch is there exactly once."""
    for generation in range(1, 11):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(generation)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        SystemClock().sleep(0.05 + 0.017 * generation)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    found = table_in(tmp_path)["n"].value_counts().sort("n")

    assert set(found["count"]) == {2}
    assert found["n"].to_list() == list(range(1, len(found) + 1))


@pytest.mark.crash
def test_stopped_process_that_wakes_up_is_fenced(tmp_path: Path) -> None:
    """A process stopped by SIGSTOP while it writes ends with Fenced after SIGCONT, and has added nothing since."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    SystemClock().sleep(0.1)
    process.send_signal(signal.SIGSTOP)
    sink = sink_at(tmp_path)
    sink.open(2)
    last = sink.last_epoch() or 0
    sink.write(last + 1, 2, rows(-1))
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=60)

    assert b"Fenced" in errors
    expected = [-1, *(n for n in range(1, last + 1) for _ in range(2))]
    assert numbers_in(tmp_path) == expected


def test_source_reads_versions_in_order(tmp_path: Path) -> None:
    """What the table has at the start comes first, then each version's rows; a budget may cut a version."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1, 2, 3))
    source = source_at(tmp_path)
    at = source.initial()
    sink.write(2, 1, rows(4, 5, 6))
    sink.write(3, 1, rows(7))
    read: list[int] = []
    while (end := source.offer(at, Budget(rows=2))) != at:
        frames = [part.frame for part in source.read(at, end)]
        assert sum(frame.height for frame in frames) <= 2
        again = [part.frame for part in source_at(tmp_path).read(at, end)]
        assert all(one.equals(two) for one, two in zip(frames, again, strict=True))
        read += [n for frame in frames for n in frame["n"].to_list()]
        at = end

    assert read == [1, 2, 3, 4, 5, 6, 7]
    assert source.backlog(at).rows == 0


def test_source_sees_no_compaction_and_refuses_changes(tmp_path: Path) -> None:
    """Merged files are no new rows; a version that took rows away is an error, or passed over where asked for."""
    sink = sink_at(tmp_path, compact_files=2)
    sink.open(1)
    source = source_at(tmp_path)
    at = source.initial()
    sink.write(1, 1, rows(1))
    sink.write(2, 1, rows(2))
    assert sink._care is not None
    sink._care.compact()
    at = source.offer(at, Budget())
    assert source.offer(at, Budget()) == at
    sink.write(2, 1, rows(3))
    with pytest.raises(ConnectorError, match="changed or removed rows"):
        source.offer(at, Budget())

    skipping = source_at(tmp_path, changes="skip")
    assert skipping.offer(at, Budget()) == at


def test_source_with_an_end(tmp_path: Path) -> None:
    """A bounded source ends at the version of its start."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    source = source_at(tmp_path, bounded=True)
    sink.write(2, 1, rows(2))
    end = source.offer(source.initial(), Budget())

    assert source.exhausted(end)
    assert source.offer(end, Budget()) == end


def test_source_names_the_version_that_is_gone(tmp_path: Path) -> None:
    """A range whose log entries were cleaned up is a ConnectorError that names the version."""
    sink = sink_at(tmp_path)
    sink.open(1)
    sink.write(1, 1, rows(1))
    at = {"table": {"version": 1, "row": 0}}
    sink.write(2, 1, rows(2))
    DeltaTable(tmp_path / "t").create_checkpoint()
    assert read_commit(tmp_path / "t", 1) is not None
    (tmp_path / "t/_delta_log/00000000000000000001.json").unlink()

    with pytest.raises(ConnectorError, match="version 1"):
        source_at(tmp_path).offer(at, Budget())
