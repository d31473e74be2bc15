"""A JetStream stream as penstock uses it: what it holds, ranges of sequences, the last message of a subject."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.clock import Clock
from penstock.connect.nats_wire import Frame, Wire, headers_of, status_of
from penstock.errors import ConnectorError

__all__ = ["Message", "Stored", "Stream", "StreamState"]

NOT_FOUND = 404
ENDS = (404, 408, 409)
"""No message, time is over, the next message has no room: what was asked for has come."""
BATCH = 10_000
LOOK_BACK = 1_000
BATCH_BYTES = 8 * 1024 * 1024
FRESH_S = 10.0
"""A consumer that was not asked for so long is not asked again: the server forgets it, and would not answer."""
IDLE_NS = 30 * 1_000_000_000
LONG_REPLY = 11
"""Since 2.10 the reply subject may name domain and account too, and has more words than this."""


class Message(NamedTuple):
    """A message of a range: where it is, its raw headers, what it says."""

    sequence: int
    headers: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream holds. `first` is the oldest sequence there is, `last` the newest ever given."""

    first: int
    last: int
    messages: int
    size_bytes: int
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored message with its headers."""

    sequence: int
    headers: Mapping[str, str]
    payload: bytes


@dataclass(slots=True)
class Cursor:
    """A consumer on the server that stands before `next`, and the messages that came beyond the last range."""

    name: str
    subject: str | None
    next: int
    used_s: float
    beyond: list[Message] = field(default_factory=list)


class Stream:
    """One stream on one server; connects when it is first needed, and again after an error."""

    def __init__(self, url: str, name: str, clock: Clock) -> None:
        self.url, self.name = url, name
        self._clock = clock
        self._wire: Wire | None = None
        self._cursor: Cursor | None = None

    @property
    def wire(self) -> Wire:
        """The connection. Raises ConnectorError where there is none to be had."""
        if self._wire is None or self._wire.closed:
            self._cursor = None
            self._wire = Wire(self.url, self._clock)
        return self._wire

    @property
    def is_lost(self) -> bool:
        """Whether there was a connection that has ended."""
        return self._wire is not None and self._wire.closed

    def close(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.close()

    def state(self) -> StreamState | None:
        """What it holds, None where there is no such stream."""
        answer = self.wire.call(f"STREAM.INFO.{self.name}")
        if answer.get("error", {}).get("code") == NOT_FOUND:
            return None
        state = self._good(answer)["state"]
        return StreamState(state["first_seq"], state["last_seq"], state["messages"], state["bytes"], answer["config"])

    def create(self, subjects: list[str]) -> None:
        """Make the stream: in files, kept until its limits say otherwise."""
        answer = self.wire.call(
            f"STREAM.CREATE.{self.name}", name=self.name, subjects=subjects, storage="file", retention="limits"
        )
        self._good(answer)

    def last_message(self, subject: str) -> Stored | None:
        """The newest message of a subject."""
        return self._message(last_by_subj=subject)

    def surely_last_message(self, subject: str) -> Stored | None:
        """The newest message of a subject, also where the newest ones were deleted.

        Some servers (2.9) then answer `last_message` with "no message", although older ones are there.
        """
        found = self.last_message(subject)
        state = self.state() if found is None else None
        if state is None or not state.messages:
            return found
        reach = LOOK_BACK
        while True:
            begin = max(state.first, state.last + 1 - reach)
            messages = self.read(begin, state.last + 1, subject)
            if messages:
                last = messages[-1]
                return Stored(last.sequence, headers_of(last.headers), last.payload)
            if begin == state.first:
                return None
            reach *= 10

    def message(self, sequence: int) -> Stored | None:
        """The message with that sequence."""
        return self._message(seq=sequence)

    def delete(self, sequence: int) -> None:
        """Take one message out of the stream; nothing where it is gone already."""
        answer = self.wire.call(f"STREAM.MSG.DELETE.{self.name}", seq=sequence, no_erase=True)
        if "error" in answer and self.message(sequence) is not None:
            self._good(answer)

    def read(self, first: int, end: int, subject: str | None = None) -> list[Message]:
        """The messages that there are with sequences first..end (end exclusive), in order."""
        cursor = self._cursor
        now_s = self._clock.stopwatch_s()
        if cursor is None or (cursor.next, cursor.subject) != (first, subject) or now_s - cursor.used_s > FRESH_S:
            cursor = self._begin(first, subject)
        found: list[Message] = []
        arrived, cursor.beyond = cursor.beyond, []
        while True:
            cut = next((at for at, message in enumerate(arrived) if message.sequence >= end), None)
            if cut is not None:
                found += arrived[:cut]
                cursor.beyond = arrived[cut:]
                break
            found += arrived
            if found and found[-1].sequence == end - 1:
                break
            arrived = self._pull(cursor)
            if not arrived:
                break
        cursor.next, cursor.used_s = end, self._clock.stopwatch_s()
        self._cursor = cursor
        return found

    def _begin(self, first: int, subject: str | None) -> Cursor:
        config: dict[str, Any] = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(1, first),
            "ack_policy": "none",
            "mem_storage": True,
            "inactive_threshold": IDLE_NS,
        }
        if subject is not None:
            config["filter_subject"] = subject
        wire = self.wire
        if self._cursor is not None:
            wire.call(f"CONSUMER.DELETE.{self.name}.{self._cursor.name}")
            self._cursor = None
        answer = wire.call(f"CONSUMER.CREATE.{self.name}", stream_name=self.name, config=config)
        return Cursor(self._good(answer)["name"], subject, first, self._clock.stopwatch_s())

    def _pull(self, cursor: Cursor) -> list[Message]:
        """The next messages that are there; none at the end of the stream."""
        wire = self.wire
        inbox = wire.inbox()
        # The server drops a connection that has too much waiting, so bytes are limited too; one message always fits.
        limit = max(BATCH_BYTES, 2 * wire.max_payload)
        asked = b'{"batch":%d,"max_bytes":%d,"no_wait":true}' % (BATCH, limit)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{cursor.name}".encode()
        wire.send(b"PUB %b %b %d\r\n%b\r\n" % (subject, inbox.encode(), len(asked), asked))
        target, consumer = inbox.encode(), cursor.name.encode()
        found: list[Message] = []
        while len(found) < BATCH:
            frame = wire.receive()
            if consumer in frame.reply:
                sequence, pending = _place(frame)
                found.append(Message(sequence, frame.headers, frame.payload))
                if not pending:
                    break
            elif frame.subject == target:
                status = status_of(frame)
                if status in ENDS:
                    break
                wire.close()
                raise ConnectorError(f"stream {self.name}: the server ended the reading with {status}")
        return found

    def _message(self, **which: Any) -> Stored | None:
        answer = self.wire.call(f"STREAM.MSG.GET.{self.name}", **which)
        if answer.get("error", {}).get("code") == NOT_FOUND:
            return None
        message = self._good(answer)["message"]
        raw = base64.b64decode(message.get("hdrs", ""))
        return Stored(message["seq"], headers_of(raw), base64.b64decode(message.get("data", "")))

    def _good(self, answer: dict[str, Any]) -> dict[str, Any]:
        error = answer.get("error")
        if error:
            raise ConnectorError(f"stream {self.name}: {error.get('description', error)}")
        return answer


def _place(frame: Frame) -> tuple[int, int]:
    """The sequence of a message, and how many more the consumer has; both are in the reply subject."""
    words = frame.reply.split(b".")
    return (int(words[7]), int(words[10])) if len(words) >= LONG_REPLY else (int(words[5]), int(words[8]))
