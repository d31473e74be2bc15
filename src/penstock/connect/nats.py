"""NATS JetStream: a stream of JSON messages as a source, and the door to the sink.

A message is one row, a JSON object. The offset is the stream's own sequence number, so a range reads the same twice
for as long as the stream keeps it; what it keeps is decided by the stream's limits, never by us.

Corrections of another flow (see `nats_sink`): a row that it adds is a row; one that it takes back can't be taken out of
what was made of it here, and is a reject, so that somebody learns of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import polars as pl

from penstock.analysis import to_schema
from penstock.connect.complaints import forgotten, naming
from penstock.connect.contract import Backlog, Budget, Context, Offsets, PartitionRead, Reject, Source
from penstock.connect.nats_rows import RETRACTED
from penstock.connect.nats_sink import FENCE_HEADER, NatsSink
from penstock.connect.nats_stream import Message, Stream, StreamState
from penstock.connect.ndjson import RAW_LIMIT, JsonLines
from penstock.connect.secrets import resolve
from penstock.errors import ConnectorError, SchemaError
from penstock.flow import Dataset

__all__ = ["NatsSink", "NatsSource"]

PARTITION = "stream"
POLL_S = 0.01
IN_LINE = bytes.maketrans(b"\r\n", b"  ")
"""A line end in a JSON text is white space: inside a string it would have to be escaped."""


class NatsSource(Source):
    """The messages of a stream. Options: `url` (may be a reference), `stream`, `subject` (only messages to it).

    Nothing is acknowledged, so a process that leads the flow and one that follows it read in the same way.
    """

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        name = str(dataset.options.get("stream", dataset.name))
        self._subject: str | None = dataset.options.get("subject")
        url = resolve(str(dataset.options["url"]), context.root)
        # Reading may run beside the questions of the epoch loop, and a connection belongs to one thread at a time.
        self._stream = Stream(url, name, context.clock)
        self._reading = Stream(url, name, context.clock)
        self._lines: JsonLines | None = None

    def schema(self) -> pl.Schema:
        """The declared columns. Raises SchemaError where none are declared."""
        if self.context.schema is not None:
            return self.context.schema
        if self.dataset.schema is not None:
            return to_schema(self.dataset.schema)
        raise SchemaError(
            f"stream {self._stream.name} holds JSON messages, whose columns only you know",
            flow=self.context.flow,
            step=self.context.step,
            hint="declare a schema for it",
        )

    def initial(self) -> Offsets:
        """The oldest message that the stream still has."""
        return {PARTITION: max(1, self._state().first)}

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """Up to the newest message; the budget in bytes is held by the mean size of a message."""
        first = _sequence(start)
        state = self._state()
        if first > state.last:
            return start
        mean_bytes = max(1, state.size_bytes // max(1, state.messages))
        room = max(1, min(budget.rows, budget.size_bytes // mean_bytes))
        return {PARTITION: min(state.last + 1, first + room)}

    def read(self, start: Offsets, end: Offsets) -> Sequence[PartitionRead]:
        """The messages of the range as rows; sequences that were deleted one by one are passed over.

        Raises ConnectorError where the range has run out of the stream's limits, with the oldest sequence there is.
        """
        first, stop = _sequence(start), _sequence(end)
        if first >= stop:
            return []
        with naming(self.context):
            with_fences = self._reading.read(first, stop, self._subject)
        if len(with_fences) < stop - first:
            self._check_kept(first, stop)
        messages = [message for message in with_fences if FENCE_HEADER not in message.headers]
        if not messages:
            return []
        frame, rejects = self._rows(messages)
        return [PartitionRead(PARTITION, frame, rejects)]

    def backlog(self, at: Offsets) -> Backlog:
        """Messages after `at`; an upper bound where some were deleted or are of another subject."""
        state = self._state()
        rows = max(0, min(state.last + 1 - _sequence(at), state.messages))
        return Backlog(rows, rows * state.size_bytes // max(1, state.messages))

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """Ask the stream until it has more."""
        clock = self.context.clock
        deadline_s = clock.stopwatch_s() + timeout_s
        while self._state().last < _sequence(at) and clock.stopwatch_s() < deadline_s:
            clock.sleep(min(POLL_S, timeout_s))

    def close(self) -> None:
        """End the connections; the stream forgets its reader by itself."""
        self._stream.close()
        self._reading.close()

    def _rows(self, messages: list[Message]) -> tuple[pl.DataFrame, list[Reject]]:
        if self._lines is None:
            self._lines = JsonLines(self.schema())
        rejects: list[Reject] = []
        kept: list[int] = []
        lines: list[bytes] = []
        for message in messages:
            line = message.payload.translate(IN_LINE)
            if RETRACTED in message.headers:
                raw = message.payload[:RAW_LIMIT].decode("utf-8", errors="backslashreplace")
                said = "a correction: who published this row takes it back"
                rejects.append(Reject(PARTITION, message.sequence, raw, said))
            elif line and not line.isspace():
                kept.append(message.sequence)
                lines.append(line)
            else:
                rejects.append(Reject(PARTITION, message.sequence, "", "the message is empty"))
        frame, bad = self._lines.parse(b"\n".join(lines))
        if bad:
            begins = list(accumulate((len(line) + 1 for line in lines), initial=0))
            payloads = {message.sequence: message.payload for message in messages}
            for found in bad:
                sequence = kept[bisect_right(begins, found.place) - 1]
                raw = payloads[sequence][:RAW_LIMIT].decode("utf-8", errors="backslashreplace")
                rejects.append(Reject(PARTITION, sequence, raw, found.error))
        return frame, sorted(rejects, key=lambda reject: int(reject.offset))

    def _check_kept(self, first: int, stop: int) -> None:
        """Raise ConnectorError where the stream has dropped messages of the range by its limits, or is another one."""
        state = self._state(self._reading)
        with naming(self.context):
            if state.first > first:
                raise forgotten(
                    f"stream {self._stream.name} has no messages before sequence {state.first} any more; "
                    f"the flow stands at {first}",
                    since=f"sequence {state.first} of the stream",
                    hint="give the stream longer limits (max_age, max_bytes); to go on with what is left, run with "
                    "--reset",
                )
            if state.last < stop - 1:
                raise forgotten(
                    f"stream {self._stream.name} ends at sequence {state.last}; the flow has read to {stop - 1}: "
                    "the stream was deleted and made anew",
                    since=f"sequence {state.first} of the new stream",
                    hint="run with --reset to read it from there",
                )

    def _state(self, stream: Stream | None = None) -> StreamState:
        with naming(self.context):
            state = (stream or self._stream).state()
        if state is None:
            raise ConnectorError(
                f"there is no stream {self._stream.name} on the NATS server",
                flow=self.context.flow,
                step=self.context.step,
                hint=f"nats stream add {self._stream.name}, or run the flow that writes it first",
            )
        return state


def _sequence(offsets: Offsets) -> int:
    return int(offsets[PARTITION])
