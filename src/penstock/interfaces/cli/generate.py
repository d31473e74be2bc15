"""`penstock generate`: text for other tools, from what is defined here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from penstock.control import Project, alert_plan, living_server
from penstock.errors import ConfigError
from penstock.generate import grafana_dashboards, prometheus_config, prometheus_rules
from penstock.interfaces.cli.options import AsJson, EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.screen import print_json, screen
from penstock.observe import Basis

__all__ = ["What", "command"]

_DEFAULT = "http://127.0.0.1:7654"
_TOKEN_FILE = "penstock-token"  # noqa: S105 - the name of a file


class What(StrEnum):
    """What is written."""

    GRAFANA = "grafana"
    ALERTS = "alerts"
    PROMETHEUS = "prometheus"


def command(
    what: Annotated[What, typer.Argument(metavar="grafana|alerts|prometheus", help="What to write.")],
    *,
    env: EnvironmentName = "dev",
    into: Annotated[Path | None, typer.Option("--into", metavar="DIR", help="Where to; else only shown.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="HOST:PORT", help="A server that Prometheus is to ask; the one that runs."),
    ] = None,
    token_file: Annotated[
        str, typer.Option("--token-file", metavar="PATH", help="Where Prometheus finds the server's token.")
    ] = _TOKEN_FILE,
    tls_ca: Annotated[
        str | None,
        typer.Option("--tls-ca", metavar="PATH", help="Ask by https; where Prometheus finds who signed, in PEM."),
    ] = None,
    alertmanager: Annotated[
        list[str] | None, typer.Option("--alertmanager", metavar="HOST:PORT", help="Where Prometheus sends alerts.")
    ] = None,
    as_json: AsJson = False,
    project: ProjectFolder = Path(),
) -> None:
    """Write dashboards for Grafana, rules or a configuration for Prometheus.

    grafana: all flows, and one flow. alerts: the rules of penstock.toml and those that come with Penstock. prometheus:
    `prometheus.yml`, which asks the server with its token, and the rules.
    """
    found, environment = environment_of(project, env)
    if what is What.GRAFANA:
        files = grafana_dashboards()
    elif what is What.ALERTS:
        files = _rules(found)
    else:
        server = living_server(environment)
        url = (None if server is None else server.url) or _DEFAULT
        scheme, _, known = url.partition("://")
        config = prometheus_config(
            target or [known],
            token_file=token_file,
            alertmanagers=alertmanager or [],
            scheme=scheme if tls_ca is None else "https",
            ca_file=tls_ca,
        )
        files = {**config, **_rules(found)}
    _give(files, into, as_json=as_json)


def _rules(project: Project) -> dict[str, str]:
    rules = alert_plan(project.alerts).rules.values()
    asked = [rule for rule in rules if rule.basis is Basis.METRIC]
    return prometheus_rules(asked, left_out=[rule.name for rule in rules if rule.basis is not Basis.METRIC])


def _give(files: dict[str, str], into: Path | None, *, as_json: bool) -> None:
    """Show the files, or write them. Raises ConfigError."""
    out = screen()
    if into is None:
        if as_json:
            print_json({"files": files})
            return
        for name, text in files.items():
            out.print(f"# --- {name}", markup=False, highlight=False)
            out.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    for name, text in files.items():
        path = into / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{path} can't be written: {error.strerror}", hint="name another folder: --into"
            ) from error
    if as_json:
        print_json({"written": [str(into / name) for name in files]})
        return
    for name in files:
        out.print(f"wrote {into / name}", markup=False, soft_wrap=True)
