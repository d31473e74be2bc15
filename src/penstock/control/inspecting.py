"""What can be known of a flow in an environment before it runs: the columns of every step."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from penstock.analysis import Analysis, analyse, to_schema
from penstock.clock import SystemClock
from penstock.connect import Context, open_source
from penstock.control.environment import Bound
from penstock.control.running import PreparedRun, locate
from penstock.errors import PenstockError

__all__ = ["inspect_flow", "source_schemas"]


def inspect_flow(prepared: PreparedRun) -> Analysis:
    """The columns of every step. Raises SchemaError for a column that is not there, with the author's line."""
    try:
        return analyse(prepared.loaded.definition, source_schemas(prepared))
    except PenstockError as error:
        locate(error, prepared.loaded.definition, prepared.loaded.code_root)
        raise


def source_schemas(prepared: PreparedRun) -> Mapping[str, pl.Schema]:
    """Read step -> its columns: as declared, else as the source tells them; no row is taken. Raises SchemaError."""
    return {bound.step: _schema(bound, prepared) for bound in prepared.bound if not bound.writes}


def _schema(bound: Bound, prepared: PreparedRun) -> pl.Schema:
    if bound.dataset.schema is not None:
        return to_schema(bound.dataset.schema)
    context = Context(
        flow=prepared.flow,
        step=bound.step,
        folder=prepared.folder / "steps" / bound.step,
        root=prepared.loaded.project.root,
        clock=SystemClock(),
    )
    source = open_source(bound.dataset, context)
    try:
        return source.schema()
    finally:
        source.close()
