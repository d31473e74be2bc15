"""The stateful operators, and the table that says which one does which operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from penstock.engine.operators.aggregate import RunningAggregate
from penstock.engine.operators.contract import Operator, Place
from penstock.engine.operators.deduplicate import Deduplicated
from penstock.engine.operators.joins import IntervalJoined
from penstock.engine.operators.lookup import LookedUp
from penstock.engine.operators.process import Processed
from penstock.engine.operators.same_window import SameWindowAggregate, SameWindowTop
from penstock.engine.operators.sessions import Sessions
from penstock.engine.operators.top import Top
from penstock.engine.operators.windows import WindowedAggregate, WindowedTop, WindowsJoined
from penstock.flow import SameWindow, Session, ops

__all__ = ["Operator", "Place", "operator_of"]


def _window(place: Place, operation: ops.WindowAggregate) -> Operator:
    if isinstance(operation.window, SameWindow):
        return SameWindowAggregate(place, operation)
    return (Sessions if isinstance(operation.window, Session) else WindowedAggregate)(place, operation)


def _window_top(place: Place, operation: ops.WindowTop) -> Operator:
    return (SameWindowTop if isinstance(operation.window, SameWindow) else WindowedTop)(place, operation)


_OPERATORS: Mapping[type[ops.Operation], Callable[[Place, Any], Operator]] = {
    ops.Aggregate: RunningAggregate,
    ops.WindowAggregate: _window,
    ops.WindowTop: _window_top,
    ops.TopN: Top,
    ops.Deduplicate: Deduplicated,
    ops.IntervalJoin: IntervalJoined,
    ops.WindowJoin: WindowsJoined,
    ops.Lookup: LookedUp,
    ops.Process: Processed,
}


def operator_of(place: Place) -> Operator | None:
    """The operator of a stateful step; None for a stateless one. Raises DefinitionError where it can't be done."""
    build = _OPERATORS.get(type(place.step.operation))
    return None if build is None else build(place, place.step.operation)
