"""The running count and sum on Bytewax. Run by the Python of Bytewax's own environment.

Output is visible when a batch of changed sums has been written to a file and flushed; after a kill that includes what
is computed again since the last epoch, one a second. Asked to stop, the source says that it has no more.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition  # type: ignore[import-not-found]
from bytewax.outputs import DynamicSink, StatelessSinkPartition  # type: ignore[import-not-found]
from bytewax.recovery import RecoveryConfig, init_db_dir  # type: ignore[import-not-found]
from bytewax.testing import cluster_main  # type: ignore[import-not-found]

from benchmarks.peers.turns import Turn, rows_file, turn


class Following(StatefulSourcePartition):  # type: ignore[misc]
    """The files of rows one after the other; its state is the number of the next one."""

    def __init__(self, job: Turn, number: int) -> None:
        self._job = job
        self._number = number

    def next_batch(self) -> list[bytes]:
        """The lines of the next file, if it is there; raises StopIteration when asked to stop."""
        if self._job.is_asked_to_stop():
            raise StopIteration
        try:
            lines = rows_file(self._job.rows, self._number).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        self._number += 1
        return lines

    def snapshot(self) -> int:
        """The number of the next file."""
        return self._number


class Rows(FixedPartitionedSource):  # type: ignore[misc]
    """The folder of rows as one partition."""

    def __init__(self, job: Turn) -> None:
        self._job = job

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["rows"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Following:
        """From where the state says."""
        return Following(self._job, resume_state or 0)


class Writing(StatelessSinkPartition):  # type: ignore[misc]
    """Appends lines to a file and tells that they are visible."""

    def __init__(self, job: Turn) -> None:
        self._job = job
        self._file = (job.folder / "out.txt").open("a", encoding="ascii")

    def write_batch(self, items: list[tuple[str, tuple[int, int]]]) -> None:
        """A line for each changed sum."""
        self._file.writelines(f"{key} {total} {rows}\n" for key, (total, rows) in items)
        self._file.flush()
        self._job.tell_visible()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Shown(DynamicSink):  # type: ignore[misc]
    """The file as a sink."""

    def __init__(self, job: Turn) -> None:
        self._job = job

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Writing:
        """For the one worker."""
        return Writing(self._job)


def parsed(line: bytes) -> tuple[str, int]:
    """Key and amount of a line."""
    row = json.loads(line)
    return str(row["key"]), row["amount"]


def added(state: tuple[int, int] | None, amount: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sum and count with one more row: as state and as output."""
    total, rows = state or (0, 0)
    new = (total + amount, rows + 1)
    return new, new


def flow(job: Turn) -> Any:
    """The job by this version of its code, which gives what the others give."""
    version = job.number

    def shown(item: tuple[int, int]) -> tuple[int, int]:
        return item[0] + version - version, item[1]

    made = Dataflow("sums")
    sums = op.stateful_map("sums", op.map("parse", op.input("in", made, Rows(job)), parsed), added)
    op.output("out", op.map_value("shown", sums, shown), Shown(job))
    return made


def recovery(folder: Path) -> Any:
    """The recovery store, made by the job's first process."""
    if not folder.exists():
        folder.mkdir()
        init_db_dir(folder, 1)
    return RecoveryConfig(str(folder))


def main() -> None:
    """Run until asked to stop."""
    job = turn()
    cluster_main(
        flow(job),
        [],
        0,
        epoch_interval=timedelta(seconds=1),
        recovery_config=recovery(job.folder / "recovery"),
        worker_count_per_proc=1,
    )
    job.tell_stopped()


if __name__ == "__main__":
    main()
