"""An entry as JSON: what `--json`, REST and the exports give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from penstock.observe.logs.asking import severity_name

__all__ = ["entry_json", "time_json", "us_of"]


def entry_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the logs as JSON values, all columns by their names.

    `timestamp` is RFC 3339 in UTC with microseconds, `severity` a name, `attrs` an object, empty where there is none.
    """
    attrs: Any = {}
    if row["attrs"]:
        try:
            attrs = json.loads(row["attrs"])
        except ValueError:
            attrs = {"unreadable": row["attrs"]}
    return {**row, "timestamp": time_json(row["timestamp"]), "severity": severity_name(row["severity"]), "attrs": attrs}


def time_json(moment: datetime) -> str:
    """RFC 3339 in UTC, with microseconds."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def us_of(moment: datetime) -> int:
    """Microseconds since 1970."""
    return round(moment.timestamp() * 1e6)
