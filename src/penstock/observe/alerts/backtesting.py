"""What a rule would have told: its life over samples that were kept, before anybody is woken by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.errors import ConfigError
from penstock.observe.alerts.rules import Basis, Rule
from penstock.observe.promql import Grid, SeriesStore, evaluate, parse_query

__all__ = ["Episode", "backtest"]

_LABEL_OF_NAME = "__name__"
_STEPS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Episode:
    """One time that an alert would have fired. Times: microseconds, UTC; `end_us` None: it fires still at the end."""

    labels: Mapping[str, str]
    since_us: int
    fired_us: int
    end_us: int | None
    worst: float
    last: float

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "labels": dict(self.labels)}


def backtest(rule: Rule, store: SeriesStore, *, start_us: int, end_us: int, step_s: float = 10.0) -> list[Episode]:
    """The episodes between two times, looked at each `step_s`, oldest first.

    Raises ConfigError for a rule that asks something else than metrics and for a span of more than a million looks,
    QueryError as the rule itself would.
    """
    if rule.basis is not Basis.METRIC:
        raise ConfigError(
            f"the alert rule {rule.name!r} asks {rule.basis.value}: only metrics are kept as they were",
            hint="penstock logs FILTER --since 7d shows the entries that it would have found",
        )
    step_us = round(step_s * 1e6)
    if (end_us - start_us) // step_us >= _STEPS_MAX:
        raise ConfigError(
            f"a backtest looks {_STEPS_MAX:,} times at most, so over {_STEPS_MAX * step_s / 86_400:,.0f} days here",
            hint="give a shorter --over",
        )
    grid = Grid(start_us, step_us, max(1, (end_us - start_us) // step_us + 1))
    found: list[Episode] = []
    for labels, values in evaluate(parse_query(rule.query), store, grid).rows:
        named = {name: value for name, value in {**labels, **rule.labels}.items() if name != _LABEL_OF_NAME}
        found.extend(_episodes(rule, named, grid, values))
    return sorted(found, key=lambda one: (one.fired_us, sorted(one.labels.items())))


def _episodes(rule: Rule, labels: Mapping[str, str], grid: Grid, values: Any) -> Iterator[Episode]:
    """As `advance` lives through it, from one time at which something is found to the next."""
    for_us, keep_us = round(rule.for_s * 1e6), round(rule.keep_s * 1e6)
    times_us = grid.times_us
    there = np.flatnonzero(~np.isnan(values))
    since_us = fired_us = None
    began = last = 0
    for at in there:
        now_us = int(times_us[at])
        if since_us is not None and at != last + 1:
            missed_us = int(times_us[last + 1])
            # Pending ends at the first time without it; firing where it is missing for long enough.
            gone_us = _gone(int(times_us[last]), missed_us, now_us, keep_us, grid.step_us)
            if fired_us is None or gone_us is not None:
                if fired_us is not None:
                    yield _episode(labels, since_us, fired_us, gone_us, values[began : last + 1])
                since_us = fired_us = None
        if since_us is None:
            since_us, began = now_us, int(at)
        if fired_us is None and now_us - since_us >= for_us:
            fired_us = now_us
        last = int(at)
    if fired_us is not None and since_us is not None:
        end_us = None
        if last < grid.count - 1:
            end_us = _gone(int(times_us[last]), int(times_us[last + 1]), grid.end_us + 1, keep_us, grid.step_us)
        yield _episode(labels, since_us, fired_us, end_us, values[began : last + 1])


def _gone(seen_us: int, missed_us: int, back_us: int, keep_us: int, step_us: int) -> int | None:
    """When it would have been over: the first look without it that is long enough after the last with it."""
    looks = max(0, -(-(seen_us + keep_us - missed_us) // step_us))
    over_us = missed_us + looks * step_us
    return over_us if over_us < back_us else None


def _episode(labels: Mapping[str, str], since_us: int, fired_us: int, end_us: int | None, values: Any) -> Episode:
    there = values[~np.isnan(values)]
    worst = float(there[np.argmax(np.abs(there))])
    return Episode(labels, since_us, fired_us, end_us, worst, float(there[-1]))
