"""Who may do what: one row a route. What has no row is refused, whoever asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeAlias

__all__ = ["ACCESS", "OPEN", "PAGES", "Access", "Role", "needed"]


class Role(StrEnum):
    """What a token, or a session that was opened with it, is good for. Each may do what those before it may."""

    VIEWER = "viewer"
    """Sees what flows do; no rows, and changes nothing."""
    OPERATOR = "operator"
    """Sees rows, and says what flows should do."""

    def covers(self, other: Role) -> bool:
        """Whether who has this role may do what the other one may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class _Open(StrEnum):
    OPEN = "open"


OPEN = _Open.OPEN
"""For everybody: it tells nothing of any flow."""

Access: TypeAlias = Role | _Open

PAGES = (
    "/",
    "/flows/{flow}",
    "/logs",
    "/dashboards",
    "/dashboards/{dashboard}",
    "/alerts",
    "/ledger",
    "/ledger/{flow}",
    "/ledger/{flow}/{epoch}",
    "/why",
)
"""Addresses of the page: each is answered with the same document, which asks the routes below for what it shows."""

_VIEWED = (
    "/metrics",
    "/v1/alerts",
    "/v1/alerts/rules",
    "/v1/alerts/rules/{rule}/backtest",
    "/v1/dashboards",
    "/v1/dashboards/{dashboard}",
    "/v1/deployments",
    "/v1/events",
    "/v1/flows",
    "/v1/flows/{flow}",
    "/v1/flows/{flow}/dead-letters/groups",
    "/v1/flows/{flow}/epochs",
    "/v1/flows/{flow}/epochs/{epoch}",
    "/v1/flows/{flow}/events",
    "/v1/flows/{flow}/graph",
    "/v1/flows/{flow}/history",
    "/v1/flows/{flow}/members",
    "/v1/flows/{flow}/versions",
    "/v1/members",
    "/v1/metrics/names",
    "/v1/metrics/query",
    "/v1/metrics/series",
    "/v1/overview",
    "/v1/silences",
    "/v1/stream",
)

_ROWS_SEEN = (
    "/v1/deployments/{deployment}",
    "/v1/flows/{flow}/dead-letters",
    "/v1/flows/{flow}/undo",
    "/v1/logs",
    *(f"/v1/logs/{what}" for what in ("context", "counts", "histogram", "metrics", "signatures", "sql", "tail")),
    "/v1/logs/metrics/{metric}",
    "/v1/sql",
    "/v1/tables",
)
"""What shows rows, or what people write into logs."""

_WISHES = (
    *(f"/v1/deployments/{{deployment}}/{answer}" for answer in ("approve", "cancel", "refuse")),
    *(f"/v1/flows/{{flow}}/dead-letters/{deed}" for deed in ("drop", "replay", "try")),
    *(
        f"/v1/flows/{{flow}}/{wish}"
        for wish in ("deployments", "drain", "pause", "resume", "schedule", "start", "stop")
    ),
    "/v1/silences",
    "/v1/silences/{silence}/end",
    "/v1/why",
    "/v1/why/input",
)

ACCESS: Sequence[tuple[str, str, Access]] = (
    *(("GET", path, OPEN) for path in (*PAGES, "/assets/{file}", "/openapi.json", "/v1/health", "/v1/session")),
    ("POST", "/v1/session", OPEN),
    ("DELETE", "/v1/session", Role.VIEWER),
    *(("GET", path, Role.VIEWER) for path in _VIEWED),
    *(("GET", path, Role.OPERATOR) for path in _ROWS_SEEN),
    *(("POST", path, Role.OPERATOR) for path in _WISHES),
    ("PUT", "/v1/dashboards/{dashboard}", Role.OPERATOR),
    ("DELETE", "/v1/dashboards/{dashboard}", Role.OPERATOR),
)
"""Method, path, who. An exact path comes before one with a name in braces, which stands for one part of a path."""

_EXACT = {(method, path): access for method, path, access in ACCESS if "{" not in path}
_PATTERNS = [
    (method, re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), access) for method, path, access in ACCESS if "{" in path
]


def needed(method: str, path: str) -> Access | None:
    """Who may ask this; None: nobody."""
    asked = "GET" if method == "HEAD" else method
    exact = _EXACT.get((asked, path))
    if exact is not None:
        return exact
    return next((access for one, pattern, access in _PATTERNS if one == asked and pattern.fullmatch(path)), None)
