"""The filter language of Cloud Logging over log entries, compiled to SQL of DuckDB with bound parameters.

A text becomes tokens (`tokens`), a tree of frozen values (`grammar`, `tree`), and a condition (`compiling`): names are
bound to columns (`fields`), values get the type of their column (`literals`, `times`) or of what is there (`payload`).
"""

from penstock.observe.filters.bounds import time_bounds
from penstock.observe.filters.compiling import compile_filter
from penstock.observe.filters.condition import Condition

__all__ = ["Condition", "compile_filter", "time_bounds"]
