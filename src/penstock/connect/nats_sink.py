"""The NATS sink: one message a row, each published only if the one before it is the newest of the stream.

**The chain.** Every message has an id of its own (`Nats-Msg-Id`) and names the id that must be the last of the stream
(`Nats-Expected-Last-Msg-Id`). So messages go out without waiting for answers: if one is refused, all after it are, and
the answer to the last one speaks for all. The first of a chain names the stream's last sequence instead, as it was
read. A newer generation begins with a message of its own (to `<subject>.fence`, not to readers of the rows), which
breaks the chain of an older one in whatever place it stands, frozen or not.

**Once.** The newest row in the stream says its epoch, its index and what the epoch looks like as a whole, so a writer
that comes back publishes only what is missing.

**Other rows.** Where a repeated epoch has other rows than were published, the messages that differ are deleted from the
stream and the new ones published. Who has read the old ones has read them: the sink is idempotent, not undoable.

**Corrections.** What an undo would take back is corrected by further messages to the same subject, with the header
`Penstock-Correction: retract` (a row that was published is none) or `add` (a row that should have been published), and
the epoch that is corrected. A call that is repeated finds by the newest message how far it has got.

The stream must be this sink's alone. Messages of others break the chain: nothing goes wrong, but it gets slow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from penstock.clock import new_id
from penstock.connect.complaints import naming
from penstock.connect.contract import Change, Context, Delivery, Receipt, Sink
from penstock.connect.multisets import only_in
from penstock.connect.nats_rows import CORRECTION_HEADER, Correction, Newest, Row
from penstock.connect.nats_stream import Stream
from penstock.connect.nats_wire import headers_of
from penstock.connect.secrets import resolve
from penstock.errors import ConfigError, ConnectorError, Fenced
from penstock.flow import Dataset

__all__ = ["FENCE_HEADER", "NatsSink"]

FENCE_HEADER = b"Penstock-Fence:"
WINDOW = 5_000
"""Messages between two answers."""
WINDOW_BYTES = 4 * 1024 * 1024
ATTEMPTS = 20
"""How often a chain may break without one message more in the stream."""
HEADERS_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Epoch:
    """The messages of one epoch to be, and the headers that all of them share."""

    number: int
    generation: int
    lines: list[bytes]
    digest: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the stream ends as we know it: what the next message names, and the newest messages of our subject."""

    expected: bytes
    newest: Newest


class NatsSink(Sink):
    """Rows as JSON messages to `subject` (default: the stream's name). Append only; a missing stream is created."""

    delivery = Delivery.IDEMPOTENT
    undoable = False
    upserts = False

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        name = str(dataset.options.get("stream", dataset.name))
        self.subject = str(dataset.options.get("subject", name))
        if any(letter in self.subject for letter in "*> \t\r\n") or not self.subject:
            raise ConfigError(
                f"nats sink: {self.subject!r} is no subject to publish to", flow=context.flow, step=context.step
            )
        if context.key:
            raise self._error(f"a stream can't hold rows that update (key: {', '.join(context.key)})")
        self._fence_subject = f"{self.subject}.fence"
        self._name = f"{context.flow}/{context.kept_as}"
        self._stream = Stream(resolve(str(dataset.options["url"]), context.root), name, context.clock)
        self._chain: Chain | None = None
        self._prepared = False
        self._empty_epoch: int | None = None

    def prepare(self) -> None:
        """Connect, and look whether the stream fits. Raises ConnectorError."""
        with naming(self.context):
            self._check_stream(create=False)
            self._prepared = True

    def open(self, generation: int) -> None:
        """Create the stream where it is missing, and publish the fence."""
        prepared, self._prepared = self._prepared, False
        with naming(self.context):
            try:
                self._open(generation)
            except ConnectorError:
                # Of a connection that nobody used for minutes the server may have let go.
                if not prepared or not self._stream.is_lost:
                    raise
                self._open(generation)

    def write(self, epoch: int, generation: int, change: Change) -> Receipt:
        """Publish what is missing of `epoch`."""
        with naming(self.context, epoch):
            return self._write(epoch, generation, change)

    def correct(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change, Change]]) -> Receipt:
        """Publish what differs, with the header `Penstock-Correction`: `retract` or `add`; each once. Raises Fenced."""
        with naming(self.context, first_epoch):
            return self._correct(first_epoch, generation, changes)

    def last_epoch(self) -> int | None:
        """The epoch of the newest row in the stream, or the one that this sink was last told to have no rows."""
        with naming(self.context):
            row = Newest.of(self._stream.surely_last_message(self.subject)).row
        known = [epoch for epoch in (row.epoch if row else None, self._empty_epoch) if epoch is not None]
        return max(known, default=None)

    def close(self) -> None:
        """End the connection."""
        self._stream.close()

    def _open(self, generation: int) -> None:
        self._check_stream(create=True)
        for _ in range(ATTEMPTS):
            self._chain, newest = self._sync(generation)
            if newest == generation:
                return
            headers = (
                f"Penstock-Fence: {generation}\r\nPenstock-Sink: {self._name}\r\nNats-Msg-Id: fence.{new_id()}\r\n"
            )
            frame, inbox = self._frame(self._fence_subject, headers.encode() + self._chain.expected, b"", answer=True)
            self._stream.wire.send(frame)
            self._answered(inbox)
        raise self._error("could not publish the fence: others write to the stream all the time")

    def _write(self, epoch: int, generation: int, change: Change) -> Receipt:
        if change.deleted is not None:
            raise self._error("a stream can't delete by key")
        lines = as_lines(change.rows)
        self._check_sizes(lines)
        digest = hashlib.blake2b(b"\n".join(lines), digest_size=8).hexdigest()
        work = Epoch(epoch, generation, lines, digest)
        published = 0
        stuck = 0
        while True:
            chain = self._chain
            if chain is None or stuck:
                chain, _ = self._sync(generation)
            self._chain = None  # whatever goes wrong from here on, the stream is asked again
            begin, before, changed = self._begin(work, chain)
            if changed:
                chain, _ = self._sync(generation)
            done, chain = self._publish(work, begin, before, chain)
            published += done - begin
            if done == len(lines):
                self._chain = chain
                self._empty_epoch = None if lines else epoch
                return {"rows": len(lines), "published": published}
            stuck = stuck + 1 if done == begin else 1
            if stuck > ATTEMPTS:
                raise self._error("others write to the stream all the time; it must be this sink's alone", epoch)

    def _correct(self, first_epoch: int, generation: int, changes: Iterable[tuple[int, Change, Change]]) -> Receipt:
        chain, _ = self._sync(generation)
        self._chain = None
        before, run = chain.newest.sequence, ""
        counts = {"retracted": 0, "added": 0, "published": 0}
        for epoch, wrong, right in changes:
            corrected = corrections(wrong, right)
            if corrected is None:
                continue
            retracted, added, digest = corrected
            self._check_sizes([*retracted, *added])
            counts["retracted"] += len(retracted)
            counts["added"] += len(added)
            work = Epoch(epoch, generation, [*retracted, *added], digest)
            if not run:
                run = f"{first_epoch} {epoch} {digest}"
                newest = chain.newest.correction
                if newest is not None and newest.run == run:
                    before = newest.before  # this call was interrupted, or it is repeated
            chain, published = self._corrected(work, len(retracted), run, before, chain)
            counts["published"] += published
        self._chain = chain
        return {"rows": counts["retracted"] + counts["added"], **counts}

    def _corrected(self, work: Epoch, retracted: int, run: str, before: int, chain: Chain) -> tuple[Chain, int]:
        """Publish what is missing of an epoch's corrections; gives the chain to go on with, and how many they were."""
        published = stuck = 0
        while True:
            begin, changed = self._begin_correction(work, run, chain)
            if changed:
                chain, _ = self._sync(work.generation)
            if begin == len(work.lines):
                return chain, published
            row = chain.newest.row
            named = f"Penstock-Run: {run}\r\n" + (f"Penstock-Row: {row.spelled}\r\n" if row is not None else "")
            shared = self._headers(work.number, work.generation, before, work.digest) + named.encode()
            heads = [
                b"%bPenstock-Correction: %b\r\n" % (shared, b"retract" if index < retracted else b"add")
                for index in range(len(work.lines))
            ]
            done, sequence, expected = self._send(work.lines, heads, begin, chain.expected)
            published += done - begin
            if done == len(work.lines):
                last = Correction(sequence, work.number, work.generation, done - 1, before, work.digest, run, row)
                return Chain(expected, Newest(sequence, work.generation, row, last)), published
            stuck = stuck + 1 if done == begin else 1
            if stuck > ATTEMPTS:
                raise self._error("others write to the stream all the time; it must be this sink's alone", work.number)
            chain, _ = self._sync(work.generation)

    def _begin_correction(self, work: Epoch, run: str, chain: Chain) -> tuple[int, bool]:
        """From which correction on those of an epoch are missing, and whether messages were deleted.

        The newest correction of the run says how far it got. Where the epoch that it was in is another one by now,
        because the flow did not do the same again, the corrections of that epoch are taken back.
        """
        newest = chain.newest.correction
        if newest is None or newest.run != run or newest.epoch < work.number:
            return 0, False
        if newest.epoch > work.number:
            return len(work.lines), False
        if newest.digest == work.digest:
            return newest.index + 1, False
        for message in reversed(self._stream.read(newest.before + 1, newest.sequence + 1, self.subject)):
            found = headers_of(message.headers)
            if CORRECTION_HEADER in found and found["Penstock-Epoch"] == str(work.number):
                self._stream.delete(message.sequence)
        return 0, True

    def _check_stream(self, *, create: bool) -> None:
        if self.context.schema is not None:
            check_types(self.context.schema)
        state = self._stream.state()
        if state is None:
            if create:
                self._stream.create([self.subject, self._fence_subject])
            return
        if state.config.get("retention", "limits") != "limits":
            raise self._error(
                f"stream {self._stream.name} drops messages that were read, so nobody can tell what it has got",
                hint="write to a stream with retention limits",
            )
        for subject in (self.subject, self._fence_subject):
            if not any(covers(pattern, subject) for pattern in state.config.get("subjects", ())):
                raise self._error(
                    f"stream {self._stream.name} does not take messages to {subject}",
                    hint=f"nats stream edit {self._stream.name} --subjects ... and add {subject}",
                )

    def _sync(self, generation: int) -> tuple[Chain, int]:
        """Where the stream ends now, and the newest generation in it. Raises Fenced."""
        state = self._stream.state()
        if state is None:
            raise self._error(f"stream {self._stream.name} was deleted")
        # The end is read first: whatever comes after it makes the first message of the chain fail.
        expected = b"Nats-Expected-Last-Sequence: %d\r\n" % state.last
        stored = self._stream.surely_last_message(self.subject)
        found = Newest.of(stored)
        fence = self._stream.last_message(self._fence_subject)
        newest = int(fence.headers["Penstock-Fence"]) if fence is not None else 0
        owners = [one.headers.get("Penstock-Sink") for one in (stored, fence) if one is not None]
        if any(owner != self._name for owner in owners):
            raise self._error(
                f"stream {self._stream.name} holds rows of {next(o for o in owners if o != self._name) or 'others'}",
                hint="give this sink a stream of its own",
            )
        newest = max(newest, found.generation)
        if newest > generation:
            raise Fenced(
                f"generation {newest} writes stream {self._stream.name}; generation {generation} may not",
                flow=self.context.flow,
                step=self.context.step,
            )
        return Chain(expected, found), newest

    def _begin(self, work: Epoch, chain: Chain) -> tuple[int, int, bool]:
        """From which row on `work` is missing, the newest sequence before its epoch, whether messages were deleted."""
        row = chain.newest.row
        if row is None or row.epoch < work.number:
            return 0, chain.newest.sequence, False
        if (row.epoch, row.digest) == (work.number, work.digest):
            return row.index + 1, row.before, False
        before = self._before(row, work.number)
        return self._take_back(work, before, row.sequence), before, True

    def _before(self, row: Row, epoch: int) -> int:
        """The newest sequence of the subject before `epoch`, found by going from epoch to epoch."""
        before = row.before
        while before:
            stored = self._stream.message(before)
            correction = Correction.of(stored) if stored is not None else None
            if correction is not None:
                before = correction.before
                continue
            earlier = Row.of(stored) if stored is not None else None
            if earlier is None or earlier.epoch < epoch:
                return before
            before = earlier.before
        return 0

    def _take_back(self, work: Epoch, before: int, last: int) -> int:
        """Delete what is after `before` and is not the begin of `work`, the newest first; gives the rows kept."""
        published = [
            message
            for message in self._stream.read(before + 1, last + 1, self.subject)
            if CORRECTION_HEADER.encode() not in message.headers
        ]
        kept = 0
        for message, line in zip(published, work.lines, strict=False):
            same_epoch = headers_of(message.headers).get("Penstock-Epoch") == str(work.number)
            if not same_epoch or message.payload != line:
                break
            kept += 1
        for message in reversed(published[kept:]):
            self._stream.delete(message.sequence)
        return kept

    def _publish(self, work: Epoch, begin: int, before: int, chain: Chain) -> tuple[int, Chain]:
        """Publish from row `begin` on; gives how far it got for sure, and the chain to go on with."""
        shared = self._headers(work.number, work.generation, before, work.digest)
        done, sequence, expected = self._send(work.lines, [shared] * len(work.lines), begin, chain.expected)
        if not sequence:
            return done, Chain(expected, chain.newest)
        row = Row(sequence, work.number, work.generation, done - 1, before, work.digest)
        return done, Chain(expected, Newest(sequence, work.generation, row))

    def _headers(self, epoch: int, generation: int, before: int, digest: str) -> bytes:
        """What rows of an epoch have in common."""
        return (
            f"Penstock-Sink: {self._name}\r\nPenstock-Epoch: {epoch}\r\nPenstock-Generation: {generation}\r\n"
            f"Penstock-Before: {before}\r\nPenstock-Digest: {digest}\r\n"
        ).encode()

    def _send(
        self, lines: Sequence[bytes], heads: Sequence[bytes], begin: int, expected: bytes
    ) -> tuple[int, int, bytes]:
        """Publish lines with their headers from `begin` on, each expecting the one before it to be the newest.

        Gives how far it got for sure, the sequence of the last message (0: none), and what the next one expects.
        """
        run = new_id().encode()
        last = 0
        done = begin
        while done < len(lines):
            stop, size_bytes = done, 0
            while stop < min(done + WINDOW, len(lines)) and (stop == done or size_bytes < WINDOW_BYTES):
                size_bytes += len(lines[stop])
                stop += 1
            frames: list[bytes] = []
            inbox = ""
            for index in range(done, stop):
                head = b"%bPenstock-Index: %d\r\nNats-Msg-Id: %b.%d\r\n%b" % (heads[index], index, run, index, expected)
                frame, inbox = self._frame(self.subject, head, lines[index], answer=index == stop - 1)
                frames.append(frame)
                expected = b"Nats-Expected-Last-Msg-Id: %b.%d\r\n" % (run, index)
            self._stream.wire.send(b"".join(frames))
            sequence = self._answered(inbox)
            if sequence is None:
                break
            done, last = stop, sequence
        return done, last, expected

    def _frame(self, subject: str, headers: bytes, payload: bytes, *, answer: bool) -> tuple[bytes, str]:
        """An HPUB frame, and the subject that its answer comes to."""
        inbox = self._stream.wire.inbox() if answer else ""
        head = b"NATS/1.0\r\n%b\r\n" % headers
        size = len(head) + len(payload)
        frame = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject.encode(), inbox.encode(), len(head), size, head, payload)
        return frame, inbox

    def _answered(self, inbox: str) -> int | None:
        """The sequence of the message that was answered; None where the server refused it for its place."""
        wire = self._stream.wire
        while (frame := wire.receive()).subject != inbox.encode():
            pass
        answer = json.loads(frame.payload or b"{}")
        error = answer.get("error")
        if error is None and "seq" in answer:
            return int(answer["seq"])
        if error is not None and str(error.get("description", "")).startswith("wrong last"):
            return None
        raise self._error(f"stream {self._stream.name} refused a message: {error or frame.headers!r}")

    def _check_sizes(self, lines: list[bytes]) -> None:
        limit = self._stream.wire.max_payload - HEADERS_BYTES
        for index, line in enumerate(lines):
            if len(line) > limit:
                raise self._error(
                    f"row {index} is a message of {len(line)} bytes; the server takes {limit}",
                    hint="raise max_payload of the server, or leave large columns out",
                )

    def _error(self, message: str, epoch: int | None = None, hint: str | None = None) -> ConnectorError:
        return ConnectorError(message, flow=self.context.flow, step=self.context.step, epoch=epoch, hint=hint)


def covers(pattern: str, subject: str) -> bool:
    """Whether a stream's subject pattern takes messages to `subject`."""
    words, wanted = pattern.split("."), subject.split(".")
    for place, word in enumerate(words):
        if word == ">":
            return len(wanted) > place
        if place >= len(wanted) or word not in ("*", wanted[place]):
            return False
    return len(words) == len(wanted)


def check_types(schema: pl.Schema) -> None:
    """Raise ConnectorError for a column that JSON can't carry."""
    for column, dtype in schema.items():
        if not _has_json(dtype):
            raise ConnectorError(f"column {column!r}: JSON can't carry {dtype}", hint="encode it as text in a step")


def _has_json(dtype: object) -> bool:
    if isinstance(dtype, (pl.List, pl.Array)):
        return _has_json(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return all(_has_json(field.dtype) for field in dtype.fields)
    return dtype not in (pl.Binary, pl.Object)


def corrections(wrong: Change, right: Change) -> tuple[list[bytes], list[bytes], str] | None:
    """The messages that are only in one of two changes: (to be taken back, to be added, a digest of both changes).

    None where both are the same messages, in whatever order.
    """
    old, new = (sorted(as_lines(change.rows)) for change in (wrong, right))
    if old == new:
        return None
    left, right_lines = (pl.DataFrame({"line": lines}, schema={"line": pl.Binary}) for lines in (old, new))
    digest = hashlib.blake2b(b"\n".join([*old, b"", *new]), digest_size=8).hexdigest()
    return only_in(left, right_lines)["line"].to_list(), only_in(right_lines, left)["line"].to_list(), digest


def as_lines(rows: pl.DataFrame) -> list[bytes]:
    """Each row as one JSON object. Durations are microseconds; a float that is no number becomes null."""
    check_types(rows.schema)
    if rows.is_empty():
        return []
    durations = [column for column, dtype in rows.schema.items() if isinstance(dtype, pl.Duration)]
    plain = rows.with_columns(pl.col(column).dt.total_microseconds() for column in durations)
    return plain.write_ndjson().encode().splitlines()
