"""Version 1: flows, generations and versions; the head, epochs, state files, dead letters and roll-ups of a flow."""

from __future__ import annotations

__all__ = ["CONTROL", "FLOW", "POSTGRESQL"]

CONTROL = (
    "CREATE TABLE place (env TEXT NOT NULL PRIMARY KEY)",
    """CREATE TABLE flows (
        env TEXT NOT NULL, flow TEXT NOT NULL, generation BIGINT NOT NULL,
        version TEXT NOT NULL, holder TEXT NOT NULL, claimed_us BIGINT NOT NULL,
        PRIMARY KEY (env, flow))""",
    """CREATE TABLE generations (
        env TEXT NOT NULL, flow TEXT NOT NULL, generation BIGINT NOT NULL,
        version TEXT NOT NULL, holder TEXT NOT NULL, claimed_us BIGINT NOT NULL,
        PRIMARY KEY (env, flow, generation))""",
    """CREATE TABLE versions (
        env TEXT NOT NULL, flow TEXT NOT NULL, version TEXT NOT NULL, first_us BIGINT NOT NULL,
        PRIMARY KEY (env, flow, version))""",
)
"""`ledger.db` of a folder. `place` says which environment the folder belongs to."""

FLOW = (
    """CREATE TABLE head (
        one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), generation BIGINT NOT NULL,
        version TEXT NOT NULL, holder TEXT NOT NULL,
        last_epoch BIGINT NOT NULL, last_us BIGINT, planned TEXT,
        state_epoch BIGINT NOT NULL, rolled_epoch BIGINT NOT NULL, dead_total BIGINT NOT NULL)""",
    """CREATE TABLE epochs (
        epoch INTEGER NOT NULL PRIMARY KEY, generation BIGINT NOT NULL, version TEXT NOT NULL,
        committed_us BIGINT NOT NULL, record TEXT NOT NULL)""",
    """CREATE TABLE segments (
        last INTEGER NOT NULL PRIMARY KEY, first BIGINT NOT NULL, file TEXT NOT NULL,
        size_bytes BIGINT NOT NULL, crc32 BIGINT NOT NULL)""",
    """CREATE TABLE dead_letters (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, epoch BIGINT NOT NULL, step TEXT NOT NULL,
        error TEXT NOT NULL, message TEXT NOT NULL, signature TEXT NOT NULL, payload TEXT NOT NULL,
        "offset" TEXT NOT NULL, version TEXT NOT NULL)""",
    "CREATE TABLE rollups (last INTEGER NOT NULL PRIMARY KEY, first BIGINT NOT NULL, file TEXT NOT NULL)",
)
"""`epochs.db` of one flow."""

POSTGRESQL = (
    *(
        statement.replace("CREATE TABLE ", "CREATE TABLE penstock.")
        for statement in CONTROL
        if "TABLE place " not in statement
    ),
    """CREATE TABLE penstock.head (
        env TEXT NOT NULL, flow TEXT NOT NULL, generation BIGINT NOT NULL,
        version TEXT NOT NULL, holder TEXT NOT NULL,
        last_epoch BIGINT NOT NULL, last_us BIGINT, planned TEXT,
        state_epoch BIGINT NOT NULL, rolled_epoch BIGINT NOT NULL, dead_total BIGINT NOT NULL,
        PRIMARY KEY (env, flow)) WITH (fillfactor = 50)""",
    """CREATE TABLE penstock.epochs (
        env TEXT NOT NULL, flow TEXT NOT NULL, epoch BIGINT NOT NULL,
        generation BIGINT NOT NULL, version TEXT NOT NULL, committed_us BIGINT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (env, flow, epoch))""",
    """CREATE TABLE penstock.segments (
        env TEXT NOT NULL, flow TEXT NOT NULL, last BIGINT NOT NULL, first BIGINT NOT NULL,
        file TEXT NOT NULL, size_bytes BIGINT NOT NULL, crc32 BIGINT NOT NULL,
        PRIMARY KEY (env, flow, last))""",
    """CREATE TABLE penstock.dead_letters (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, env TEXT NOT NULL, flow TEXT NOT NULL,
        epoch BIGINT NOT NULL, step TEXT NOT NULL, error TEXT NOT NULL, message TEXT NOT NULL,
        signature TEXT NOT NULL, payload TEXT NOT NULL, "offset" TEXT NOT NULL, version TEXT NOT NULL)""",
    "CREATE INDEX dead_letters_of_flow ON penstock.dead_letters (env, flow, id)",
    """CREATE TABLE penstock.rollups (
        env TEXT NOT NULL, flow TEXT NOT NULL, last BIGINT NOT NULL, first BIGINT NOT NULL, file TEXT NOT NULL,
        PRIMARY KEY (env, flow, last))""",
)
"""Everything of all flows, in the schema `penstock`. A head is rewritten at every commit: half its page stays free."""
