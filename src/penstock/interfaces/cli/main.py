"""The entry of the command line: the table of verbs, help, and how an error ends.

Only the verb that was asked for is imported, so that `penstock --help` does not wait for Polars and DuckDB.

Exit codes are the table EXIT_CODES, documented in `docs/cli.md`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from penstock.errors import ConfigError, DefinitionError, Fenced, FlowBusy, PenstockError
from penstock.interfaces.cli.screen import error_screen, print_bug, print_error

__all__ = ["EXIT_CODES", "VERBS", "Verb", "main"]

EXIT_CODES: Mapping[int, str] = {
    0: "done; or a flow without an end was stopped as asked",
    1: "it failed while it ran",
    2: "wrong usage, project or flow: nothing has run",
    3: "stopped as asked before the input was drained (with --until-drained); run it again to go on",
    4: "another process runs this flow",
    5: "refused by the gate, by a person, or because production changed: the old version never stopped",
    6: "the cut was made, and taken back: the old version leads again",
    70: "a bug in Penstock",
    130: "stopped at once (a second Ctrl-C); or a deployment was left to go on (Ctrl-C)",
}


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: the module with its function `command`, and its line in the help."""

    module: str
    help: str


VERBS: Mapping[str, Verb] = {
    "init": Verb("penstock.interfaces.cli.init", "Make a project: a flow, seed data, environments, a test, a README."),
    "run": Verb("penstock.interfaces.cli.run", "Run a flow here, until its input ends or you press Ctrl-C."),
    "up": Verb("penstock.interfaces.cli.up", "Start the server: it runs flows, restarts those that die, answers REST."),
    "down": Verb("penstock.interfaces.cli.down", "End the server, and stop its flows cleanly."),
    "status": Verb("penstock.interfaces.cli.status", "Tell what flows should do, what they do, and what is wrong."),
    "start": Verb("penstock.interfaces.cli.start", "Let the server run a flow, from now on."),
    "stop": Verb("penstock.interfaces.cli.stop", "Let a flow finish its epoch and end."),
    "pause": Verb("penstock.interfaces.cli.pause", "Let a flow's process stay with its state, and plan no epoch."),
    "resume": Verb("penstock.interfaces.cli.resume", "Let a paused flow go on."),
    "drain": Verb("penstock.interfaces.cli.drain", "Let a flow read what is there now, and end."),
    "schedule": Verb("penstock.interfaces.cli.schedule", "Let a flow run by the clock."),
    "show": Verb(
        "penstock.interfaces.cli.show", "Draw the steps of a flow, check its columns, say what it is bound to."
    ),
    "versions": Verb("penstock.interfaces.cli.versions", "List the versions of a flow that are kept."),
    "diff": Verb("penstock.interfaces.cli.diff", "Tell what is different between two versions of a flow."),
    "plan": Verb("penstock.interfaces.cli.plan", "Show what a deploy would change, and its stages."),
    "deploy": Verb("penstock.interfaces.cli.deploy", "Let a new version take over while the flow runs."),
    "rollback": Verb("penstock.interfaces.cli.rollback", "Let the version before lead again."),
    "undo": Verb("penstock.interfaces.cli.undo", "Take back what was written after an epoch; write it anew."),
    "replay": Verb("penstock.interfaces.cli.replay", "Run epochs again through any version, beside what leads."),
    "approve": Verb("penstock.interfaces.cli.approve", "Say yes or no to a cut that waits for somebody."),
    "deployments": Verb("penstock.interfaces.cli.deployments", "List handovers; show one with its receipt."),
    "tables": Verb("penstock.interfaces.cli.tables", "List the tables of an environment."),
    "sql": Verb("penstock.interfaces.cli.sql", "Ask the tables of an environment, and its ledger, by SQL."),
    "ledger": Verb("penstock.interfaces.cli.ledger", "List the epochs of a flow: what was read and written, when."),
    "why": Verb(
        "penstock.interfaces.cli.why",
        "Tell why a row is there: which epoch wrote it, from which input, by which version.",
    ),
    "token": Verb("penstock.interfaces.cli.token", "Make, list or end tokens of the server beside its own one."),
    "logs": Verb("penstock.interfaces.cli.logs", "Show what flows logged, newest last."),
    "metrics": Verb("penstock.interfaces.cli.metrics", "Tell the metrics of flows as they are now, or as they were."),
    "alerts": Verb("penstock.interfaces.cli.alerts", "Tell which alerts fire; rules, silences, tests, backtests."),
    "generate": Verb(
        "penstock.interfaces.cli.generate", "Write dashboards for Grafana, rules or a configuration for Prometheus."
    ),
    "chaos": Verb(
        "penstock.interfaces.cli.chaos",
        "Kill, freeze and break a flow in a throwaway place, and compare its rows with an uninterrupted run.",
    ),
    "deadletters": Verb(
        "penstock.interfaces.cli.deadletters",
        "List the rows that a flow could not process, and why; try them again, or give them up.",
    ),
}

_EPILOG = "Every verb has its own --help. --debug shows the traceback of an error."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("PENSTOCK_DEBUG") == "1"
    given = [word for word in given if word != "--debug"]
    code = _guarded(given, debug=debug)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _guarded(given: list[str], *, debug: bool) -> int:
    try:
        result = _app(given)(given, standalone_mode=False, prog_name="penstock")
    except typer.Exit as end:
        return end.exit_code
    except PenstockError as error:
        print_error(error, debug=debug)
        return _exit_code(error)
    except (KeyboardInterrupt, typer.Abort):
        error_screen().print("stopped; nothing was left half done")
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if _show_usage_error(error):
            return 2
        print_bug(error, debug=debug)
        return 70
    return result if isinstance(result, int) else 0


def _exit_code(error: PenstockError) -> int:
    if isinstance(error, FlowBusy):
        return 4
    if isinstance(error, (ConfigError, DefinitionError)) and error.epoch is None:
        return 2
    return 4 if isinstance(error, Fenced) else 1


def _show_usage_error(error: Exception) -> bool:
    """Typer's own errors of usage can show themselves; they have no public class in common."""
    show = getattr(error, "show", None)
    if show is None:
        return False
    show()
    return True


def _app(given: Sequence[str]) -> Callable[..., Any]:
    """The Typer app; the module of a verb is imported only where the verb is the first word."""
    app = typer.Typer(
        help="Run, watch and recover dataflows. Begin with: penstock init DIR",
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    asked = next((word for word in given if not word.startswith("-")), None)
    for name, verb in VERBS.items():
        command = importlib.import_module(verb.module).command if name == asked else _not_loaded
        app.command(name, help=None if name == asked else verb.help, short_help=verb.help)(command)
    return app


def _not_loaded() -> None:
    """Stands in the list of verbs for one that was not asked for."""


def _version(asked: bool) -> None:
    if asked:
        print(f"penstock {installed_version('penstock')}")  # noqa: T201 - the answer
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options before the verb."""
