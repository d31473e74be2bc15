"""`penstock chaos`: break a flow in every way there is, in a throwaway place, and see that its rows are right."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from penstock.clock import new_id
from penstock.control import Outcome, Performance, Report, Verdict, Wanted, find_flow, load_flow
from penstock.interfaces.cli.options import AsJson, EnvironmentName, FlowName, ProjectFolder, given_params
from penstock.interfaces.cli.screen import TEXT, count_text, counted, error_screen, print_json, screen, table

__all__ = ["command"]

_SHOWN = 100
_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.NOT_REACHED: "dim", Outcome.SKIPPED: "dim"}
_NAMES = (
    ("phase", TEXT),
    ("what was done", TEXT),
    ("how it ended", TEXT),
    ("rows compared", "right"),
    ("verdict", TEXT),
)


def command(
    flow: FlowName,
    *,
    env: EnvironmentName = "dev",
    kills: Annotated[int, typer.Option("--kills", metavar="N", min=0, help="Kills at random moments.")] = 10,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Of all chance; else a new one, which is shown.")
    ] = None,
    phases: Annotated[
        list[str] | None,
        typer.Option("--phases", metavar="NAMES", help="Only these phases or groups, with commas between them."),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", min=0, help="So many rows of each input; 0: all of them.")
    ] = 20_000,
    epochs: Annotated[
        int, typer.Option("--epochs", metavar="N", min=2, help="Cut the input into about so many epochs.")
    ] = 20,
    set_: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set a parameter of the flow.")
    ] = None,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> int:
    """Kill, freeze and break a flow in a throwaway place, and compare its rows with an uninterrupted run.

    It reads copies of seed data or files, and writes tables that are removed; it touches nothing else. First every
    epoch runs again, and a step that gives other rows is named. Ends with 1 where a phase failed.
    """
    target = find_flow(flow, project)
    environment = target.project.environment(env)
    params = given_params(set_ or [])
    loaded = load_flow(target, environment, params)
    chosen = [name.strip() for given in phases or [] for name in given.split(",") if name.strip()]
    variable = f":{target.variable}" if target.variable else ""
    wanted = Wanted(
        target=target.name or f"{target.file}{variable}",
        seed=int(new_id()[:8], 16) if seed is None else seed,
        kills=kills,
        epochs=epochs,
        rows_max=rows or None,
        phases=tuple(chosen),
        params=params,
        command=_command(flow, env, kills, epochs, rows, set_ or [], project),
    )
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with Performance(loaded, environment, wanted) as performance, bar:
        task = bar.add_task(loaded.definition.name, total=performance.steps)

        def tell(name: str, did: str) -> None:
            bar.update(task, description=f"{name}: {did}")

        performance.listen(tell, lambda _: bar.advance(task))
        report = performance.run()
    if as_json:
        print_json(report.as_json())
    else:
        _print(report)
    return 1 if report.failed else 0


def _command(
    flow: str, env: str, kills: int, epochs: int, rows: int, given: list[str], project: Path
) -> tuple[str, ...]:
    """What was typed, as far as it changes what is done."""
    words = ["penstock", "chaos", flow]
    defaults = (("--env", env, "dev"), ("--kills", kills, 10), ("--epochs", epochs, 20), ("--rows", rows, 20_000))
    for option, value, usual in defaults:
        words += [option, str(value)] if value != usual else []
    for text in given:
        words += ["--set", text]
    return (*words, *(["--project", str(project)] if project != Path() else []))


def _print(report: Report) -> None:
    out = screen()
    base = report.baseline
    out.print(
        f"{report.flow} in a throwaway place, seed {report.seed}: {base.epochs} epochs in {base.seconds:.1f} s, "
        f"{counted(base.rows_in, 'row')} in, {counted(base.rows, 'row')} in its sinks, "
        f"{counted(base.letters, 'dead letter')}, {base.late:,} late",
        markup=False,
    )
    for step, (rows, of) in base.inputs.items():
        if of is not None and of > rows:
            out.print(f"  {step}: the first {rows:,} of {of:,} rows (--rows 0: all)", markup=False)
    for step, told in report.stand_ins.items():
        out.print(f"  {step}: {told}", markup=False)
    out.print()
    shown = table(_NAMES, [])
    for verdict in report.verdicts:
        cells = (verdict.phase, verdict.did, _ended(verdict), count_text(verdict.rows) if verdict.rows else "")
        outcome = Text(verdict.outcome.value, _STYLES[verdict.outcome])
        shown.add_row(*(Text(cell) for cell in cells), outcome)
    out.print(shown)
    out.print()
    for verdict in report.failed:
        out.print(Text.assemble((verdict.phase, "bold red"), ":"))
        for line in verdict.why:
            out.print(f"  {line}", markup=False, soft_wrap=True)
        if verdict.folder:
            out.print(f"  what it left: {verdict.folder}", markup=False, soft_wrap=True)
        out.print(f"  again: {report.repeat(verdict)}", markup=False, soft_wrap=True)
    counts = {outcome: sum(1 for one in report.verdicts if one.outcome is outcome) for outcome in Outcome}
    told = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
    out.print(Text(told, "bold red" if report.failed else "bold green"))
    if report.determinism is not None and report.determinism["different"] is not None:
        error_screen().print(
            "a step that asks the clock, chance or the network gives other rows when its epoch runs again: use "
            "ps.now(), ps.epoch_random(), ps.epoch_id() (docs/authors.md)"
        )


def _ended(verdict: Verdict) -> str:
    text = verdict.ended or (verdict.why[0] if verdict.why else "")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
