"""The running count and sum on Spark Structured Streaming. Run by the Python of Spark's own environment.

Output is visible when a micro-batch's changed sums have been written as a folder of JSON files with the batch's number,
which a batch that is done again overwrites: exactly once. Asked to stop, it waits for the commit of the running
micro-batch and stops the query then; the next process goes on from the checkpoint.
"""

from __future__ import annotations

import time
from typing import Any

from pyspark.sql import functions as f  # type: ignore[import-not-found]

from benchmarks.peers.on_spark import session
from benchmarks.peers.turns import Turn, turn

POLL_S = 0.01
SETTINGS = {
    # Steady rows come as small files, which Spark takes for large ones unless told otherwise: it would list them by a
    # job of hundreds of tasks, and read a few of them by a task each.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1000000",
    "spark.sql.files.openCostInBytes": "0",
    "spark.ui.showConsoleProgress": "false",
}


def started(spark: Any, job: Turn) -> Any:
    """The query by this version of its code, which gives what the others give; as many micro-batches as can be."""

    def put(batch: Any, number: int) -> None:
        batch.write.mode("overwrite").json(str(job.folder / "out" / str(number)))
        job.tell_visible()

    rows = spark.readStream.schema("key bigint, amount bigint").json(str(job.rows))
    sums = rows.groupBy("key").agg(f.sum("amount").alias("total"), f.count("*").alias("rows"))
    shown = sums.withColumn("total", f.col("total") + f.lit(job.number) - f.lit(job.number))
    stream = shown.writeStream.outputMode("update").foreachBatch(put)
    return stream.option("checkpointLocation", str(job.folder / "checkpoint")).start()


def committed(stream: Any) -> int:
    """The number of the last micro-batch that was committed; -1 before the first."""
    progress = stream.lastProgress
    return -1 if progress is None else int(progress["batchId"])


def main() -> None:
    """Run until asked to stop."""
    job = turn()
    spark = session(SETTINGS)
    stream = started(spark, job)
    while stream.isActive and not job.is_asked_to_stop():
        time.sleep(POLL_S)
    # Stopped in the middle, a micro-batch is done again by the next process: at its end hardly anything is lost.
    last = committed(stream)
    while stream.isActive and stream.status["isTriggerActive"] and committed(stream) == last:
        time.sleep(POLL_S)
    if not stream.isActive:
        raise SystemExit(f"the query ended by itself: {stream.exception()}")
    stream.stop()
    job.tell_stopped()
    spark.stop()


if __name__ == "__main__":
    main()
