"""Version 3: documents, small things with a name that people and the server keep: alerts, silences, dashboards."""

from __future__ import annotations

__all__ = ["CONTROL", "FLOW", "POSTGRESQL"]

_DOCUMENTS = """CREATE TABLE {schema}documents (
        env TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, who TEXT NOT NULL,
        changed_us BIGINT NOT NULL,
        PRIMARY KEY (env, kind, id))"""

CONTROL = (_DOCUMENTS.format(schema=""),)

FLOW: tuple[str, ...] = ()

POSTGRESQL = (_DOCUMENTS.format(schema="penstock."),)
