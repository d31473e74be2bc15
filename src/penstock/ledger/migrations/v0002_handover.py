"""Version 2: handing over. Members, wishes, deployments, events, leases; savepoints, undone epochs, redrives."""

from __future__ import annotations

__all__ = ["CONTROL", "FLOW", "POSTGRESQL"]

CONTROL = (
    """CREATE TABLE members (
        env TEXT NOT NULL, flow TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL,
        pid BIGINT NOT NULL, host TEXT NOT NULL, started TEXT NOT NULL,
        wish TEXT NOT NULL, facts TEXT NOT NULL, joined_us BIGINT NOT NULL, facts_us BIGINT NOT NULL,
        ended_us BIGINT, ended TEXT NOT NULL,
        PRIMARY KEY (env, flow, id))""",
    """CREATE TABLE desired (
        env TEXT NOT NULL, flow TEXT NOT NULL, want TEXT NOT NULL, version TEXT NOT NULL, options TEXT NOT NULL,
        who TEXT NOT NULL, why TEXT NOT NULL, changed_us BIGINT NOT NULL,
        PRIMARY KEY (env, flow))""",
    """CREATE TABLE deployments (
        number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, env TEXT NOT NULL, id TEXT NOT NULL, flow TEXT NOT NULL,
        kind TEXT NOT NULL, old_version TEXT NOT NULL, new_version TEXT NOT NULL, plan TEXT NOT NULL,
        stage TEXT NOT NULL, status TEXT NOT NULL, facts TEXT NOT NULL, receipt TEXT NOT NULL,
        who TEXT NOT NULL, why TEXT NOT NULL, made_us BIGINT NOT NULL, ended_us BIGINT)""",
    "CREATE UNIQUE INDEX deployments_by_id ON deployments (env, id)",
    "CREATE UNIQUE INDEX deployments_running ON deployments (env, flow) WHERE status = 'running'",
    """CREATE TABLE events (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, env TEXT NOT NULL, flow TEXT NOT NULL, kind TEXT NOT NULL,
        body TEXT NOT NULL, who TEXT NOT NULL, at_us BIGINT NOT NULL)""",
    "CREATE INDEX events_of_flow ON events (env, flow, id)",
    """CREATE TABLE leases (
        env TEXT NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, fence BIGINT NOT NULL, until_us BIGINT NOT NULL,
        PRIMARY KEY (env, name))""",
    "ALTER TABLE versions ADD COLUMN manifest TEXT",
)
"""What people and the server want, and what becomes of it. An index lets one deployment of a flow be running."""

HEAD = (
    "ALTER TABLE head ADD COLUMN branch BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE head ADD COLUMN undos BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE head ADD COLUMN rewrite TEXT",
    "ALTER TABLE head ADD COLUMN state_upto BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE head ADD COLUMN state_version TEXT NOT NULL DEFAULT ''",
    "UPDATE head SET state_upto = last_epoch, state_version = version",
    "ALTER TABLE dead_letters ADD COLUMN status TEXT NOT NULL DEFAULT 'open'",
    "ALTER TABLE dead_letters ADD COLUMN detail TEXT NOT NULL DEFAULT '{}'",
)

FLOW = (
    *HEAD,
    """CREATE TABLE savepoints (
        id TEXT NOT NULL PRIMARY KEY, epoch BIGINT NOT NULL, version TEXT NOT NULL, segments TEXT NOT NULL,
        made_us BIGINT NOT NULL, why TEXT NOT NULL, pinned BOOLEAN NOT NULL)""",
    """CREATE TABLE rewrites (
        id TEXT NOT NULL PRIMARY KEY, number BIGINT NOT NULL, rewrite TEXT NOT NULL, ended_us BIGINT NOT NULL)""",
    """CREATE TABLE undone (
        rewrite TEXT NOT NULL, epoch BIGINT NOT NULL, generation BIGINT NOT NULL, version TEXT NOT NULL,
        committed_us BIGINT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (rewrite, epoch))""",
    """CREATE TABLE redrives (
        letter INTEGER NOT NULL PRIMARY KEY, step TEXT NOT NULL, payload TEXT NOT NULL, asked_us BIGINT NOT NULL)""",
)


def _shared(statement: str) -> str:
    """A statement of a SQLite file as PostgreSQL takes it, for a table in the schema `penstock`."""
    for before in ("CREATE TABLE ", "ALTER TABLE ", "UPDATE ", " ON "):
        statement = statement.replace(before, f"{before}penstock.")
    return statement.replace(
        "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    )


POSTGRESQL = (
    *(_shared(statement) for statement in (*CONTROL, *HEAD)),
    """CREATE TABLE penstock.savepoints (
        env TEXT NOT NULL, flow TEXT NOT NULL, id TEXT NOT NULL, epoch BIGINT NOT NULL, version TEXT NOT NULL,
        segments TEXT NOT NULL, made_us BIGINT NOT NULL, why TEXT NOT NULL, pinned BOOLEAN NOT NULL,
        PRIMARY KEY (env, flow, id))""",
    """CREATE TABLE penstock.rewrites (
        env TEXT NOT NULL, flow TEXT NOT NULL, id TEXT NOT NULL, number BIGINT NOT NULL, rewrite TEXT NOT NULL,
        ended_us BIGINT NOT NULL, PRIMARY KEY (env, flow, id))""",
    """CREATE TABLE penstock.undone (
        env TEXT NOT NULL, flow TEXT NOT NULL, rewrite TEXT NOT NULL, epoch BIGINT NOT NULL,
        generation BIGINT NOT NULL, version TEXT NOT NULL, committed_us BIGINT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (env, flow, rewrite, epoch))""",
    """CREATE TABLE penstock.redrives (
        env TEXT NOT NULL, flow TEXT NOT NULL, letter BIGINT NOT NULL, step TEXT NOT NULL, payload TEXT NOT NULL,
        asked_us BIGINT NOT NULL, PRIMARY KEY (env, flow, letter))""",
)
