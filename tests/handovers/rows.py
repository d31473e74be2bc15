"""The rows of a scene: from a seed, out of order, some too late, some twice, some that a step refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread

from penstock.clock import seeded

__all__ = ["POISON_EVERY", "Writer"]

KEYS = 23
POISON_EVERY = 701
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
EVERY_S = 0.05
ROWS = 4


class Writer(Thread):
    """Writes rows until it is told to stop: to one file that grows, or (no `tail`) to ever new files.

    `lines`: how many it wrote; `ids`: each once, those that a step refuses (`poison`) among them.
    """

    def __init__(self, folder: Path, *, seed: int, tail: bool = True) -> None:
        super().__init__(name="writer", daemon=True)
        self.lines = 0
        self.ids: list[int] = []
        self.poison: list[int] = []
        self._folder = folder
        self._tail = tail
        self._chance: Random = seeded(seed)
        self._ended = Event()
        self._goes = Event()
        self._goes.set()
        self._lock = Lock()
        self._files = 0

    def run(self) -> None:
        """Write a few rows now and then."""
        while not self._ended.wait(EVERY_S):
            if self._goes.is_set():
                self.write(self._chance.randint(1, 2 * ROWS))

    def pause(self) -> None:
        """Write nothing for a while."""
        self._goes.clear()
        with self._lock:
            pass

    def resume(self) -> None:
        """Go on."""
        self._goes.set()

    def stop(self) -> None:
        """Write nothing any more."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def write(self, count: int) -> None:
        """Write so many rows now."""
        with self._lock:
            text = "".join(f"{json.dumps(self._row())}\n" for _ in range(count))
            if self._tail:
                with (self._folder / "0000.ndjson").open("a", encoding="utf-8") as file:
                    file.write(text)
            else:
                staged = self._folder / "next.tmp"
                staged.write_text(text, encoding="utf-8")
                staged.rename(self._folder / f"{self._files:06}.ndjson")
                self._files += 1

    def _row(self) -> dict[str, object]:
        number = self.lines
        self.lines += 1
        twice = number % 50 == 49
        id_ = number - self._chance.randint(1, 40) if twice else number
        late_s = 60.0 if number % 97 == 96 else self._chance.uniform(0, 3)
        at = BEGINNING + timedelta(seconds=number / 25 - late_s)
        poison = id_ % POISON_EVERY == POISON_EVERY - 1
        if not twice:
            self.ids.append(id_)
            self.poison += [id_] if poison else []
        amount = 0 if poison else self._chance.randint(1, 1_000)
        return {"id": id_, "key": id_ % KEYS, "amount": amount, "at": at.strftime("%Y-%m-%dT%H:%M:%S.%f")}
