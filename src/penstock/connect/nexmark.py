"""The auction site of the Nexmark benchmark: persons, auctions and bids as a pure function of seed and event number.

After the public description of the benchmark (Tucker, Tufte, Papadimos, Maier: "NEXMark - A Benchmark for Queries over
Data Streams") and the proportions and columns that Flink's and Beam's generators share: of 50 events in a row 1 is a
person, 3 are auctions, 46 are bids; half of the bids go to a hot auction, three quarters come from a hot bidder. The
numbers themselves are our own: each is a hash (splitmix64) of seed, event number and a label, so any range can be made
again, in any pieces, on any machine.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from penstock.connect.contract import Backlog, Budget, Context, Offsets, PartitionRead, Source
from penstock.connect.nexmark_rows import ENTITIES, Generator, first_event, row_number
from penstock.errors import ConfigError, ConnectorError, did_you_mean
from penstock.flow import Dataset

__all__ = ["NexmarkSource"]

PARTITION = "events"
START_FILE = "first_start.json"
ROW_BYTES = {"person": 220, "auction": 330, "bid": 170}
"""About what a row takes as JSON; for the budget of bytes."""
OPTIONS = ("entity", "events", "rate_per_s", "seed", "out_of_order_ms", "event_rate_per_s", "live", "start_us")
EVENT_RATE_PER_S = 10_000
START_US = 1_436_918_400_000_000
"""2015-07-15 UTC, where the benchmark's time begins."""


class NexmarkSource(Source):
    """Makes rows of one entity. The offset is the number of the next event, of all three entities together.

    Options: `entity`, `events` (None: no end), `rate_per_s` (event n is there at start + n/rate, by the clock; the
    start is kept in the folder), `seed`, `out_of_order_ms` (event times are at most so much early), `event_rate_per_s`
    (events in a second of event time), `live` (event time is the wall-clock time at which the event is there).
    """

    def __init__(self, dataset: Dataset, context: Context) -> None:
        super().__init__(dataset, context)
        options = dict(dataset.options)
        for name in options:
            if name not in OPTIONS:
                raise ConfigError(f"nexmark has no option {name!r}.{did_you_mean(name, OPTIONS)}", step=context.step)
        self._entity = str(options.get("entity", dataset.name))
        if self._entity not in ENTITIES:
            raise ConfigError(
                f"nexmark makes {', '.join(ENTITIES)}, not {self._entity!r}."
                f"{did_you_mean(self._entity, list(ENTITIES))}",
                step=context.step,
            )
        self._events = None if options.get("events") is None else int(_number(options, "events", 0))
        self._rate = None if options.get("rate_per_s") is None else _number(options, "rate_per_s", 0)
        self._live = bool(options.get("live", False))
        event_rate = _number(options, "event_rate_per_s", EVENT_RATE_PER_S)
        if self._rate == 0 or event_rate == 0:
            raise ConfigError("nexmark: a rate is above 0", step=context.step)
        if self._live and self._rate is None:
            raise ConfigError("nexmark: live=True needs a rate_per_s", step=context.step)
        self.bounded = self._events is not None
        self._start_us: int | None = None
        self._generator = Generator(
            seed=int(_number(options, "seed", 0)),
            start_us=int(_number(options, "start_us", START_US)),
            events_per_s=event_rate,
            out_of_order_us=int(_number(options, "out_of_order_ms", 0) * 1_000),
        )

    def schema(self) -> pl.Schema:
        """The columns of the entity, or those of them that were declared."""
        whole = ENTITIES[self._entity]
        if self.context.schema is None:
            return whole
        for name, kind in self.context.schema.items():
            if whole.get(name) != kind:
                raise ConfigError(
                    f"nexmark {self._entity} has no column {name!r} of type {kind}.{did_you_mean(name, list(whole))}",
                    step=self.context.step,
                    hint=f"its columns: {', '.join(f'{name} {kind}' for name, kind in whole.items())}",
                )
        return self.context.schema

    def initial(self) -> Offsets:
        """Event 0."""
        return {PARTITION: 0}

    def offer(self, start: Offsets, budget: Budget) -> Offsets:
        """The events that are there by now, as many as have room."""
        first = _event(start)
        rows = max(1, min(budget.rows, budget.size_bytes // ROW_BYTES[self._entity]))
        # The event after the last row that has room: no more than `rows` rows of this entity lie between.
        end = first_event(self._entity, row_number(self._entity, first) + rows)
        end = min(end, self._available())
        return {PARTITION: end} if end > first else start

    def read(self, start: Offsets, end: Offsets) -> list[PartitionRead]:
        """The rows among the events start..end."""
        first, last = _event(start), _event(end)
        if first >= last:
            return []
        generator = self._generator
        if self._live and self._rate is not None:
            generator = generator.at_rate(self._first_start(), self._rate)
        frame = generator.rows(self._entity, first, last, list(self.schema()))
        return [PartitionRead(PARTITION, frame)] if frame.height else []

    def exhausted(self, at: Offsets) -> bool:
        """Whether all events were made."""
        return self._events is not None and _event(at) >= self._events

    def backlog(self, at: Offsets) -> Backlog:
        """Rows that are there and not read; None where there is neither a rate nor an end."""
        if self._rate is None and self._events is None:
            return Backlog()
        rows = row_number(self._entity, self._available()) - row_number(self._entity, _event(at))
        return Backlog(max(0, rows), max(0, rows) * ROW_BYTES[self._entity])

    def wait(self, at: Offsets, timeout_s: float) -> None:
        """Until the next event is there."""
        if self._rate is None or self._available() > _event(at):
            return
        due_us = self._first_start() + _event(at) / self._rate * 1e6
        left_s = (due_us - self.context.clock.now_us()) / 1e6
        self.context.clock.sleep(min(timeout_s, max(0.001, left_s)))

    def _available(self) -> int:
        """The number of events that are there by now."""
        most = 2**62 if self._events is None else self._events
        if self._rate is None:
            return most
        passed_us = self.context.clock.now_us() - self._first_start()
        return min(most, int(passed_us * self._rate / 1e6) + 1) if passed_us >= 0 else 0

    def _first_start(self) -> int:
        """When the source started for the first time, in microseconds; durable before any event is offered."""
        if self._start_us is None:
            self._start_us = _kept_start(self.context.folder, self.context.clock.now_us())
        return self._start_us


def _kept_start(folder: Path, now_us: int) -> int:
    """The start that the folder keeps, or `now_us` after it was put there."""
    path = folder / START_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            draft = folder / f"{START_FILE}.{os.getpid()}"
            with draft.open("w") as file:
                json.dump({"start_us": now_us}, file)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first: its start counts
                os.link(draft, path)
            draft.unlink()
            descriptor = os.open(folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        return int(json.loads(path.read_text())["start_us"])
    except (OSError, ValueError, KeyError) as error:
        raise ConnectorError(
            f"the start time in {path} can't be kept: {error}", hint="delete the file to start the clock anew"
        ) from error


def _number(options: dict[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ConfigError(f"nexmark: {name} is a number from 0 on, not {value!r}")
    return value


def _event(offsets: Offsets) -> int:
    return int(offsets.get(PARTITION, 0))
