"""`penstock metrics`: what `/metrics` of the server says, with or without a server; and what it was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from penstock.clock import SystemClock
from penstock.control import Environment, Meter, opened_history, read_history, read_ledger
from penstock.errors import ConfigError, DefinitionError
from penstock.flow import duration_us
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder
from penstock.interfaces.cli.screen import NUMBER, TEXT, fitting_table, print_json, screen
from penstock.interfaces.cli.steering import ran_here
from penstock.observe import FUNCTIONS, MetricHistory, MetricSeries, MetricValue, SeriesAnswer, labels_of, metric_values

__all__ = ["command", "sparkline"]

_COLUMNS = (("flow", TEXT), ("metric", TEXT), ("of", TEXT), ("value", NUMBER))
_PAST = (("of", TEXT), ("", TEXT), ("least", NUMBER), ("most", NUMBER), ("now", NUMBER))
_POINTS = 60
_LEAST_STEP_S = 10.0
_BARS = "▁▂▃▄▅▆▇█"


def command(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="One flow; all where none is named.")] = None,
    *,
    env: EnvironmentName = "dev",
    name: Annotated[str | None, typer.Option("--name", "-n", metavar="METRIC", help="One metric.")] = None,
    over: Annotated[
        str | None, typer.Option("--over", metavar="DURATION", help="What it was, so long back: a line. Takes --name.")
    ] = None,
    step: Annotated[
        str | None, typer.Option("--step", metavar="DURATION", help="How much one value stands for.")
    ] = None,
    function: Annotated[
        str | None, typer.Option("--function", "-f", metavar="NAME", help=f"One of {', '.join(FUNCTIONS)}.")
    ] = None,
    quantile: Annotated[float, typer.Option("--quantile", "-q", help="Which one, with --function quantile.")] = 0.5,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Only these series.")] = None,
    names: Annotated[bool, typer.Option("--names", help="List what is stored.")] = False,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Tell the metrics of flows as they are now, or as they were.

    Rows, epochs, time, backlog, freshness: read from the ledger, so no server has to run. `--json` has the buckets of
    histograms, and the states that a flow is not in, too. `--over 1h --name penstock_records_in_total` draws what the
    server kept: of a counter its rate, else the last value of each step.
    """
    found, environment = ran_here(flow, project, env)
    labels = labels_of(label or [])
    if names or over is not None:
        with read_history(environment) as history:
            if history is None:
                raise ConfigError(f"no samples are kept in {env} yet", hint="the server keeps them: penstock up")
            if names:
                _show_names(history, as_json=as_json)
                return
            if name is None:
                raise ConfigError("--over takes the name of a metric", hint="--name METRIC; --names lists them")
            asked = {**labels, **({} if found is None else {"flow": found})}
            answer = _past(history, name, asked, over or "1h", step, function, quantile)
        _show_past(answer, as_json=as_json)
        return
    values = [
        value
        for value in _values(environment, found)
        if (name is None or value.name.startswith(name)) and labels.items() <= value.labels.items()
    ]
    _show_now(values, env, as_json=as_json)


# --- now --------------------------------------------------------------------------------------------------------------


def _values(environment: Environment, flow: str | None) -> list[MetricValue]:
    with read_ledger(environment) as ledger:
        if ledger is None:
            return []
        # What was counted is kept for the next one who asks: the ledger may have millions of epochs.
        with opened_history(environment) as history:
            samples = Meter(ledger, environment, SystemClock(), history=history).samples(flow)
    return metric_values(environment.project, environment.name, samples)


def _show_now(values: Sequence[MetricValue], env: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"env": env, "metrics": [value.as_dict() for value in values]})
        return
    out = screen()
    rows = [_row(value) for value in values if not (value.name.endswith("_bucket") or _is_no_state(value))]
    if not rows:
        out.print(f"no flow ever ran in {env}" if not values else "no such metric", markup=False)
        return
    out.print(fitting_table(out, _COLUMNS, rows, expendable=["of"]))


def _is_no_state(value: MetricValue) -> bool:
    """Whether it is one of the states that a flow is not in."""
    return value.name == "penstock_flow_state" and not value.value


def _row(value: MetricValue) -> tuple[str, ...]:
    return value.labels["flow"], value.name, _of(value.labels.items()), _number(value.value)


def _of(labels: object) -> str:
    pairs = dict(labels)  # type: ignore[call-overload]  # items of a mapping
    return ", ".join(f"{name}={text}" for name, text in pairs.items() if name not in ("project", "env", "flow"))


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"


# --- what was ---------------------------------------------------------------------------------------------------------


def _past(
    history: MetricHistory,
    name: str,
    labels: dict[str, str],
    over: str,
    step: str | None,
    function: str | None,
    quantile: float,
) -> SeriesAnswer:
    now_us = SystemClock().now_us()
    span_us = _span_us(over)
    step_s = max(span_us / _POINTS / 1e6, _LEAST_STEP_S) if step is None else _span_us(step) / 1e6
    usual = "rate" if name.endswith(("_total", "_count", "_sum", "_bucket")) else "last"
    return history.series(
        name,
        labels,
        start_us=now_us - span_us,
        end_us=now_us,
        step_s=step_s,
        function=function or usual,
        quantile=quantile,
    )


def _span_us(text: str) -> int:
    try:
        return duration_us(text)
    except DefinitionError as error:
        raise ConfigError(f"{text!r} is no duration", hint="write for example 30s, 1h, 14d") from error


def _show_names(history: MetricHistory, *, as_json: bool) -> None:
    found = history.names()
    if as_json:
        fields = ("name", "type", "unit", "help", "series")
        print_json({"names": [{field: getattr(one, field) for field in fields} for one in found]})
        return
    out = screen()
    rows = [(one.name, one.type, f"{one.series:,}", one.help) for one in found]
    columns = (("metric", TEXT), ("type", TEXT), ("series", NUMBER), ("what it says", TEXT))
    out.print(fitting_table(out, columns, rows, expendable=["what it says"]))


def _show_past(answer: SeriesAnswer, *, as_json: bool) -> None:
    if as_json:
        print_json(answer.as_dict())
        return
    out = screen()
    if not answer.series:
        out.print(f"{answer.name} had no sample in that time", markup=False)
        return
    unit = " a second" if answer.function == "rate" else ""
    out.print(f"{answer.name}: {answer.function}{unit}, each {answer.step_s:g} s", markup=False)
    out.print(fitting_table(out, _PAST, [_past_row(one) for one in answer.series], expendable=["of"]))


def _past_row(one: MetricSeries) -> tuple[str, ...]:
    values = one.values.tolist()
    known = [value for value in values if math.isfinite(value)]
    of = ", ".join(filter(None, (one.labels.get("flow", ""), _of(one.labels.items()))))
    return of, sparkline(values), _number(min(known)), _number(max(known)), _number(known[-1])


def sparkline(values: Sequence[float]) -> str:
    """Values as a line of bars from 0, or the least where that is below; a gap where there is none."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min([0.0, *known]), max(known, default=0.0)
    span = high - low or 1.0
    last = len(_BARS) - 1
    return "".join(
        _BARS[min(last, int((value - low) / span * len(_BARS)))] if math.isfinite(value) else " " for value in values
    )
