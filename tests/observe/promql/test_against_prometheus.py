"""The same samples and queries in Prometheus and here give the same values."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from penstock.clock import seeded
from penstock.observe.promql import Grid, Matcher, Series, evaluate, parse_query
from penstock.testing.monitors import PrometheusServer, prometheus

_BEGIN_S = 1_700_000_000
_LENGTH_S = 7_200
_GRID = Grid((_BEGIN_S + 1_803) * 1_000_000, 37_000_000, 120)
"""Its times meet no sample's, nor do the beginnings of windows: what is on an edge differs between versions."""

QUERIES = """
rows_total
rows_total{flow="a"}
rows_total{flow!="a"}
rows_total{flow=~"a|c"}
rows_total{flow!~"a.*"}
rows_total{flow=~"A"}
rows_total{nothing=""}
rows_total offset 7m
rate(rows_total[5m])
rate(rows_total[2m] offset 3m)
increase(rows_total[10m])
irate(rows_total[5m])
delta(backlog[5m])
idelta(backlog[5m])
deriv(backlog[10m])
predict_linear(backlog[10m], 3600)
avg_over_time(backlog[5m])
min_over_time(backlog[5m])
max_over_time(backlog[5m])
sum_over_time(backlog[5m])
count_over_time(backlog[5m])
last_over_time(backlog[5m])
present_over_time(backlog[1m])
stddev_over_time(backlog[5m])
quantile_over_time(0.9, backlog[5m])
changes(backlog[5m])
resets(rows_total[20m])
sum(rate(rows_total[5m]))
sum by (flow) (rate(rows_total[5m]))
sum without (step) (rate(rows_total[5m]))
avg by (flow) (backlog)
min(backlog)
max by (flow) (backlog)
count(backlog)
count by (step) (backlog)
group by (flow) (backlog)
stddev(backlog)
stdvar by (step) (backlog)
quantile(0.3, backlog)
quantile by (flow) (0.75, backlog)
topk(2, rows_total)
sum(topk(2, backlog))
bottomk by (flow) (1, rows_total)
sum(bottomk by (flow) (1, backlog))
backlog + 1
1 - backlog
-backlog
backlog * 2 / 3
backlog % 7
2 ^ (backlog / 100)
backlog > 40
40 < backlog
backlog > bool 40
backlog == 0
backlog != 0
backlog >= 10 < 60
backlog / ignoring(step, owner) group_left limit
backlog * on(flow) group_left(owner) limit
limit - on(flow) group_right() backlog
sum by (flow) (backlog) / on(flow) limit
backlog > on(flow) group_left() limit
sum by (flow) (backlog) > on(flow) limit
sum by (flow) (backlog) > bool on(flow) limit
backlog and on(flow) limit > 50
backlog unless on(flow) limit > 50
limit or on(flow) backlog
backlog or limit
backlog and backlog > 50
rate(rows_total[25s]) == 0 and on(flow, step) backlog > 0
absent(backlog)
absent(nothing_like_it{flow="z"})
absent_over_time(backlog{flow="gap"}[2m])
time() - 5
time() - backlog
vector(3)
scalar(limit{flow="a"}) + backlog
clamp_min(backlog, 20)
clamp_max(backlog, 20)
clamp(backlog, 20, 40)
abs(backlog - 50)
ceil(backlog / 3)
floor(backlog / 3)
round(backlog / 3)
round(backlog, 5)
sqrt(backlog)
exp(backlog / 100)
ln(backlog + 1)
log2(backlog + 1)
log10(backlog + 1)
sgn(backlog - 50)
histogram_quantile(0.9, rate(took_bucket[5m]))
histogram_quantile(0.5, sum by (le) (rate(took_bucket[5m])))
histogram_quantile(0.99, took_bucket)
label_replace(backlog, "team", "$1-x", "flow", "(.).*")
sum by (team) (label_replace(backlog, "team", "all", "flow", ".*"))
2 * 3 + 1
3 > bool 2
""".strip().splitlines()


EMPTY = ('rows_total{flow=~"A"}', "absent(backlog)")


class Samples:
    """Series in memory."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = series

    def select(self, matchers: Sequence[Matcher], start_us: int, end_us: int) -> list[Series]:
        """As `SeriesStore.select`."""
        found = []
        for one in self.series:
            if all(matcher.fits(one.labels.get(matcher.label, "")) for matcher in matchers):
                inside = (one.times_us >= start_us) & (one.times_us <= end_us)
                if inside.any():
                    found.append(Series(one.labels, one.times_us[inside], one.values[inside]))
        return found


def _series(draw: random.Random, name: str, labels: dict[str, str], values: Sequence[float], gap: range) -> Series:
    """Samples each ten seconds and a bit, some of them missing, none within the gap."""
    kept = [(at, value) for at, value in enumerate(values) if draw.random() > 0.05 and at not in gap]
    times = np.array([(_BEGIN_S + 10 * at) * 1_000_000 + 250_000 for at, _ in kept], dtype=np.int64)
    return Series({"__name__": name, **labels}, times, np.array([value for _, value in kept], dtype=np.float64))


def _world() -> list[Series]:
    """Counters that begin anew, gauges, a limit for each flow, and a histogram."""
    draw = seeded(20261126)
    count = _LENGTH_S // 10
    found = []
    for flow, gap in (("a", range(0)), ("b", range(0)), ("c", range(0)), ("gap", range(300, 420))):
        owner = {"owner": "ops" if flow < "c" else "data"}
        found.append(_series(draw, "limit", {"flow": flow, **owner}, [draw.choice([30.0, 60.0])] * count, gap))
        for step in ("read", "write"):
            total, totals = 0.0, []
            for _ in range(count):
                total = 0.0 if draw.random() < 0.01 else total + draw.choice([0, 0, 5, draw.random() * 100])
                totals.append(total)
            found.append(_series(draw, "rows_total", {"flow": flow, "step": step}, totals, gap))
            gauges = [float(draw.choice([0, 10, 40, 50, draw.randrange(100)])) for _ in range(count)]
            found.append(_series(draw, "backlog", {"flow": flow, "step": step}, gauges, gap))
    at_most = np.zeros(4)
    counts: list[list[float]] = [[] for _ in range(4)]
    for _ in range(count):
        at_most += np.cumsum([draw.randrange(5) for _ in range(4)])
        for place in range(4):
            counts[place].append(float(at_most[place]))
    for place, bound in enumerate(("0.1", "0.5", "1.0", "+Inf")):
        found.append(_series(draw, "took_bucket", {"le": bound}, counts[place], range(0)))
    return found


def _text(series: Sequence[Series]) -> str:
    """As OpenMetrics with times; a family's series stand together."""
    lines, family = [], ""
    for one in sorted(series, key=lambda given: given.labels["__name__"]):
        name = one.labels["__name__"]
        if name != family:
            lines.append(f"# TYPE {name} unknown")
            family = name
        labels = ",".join(f'{label}="{value}"' for label, value in one.labels.items() if label != "__name__")
        for time_us, value in zip(one.times_us, one.values, strict=True):
            lines.append(
                f"{name}{{{labels}}} {value!r} {time_us / 1e6:.3f}".replace("np.float64(", "").replace(")", "")
            )
    return "\n".join([*lines, "# EOF\n"])


@pytest.fixture(scope="module")
def world() -> Samples:
    """The samples."""
    return Samples(_world())


@pytest.fixture(scope="module")
def real(world: Samples) -> Iterator[PrometheusServer]:
    """A Prometheus that knows them."""
    with prometheus(samples=_text(world.series)) as server:
        yield server


def _theirs(real: PrometheusServer, query: str) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
    answer = real.get(
        "/api/v1/query_range",
        query=query,
        start=f"{_GRID.start_us / 1e6:.3f}",
        end=f"{_GRID.end_us / 1e6:.3f}",
        step=f"{_GRID.step_us / 1e6:.3f}",
    )
    found = {}
    for one in answer["data"]["result"]:
        points = {round(time_s * 1e6): float(value) for time_s, value in one["values"]}
        there = {time_us: value for time_us, value in points.items() if not math.isnan(value)}
        if there:
            found[tuple(sorted(one["metric"].items()))] = there
    return found


def _ours(world: Samples, query: str) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
    found = {}
    for labels, values in evaluate(parse_query(query), world, _GRID).rows:
        there = {int(at): float(value) for at, value in zip(_GRID.times_us, values, strict=True) if not np.isnan(value)}
        found[tuple(sorted(labels.items()))] = there
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_values_are_those_of_prometheus(query: str, world: Samples, real: PrometheusServer) -> None:
    """Series, their labels, the times at which they are there, and their values are the same."""
    theirs, ours = _theirs(real, query), _ours(world, query)
    assert ours.keys() == theirs.keys()
    for labels, points in theirs.items():
        assert ours[labels].keys() == points.keys(), labels
        assert list(ours[labels].values()) == pytest.approx(list(points.values()), rel=1e-9, abs=1e-9), labels
    assert bool(theirs) is (query not in EMPTY), "a query that gives nothing shows nothing"
