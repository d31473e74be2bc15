"""Wishes, versions, deployments, events and leases in the control tables, SQLite or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from penstock.clock import Clock
from penstock.errors import FlowBusy, LedgerError
from penstock.ledger.databases import Databases, check_flow_name, inserting
from penstock.ledger.documents import Documents
from penstock.ledger.failures import permanent
from penstock.ledger.formats.records import clean_text, dump_json
from penstock.ledger.operations import (
    Deployment,
    DeploymentStatus,
    Desired,
    Event,
    Lease,
    Operations,
    VersionFacts,
    Want,
)
from penstock.ledger.sql_documents import SqlDocuments

__all__ = ["SqlOperations"]


class SqlOperations(Operations):
    """What is wished of an environment's flows and done with them. Safe to use from several threads."""

    def __init__(self, databases: Databases, clock: Clock) -> None:
        self._control = databases.control
        self._tables = databases.control_tables
        self._env = databases.env
        self._clock = clock
        self._documents = SqlDocuments(databases, clock)

    @property
    def documents(self) -> Documents:
        """Small things with a name that people and the server keep."""
        return self._documents

    def desired(self, flow: str) -> Desired | None:
        """What should be of a flow; None where nobody said."""
        return next(iter(self._desired(self._tables.desired.c.flow == flow)), None)

    def all_desired(self) -> Sequence[Desired]:
        """What should be, of every flow that somebody said something of; by name."""
        return sorted(self._desired(), key=lambda desired: desired.flow)

    def _desired(self, *where: sa.ColumnElement[bool]) -> list[Desired]:
        table = self._tables.desired
        chosen = sa.select(table).where(table.c.env == self._env, *where)
        rows = self._control.read(lambda c: c.execute(chosen).mappings().all())
        return [
            Desired(
                **_some(row, "flow", "version", "who", "why", "changed_us"),
                want=Want(row["want"]),
                options=json.loads(row["options"]),
            )
            for row in rows
        ]

    def desire(self, desired: Desired, *, over: int | None = None) -> bool:
        """Say what should be of a flow from now on, in the place of the wish `over`; False where that is gone."""
        check_flow_name(desired.flow)
        changed_us = desired.changed_us or self._clock.now_us()
        key = {"env": self._env, "flow": desired.flow}
        values: dict[str, Any] = {
            "want": desired.want.value,
            "version": desired.version,
            "options": dump_json(desired.options, what="the options of a wish"),
            "who": clean_text(desired.who),
            "why": clean_text(desired.why),
            "changed_us": changed_us,
        }
        body = {
            "want": desired.want.value,
            "version": desired.version,
            "options": desired.options,
            "why": clean_text(desired.why),
        }
        event = self._event_values(Event("desired", desired.flow, body, desired.who, changed_us))

        table = self._tables.desired

        def work(connection: sa.Connection) -> bool:
            new = inserting(connection, table).values(**key, **values)
            # In the statement itself: two servers' transactions may run at once.
            same = None if over is None else table.c.changed_us == over
            said = (
                new.on_conflict_do_nothing(index_elements=list(key))
                if over == 0
                else new.on_conflict_do_update(index_elements=list(key), set_=values, where=same)
            )
            if connection.execute(said.returning(table.c.flow)).first() is None:
                return False
            connection.execute(sa.insert(self._tables.events).values(**event))
            return True

        return self._control.write(work, flow=desired.flow, left="what should be of the flow is as it was")

    def add_version(self, facts: VersionFacts) -> None:
        """Note a version; the same again changes nothing. One that a claim has noted already gets its manifest."""
        check_flow_name(facts.flow)
        table = self._tables.versions
        key = {"env": self._env, "flow": facts.flow, "version": facts.version}
        manifest = dump_json(facts.manifest, what="the manifest of a version")
        first_us = facts.first_us or self._clock.now_us()

        def work(connection: sa.Connection) -> None:
            new = inserting(connection, table).values(**key, first_us=first_us, manifest=manifest)
            changed = new.on_conflict_do_update(
                index_elements=list(key), set_={"manifest": manifest}, where=table.c.manifest.is_(None)
            )
            connection.execute(changed)

        self._control.write(work, flow=facts.flow, left="the version is not noted")

    def version(self, flow: str, version: str) -> VersionFacts | None:
        """A version by its id, or by a beginning of it that only one has."""
        table = self._tables.versions
        found = self._versions(flow, table.c.version.startswith(version, autoescape=True)) if version else []
        near = [facts for facts in found if facts.version.startswith(version)]  # SQLite does not tell case apart
        exact = [facts for facts in near if facts.version == version]
        return exact[0] if exact else near[0] if len(near) == 1 else None

    def versions(self, flow: str) -> Sequence[VersionFacts]:
        """All versions of a flow, oldest first; the manifest of one that ran without having been added is {}."""
        return self._versions(flow)

    def _versions(self, flow: str, *where: sa.ColumnElement[bool]) -> list[VersionFacts]:
        table = self._tables.versions
        chosen = sa.select(table).where(table.c.env == self._env, table.c.flow == flow, *where)
        ordered = chosen.order_by(table.c.first_us, table.c.version)
        rows = self._control.read(lambda c: c.execute(ordered).mappings().all(), flow=flow)
        return [
            VersionFacts(row["flow"], row["version"], json.loads(row["manifest"] or "{}"), row["first_us"])
            for row in rows
        ]

    def begin_deployment(self, deployment: Deployment) -> None:
        """Note a deployment that begins. Raises FlowBusy, naming who and which, where one of this flow is running.

        An index lets one deployment of a flow be running, so of two that begin at once one is refused. The same id
        again is accepted as done.
        """
        check_flow_name(deployment.flow)
        values: dict[str, Any] = {
            "env": self._env,
            **{name: getattr(deployment, name) for name in ("id", "flow", "kind", "old_version", "new_version")},
            "stage": deployment.stage,
            "status": deployment.status.value,
            "plan": dump_json(list(deployment.plan), what="the plan of a deployment"),
            "facts": dump_json(deployment.facts, what="the facts of a deployment"),
            "receipt": dump_json(deployment.receipt, what="the receipt of a deployment"),
            "who": clean_text(deployment.who),
            "why": clean_text(deployment.why),
            "made_us": deployment.made_us or self._clock.now_us(),
            "ended_us": deployment.ended_us,
        }
        table = self._tables.deployments

        def work(connection: sa.Connection) -> sa.RowMapping | None:
            """Insert, and give the row that was in the way."""
            new = inserting(connection, table).values(**values).on_conflict_do_nothing()
            if connection.execute(new).rowcount == 1:
                return None
            rows = sa.select(table).where(table.c.env == self._env)
            mine = connection.execute(rows.where(table.c.id == deployment.id)).mappings().first()
            if mine is not None and mine["flow"] == deployment.flow:
                return None
            running = rows.where(table.c.flow == deployment.flow, table.c.status == DeploymentStatus.RUNNING.value)
            return mine or connection.execute(running).mappings().one()

        other = self._control.write(work, flow=deployment.flow, left="nothing was begun")
        if other is not None:
            by = f" by {other['who']}" if other["who"] else ""
            stage = f", at stage {other['stage']!r}" if other["stage"] else ""
            raise FlowBusy(
                f"{other['kind']} {other['id']}{by} is running{stage}: from version {other['old_version']} to "
                f"{other['new_version']}",
                flow=other["flow"],
                state_left="nothing was begun",
                hint="wait until it is over, or stop it",
            )

    def advance_deployment(
        self,
        deployment: str,
        *,
        stage: str | None = None,
        facts: Mapping[str, Any] | None = None,
        status: DeploymentStatus | None = None,
        receipt: Mapping[str, Any] | None = None,
    ) -> None:
        """Note how far a deployment is. `facts` are laid over those that are there. A status that ends it, ends it.

        Raises LedgerError for an unknown one, and for one that is over already where stage or status would change.
        """
        table = self._tables.deployments
        one = sa.select(table).where(table.c.env == self._env, table.c.id == deployment)

        def work(connection: sa.Connection) -> None:
            row = connection.execute(one.with_for_update()).mappings().first()
            if row is None:
                raise _refused(f"there is no deployment {deployment}", "list the deployments")
            changes = {"stage": stage, "status": None if status is None else status.value}
            values: dict[str, Any] = {name: text for name, text in changes.items() if text not in (None, row[name])}
            if values and row["ended_us"] is not None:
                raise _refused(f"deployment {deployment} is over: {row['status']}", "look at its receipt")
            if status is not None and status is not DeploymentStatus.RUNNING and row["ended_us"] is None:
                values["ended_us"] = self._clock.now_us()
            if facts is not None:
                values["facts"] = dump_json({**json.loads(row["facts"]), **facts}, what="the facts of a deployment")
            if receipt is not None:
                values["receipt"] = dump_json(receipt, what="the receipt of a deployment")
            if values:
                connection.execute(sa.update(table).where(table.c.number == row["number"]).values(**values))

        self._control.write(work, left="the deployment is noted as it was")

    def deployment(self, deployment: str) -> Deployment | None:
        """One deployment by its id."""
        return next(iter(self._deployments(self._tables.deployments.c.id == deployment, limit=1)), None)

    def deployments(self, flow: str | None = None, *, running: bool = False, limit: int = 100) -> Sequence[Deployment]:
        """Deployments, newest first."""
        table = self._tables.deployments
        where = [] if flow is None else [table.c.flow == flow]
        if running:
            where.append(table.c.status == DeploymentStatus.RUNNING.value)
        return self._deployments(*where, limit=limit)

    def _deployments(self, *where: sa.ColumnElement[bool], limit: int) -> list[Deployment]:
        table = self._tables.deployments
        chosen = sa.select(table).where(table.c.env == self._env, *where).order_by(table.c.number.desc()).limit(limit)
        rows = self._control.read(lambda c: c.execute(chosen).mappings().all())
        return [
            Deployment(
                **_some(row, "id", "flow", "kind", "old_version", "new_version", "stage", "who", "why"),
                **_some(row, "made_us", "ended_us"),
                plan=json.loads(row["plan"]),
                status=DeploymentStatus(row["status"]),
                facts=json.loads(row["facts"]),
                receipt=json.loads(row["receipt"]),
            )
            for row in rows
        ]

    def note(self, event: Event) -> None:
        """Keep an event."""
        new = sa.insert(self._tables.events).values(**self._event_values(event))
        self._control.write(lambda c: c.execute(new), flow=event.flow or None, left="the event is not kept")

    def _event_values(self, event: Event) -> dict[str, Any]:
        return {
            "env": self._env,
            "flow": event.flow,
            "kind": event.kind,
            "body": dump_json(event.body, what=f"an event {event.kind}"),
            "who": clean_text(event.who),
            "at_us": event.at_us or self._clock.now_us(),
        }

    def events(self, flow: str | None = None, *, kind: str | None = None, limit: int = 100) -> Sequence[Event]:
        """Events, newest first."""
        table = self._tables.events
        chosen = sa.select(table).where(table.c.env == self._env).order_by(table.c.id.desc()).limit(limit)
        for column, asked in ((table.c.flow, flow), (table.c.kind, kind)):
            if asked is not None:
                chosen = chosen.where(column == asked)
        rows = self._control.read(lambda c: c.execute(chosen).mappings().all(), flow=flow)
        return [Event(**_some(row, "kind", "flow", "who", "at_us", "id"), body=json.loads(row["body"])) for row in rows]

    def lease(self, name: str, holder: str, *, ttl_s: float) -> Lease | None:
        """Take or renew a lease; None where somebody else holds it. Times are the database's own.

        (SQLite: the clock of this machine.)
        """
        table = self._tables.leases
        mine = (table.c.env == self._env, table.c.name == name)
        empty = {"env": self._env, "name": name, "holder": "", "fence": 0, "until_us": 0}

        def work(connection: sa.Connection) -> Lease | None:
            connection.execute(inserting(connection, table).values(**empty).on_conflict_do_nothing())
            row = connection.execute(sa.select(table).where(*mine).with_for_update()).mappings().one()
            now_us = self._now_us(connection)  # after the lock: waiting for it took time
            if row["holder"] != holder and row["until_us"] > now_us:
                return None
            fence = row["fence"] + (row["holder"] != holder)
            lease = Lease(name, holder, fence, now_us + round(ttl_s * 1e6))
            values = {"holder": holder, "fence": fence, "until_us": lease.until_us}
            connection.execute(sa.update(table).where(*mine).values(**values))
            return lease

        return self._control.write(work, left=f"the lease {name!r} is as it was")

    def release(self, name: str, holder: str) -> None:
        """Give a lease back; one that somebody else holds stays with them."""
        table = self._tables.leases
        mine = (table.c.env == self._env, table.c.name == name, table.c.holder == holder)
        free = sa.update(table).where(*mine).values(holder="", until_us=0)
        self._control.write(lambda c: c.execute(free), left=f"the lease {name!r} runs out by itself")

    def _now_us(self, connection: sa.Connection) -> int:
        if not self._control.is_postgres:
            return self._clock.now_us()
        return int(
            connection.exec_driver_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").scalar_one()
        )


def _some(row: sa.RowMapping, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _refused(message: str, hint: str) -> LedgerError:
    return permanent(LedgerError(message, state_left="nothing was written", hint=hint))
