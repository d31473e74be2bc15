"""The store of metrics: rates are right, gaps are gaps, what is old is coarser, and nothing that was kept is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.errors import ConfigError, LedgerError
from penstock.observe import MetricFamily, MetricHistory, MetricType

START_US = 1_700_000_000_000_000 // 86_400_000_000 * 86_400_000_000
SECOND_US = 1_000_000
HOUR_S = 3_600


@pytest.fixture
def history(tmp_path: Path) -> Iterator[MetricHistory]:
    """An empty store."""
    opened = MetricHistory(tmp_path / "metrics.db")
    yield opened
    opened.close()


def counter(value: float, name: str = "rows_total", **labels: str) -> MetricFamily:
    """A counter with one value."""
    family = MetricFamily(name, MetricType.COUNTER, "", "Rows.")
    family.add(labels, value)
    return family


def fill(history: MetricHistory, value_at: Callable[[int], float], *, upto_s: int, from_s: int = 0) -> None:
    """Samples of one counter, ten seconds apart."""
    for second in range(from_s, upto_s, 10):
        assert history.append(START_US + second * SECOND_US, [counter(value_at(second), flow="f")])


def asked(history: MetricHistory, function: str, *, start_s: int, end_s: int, step_s: float) -> list[float]:
    """The values of the one series."""
    answer = history.series(
        "rows_total",
        {"flow": "f"},
        start_us=START_US + start_s * SECOND_US,
        end_us=START_US + end_s * SECOND_US,
        step_s=step_s,
        function=function,
    )
    assert len(answer.series) == 1
    values: list[float] = answer.series[0].values.tolist()
    return values


@pytest.mark.parametrize("step_s", [10, 60, 300, HOUR_S])
def test_a_known_rate_is_seen_whatever_is_kept(history: MetricHistory, step_s: float) -> None:
    """2,000 rows a second over three hours: samples, minutes and hours all say so, over their borders too."""
    fill(history, lambda second: 2_000.0 * second, upto_s=3 * HOUR_S + 600)
    rates = asked(history, "rate", start_s=HOUR_S, end_s=3 * HOUR_S + 600, step_s=step_s)

    assert rates == pytest.approx([2_000.0] * len(rates), rel=0.02)
    total = sum(asked(history, "increase", start_s=HOUR_S, end_s=3 * HOUR_S + 600, step_s=step_s))
    assert total == pytest.approx(2_000.0 * (2 * HOUR_S + 600), rel=0.001)


@pytest.mark.parametrize("step_s", [10, 60, HOUR_S])
def test_a_counter_that_fell_began_again(history: MetricHistory, step_s: float) -> None:
    """What it counted since is added, nothing is taken away; at the border of hours as well."""
    fill(history, lambda second: float(second % HOUR_S), upto_s=2 * HOUR_S + 600)

    growth = asked(history, "increase", start_s=0, end_s=2 * HOUR_S + 600, step_s=step_s)

    assert sum(growth) == 2 * (HOUR_S - 10) + 590
    assert min(growth) >= 0


def test_a_gap_is_a_gap(history: MetricHistory) -> None:
    """Where nobody took samples there is no value; the sum of what grew is right all the same."""
    fill(history, lambda second: 10.0 * second, upto_s=600)
    fill(history, lambda second: 10.0 * second, from_s=1_200, upto_s=1_800)
    rates = asked(history, "rate", start_s=0, end_s=1_800, step_s=60)

    assert np.isnan(rates[10:20]).all()
    assert rates[1:10] + rates[20:] == pytest.approx([10.0] * 19)
    assert sum(asked(history, "increase", start_s=0, end_s=1_800, step_s=1_800)) == 17_900


def test_time_that_stands_still_or_is_set_back_adds_nothing(history: MetricHistory) -> None:
    """A sample of a moment is kept once; before a sealed hour there is no way back."""
    fill(history, float, upto_s=HOUR_S + 20)

    assert not history.append(START_US + (HOUR_S + 10) * SECOND_US, [counter(1.0, flow="f")])
    assert not history.append(START_US, [counter(1.0, flow="f")])
    assert history.append(START_US + (HOUR_S + 20) * SECOND_US, [counter(float(HOUR_S + 20), flow="f")])


def test_functions_of_a_step(history: MetricHistory) -> None:
    """Last, mean, most, and a quantile of the samples of a minute."""
    fill(history, float, upto_s=60)
    of = {"last": 50.0, "avg": 25.0, "max": 50.0, "quantile": 25.0}

    assert {name: asked(history, name, start_s=0, end_s=60, step_s=60) for name in of} == {
        name: [value] for name, value in of.items()
    }


def test_a_quantile_of_a_histogram(history: MetricHistory) -> None:
    """By the name of the metric, from what its buckets grew by, evenly within a bucket."""
    for second, counts in ((0, [0, 0, 0]), (10, [50, 50, 0])):
        family = MetricFamily("took_seconds", MetricType.HISTOGRAM, "seconds", "")
        family.add_histogram({"flow": "f"}, [0.1, 0.5], counts, 10.0)
        history.append(START_US + second * SECOND_US, [family])

    def value(quantile: float) -> float:
        span: Any = {"start_us": START_US, "end_us": START_US + 20 * SECOND_US}
        answer = history.series("took_seconds", **span, step_s=20, function="quantile", quantile=quantile)
        assert answer.series[0].labels == {"flow": "f"}
        return float(answer.series[0].values[0])

    assert [value(quantile) for quantile in (0.25, 0.5, 0.75)] == pytest.approx([0.05, 0.1, 0.3])


def test_what_is_old_is_kept_coarser_and_then_not_at_all(history: MetricHistory) -> None:
    """After two days samples of the first hour are gone, its minutes are there; after 20 days its hours alone."""
    fill(history, float, upto_s=2 * HOUR_S)
    day_s = 24 * HOUR_S
    for day in (3, 20):
        for second in (0, HOUR_S):
            history.append(START_US + (day * day_s + second) * SECOND_US, [counter(1e9, flow="f")])
        found = asked(history, "last", start_s=0, end_s=2 * HOUR_S, step_s=10)
        kept = int((~np.isnan(found)).sum())
        assert kept == {3: 120, 20: 2}[day]


def test_series_that_nobody_has_samples_of_are_forgotten(history: MetricHistory) -> None:
    """A version that led once is a label of once: after 400 days it is gone, so labels do not pile up."""
    history.append(START_US, [counter(1.0, flow="gone")])
    for day in (1, 500, 501):
        history.append(START_US + day * 86_400 * SECOND_US, [counter(1.0, flow="f")])

    assert history.series_count == 1


def test_the_number_of_series_has_a_limit(tmp_path: Path) -> None:
    """What is beyond it is left out, and the others go on."""
    history = MetricHistory(tmp_path / "metrics.db", series_max=10)
    family = MetricFamily("rows_total", MetricType.COUNTER, "", "")
    for flow in range(1000):
        family.add({"flow": f"f{flow}"}, 1.0)
    history.append(START_US, [family])

    assert history.series_count == 10
    history.close()


def test_wrong_questions_are_answered_by_what_is_right(history: MetricHistory) -> None:
    """An unknown metric or function names the closest one; too many steps, a wrong time and quantile are refused."""
    fill(history, float, upto_s=60)
    span: Any = {"start_us": START_US, "end_us": START_US + 60 * SECOND_US}

    with pytest.raises(ConfigError, match="rows_total"):
        history.series("row_total", **span, step_s=10)
    with pytest.raises(ConfigError, match="last, avg, max"):
        history.series("rows_total", **span, step_s=10, function="median")
    with pytest.raises(ConfigError, match="the limit is 11,000"):
        history.series("rows_total", start_us=0, end_us=START_US, step_s=10)
    with pytest.raises(ConfigError, match="after its start"):
        history.series("rows_total", start_us=10, end_us=10, step_s=10)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        history.series("rows_total", **span, step_s=10, function="quantile", quantile=99)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """Garbage is told with the way out, and left as it is."""
    file = tmp_path / "metrics.db"
    file.write_bytes(b"garbage" * 1000)

    with pytest.raises(LedgerError, match="can't be used"):
        MetricHistory(file)
    assert file.read_bytes() == b"garbage" * 1000


WRITER = """
import sys
from pathlib import Path
from penstock.observe import MetricFamily, MetricHistory, MetricType

history = MetricHistory(Path(sys.argv[1]))
for place in range(1_000_000):
    family = MetricFamily("rows_total", MetricType.COUNTER, "", "")
    family.add({"flow": "f"}, float(place))
    history.append(int(sys.argv[2]) + place * 60_000_000, [family], {"totals:f": str(place)})
    print(place, flush=True)
"""


@pytest.mark.crash
def test_a_writer_that_is_killed_loses_nothing_that_it_said_was_kept(tmp_path: Path) -> None:
    """Kill -9 in the middle, over the ends of hours: all samples are there, with the facts of the last of them."""
    file = tmp_path / "metrics.db"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), str(START_US)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        said = [int(process.stdout.readline()) for _ in range(150)]
        process.kill()
        said += [int(line) for line in process.stdout.read().split() if line.isdigit()]
    history = MetricHistory(file)
    last = said[-1]
    values = asked(history, "last", start_s=0, end_s=(last + 1) * 60, step_s=60)
    kept = history.load("totals:f")
    history.close()

    assert values == [float(place) for place in range(last + 1)]
    assert kept is not None
    assert json.loads(kept) in (last, last + 1)
