"""Logs of flows: caught in their processes, kept as journals and Parquet files, asked by filters and SQL.

A process appends each line to a *journal*, a file in memory that survives its death (`journal`, `capture`, `scope`).
Whoever has time makes typed Parquet files of full journals (`store`, `compacting`). Readers see both (`reading`,
`asking`, `tail`), so that nothing that was logged is ever invisible, and nothing is there twice.
"""
