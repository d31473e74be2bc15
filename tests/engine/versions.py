"""Two versions of a flow: the verdict on their state, and the second going on where the first stopped."""

from __future__ import annotations

from typing import Any

import polars as pl

import penstock as ps
from penstock.analysis import Verdict, compare, layouts_from_json, layouts_json, migration_facts, renames_of
from penstock.engine.migrating import migrate, renamed_facts
from penstock.flow import Flow, Stream
from tests.engine.driving import Drive

ORDER = {"id": pl.Int64, "at": pl.Datetime("us"), "customer": pl.String, "amount": pl.Int64, "weight": pl.Float64}


def orders(flow: Flow, **types: Any) -> Stream:
    """A read of orders; `types`: other types for some of their columns, or more columns."""
    return flow.read(ps.topic("orders", schema={**ORDER, **types}), event_time="at", name="orders")


def totals(*, name: str = "totals", ttl: str | None = None, types: Any = None, **aggregates: Any) -> Flow:
    """A flow with running aggregates by customer."""
    flow = ps.Flow("shop")
    step = orders(flow, **(types or {})).group_by("customer").agg(**aggregates, ttl=ttl, name=name)
    step.write(ps.table("totals", key="customer"), name="out")
    return flow


def verdict_on(old: Flow, new: Flow) -> Verdict:
    """What becomes of the state of the one in the other."""
    return between(Drive(old), Drive(new))


def between(old: Drive, new: Drive) -> Verdict:
    """What becomes of the state of one program in another; layouts take the way of a manifest."""
    definition = new.program.definition
    before, after = (layouts_from_json(layouts_json(one.program.layout())) for one in (old, new))
    return compare(before, after, renames=renames_of(definition), migrations=migration_facts(definition))


def handed_over(old: Drive, flow: Flow) -> Drive:
    """A program of the new version with the state of the old one, at the same epoch and the same watermarks."""
    new = Drive(flow)
    images = old.store.load(old.segments)
    moved, _ = migrate(images, between(old, new), new.program.definition)
    new.program.load(moved)
    new.epochs = list(old.epochs)
    new.changes = [{} for _ in old.epochs]
    known = renamed_facts(old.before, renames_of(new.program.definition))
    new.before = {name: known.get(name, mark) for name, mark in new.before.items()}
    last = len(old.epochs)
    new.segments = [new.store.write(0, last, [image.as_change() for image in moved.values()], whole=True)]
    return new


def rows(*given: tuple[Any, ...], **types: Any) -> pl.DataFrame:
    """Orders (id, seconds, customer, amount, weight) as a frame."""
    frame = pl.DataFrame(
        [(id_, at * 1_000_000, *rest) for id_, at, *rest in given],
        schema={"id": pl.Int64, "at": pl.Int64, "customer": pl.String, "amount": pl.Int64, "weight": pl.Float64},
        orient="row",
    )
    return frame.with_columns(pl.col("at").cast(pl.Datetime("us"))).cast(types)  # type: ignore[arg-type]
