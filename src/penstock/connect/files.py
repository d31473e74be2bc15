"""Files of rows as a source: NDJSON, CSV, Parquet; plain, gzip or zstd; a path, a folder, a glob; watched or tailed.

One partition, `files`, whose position is a file's number in the durable list (`file_list`) and a place in that file: a
byte of the unpacked text, a row number in Parquet. With `tail`, where several files grow at a time, each file is a
partition of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import polars as pl

from penstock.analysis import to_schema
from penstock.connect.complaints import forgotten, naming
from penstock.connect.contract import Backlog, Budget, Context, Offsets, PartitionRead, Reject, Source
from penstock.connect.file_list import FileEntry, FileList, Pattern, format_of
from penstock.connect.file_readers import FileReader, FormatOptions, infer_schema, open_reader
from penstock.errors import ConfigError, ConnectorError, did_you_mean
from penstock.flow import Dataset

__all__ = ["FilesSource"]

PARTITION = "files"
FORMATS = ("ndjson", "csv", "parquet")
COMPRESSIONS = ("gzip", "zstd")
OPEN_FILES = 8
"""So many files are kept open between an offer and its read."""
POLL_S = 0.02


class FilesSource(Source):
    """Reads files in the order of their list, each from its start to its end.

    Without `tail` a file must not change once it was taken; one that did is an error that says so.
    """

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        self._options = _format_options(dataset, context)
        self._watch = bool(dataset.options.get("watch", False))
        self._tail = bool(dataset.options.get("tail", False))
        self.bounded = not (self._watch or self._tail)
        if self._tail and (self._options.compression or self._options.format == "parquet"):
            raise ConfigError(
                f"files {dataset.name!r}: a compressed or Parquet file can't be tailed, it is of use only as a whole",
                hint="use watch=True: each file is taken once it is complete",
            )
        pattern = Pattern(str(dataset.options["path"]), context.root, self._options.format is not None)
        self._list = FileList(
            pattern, context.folder, context.clock, watch=self._watch or self._tail, growing=self._tail
        )
        self._lock = threading.RLock()
        self._readers: dict[int, FileReader] = {}
        self._schema: pl.Schema | None = None
        self._resting = False
        self._offered = (0, 0)
        """Where the last offer began; its range may still be to be read."""

    def schema(self) -> pl.Schema:
        """The declared columns, those of the first Parquet file, or those inferred from the first text file's start."""
        with self._lock:
            if self._schema is None:
                self._schema = self._declared() or self._first_schema()
            return self._schema

    def project(self, columns: Sequence[str]) -> pl.Schema:
        """Lines of JSON are parsed for these columns alone; the other formats give all."""
        schema = self.schema()
        with self._lock:
            if self._options.format == "ndjson":
                self._schema = pl.Schema({name: schema[name] for name in columns})
            return self._schema or schema

    def initial(self) -> Offsets:
        """Before the first file."""
        return {} if self._tail else {PARTITION: {"file": 0, "pos": 0}}

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """The end of the next range; it may span several files. Raises ConnectorError where there are none."""
        with self._lock:
            self._refresh()
            return self._offer_each(start, budget) if self._tail else self._offer_in_order(start, budget)

    def read(self, start: Offsets, end: Offsets) -> Sequence[PartitionRead]:
        """The rows of the range, and the lines that are none. Raises ConnectorError where a file is gone or changed."""
        if not self._tail:
            first, last = _position(start, PARTITION), _position(end, PARTITION)
            found = self._read_partition(PARTITION, first, last)
            return [found] if found is not None else []
        reads = (
            self._read_partition(name, (int(at["file"]), _position(start, name)[1]), (int(at["file"]), int(at["pos"])))
            for name, at in sorted(end.items(), key=lambda item: int(item[1]["file"]))
        )
        return [found for found in reads if found is not None]

    def lead(self) -> None:
        """Take files into the list from now on."""
        self._resting = False

    def rest(self) -> None:
        """Read by the list that the leader writes, and add nothing to it."""
        self._resting = True

    def forget(self, end: Offsets) -> None:
        """Close files that were read to their end; the files themselves stay."""
        if self._tail:
            return
        done, _ = _position(end, PARTITION)
        with self._lock:
            for number in [number for number in self._readers if number < done]:
                del self._readers[number]

    def exhausted(self, at: Offsets) -> bool:
        """Whether every file of the list was read; never where files may come or grow."""
        if not self.bounded:
            return False
        with self._lock:
            self._refresh()
            return _position(at, PARTITION)[0] >= len(self._list.entries)

    def backlog(self, at: Offsets) -> Backlog:
        """Bytes of the files (compressed where they are) after `at`, and rows as far as they are known."""
        with self._lock:
            self._refresh()
            if self._tail:
                sizes = [self._left_of(entry, _position(at, entry.path)[1]) for entry in self._list.entries]
                return Backlog(size_bytes=sum(sizes))
            number, place = _position(at, PARTITION)
            size = sum(entry.size for entry in self._list.entries[number + 1 :])
            current = self._list.entry(number)
            if current is not None:
                size += max(0, current.size - self._reader(current).packed_place(place))
            return Backlog(rows=self._rows_in(size), size_bytes=size)

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """Until a file came or grew. Looks every few milliseconds."""
        clock = self.context.clock
        until_s = clock.stopwatch_s() + timeout_s
        while (left_s := until_s - clock.stopwatch_s()) > 0:
            size_bytes = self.backlog(at).size_bytes
            if size_bytes or self.exhausted(at):
                return
            clock.sleep(min(left_s, POLL_S))

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._readers.clear()

    def _declared(self) -> pl.Schema | None:
        if self.context.schema is not None:
            return self.context.schema
        return to_schema(self.dataset.schema) if self.dataset.schema is not None else None

    def _refresh(self) -> None:
        """Look for files. Raises ConnectorError, which names flow and step, where there are none."""
        with naming(self.context):
            if not self._resting:
                self._list.refresh()

    def _first_schema(self) -> pl.Schema:
        entry = self._list.entry(0)
        if entry is None:
            self._refresh()
            entry = self._list.entry(0)
        if entry is None:
            raise ConnectorError(
                f"no file at {self._list.pattern.resolved} yet, so the columns are unknown",
                flow=self.context.flow,
                step=self.context.step,
                hint="declare a schema",
            )
        return infer_schema(self._list.pattern.root / entry.path, self._options)

    def _offer_in_order(self, start: Offsets, budget: Budget) -> Offsets:
        number, place = _position(start, PARTITION)
        rows, size = budget.rows, budget.size_bytes
        while (entry := self._list.entry(number)) is not None and rows > 0 and size > 0:
            is_first = (number, place) == _position(start, PARTITION)
            try:
                reader = self._reader(entry)
                reader.keep_from(self._offered[1] if self._offered[0] == number else 0)
                cut = reader.cut(place, Budget(rows, size))
            except ConnectorError:
                if is_first:
                    raise
                break  # what came before is good; the next offer tells
            used = reader.cost(place, cut.end)
            rows, size = rows - used.rows, size - used.size_bytes
            if not cut.at_end:
                place = cut.end
                break
            number, place = number + 1, 0
        self._offered = _position(start, PARTITION)
        return {PARTITION: {"file": number, "pos": place}}

    def _offer_each(self, start: Offsets, budget: Budget) -> Offsets:
        """Each growing file gets an equal share, and what others leave."""
        end = dict(start)
        waiting = [entry for entry in self._list.entries if self._left_of(entry, _position(start, entry.path)[1]) > 0]
        rows, size = budget.rows, budget.size_bytes
        for left, entry in zip(range(len(waiting), 0, -1), waiting, strict=True):
            if rows <= 0 or size <= 0:
                break
            place = _position(start, entry.path)[1]
            reader = self._reader(entry)
            cut = reader.cut(place, Budget(max(1, rows // left), max(1, size // left)))
            if cut.end == place:
                continue
            used = reader.cost(place, cut.end)
            rows, size = rows - used.rows, size - used.size_bytes
            end[entry.path] = {"file": entry.number, "pos": cut.end}
        return end

    def _left_of(self, entry: FileEntry, place: int) -> int:
        """Bytes after `place` in a growing file. Raises ConnectorError where it was cut or replaced."""
        path = self._list.pattern.root / entry.path
        try:
            status = path.stat()
        except FileNotFoundError:
            raise self._forgotten(f"{path} is gone; it was read up to byte {place}", entry) from None
        if status.st_ino != entry.inode or status.st_size < place:
            what = "replaced by another file" if status.st_ino != entry.inode else f"cut to {status.st_size} bytes"
            hint = "let the logger write a new name for each file and read them with a glob"
            raise self._forgotten(f"{path} was {what}; it was read up to byte {place}", entry, hint)
        return status.st_size - place

    def _forgotten(self, message: str, entry: FileEntry, hint: str = "") -> ConnectorError:
        """The error for a file that is not what it was: says from which file on all are still there."""
        whole = len(self._list.entries)
        while whole and self._is_as_taken(self._list.entries[whole - 1]):
            whole -= 1
        since = f"file {whole} of the list"
        if whole < len(self._list.entries):
            since += f" ({self._list.entries[whole].path})"
        error = forgotten(f"{message}; it is file {entry.number} of its list", since=since, hint=hint)
        error.flow, error.step = self.context.flow, self.context.step
        return error

    def _is_as_taken(self, entry: FileEntry) -> bool:
        try:
            status = (self._list.pattern.root / entry.path).stat()
        except OSError:
            return False
        return status.st_ino == entry.inode if self._tail else status.st_size == entry.size

    def _read_partition(self, partition: str, start: tuple[int, int], end: tuple[int, int]) -> PartitionRead | None:
        frames: list[pl.DataFrame] = []
        rejects: list[Reject] = []
        schema = self.schema()
        for entry, first, last in self._ranges(start, end):
            with self._lock:
                reader = self._reader(entry)
            for frame, bad in reader.read(first, last, schema):
                frames.append(frame)
                rejects.extend(
                    Reject(
                        partition, {"file": entry.number, "pos": line.place}, line.raw, f"{entry.path}: {line.error}"
                    )
                    for line in bad
                )
        if not frames and not rejects:
            return None
        whole = pl.concat([schema.to_frame(), *frames], rechunk=False)
        return PartitionRead(partition, whole, rejects) if whole.height or rejects else None

    def _ranges(self, start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[FileEntry, int, int | None]]:
        """The files of a range with the places in each; None: to its end."""
        number, place = start
        while (number, place) < end:
            with self._lock:
                entry = self._list.entry(number)
            if entry is None:
                raise ConnectorError(
                    f"file {number} of {self._list.pattern.resolved} is not in the list of files, which has"
                    f" {len(self._list.entries)}",
                    flow=self.context.flow,
                    step=self.context.step,
                    hint=f"the list lies in {self.context.folder}; was it deleted?",
                )
            yield entry, place, end[1] if number == end[0] else None
            number, place = number + 1, 0

    def _reader(self, entry: FileEntry) -> FileReader:
        """The open file, as it was when it was taken. Raises ConnectorError where it is not."""
        path = self._list.pattern.root / entry.path
        try:
            status = path.stat()
        except FileNotFoundError as error:
            hint = "put it back: a file may go once its rows are committed and no undo may want them"
            raise self._forgotten(f"{path} can't be read: {error.strerror}", entry, hint) from error
        except OSError as error:
            raise ConnectorError(
                f"{path} can't be read: {error.strerror}; the flow needs file {entry.number} of its list",
                flow=self.context.flow,
                step=self.context.step,
            ) from error
        if self._tail:
            self._left_of(entry, 0)
        elif status.st_size != entry.size:
            raise self._forgotten(
                f"{path} had {entry.size} bytes when it was taken and has {status.st_size} now",
                entry,
                "files must not change once they are there; write under another name and rename, or set tail=True for "
                "files that grow",
            )
        reader = self._readers.get(entry.number)
        if reader is None or reader.inode != status.st_ino:
            while len(self._readers) >= OPEN_FILES:
                del self._readers[next(iter(self._readers))]  # a read that still has it closes it
            reader = open_reader(path, status.st_ino, self._options, growing=self._tail)
            self._readers[entry.number] = reader
        return reader

    def _rows_in(self, size: int) -> int | None:
        """An estimate by the mean size of the rows seen so far."""
        means = [reader.bytes_per_row for reader in self._readers.values() if reader.bytes_per_row]
        return round(size / means[-1]) if means else None


def _position(offsets: Offsets, partition: str) -> tuple[int, int]:
    at = offsets.get(partition)
    return (int(at["file"]), int(at["pos"])) if at else (0, 0)


def _format_options(dataset: Dataset, context: Context) -> FormatOptions:
    """The options of a dataset, checked. Raises ConfigError that names the one that is wrong."""
    options = dataset.options
    path = options.get("path")
    if not isinstance(path, str) or not path:
        raise ConfigError(f"files {dataset.name!r} needs a path", flow=context.flow, step=context.step)
    for name, choices in (("format", FORMATS), ("compression", COMPRESSIONS)):
        value = options.get(name)
        if value is not None and value not in choices:
            raise ConfigError(
                f"files {dataset.name!r}: {name} is one of {', '.join(choices)}, not {value!r}."
                f"{did_you_mean(str(value), choices)}"
            )
    delimiter = options.get("delimiter")
    if delimiter is not None and (
        not isinstance(delimiter, str) or len(delimiter.encode()) != 1 or delimiter in '"\r\n'
    ):
        raise ConfigError(f"files {dataset.name!r}: delimiter is one ASCII character, not {delimiter!r}")
    by_name, packed = format_of(path)
    return FormatOptions(
        format=options.get("format") or by_name,
        compression=options.get("compression") or packed,
        delimiter=delimiter,
        null_values=tuple(options.get("null_values", ())),
    )
