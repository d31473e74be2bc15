"""What is generated for Prometheus, held by its own tools; and the same rules looked at by ourselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from penstock.generate import grafana_dashboards, prometheus_config, prometheus_rules
from penstock.observe import DEFAULT_RULES, Basis, Matcher, Rule, Series, backtest, parse_query
from penstock.testing.monitors import promtool
from tests.generate.cases import CASES, Case

RULES = {rule.name: rule for rule in DEFAULT_RULES if rule.basis is Basis.METRIC}
_MINUTE_US = 60_000_000


def test_each_rule_that_comes_with_penstock_has_a_case() -> None:
    """And no case is of a rule that is no more."""
    assert CASES.keys() == RULES.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rules."""
    made = tmp_path_factory.mktemp("rules")
    for name, text in prometheus_rules(list(RULES.values()), left_out=["ManyErrors"]).items():
        (made / name).write_text(text)
    return made


def _told(name: str, case: Case, series: Mapping[str, str], *, fires: bool) -> dict[str, object]:
    """A test of promtool. What the alert says is not compared: numbers in it are rounded by templates."""
    return {
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                "eval_time": f"{case.after_min}m",
                "exp_samples": [{"labels": "{}", "value": 1 if fires else 0}],
            }
        ],
    }


def test_prometheus_fires_each_rule_when_it_should_and_not_when_it_should_not(folder: Path) -> None:
    """Promtool runs all cases; the alert has the labels of the flow."""
    tests = [_told(name, case, case.bad, fires=True) for name, case in CASES.items()]
    tests += [_told(name, case, case.good, fires=False) for name, case in CASES.items() if case.good]
    named = [
        {
            **_told(name, case, case.bad, fires=True),
            "promql_expr_test": [
                {
                    "expr": f'sum without (alertstate) (ALERTS{{alertname="{name}"}})',
                    "eval_time": f"{case.after_min}m",
                    "exp_samples": [{"labels": _labels(name, case), "value": 1}],
                }
            ],
        }
        for name, case in CASES.items()
    ]
    text = json.dumps({"rule_files": ["penstock-rules.yml"], "evaluation_interval": "1m", "tests": tests + named})
    (folder / "test.yml").write_text(text)
    assert "SUCCESS" in promtool("test", "rules", "test.yml", folder=folder)


def _labels(name: str, case: Case) -> str:
    labels = {"alertname": name, "severity": RULES[name].severity.value, **case.labels}
    return "{" + ", ".join(f'{label}="{value}"' for label, value in labels.items()) + "}"


class Written:
    """Series in promtool's notation: `1 2 3x4 0+5x6`."""

    def __init__(self, series: Mapping[str, str]) -> None:
        self._series = [_series(text, values) for text, values in series.items()]

    def select(self, matchers: Sequence[Matcher], start_us: int, end_us: int) -> list[Series]:
        """As `SeriesStore.select`."""
        found = []
        for one in self._series:
            inside = (one.times_us >= start_us) & (one.times_us <= end_us)
            if inside.any() and all(matcher.fits(one.labels.get(matcher.label, "")) for matcher in matchers):
                found.append(Series(one.labels, one.times_us[inside], one.values[inside]))
        return found


def _series(text: str, values: str) -> Series:
    name, _, rest = text.partition("{")
    labels = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    found: list[float] = []
    for part in values.split():
        match = re.fullmatch(r"(-?[\d.]+?)(?:([+-][\d.]+))?(?:x(\d+))?", part)
        assert match is not None, part
        first, by, times = float(match[1]), float(match[2] or 0), int(match[3] or 0)
        found += [first + by * at for at in range(times + 1)]
    times_us = np.arange(len(found), dtype=np.int64) * _MINUTE_US
    return Series({"__name__": name, **labels}, times_us, np.array(found))


def _fires(rule: Rule, series: Mapping[str, str], after_min: int) -> list[Mapping[str, str]]:
    end_us = after_min * _MINUTE_US
    episodes = backtest(rule, Written(series), start_us=0, end_us=end_us, step_s=60)
    return [one.labels for one in episodes if one.end_us is None]


@pytest.mark.parametrize("name", CASES)
def test_we_fire_the_same_alerts(name: str) -> None:
    """On the same samples as Prometheus."""
    case = CASES[name]
    assert _fires(RULES[name], case.bad, case.after_min) == [case.labels]
    if case.good:
        assert _fires(RULES[name], case.good, case.after_min) == []


@pytest.mark.parametrize("tls", [{}, {"scheme": "https"}, {"scheme": "https", "ca_file": "ca.crt"}])
def test_prometheus_takes_the_configuration(tmp_path: Path, tls: dict[str, Any]) -> None:
    """Promtool finds no fault in it, nor in the rules; also where the server speaks https."""
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("t")
    config = prometheus_config(["127.0.0.1:7654"], token_file="token", alertmanagers=["127.0.0.1:9093"], **tls)
    for name, text in {**config, **prometheus_rules(list(RULES.values()))}.items():
        (tmp_path / name).write_text(text)
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "config", "prometheus.yml", folder=tmp_path)


def test_sentences_are_templates_of_prometheus() -> None:
    """Labels and values are put in by it."""
    (text,) = prometheus_rules([RULES["MemoryNearLimit"]]).values()
    (rule,) = yaml.safe_load(text)["groups"][0]["rules"]
    assert rule["annotations"] == {
        "summary": "{{ $labels.flow }} uses {{ $value | humanizePercentage }} of the memory that it may",
        "next": "penstock start {{ $labels.flow }} --memory ...",
    }
    assert rule["for"] == "120s"


@pytest.mark.parametrize("path", grafana_dashboards())
def test_each_panel_asks_what_can_be_asked(path: str) -> None:
    """Queries parse; ids and places differ; the labels that were chosen are in each selector."""
    dashboard = json.loads(grafana_dashboards()[path])
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    queries += [one["expr"] for one in dashboard["annotations"]["list"]]
    for query in queries:
        assert parse_query(query.replace("$__rate_interval", "1m")).metrics, query
        assert query.count("{") == query.count('env=~"$env"'), query
