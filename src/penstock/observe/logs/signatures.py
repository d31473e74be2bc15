"""What goes wrong, once for each kind: how often, since when, in which versions, and whether it is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.observe.entries import SEVERITIES
from penstock.observe.logs.asking import LogQuery, LogReader, LogSpan, severity_name
from penstock.observe.logs.shapes import time_json

__all__ = ["Signature", "error_signatures"]

_FOUND = """
select signature, substr(md5(signature), 1, 8) as hash, flow, max(severity) as severity, count(*) as n,
       min("timestamp") as first, max("timestamp") as last,
       list(distinct version order by version) filter (version is not null) as versions,
       arg_max(message, "timestamp") as sample, arg_max(step, "timestamp") as step
from logs where signature is not null group by flow, signature order by n desc, last desc limit ?
"""
_NEWEST = (
    'select flow, arg_max(version, "timestamp") as version, count(distinct version) as versions from logs '
    "where version is not null and coalesce(json_extract_string(attrs, '$.role'), '') != 'following' group by flow"
)
_KNOWN = "select distinct flow, signature, version from logs where signature is not null"


@dataclass(frozen=True, slots=True)
class Signature:
    """Entries of one kind, of one flow. `new_in`: the newest version, where none but that ever logged it.

    `first`, `last`: RFC 3339. `versions`: those that logged it in the span that was asked for. `sample`: the newest.
    """

    hash: str
    signature: str
    flow: str
    severity: str
    count: int
    first: str
    last: str
    versions: tuple[str, ...]
    new_in: str | None
    step: str | None
    sample: str


def error_signatures(reader: LogReader, query: LogQuery, *, limit: int = 50) -> list[Signature]:
    """The kinds of entries of a query, the most frequent first. Raises QueryError.

    Of entries below ERROR those of WARNING have signatures too; `query.severity` says where to begin.
    """
    found = reader.table(query, _FOUND, [limit]).to_pylist()
    if not found:
        return []
    everything = LogQuery(LogSpan(flows=query.span.flows), severity=SEVERITIES["WARNING"])
    ran = reader.table(LogQuery(everything.span), _NEWEST).to_pylist()
    newest = {row["flow"]: row["version"] for row in ran if row["versions"] > 1}  # of a single one all would be new
    known: dict[tuple[str, str], set[str]] = {}
    for row in reader.table(everything, _KNOWN).to_pylist():
        known.setdefault((row["flow"], row["signature"]), set()).add(row["version"] or "")
    return [_signature(row, newest.get(row["flow"]), known) for row in found]


def _signature(row: dict[str, Any], newest: str | None, known: dict[tuple[str, str], set[str]]) -> Signature:
    is_new = newest is not None and known.get((row["flow"], row["signature"])) == {newest}
    return Signature(
        row["hash"],
        row["signature"],
        row["flow"],
        severity_name(row["severity"]),
        row["n"],
        time_json(row["first"]),
        time_json(row["last"]),
        tuple(row["versions"] or ()),
        newest if is_new else None,
        row["step"],
        row["sample"],
    )
