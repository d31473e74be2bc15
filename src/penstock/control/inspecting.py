"""What can be known of a flow in an environment before it runs: the columns of every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from penstock.analysis import Analysis, StateLayout, analyse, needed_columns, to_schema
from penstock.clock import SystemClock
from penstock.connect import Context, Source, open_source
from penstock.control.environment import Bound
from penstock.control.running import PreparedRun, locate
from penstock.engine import Program
from penstock.errors import ConnectorError, PenstockError

__all__ = ["inspect_flow", "inspect_state", "source_schemas"]


def inspect_flow(prepared: PreparedRun) -> Analysis:
    """The columns of every step. Raises SchemaError for a column that is not there, with the author's line."""
    try:
        return analyse(prepared.loaded.definition, source_schemas(prepared))
    except PenstockError as error:
        locate(error, prepared.loaded.definition, prepared.loaded.code_root)
        raise


def inspect_state(prepared: PreparedRun) -> tuple[Analysis, list[StateLayout]]:
    """The columns of every step, and what the flow keeps in its state, as the engine would have both.

    Raises as `inspect_flow`, and DefinitionError for a step that can't be done.
    """
    definition = prepared.loaded.definition
    analysis = inspect_flow(prepared)
    needed = needed_columns(definition, analysis)
    reads = [bound for bound in prepared.bound if not bound.writes]
    pruned = {bound.step: _pruned(bound, needed[bound.step], prepared) for bound in reads}
    try:
        return analysis, Program(definition, analyse(definition, pruned)).layout()
    except PenstockError as error:
        locate(error, definition, prepared.loaded.code_root)
        raise


def source_schemas(prepared: PreparedRun) -> Mapping[str, pl.Schema]:
    """Read step -> its columns: as declared, else as the source tells them; no row is taken. Raises SchemaError."""
    return {bound.step: _schema(bound, prepared) for bound in prepared.bound if not bound.writes}


def _schema(bound: Bound, prepared: PreparedRun) -> pl.Schema:
    if bound.dataset.schema is not None:
        return to_schema(bound.dataset.schema)
    source = _opened(bound, prepared)
    try:
        return source.schema()
    finally:
        source.close()


def _pruned(bound: Bound, needed: Sequence[str], prepared: PreparedRun) -> pl.Schema:
    """The columns that a source gives where only some are needed; what is declared will do where it is away."""
    source = _opened(bound, prepared)
    try:
        return source.project(needed)
    except ConnectorError:
        if bound.dataset.schema is None:
            raise
        return to_schema(bound.dataset.schema)
    finally:
        source.close()


def _opened(bound: Bound, prepared: PreparedRun) -> Source:
    context = Context(
        flow=prepared.flow,
        step=bound.step,
        folder=prepared.folder / "steps" / bound.step,
        root=prepared.loaded.project.root,
        clock=SystemClock(),
    )
    return open_source(bound.dataset, context)
