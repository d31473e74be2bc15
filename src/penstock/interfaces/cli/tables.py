"""`penstock tables`: what an environment holds."""

from __future__ import annotations

from pathlib import Path

from penstock.control import LEDGER_VIEWS, SqlSession, TableFacts
from penstock.errors import PenstockError
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.screen import NUMBER, TEXT, count_text, print_json, screen, table

__all__ = ["command"]


def command(*, env: EnvironmentName = "dev", as_json: AsJson = False, project: ProjectFolder = Path()) -> None:
    """List the tables of an environment.

    `penstock sql` can ask them; the views `epochs` and `dead_letters` of the ledger are always there too.
    """
    _, environment = environment_of(project, env)
    with SqlSession(environment) as session:
        rows = [(found, *_count(session, found)) for found in session.tables.values()]
    if as_json:
        listed = [
            {
                "name": found.name,
                "kind": found.kind,
                "place": found.place,
                "key": list(found.key),
                "flow": found.flow or None,
                "step": found.step or None,
                "rows": count,
                "note": note or None,
            }
            for found, count, note in rows
        ]
        print_json({"env": env, "tables": listed})
        return
    out = screen()
    if not rows:
        out.print(f"{env} has no tables yet; penstock run FLOW makes them")
        return
    columns = (("table", TEXT), ("rows", NUMBER), ("kind", TEXT), ("place", TEXT), ("key", TEXT), ("written by", TEXT))
    out.print(
        table(
            columns,
            (
                (found.name, count_text(count) or note, found.kind, found.place, ", ".join(found.key), found.flow)
                for found, count, note in rows
            ),
        )
    )
    out.print()
    out.print(f'views of the ledger: {", ".join(LEDGER_VIEWS)}. Ask: penstock sql "select ..."', markup=False)


def _count(session: SqlSession, found: TableFacts) -> tuple[int | None, str]:
    """How many rows, or why that can't be told."""
    try:
        return session.row_count(found.name), ""
    except PenstockError as error:
        return None, "locked" if "locked" in error.message else "no rows yet" if "no rows yet" in error.message else "?"
