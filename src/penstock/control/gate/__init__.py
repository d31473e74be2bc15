"""The gate before a cut: what a new version does differently, and whether that may go on unattended.

`SinkComparison` compares rows, `Gate` puts all evidence together, `judge` holds it to a policy; `watch_judge` does so
after the cut, `Receipt` says what it came to.
"""

from penstock.control.gate.allowances import share_text
from penstock.control.gate.bounds import Bounds
from penstock.control.gate.comparison import SinkComparison, diffs_of_report, epochs_compared
from penstock.control.gate.conduct import Conduct, conduct_of_facts, conduct_of_records
from penstock.control.gate.differ import Differ
from penstock.control.gate.judgement import Judgement, Reason
from penstock.control.gate.receipts import (
    Accounting,
    Pause,
    Receipt,
    accounting,
    pause_at,
    pause_ms,
    receipt_of_facts,
    row_counts,
)
from penstock.control.gate.row_diff import DELETED, UNKNOWN, ColumnDiff, RowDiff
from penstock.control.gate.verdict import Determinism, Gate, judge
from penstock.control.gate.watch import watch_judge

__all__ = [
    "DELETED",
    "UNKNOWN",
    "Accounting",
    "Bounds",
    "ColumnDiff",
    "Conduct",
    "Determinism",
    "Differ",
    "Gate",
    "Judgement",
    "Pause",
    "Reason",
    "Receipt",
    "RowDiff",
    "SinkComparison",
    "accounting",
    "conduct_of_facts",
    "conduct_of_records",
    "diffs_of_report",
    "epochs_compared",
    "judge",
    "pause_at",
    "pause_ms",
    "receipt_of_facts",
    "row_counts",
    "share_text",
    "watch_judge",
]
