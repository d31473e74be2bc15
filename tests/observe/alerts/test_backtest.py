"""A backtest tells what looking would have told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.observe import (
    Basis,
    Grid,
    Matcher,
    Rule,
    Series,
    Severity,
    State,
    advance,
    backtest,
    evaluate,
    parse_query,
)
from penstock.observe.alerts import Alert, Finding

_S = 1_000_000


class One:
    """One series with a sample each ten seconds; 1 where something is wrong."""

    def __init__(self, wrong: Sequence[bool]) -> None:
        times = np.arange(len(wrong), dtype=np.int64) * 10 * _S
        self.series = Series({"__name__": "wrong", "flow": "a"}, times, np.array(wrong, dtype=np.float64))

    def select(self, matchers: Sequence[Matcher], start_us: int, end_us: int) -> list[Series]:
        """As `SeriesStore.select`."""
        inside = (self.series.times_us >= start_us) & (self.series.times_us <= end_us)
        fits = all(matcher.fits(self.series.labels.get(matcher.label, "")) for matcher in matchers)
        return [Series(self.series.labels, self.series.times_us[inside], self.series.values[inside])] if fits else []


def looked(rule: Rule, store: One, steps: int) -> list[tuple[int, int | None]]:
    """When the alert fired and was over, looking each ten seconds."""
    known: list[Alert] = []
    found: list[tuple[int, int | None]] = []
    for at in range(steps):
        now_us = at * 10 * _S
        rows = evaluate(parse_query(rule.query), store, Grid(now_us)).rows
        known = advance(rule, known, [Finding(labels, float(values[0])) for labels, values in rows], now_us)
        for alert in known:
            if alert.state is State.FIRING and alert.fired_us == now_us:
                found.append((now_us, None))
            if alert.state is State.RESOLVED:
                found[-1] = (found[-1][0], now_us)
        known = [alert for alert in known if alert.state is not State.RESOLVED]
    return found


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.sampled_from([0, 10, 25, 30]),
    st.sampled_from([0, 10, 25, 30]),
)
def test_it_is_what_looking_would_have_told(wrong: list[bool], for_s: int, keep_s: int) -> None:
    """For any history, wait and keep."""
    rule = Rule("Wrong", Severity.PAGE, "wrong == 1", "", for_s=for_s, keep_s=keep_s)
    store = One(wrong)
    episodes = backtest(rule, store, start_us=0, end_us=(len(wrong) - 1) * 10 * _S)
    assert [(one.fired_us, one.end_us) for one in episodes] == looked(rule, store, len(wrong))


def test_a_rule_of_logs_has_no_backtest() -> None:
    """And says what shows its entries."""
    rule = Rule("Errors", Severity.PAGE, "severity>=ERROR", "", basis=Basis.LOG_RATE)
    with pytest.raises(ConfigError, match="only metrics are kept"):
        backtest(rule, One([True]), start_us=0, end_us=_S)
