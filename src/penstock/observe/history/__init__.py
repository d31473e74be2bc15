"""What metrics were: samples in a file, kept by the minute and by the hour when they are old, and questions to them."""

from penstock.observe.history.asking import FUNCTIONS, MetricSeries, SeriesAnswer
from penstock.observe.history.store import STEPS_MAX, MetricHistory, StoredName, view_frame

__all__ = ["FUNCTIONS", "STEPS_MAX", "MetricHistory", "MetricSeries", "SeriesAnswer", "StoredName", "view_frame"]
