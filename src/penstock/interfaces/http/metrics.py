"""The routes of metrics: as they are now, as they were, and by PromQL over what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response

from penstock.control import Meter
from penstock.errors import ConfigError
from penstock.flow import duration_us
from penstock.interfaces.http.bodies import TimeUs
from penstock.observe import STEPS_MAX, Grid, MetricHistory, evaluate, labels_of, parse_query, render_families

__all__ = ["metric_routes"]

_STEPS = 300
"""How many values a question without a step gets, at the most."""


def metric_routes(app: FastAPI, meter: Meter) -> None:
    """Add them to the application. Without a store, what was is a question that can't be answered."""

    @app.get("/metrics", tags=["metrics"], response_class=Response)
    def metrics(request: Request) -> Response:
        """The metrics of all flows, as OpenMetrics or Prometheus text."""
        text, kind = render_families(meter.families(), accept=request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})

    @app.get("/v1/metrics/names", tags=["metrics"])
    def names() -> dict[str, Any]:
        """What is stored: name, type, unit, what it says, how many series."""
        found = _history(meter).names()
        fields = ("name", "type", "unit", "help", "series")
        return {"names": [{field: getattr(one, field) for field in fields} for one in found]}

    _past_routes(app, meter)


def _past_routes(app: FastAPI, meter: Meter) -> None:
    @app.get("/v1/metrics/series", tags=["metrics"])
    def series(
        name: str,
        flow: str | None = None,
        label: Annotated[list[str] | None, Query(description="NAME=VALUE; may be given again")] = None,
        over: str = "1h",
        start_us: TimeUs | None = None,
        end_us: TimeUs | None = None,
        step: str | None = None,
        function: str = "last",
        q: float = 0.5,
    ) -> dict[str, Any]:
        """A value for each step of time; null where there was no sample."""
        span = _span(meter, start_us, end_us, over, step)
        answer = _history(meter).series(
            name,
            {**labels_of(label or []), **({} if flow is None else {"flow": flow})},
            start_us=span.start_us,
            end_us=span.end_us,
            step_s=span.step_us / 1e6,
            function=function,
            quantile=q,
        )
        return answer.as_dict()

    @app.get("/v1/metrics/query", tags=["metrics"])
    def query(
        query: str,
        start_us: TimeUs | None = None,
        end_us: TimeUs | None = None,
        over: str = "1h",
        step: str | None = None,
    ) -> dict[str, Any]:
        """PromQL at steps of time; null where there is no value. As `query_range` of Prometheus."""
        span = _span(meter, start_us, end_us, over, step)
        grid = Grid(span.start_us, span.step_us, span.steps + 1)
        rows = evaluate(parse_query(query), _history(meter), grid).rows
        return {
            "query": query,
            "times_us": grid.times_us.tolist(),
            "series": [
                {"labels": dict(labels), "values": [float(one) if np.isfinite(one) else None for one in values]}
                for labels, values in rows
            ],
        }


@dataclass(frozen=True, slots=True)
class _Span:
    start_us: int
    end_us: int
    step_us: int

    @property
    def steps(self) -> int:
        return (self.end_us - self.start_us) // self.step_us


def _span(meter: Meter, start_us: int | None, end_us: int | None, over: str, step: str | None) -> _Span:
    """What time a question is of: to now, and in as many steps as a picture needs, where it says nothing else."""
    until_us = meter.clock.now_us() if end_us is None else end_us
    since_us = until_us - duration_us(over, what="over") if start_us is None else start_us
    if until_us <= since_us:
        raise ConfigError("a question of metrics has an end after its start", hint='over="1h", or start_us and end_us')
    step_us = duration_us(step, what="step") if step else _fitting_step_us(until_us - since_us, meter.every_s)
    found = _Span(since_us, until_us, step_us)
    if step_us <= 0 or found.steps > STEPS_MAX:
        raise ConfigError(f"a step is longer than 0, and there are {STEPS_MAX:,} at most", hint="ask for a longer one")
    return found


def _history(meter: Meter) -> MetricHistory:
    if meter.history is None:
        raise ConfigError("no store of metrics is open here", hint="penstock up keeps one")
    return meter.history


def _fitting_step_us(span_us: int, every_s: float) -> int:
    """The shortest step of a round length that gives a picture, and no more points than it needs."""
    every_us = round(every_s * 1e6)
    rounds_us = (every_us, *(round(seconds * 1e6) for seconds in (10, 30, 60, 300, 900, 3_600, 21_600, 86_400)))
    return next((step for step in rounds_us if step >= every_us and span_us / step <= _STEPS), rounds_us[-1])
