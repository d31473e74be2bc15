"""`penstock replay`: run epochs again through any version, to look at the rows or to write them elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.control import epochs_of
from penstock.interfaces.cli.handing import Detach, VersionId, carried_out, handing
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder
from penstock.interfaces.cli.rollout_screen import comparison_table
from penstock.interfaces.cli.screen import screen
from penstock.interfaces.cli.steering import Why

__all__ = ["command"]


def command(
    flow: FlowName,
    *,
    epochs: Annotated[str, typer.Option("--epochs", metavar="A..B", help="Which epochs.")],
    version: VersionId = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="NAME", help="Write the rows to the tables of this environment.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the rows as Parquet files to this folder.")
    ] = None,
    env: EnvironmentName = "dev",
    detach: Detach = False,
    why: Why = "",
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> int:
    """Run epochs again through any version, beside what leads.

    The rows are compared with those of the version that ran the epochs then, where it is kept, else counted. Nothing
    is written, unless --out or --into says where; into another environment each epoch goes once, however often it is
    replayed.
    """
    first, last = epochs_of(epochs)
    with handing(flow, project, env, why=why) as asked:
        intent = asked.asker.replay(asked.flow, first, last, version=version, out=out, environment=into)
        code = carried_out(asked, intent, detach=detach, as_json=as_json)
        done = next(iter(asked.steered.ledger.operations.deployments(asked.flow, limit=1)), None)
        if code == 0 and done is not None and not (detach or as_json):
            compared = done.facts.get("compare") or {}
            screen().print()
            screen().print(comparison_table(compared))
            gone = (done.facts.get("beside") or {}).get("gone")
            if gone:
                screen().print(f"the version of then could not be run again ({gone}): its rows are only counted")
        return code
