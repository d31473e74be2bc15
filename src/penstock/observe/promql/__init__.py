"""PromQL over the samples that Penstock keeps itself: parsed by promql-parser, worked out here on a grid of times."""

from penstock.observe.promql.evaluating import evaluate
from penstock.observe.promql.parsing import Query, parse_query
from penstock.observe.promql.series import Grid, Matcher, MatchKind, Series, SeriesStore, Vector

__all__ = ["Grid", "MatchKind", "Matcher", "Query", "Series", "SeriesStore", "Vector", "evaluate", "parse_query"]
