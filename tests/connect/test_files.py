"""Files as a source: what is in them never stops the flow, and a file that changed always does."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from penstock.clock import ManualClock
from penstock.connect import Budget, Context, Offsets, Reject, Source, open_source
from penstock.errors import ConfigError, ConnectorError, SchemaError
from penstock.flow import Dataset

SCHEMA = pl.Schema({"id": pl.Int64(), "word": pl.String(), "at": pl.Datetime("us")})
IDS = pl.Schema({"id": pl.Int64})


def files(folder: Path, path: str, schema: pl.Schema | None = IDS, **options: Any) -> Source:
    """A source on `path` in the folder, with a clock that stands still."""
    own = folder / "own" / path.replace("/", "_")
    context = Context("flow", "read", own, folder, ManualClock(), schema)
    return open_source(Dataset("files", path, None, (), {"path": path, **options}), context)


def drained(source: Source, budget: Budget | None = None) -> tuple[pl.DataFrame, list[Reject], Offsets]:
    """Everything that is there, by offers of the budget."""
    at = source.initial()
    frames = [source.schema().to_frame()]
    rejects: list[Reject] = []
    while (end := source.offer(at, budget or Budget())) != at:
        for read in source.read(at, end):
            frames.append(read.frame)
            rejects.extend(read.rejects)
        at = end
    return pl.concat(frames), rejects, at


def ids(frame: pl.DataFrame) -> list[int]:
    """The ids in their order."""
    return frame["id"].to_list()


# --- what may be in a file --------------------------------------------------------------------------------------------


def test_three_poison_lines_lose_no_other_row(tmp_path: Path) -> None:
    """Of 100,000 lines with 3 bad ones 99,997 rows come, and the bad ones are told with their bytes."""
    lines = [b'{"id": %d}\n' % number for number in range(100_000)]
    poison = {17: b"garbage\n", 50_000: b'{"id": "seven"}\n', 99_999: b'{"id": 1\n'}
    for place, line in poison.items():
        lines[place] = line
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    frame, rejects, _ = drained(files(tmp_path, "a.jsonl"))
    assert ids(frame) == [number for number in range(100_000) if number not in poison]
    assert [reject.offset["pos"] for reject in rejects] == [sum(map(len, lines[:place])) for place in poison]
    assert [reject.raw for reject in rejects] == ["garbage", '{"id": "seven"}', '{"id": 1']
    assert "column 'id'" in rejects[1].error
    assert all("a.jsonl" in reject.error for reject in rejects)


BAD_LINES = {
    "syntax": b'{"id": 1,}',
    "cut off": b'{"id": 1',
    "no object": b"[1, 2]",
    "a number": b"7",
    "null": b"null",
    "two objects": b'{"id": 1} {"id": 2}',
    "text for a number": b'{"id": "1"}',
    "a fraction": b'{"id": 1.5}',
    "a boolean": b'{"id": true}',
    "too large": b'{"id": 9223372036854775808}',
    "an object": b'{"id": {"x": 1}}',
    "not UTF-8": b'{"word": "\xff\xfe"}',
    "half a surrogate in bytes": b'{"word": "\xed\xa0\x80"}',
    "half a surrogate": b'{"word": "\\ud83d \\\\ud83d"}',
    "NUL": b'{"id": 1}\x00',
    "NUL bytes alone": b"\x00\x00\x00",
    "a control character": b'{"word": "a\x01"}',
    "a bad timestamp": b'{"at": "yesterday"}',
    "the 30th of February": b'{"at": "2024-02-30T00:00:00"}',
    "an empty timestamp": b'{"at": ""}',
    "a year for a timestamp": b'{"at": 2024}',
    "a boolean for a timestamp": b'{"at": true}',
    "NaN": b'{"id": NaN}',
    "nested too deeply": b'{"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "HTML": b"<html><body>502 Bad Gateway</body></html>",
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
@pytest.mark.parametrize("among", [1, 5_000])
def test_a_bad_line_is_told_and_its_neighbours_come(tmp_path: Path, line: bytes, among: int) -> None:
    """Whatever is wrong with a line, it alone is rejected; beside one line or thousands the verdict is the same."""
    before = b"".join(b'{"id": %d, "at": "2024-01-01T00:00:00"}\n' % number for number in range(among))
    (tmp_path / "a.jsonl").write_bytes(before + line + b"\n" + b'{"id": -1}\n')
    frame, rejects, _ = drained(files(tmp_path, "a.jsonl", SCHEMA))
    assert ids(frame) == [*range(among), -1]
    assert [reject.offset for reject in rejects] == [{"file": 0, "pos": len(before)}]
    assert rejects[0].error.startswith("a.jsonl: ")


def test_lines_that_are_odd_but_good(tmp_path: Path) -> None:
    """Blank lines, CRLF, a byte order mark, white space, missing and extra fields, no newline at the end."""
    text = b'\xef\xbb\xbf{"id": 1}\r\n\r\n   \n\t\n  {"id": 2}  \n{"word": "x"}\n'
    text += b'{"other": {"a": [1]}, "id": 3}\n{}\n{"id": 4}'
    (tmp_path / "a.jsonl").write_bytes(text)
    frame, rejects, _ = drained(files(tmp_path, "a.jsonl", SCHEMA))
    assert not rejects
    assert frame["id"].to_list() == [1, 2, None, 3, None, 4]
    assert frame["word"].to_list() == [None, None, "x", None, None, None]


def test_surrogate_pairs_are_letters(tmp_path: Path) -> None:
    """A whole pair is one letter, and what only looks like an escape is text."""
    (tmp_path / "a.jsonl").write_bytes(b'{"word": "\\ud83d\\ude00 \\\\ud83d \\\\\\uD83D\\uDE00"}\n')
    frame, rejects, _ = drained(files(tmp_path, "a.jsonl", SCHEMA))
    assert not rejects
    assert frame["word"].to_list() == ["\U0001f600 \\ud83d \\\U0001f600"]


def test_a_reject_tells_its_byte_after_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    """The offset counts every byte of the file, also those that are no row."""
    text = b'\xef\xbb\xbf\n  \n{"at": "x"}\nbad\n{"id": 1}\n'
    (tmp_path / "a.jsonl").write_bytes(text)
    _, rejects, _ = drained(files(tmp_path, "a.jsonl", SCHEMA))
    assert [reject.offset["pos"] for reject in rejects] == [text.index(b'{"at"'), text.index(b"bad")]


def test_a_line_of_fifty_megabytes(tmp_path: Path) -> None:
    """A line larger than any budget is taken alone; as a reject it is kept only in part."""
    long = b'{"id": 1, "word": "' + b"x" * 50_000_000 + b'"}\n'
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 0}\n' + long + b'{"id": 2}\n' + long.replace(b'"id": 1', b'"id": "1"'))
    frame, rejects, _ = drained(files(tmp_path, "a.jsonl", SCHEMA), Budget(size_bytes=1_000_000))
    assert ids(frame) == [0, 1, 2]
    assert frame["word"].str.len_bytes().to_list() == [None, 50_000_000, None]
    assert len(rejects) == 1
    assert len(rejects[0].raw) == 64 * 1024


def test_timestamps_in_all_their_forms(tmp_path: Path) -> None:
    """ISO with and without zone, dates, and epoch numbers in four units mean the same moment."""
    forms = [
        '"2023-11-14T22:13:20"',
        '"2023-11-14 22:13:20"',
        '"2023-11-14T22:13:20Z"',
        '"2023-11-14T22:13:20.000Z"',
        '"2023-11-14T23:13:20+01:00"',
        '"2023-11-14T23:13:20+0100"',
        '"2023-11-14T21:13:20.000000-01"',
        "1700000000",
        "1700000000000",
        "1700000000000000",
        "1700000000000000000",
        '"1700000000"',
    ]
    text = "".join(f'{{"at": {form}}}\n' for form in [*forms, "1700000000.25", "null"])
    (tmp_path / "a.jsonl").write_text(text)
    frame, rejects, _ = drained(files(tmp_path, "a.jsonl", SCHEMA))
    moment = datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001 - the column has no zone
    assert not rejects
    assert frame["at"].to_list() == [*([moment] * len(forms)), moment.replace(microsecond=250_000), None]


def test_columns_of_many_types(tmp_path: Path) -> None:
    """Small integers, decimals, dates, nested values: what fits comes, what does not is a reject."""
    schema = pl.Schema(
        {
            "small": pl.Int8(),
            "day": pl.Date(),
            "money": pl.Decimal(10, 2),
            "zoned": pl.Datetime("ms", "UTC"),
            "list": pl.List(pl.Int64),
            "struct": pl.Struct({"x": pl.Int64, "y": pl.String}),
            "clock": pl.Time(),
        }
    )
    good = {
        "small": 1,
        "day": "2024-02-29",
        "money": "1.25",
        "zoned": "2024-01-01T00:00:00Z",
        "list": [1, None],
        "struct": {"x": 1, "z": 2},
        "clock": "10:30:00.5",
    }
    bad = [
        {"small": 128},
        {"day": "2023-02-29"},
        {"money": "x"},
        {"zoned": "x"},
        {"list": ["x"]},
        {"struct": {"x": "y"}},
    ]
    text = "".join(json.dumps(row) + "\n" for row in [good, *bad, {"clock": "25:00"}, {"list": 5}, {"money": 1.5}])
    (tmp_path / "a.jsonl").write_text(text)
    frame, rejects, _ = drained(files(tmp_path, "a.jsonl", schema))
    assert len(rejects) == 8
    assert frame.schema == schema
    assert frame["money"].cast(pl.String).to_list() == ["1.25", "1.50"]
    assert frame["zoned"][0] == datetime(2024, 1, 1, tzinfo=UTC)
    assert frame["struct"][0] == {"x": 1, "y": None}


LINE = st.one_of(
    st.integers(0, 999).map(lambda number: b'{"id": %d}' % number),
    st.sampled_from([b"", b"  ", b"bad", b'{"id": "x"}', b'{"id": 1, "word": "\\n\xc3\xa9"}', b"\xff", b"{}"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINE, max_size=40),
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.sampled_from([b"", b"\n"]),
    rows=st.integers(1, 12),
    size=st.integers(1, 200),
)
def test_any_chunks_give_what_the_whole_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], end: bytes, last: bytes, rows: int, size: int
) -> None:
    """Rows and rejects do not depend on where ranges were cut."""
    folder = tmp_path_factory.mktemp("chunks")
    (folder / "a.jsonl").write_bytes(end.join(lines) + last)
    whole, whole_rejects, _ = drained(files(folder, "a.jsonl"))
    parts, part_rejects, _ = drained(files(folder, "a.jsonl"), Budget(rows, size))
    assert_frame_equal(parts, whole)
    assert part_rejects == whole_rejects
    good = [json.loads(line) for line in lines if line.startswith(b"{") and b'"x"' not in line]
    assert whole["id"].to_list() == [line.get("id") for line in good]


# --- CSV --------------------------------------------------------------------------------------------------------------

FIELD = st.one_of(st.text(st.sampled_from('ab",;\n\r é'), max_size=6), st.integers(-9, 9).map(str))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(FIELD, max_size=30), rows=st.integers(1, 10), size=st.integers(1, 100))
def test_csv_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, words: list[str], rows: int, size: int) -> None:
    """Quoted newlines, quotes and delimiters survive any cut."""
    folder = tmp_path_factory.mktemp("csv")
    frame = pl.DataFrame({"id": range(len(words)), "word": words}, {"id": pl.Int64, "word": pl.String})
    frame.write_csv(folder / "a.csv")
    found, rejects, _ = drained(files(folder, "a.csv", frame.schema), Budget(rows, size))
    assert not rejects
    assert_frame_equal(found, frame)


def test_csv_of_the_wild(tmp_path: Path) -> None:
    """CRLF, a byte order mark, nulls, short rows and blank lines are read; long rows and wrong types are rejects."""
    text = (
        b'\xef\xbb\xbfid,word,at\r\n1,x,2024-01-01\r\n\r\n2,"a\r\nb",\r\n3,"",\r\n4\r\n5,NA,\r\nx,y,\r\n'
        b"6,a,2024-01-01,more\r\n7,\xff,\r\n8,z,never\r\n9,end,"
    )
    (tmp_path / "a.csv").write_bytes(text)
    frame, rejects, _ = drained(files(tmp_path, "a.csv", SCHEMA, null_values=["NA"]))
    assert ids(frame) == [1, 2, 3, 4, 5, 9]
    assert frame["word"].to_list() == ["x", "a\r\nb", "", None, None, "end"]
    starts = [b"x,y", b"6,a", b"7,\xff", b"8,z"]
    assert [reject.offset["pos"] for reject in rejects] == [text.index(start) for start in starts]


@pytest.mark.parametrize("size", [1, 20, 10_000_000])
def test_a_stray_quote_swallows_nothing(tmp_path: Path, size: int) -> None:
    """A quote that is never closed costs its own line, wherever the file is cut."""
    rows = [f"{number},word" for number in range(1_000)]
    rows[10], rows[500] = '10,"never closed', '500,"again" and more'
    (tmp_path / "a.csv").write_text("id,word\n" + "\n".join(rows) + "\n")
    schema = pl.Schema({"id": pl.Int64, "word": pl.String})
    frame, rejects, _ = drained(files(tmp_path, "a.csv", schema), Budget(size_bytes=size))
    assert ids(frame) == [number for number in range(1_000) if number not in (10, 500)]
    assert [reject.raw for reject in rejects] == [rows[10], rows[500]]


def test_csv_options_and_headers(tmp_path: Path) -> None:
    """A delimiter may be set, a tab is told by `.tsv`, columns may stand in any order; a missing one is named."""
    (tmp_path / "a.csv").write_text("word;id;other\nx;1;?\n")
    (tmp_path / "b.tsv").write_text("id\tword\n1\tx\n")
    (tmp_path / "c.csv").write_text("idd,word\n1,x\n")
    schema = pl.Schema({"id": pl.Int64, "word": pl.String})
    for source in (files(tmp_path, "a.csv", schema, delimiter=";"), files(tmp_path, "b.tsv", schema)):
        assert drained(source)[0].rows() == [(1, "x")]
    with pytest.raises(ConnectorError, match=r"no column 'id'. Did you mean 'idd'\?"):
        drained(files(tmp_path, "c.csv", schema))
    with pytest.raises(ConfigError, match="delimiter is one ASCII character"):
        files(tmp_path, "a.csv", schema, delimiter=";;")


# --- other formats ----------------------------------------------------------------------------------------------------


def test_parquet_by_rows(tmp_path: Path) -> None:
    """Parts of row groups come in order, and values that don't fit the declared type are rejects."""
    frame = pl.DataFrame({"id": range(1_000), "word": [str(number) for number in range(1_000)]})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=300)
    found, _, _ = drained(files(tmp_path, "a.parquet", None), Budget(rows=70))
    assert_frame_equal(found, frame)
    small, rejects, _ = drained(files(tmp_path, "a.parquet", pl.Schema({"id": pl.Int8})))
    assert ids(small) == list(range(128))
    assert [reject.offset["pos"] for reject in rejects] == list(range(128, 1_000))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all" * 100])
def test_damaged_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    """A file that is no Parquet is an error with its name."""
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ConnectorError, match=r"a\.parquet is no readable Parquet file"):
        drained(files(tmp_path, "a.parquet"))


PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("ending", PACK)
def test_packed_files_of_several_parts(tmp_path: Path, ending: str) -> None:
    """Compressed parts one after the other are one file, as `cat a.gz b.gz` makes it."""
    lines = [b'{"id": %d}\n' % number for number in range(2_000)]
    packed = PACK[ending](b"".join(lines[:700])) + PACK[ending](b"") + PACK[ending](b"".join(lines[700:]))
    (tmp_path / f"a.jsonl{ending}").write_bytes(packed)
    frame, _, at = drained(files(tmp_path, f"a.jsonl{ending}"), Budget(rows=300))
    assert ids(frame) == list(range(2_000))
    assert at == {"files": {"file": 1, "pos": 0}}


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage after"])
def test_a_damaged_packed_file_gives_its_good_rows_and_then_an_error(tmp_path: Path, ending: str, damage: str) -> None:
    """Rows before the damage come, then an error names the file; no half line is ever a row."""
    lines = [json.dumps({"id": number, "word": os.urandom(30).hex()}).encode() + b"\n" for number in range(9_000)]
    packed = bytearray(PACK[ending](b"".join(lines)))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 0xFF
        del packed[len(packed) // 2 + 20 :]
    else:
        packed += b"this is no compressed data"
    (tmp_path / f"a.jsonl{ending}").write_bytes(packed)
    source = files(tmp_path, f"a.jsonl{ending}")
    seen: list[int] = []

    def drain() -> None:
        at = source.initial()
        while (end := source.offer(at, Budget(rows=1_000))) != at:
            for read in source.read(at, end):
                seen.extend(ids(read.frame))
            at = end

    with pytest.raises(ConnectorError, match=r"a\.jsonl.* is damaged: its (gzip|zstd) data ends after \d+ good bytes"):
        drain()
    assert seen[:100] == list(range(100))
    assert len(seen) <= 9_000


# --- which files ------------------------------------------------------------------------------------------------------


def test_files_come_in_the_order_of_their_names_and_the_list_stays(tmp_path: Path) -> None:
    """A file that appears after the first look is not read without `watch`; numbers stay after a restart."""
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"id": {ord(name)}}}\n')
    frame, _, at = drained(files(tmp_path, "*.jsonl"))
    assert ids(frame) == [ord("a"), ord("b"), ord("c")]
    (tmp_path / "aa.jsonl").write_text('{"id": 0}\n')
    again = files(tmp_path, "*.jsonl")
    assert again.exhausted(at)
    assert ids(drained(again)[0]) == [ord("a"), ord("b"), ord("c")]


def test_a_folder_skips_what_is_unfinished_or_foreign(tmp_path: Path) -> None:
    """Hidden, temporary and other files of a folder are left alone."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (".a.jsonl", "_a.jsonl", "a.jsonl.tmp", "a.jsonl.part", "README.md", "_SUCCESS"):
        (folder / name).write_text("no row\n")
    (folder / "a.jsonl").write_text('{"id": 1}\n')
    frame, rejects, _ = drained(files(tmp_path, "in"))
    assert (ids(frame), rejects) == ([1], [])


def test_no_file_is_an_error_that_names_the_path(tmp_path: Path) -> None:
    """A path or glob without files says where it looked; with `watch` it waits."""
    for path in ("none.jsonl", "*.jsonl"):
        with pytest.raises(ConnectorError, match="no file at") as raised:
            drained(files(tmp_path, path))
        assert str(tmp_path / path) in str(raised.value)
    waiting = files(tmp_path, "*.jsonl", watch=True)
    assert drained(waiting)[2] == waiting.initial()


def test_a_watched_file_is_taken_once_it_holds_still(tmp_path: Path) -> None:
    """A file that still grows between two looks is not taken; when it rests it is, once."""
    clock = ManualClock()
    context = Context("flow", "read", tmp_path / "own", tmp_path, clock, IDS)
    source = open_source(Dataset("files", "x", None, (), {"path": "*.jsonl", "watch": True}), context)
    at = source.initial()
    path = tmp_path / "a.jsonl"
    assert source.offer(at, Budget()) == at
    for number in range(3):
        with path.open("a") as file:
            file.write(f'{{"id": {number}}}\n')
        clock.sleep(1)
        assert source.offer(at, Budget()) == at
    clock.sleep(1)
    end = source.offer(at, Budget())
    assert ids(source.read(at, end)[0].frame) == [0, 1, 2]
    clock.sleep(1)
    assert source.offer(end, Budget()) == end


def test_watched_files_that_are_there_at_the_start_are_offered_at_once(tmp_path: Path) -> None:
    """The first offer finds them, so that a run until drained does not end before it has begun."""
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n')
    source = files(tmp_path, "*.jsonl", watch=True)
    end = source.offer(source.initial(), Budget(rows=1))
    assert ids(source.read(source.initial(), end)[0].frame) == [1]


def test_a_file_that_changed_after_it_was_taken_is_an_error(tmp_path: Path) -> None:
    """Growing or shrinking files are named, with the option that reads growing ones."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n{"id": 2}\n')
    source = files(tmp_path, "a.jsonl")
    end = source.offer(source.initial(), Budget(rows=1))
    with path.open("a") as file:
        file.write('{"id": 3}\n')
    with pytest.raises(ConnectorError, match="had 20 bytes when it was taken and has 30 now") as raised:
        source.offer(end, Budget())
    assert "tail=True" in str(raised.value)


def test_a_range_of_a_file_that_is_gone_names_it(tmp_path: Path) -> None:
    """A planned range whose file was deleted says which file, also in a new process."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n{"id": 2}\n')
    source = files(tmp_path, "a.jsonl")
    end = source.offer(source.initial(), Budget(rows=1))
    path.unlink()
    fresh = files(tmp_path, "a.jsonl")
    with pytest.raises(ConnectorError, match=r"a\.jsonl can't be read: No such file.*file 0 of its list"):
        fresh.read(fresh.initial(), end)


def test_a_torn_list_of_files_is_repaired_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    """Half an entry at the list's end, left by a crash, was never used; damage before it is an error."""
    clock = ManualClock()
    context = Context("flow", "read", tmp_path / "own", tmp_path, clock, IDS)
    dataset = Dataset("files", "x", None, (), {"path": "*.jsonl", "watch": True})
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n')
    first = open_source(dataset, context)
    first.offer(first.initial(), Budget())
    clock.sleep(1)
    end = first.offer(first.initial(), Budget())
    stored = tmp_path / "own" / "files.jsonl"
    with stored.open("a") as file:
        file.write('{"number": 1, "pa')
    (tmp_path / "b.jsonl").write_text('{"id": 2}\n')
    second = open_source(dataset, context)
    second.offer(end, Budget())
    clock.sleep(1)
    last = second.offer(end, Budget())
    assert ids(second.read(end, last)[0].frame) == [2]
    stored.write_text("nonsense\n" + stored.read_text())
    with pytest.raises(ConnectorError, match=r"the list of files .* is damaged after 0 entries"):
        open_source(dataset, context).offer(end, Budget())


def test_another_path_for_the_same_source_is_an_error(tmp_path: Path) -> None:
    """Positions in one set of files are never applied to another."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"id": 1}\n')
    context = Context("flow", "read", tmp_path / "own", tmp_path, ManualClock(), IDS)
    drained(open_source(Dataset("files", "x", None, (), {"path": "a.jsonl"}), context))
    other = open_source(Dataset("files", "x", None, (), {"path": "b.jsonl"}), context)
    with pytest.raises(ConnectorError, match=r"has read 'a\.jsonl' so far and is asked for 'b\.jsonl' now"):
        other.offer(other.initial(), Budget())


def test_tailed_files_give_whole_lines_only(tmp_path: Path) -> None:
    """Of a growing file only lines with their newline are taken; each file has a position of its own."""
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n{"id": 2')
    (tmp_path / "b.jsonl").write_text('{"id": 10}\n')
    source = files(tmp_path, "*.jsonl", tail=True)
    frame, rejects, at = drained(source)
    assert (sorted(ids(frame)), rejects) == ([1, 10], [])
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write("}\n")
    end = source.offer(at, Budget())
    assert [ids(read.frame) for read in source.read(at, end)] == [[2]]
    assert json.loads(json.dumps(end)) == end


@pytest.mark.parametrize("change", ["cut", "replaced", "gone"])
def test_a_tailed_file_that_was_rotated_is_an_error(tmp_path: Path, change: str) -> None:
    """A growing file that became shorter, another one, or went away is named."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n{"id": 2}\n')
    source = files(tmp_path, "a.jsonl", tail=True)
    _, _, at = drained(source)
    if change == "cut":
        path.write_text('{"id": 3}\n')
    else:
        path.rename(tmp_path / "a.jsonl.1")
        if change == "replaced":
            path.write_text('{"id": 3}\n{"id": 4}\n{"id": 5}\n')
    expected = {"cut": "was cut to 10 bytes", "replaced": "was replaced by another file", "gone": "is gone"}
    with pytest.raises(ConnectorError, match=expected[change]):
        source.offer(at, Budget())


def test_schemas_are_told_by_the_data(tmp_path: Path) -> None:
    """Without a declared schema the first lines tell; an empty file can't."""
    (tmp_path / "a.jsonl").write_text('{"id": 1, "word": null}\nbad\n{"id": 2.5, "word": "x"}\n')
    (tmp_path / "a.csv").write_text("id,word\n1,x\n2,\n")
    (tmp_path / "empty.jsonl").write_text("")
    assert files(tmp_path, "a.jsonl", None).schema() == {"id": pl.Float64, "word": pl.String}
    assert files(tmp_path, "a.csv", None).schema() == {"id": pl.Int64, "word": pl.String}
    with pytest.raises(SchemaError, match="declare a schema"):
        files(tmp_path, "empty.jsonl", None).schema()


def test_wrong_options_are_named(tmp_path: Path) -> None:
    """An unknown format, a tailed gzip file and an unknown ending are errors that say what to do."""
    with pytest.raises(ConfigError, match=r"format is one of ndjson, csv, parquet, not 'nd'"):
        files(tmp_path, "a", format="nd")
    with pytest.raises(ConfigError, match="can't be tailed"):
        files(tmp_path, "a.jsonl.gz", tail=True)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ConfigError, match="nothing tells the format"):
        drained(files(tmp_path, "a.txt"))
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(SchemaError, match="JSON can't hold"):
        drained(files(tmp_path, "a.jsonl", pl.Schema({"x": pl.Binary})))
