"""The running count and sum on Flink SQL, in a local cluster. Run by the Python of Flink's own environment.

Output is visible when the `print` connector has printed changed sums, read here from a pipe once a millisecond. It does
not wait for a checkpoint, as an upsert into a table would not; after a kill it includes what is computed again since
the last one, one a second. Asked to stop, it stops with a savepoint; the next process starts from the savepoint or,
after a kill, from the latest complete checkpoint. The cluster lives in the process, so each start includes its own: a
cluster that outlives the job would save a part of that.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from pyflink.java_gateway import get_gateway  # type: ignore[import-not-found]

from benchmarks.peers.on_flink import session
from benchmarks.peers.turns import Turn, turn

POLL_S = 0.01
CHUNK = 1 << 20


def latest(folder: Path) -> Path | None:
    """The savepoint or checkpoint to go on from: the one that was completed last."""
    complete = [*folder.glob("savepoints/*/_metadata"), *folder.glob("checkpoints/*/chk-*/_metadata")]
    return max(complete, key=lambda file: file.stat().st_mtime).parent if complete else None


def started(job: Turn) -> Any:
    """The job by this version of its code, which gives what the others give: a client of it."""
    settings = {
        "execution.checkpointing.dir": f"file://{job.folder}/checkpoints",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    }
    found = latest(job.folder)
    if found:
        settings["execution.state-recovery.path"] = f"file://{found}"
    tables = session(settings)
    tables.execute_sql(
        "create table input (`key` bigint, amount bigint) with ('connector' = 'filesystem', "
        f"'path' = 'file://{job.rows}', 'format' = 'json', 'source.monitor-interval' = '50 ms')"
    )
    tables.execute_sql("create table sums (`key` bigint, total bigint, `rows` bigint) with ('connector' = 'print')")
    return tables.execute_sql(
        f"insert into sums select `key`, sum(amount) + {job.number} - {job.number}, count(*) from input group by `key`"
    ).get_job_client()


def stop_with_savepoint(client: Any, job: Turn) -> None:
    """Stop with a savepoint in the format that is the faster one; gives when the job has stopped.

    By Java's own client: that of PyFlink 2.3 calls a method without a format, which Java no longer has.
    """
    native = get_gateway().jvm.org.apache.flink.core.execution.SavepointFormatType.NATIVE
    java = client._j_job_client  # noqa: SLF001 - see above
    java.stopWithSavepoint(False, f"file://{job.folder}/savepoints", native).get()  # noqa: FBT003 - Java has no names


def tell_printed(job: Turn, pipe: int) -> None:
    """Tell of what is printed into the pipe, until it is closed. Other words than rows don't count."""
    while printed := os.read(pipe, CHUNK):
        (job.folder / "printed.txt").open("ab").write(printed)
        if b"+U[" in printed or b"+I[" in printed:
            job.tell_visible()
        time.sleep(0.001)


def main() -> None:
    """Run until asked to stop."""
    job = turn()
    reading, writing = os.pipe()
    os.dup2(writing, 1)  # before Java starts, which prints where this process would
    threading.Thread(target=tell_printed, args=(job, reading), daemon=True).start()
    client = started(job)
    over = client.get_job_execution_result()
    while not job.is_asked_to_stop():
        if over.done():
            raise SystemExit(f"the job ended by itself: {over.exception()}")
        time.sleep(POLL_S)
    stop_with_savepoint(client, job)
    job.tell_stopped()


if __name__ == "__main__":
    main()
