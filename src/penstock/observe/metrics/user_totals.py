"""Running totals of an author's own metrics, from the records of committed epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.flow import LABEL_SETS_MAX, OTHER

__all__ = ["METRICS_MAX", "UserMetric", "add_user_metrics"]

METRICS_MAX = 200
"""So many metrics of their own a flow's authors may have; those beyond are left out."""


@dataclass(slots=True)
class UserMetric:
    """One metric. `values`: by label values a number; of a histogram counts by bucket, one more, and the sum."""

    kind: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    values: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def add(self, key: tuple[str, ...], value: Any) -> None:
        """Take in what one epoch says. Label values beyond the limit are counted under `other`."""
        if key not in self.values and len(self.values) >= LABEL_SETS_MAX:
            key = (OTHER,) * len(self.labels)
        known = self.values.get(key)
        if known is None or self.kind == "gauge":
            self.values[key] = value
        elif self.kind == "histogram":
            self.values[key] = [before + more for before, more in zip(known, value, strict=True)]
        else:
            self.values[key] = known + value

    def as_json(self) -> dict[str, Any]:
        """JSON values, in the shape of a record's."""
        return {
            "kind": self.kind,
            "labels": list(self.labels),
            "help": self.help,
            "buckets": list(self.buckets),
            "values": [[list(key), value] for key, value in self.values.items()],
        }


def add_user_metrics(totals: dict[str, UserMetric], told: Mapping[str, Any]) -> None:
    """Add what an epoch's record says (`EpochRecord.metrics`). A metric that became another one begins anew."""
    for name, one in told.items():
        shape = (str(one["kind"]), tuple(one["labels"]), tuple(one.get("buckets", ())))
        known = totals.get(name)
        if known is None or (known.kind, known.labels, known.buckets) != shape:
            if known is None and len(totals) >= METRICS_MAX:
                continue
            known = totals[name] = UserMetric(shape[0], shape[1], "", shape[2])
        known.help = str(one.get("help", ""))
        for key, value in one["values"]:
            known.add(tuple(key), value)
