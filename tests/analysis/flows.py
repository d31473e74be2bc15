"""Small flows for the tests of analysis, and what is said of wrong ones."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

import penstock as ps
from penstock.analysis import Analysis, analyse
from penstock.errors import SchemaError

ORDERS = pl.Schema(
    {
        "id": pl.Int64(),
        "country": pl.String(),
        "status": pl.String(),
        "amount": pl.Float64(),
        "tags": pl.List(pl.String()),
        "at": pl.Datetime("us"),
    }
)
"""The columns of the stream that most tests begin with."""

COLUMNS = "id Int64, country String, status String, amount Float64, tags List[String], at Datetime[us]"
"""The same as an error message lists them."""


def shop(schema: object = None, *, event_time: str | None = "at") -> tuple[ps.Flow, ps.Stream]:
    """A flow and its stream `orders`."""
    flow = ps.Flow("shop")
    orders = flow.read(ps.topic("orders", schema=ORDERS if schema is None else schema), event_time=event_time)
    return flow, orders


def analysed(*ends: ps.Stream) -> Analysis:
    """The analysis of the flow of these streams, each written to a console."""
    for end in ends:
        end.write(ps.console())
    return analyse(ends[0].flow.build(), {})


def schema_of(stream: ps.Stream) -> dict[str, pl.DataType]:
    """The columns after a stream."""
    analysis = analysed(stream)
    return dict(analysis.steps[analysis.definition.writes[-1].name].schema)


def told(*ends: ps.Stream) -> str:
    """What is said of a flow that is wrong; the author's file is FILE and its lines are N."""
    with pytest.raises(SchemaError) as caught:
        analysed(*ends)
    folder = re.escape(str(Path(__file__).parent))
    return re.sub(folder + r"/\w+\.py:\d+", "FILE:N", str(caught.value))
