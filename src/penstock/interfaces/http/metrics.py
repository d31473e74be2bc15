"""The routes of metrics: as they are now, and as they were."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from penstock.control import Meter
from penstock.errors import ConfigError, DefinitionError
from penstock.flow import duration_us
from penstock.interfaces.http.bodies import TimeUs
from penstock.observe import MetricHistory, render_families

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

    @app.get("/v1/metrics/series", tags=["metrics"])
    def series(
        name: str,
        flow: str | None = None,
        label: Annotated[list[str] | None, Query(description="NAME:VALUE; may be given again")] = None,
        over: str = "1h",
        start_us: TimeUs | None = None,
        end_us: TimeUs | None = None,
        step: str | None = None,
        function: str = "last",
        q: float = 0.5,
    ) -> dict[str, Any]:
        """A value for each step of time; null where there was no sample."""
        until_us = meter.clock.now_us() if end_us is None else end_us
        since_us = until_us - _span_us(over) if start_us is None else start_us
        step_us = _span_us(step) if step else _fitting_step_us(until_us - since_us, meter.every_s)
        answer = _history(meter).series(
            name,
            {**_labels(label or []), **({} if flow is None else {"flow": flow})},
            start_us=since_us,
            end_us=until_us,
            step_s=step_us / 1e6,
            function=function,
            quantile=q,
        )
        return answer.as_dict()


def _history(meter: Meter) -> MetricHistory:
    if meter.history is None:
        raise ConfigError("no store of metrics is open here", hint="penstock up keeps one")
    return meter.history


def _span_us(text: str) -> int:
    try:
        return duration_us(text)
    except DefinitionError as error:
        raise ConfigError(f"{text!r:.60} is no duration", hint='write for example "30s", "1h", "14d"') from error


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not (name and colon):
            raise ConfigError(f"{text!r:.60} is no label", hint="write label=NAME:VALUE")
        labels[name] = value
    return labels


def _fitting_step_us(span_us: int, every_s: float) -> int:
    """The shortest step of a round length that gives a picture, and no more points than it needs."""
    every_us = round(every_s * 1e6)
    rounds_us = (every_us, *(round(seconds * 1e6) for seconds in (10, 30, 60, 300, 900, 3_600, 21_600, 86_400)))
    return next((step for step in rounds_us if step >= every_us and span_us / step <= _STEPS), rounds_us[-1])
