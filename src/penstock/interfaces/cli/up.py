"""`penstock up`: the server of an environment, in the foreground."""

from __future__ import annotations

import getpass
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import FrameType
from typing import Annotated, TypeAlias

import typer

from penstock.clock import Clock, SystemClock
from penstock.control import (
    Environment,
    LogAnswers,
    LogKeeper,
    Meter,
    Project,
    Rollouts,
    Sampler,
    Server,
    alert_duty,
    alert_plan,
    begin_by_request,
    opened_history,
    opened_ledger,
    otlp_push,
    read_server,
    settings_of,
)
from penstock.interfaces.cli.options import EnvironmentName, ProjectFolder, environment_of
from penstock.interfaces.cli.screen import time_text
from penstock.interfaces.http import (
    DEFAULT_PORT,
    Address,
    Listener,
    LoginLink,
    TokenBook,
    checked_address,
    kept_token,
    make_app,
)
from penstock.ledger import Ledger
from penstock.observe import MetricHistory

__all__ = ["END_SERVER", "END_SERVER_AND_FLOWS", "command"]

END_SERVER = signal.SIGUSR1
END_SERVER_AND_FLOWS = signal.SIGUSR2
"""What `penstock down` sends: a service manager's SIGTERM must not stop flows, and Ctrl-C can't say what it means."""

_TOKEN = "PENSTOCK_TOKEN"  # noqa: S105 - the name of a variable
_LOOK_EVERY_S = 0.2
_LINES_MOST = 1_000
_LINES_S = 1.0


_Port: TypeAlias = Annotated[
    int | None,
    typer.Option("--port", "-p", min=0, max=65_535, help=f"Where it listens, {DEFAULT_PORT} where free; 0: any."),
]
_Host: TypeAlias = Annotated[
    str | None,
    typer.Option("--host", metavar="ADDRESS", help="Listen there; other than loopback takes TLS and a named token."),
]
_Certificate: TypeAlias = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="Speak https: a certificate in PEM.")
]
_Key: TypeAlias = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", help="Its key, in PEM and without a password.")
]
_AllowedHosts: TypeAlias = Annotated[
    list[str] | None, typer.Option("--allowed-host", metavar="NAME", help="By which name people reach it; repeatable.")
]
_StopFlows: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--stop-flows/--keep-flows",
        help="Whether its flows end with it. Else: with Ctrl-C they do, with SIGTERM they go on.",
    ),
]
_Spares: TypeAlias = Annotated[
    int | None, typer.Option("--spares", min=0, max=16, help="How many processes are kept warm for the next start.")
]
_HangAfter: TypeAlias = Annotated[
    float | None,
    typer.Option("--hang-after", metavar="SECONDS", min=1, help="Restart flows whose epoch takes longer."),
]
_Lease: TypeAlias = Annotated[
    float,
    typer.Option("--lease", metavar="SECONDS", min=0.5, help="After so long another server may take its place."),
]


def command(
    *,
    env: EnvironmentName = "dev",
    port: _Port = None,
    host: _Host = None,
    tls_cert: _Certificate = None,
    tls_key: _Key = None,
    allowed_host: _AllowedHosts = None,
    stop_flows: _StopFlows = None,
    spares: _Spares = None,
    hang_after: _HangAfter = None,
    lease: _Lease = 5.0,
    new_token: Annotated[bool, typer.Option("--new-token", help="Make a new token; the old one ends.")] = False,
    project: ProjectFolder = Path(),
) -> None:
    """Start the server: it runs flows, restarts those that die, answers REST.

    Ctrl-C stops the flows cleanly, then the server; a second one leaves them running. SIGTERM ends the server alone.
    What should run is kept: the next `penstock up` goes on with it, and finds flows that were left running.
    """
    found, environment = environment_of(project, env)
    clock = SystemClock()
    address = _address(found, TokenBook(environment.folder, clock), host, tls_cert, tls_key, allowed_host)
    with opened_ledger(environment, clock) as ledger, opened_history(environment, anew=typer.echo) as history:
        token, made = kept_token(environment.folder, given=os.environ.get(_TOKEN), renew=new_token)
        lines, link = _Lines(clock), LoginLink(clock, who=getpass.getuser())
        meter = Meter(ledger, environment, clock, history=history, policy=found.metrics)
        sampler = _sampler(meter, history, found, partial(lines.tell, ""))
        alerts = alert_duty(found, environment, ledger, clock, history, LogAnswers(environment, clock), tell=lines.tell)
        server = Server(
            environment,
            ledger,
            clock=clock,
            settings=settings_of(found.supervise, lease_s=lease, hang_after_s=hang_after),
            spares=found.supervise.spares if spares is None else spares,
            lease_s=lease,
            duties=[Rollouts(environment, clock), sampler, alerts, LogKeeper(found, environment, clock)],
            tell=lines.tell,
        )
        with closing(lines), closing(sampler), closing(alerts), closing(server):
            leads = server.presence.keep()  # raises FlowBusy before anything listens
            app = make_app(
                environment,
                ledger,
                clock,
                token,
                begin=begin_by_request(environment, ledger, clock),
                meter=meter,
                alerts=alert_plan(found.alerts),
                wake=server.wake,
                project=found.name,
                link=link,
                names=address.names,
            )
            listener = Listener(app, port=port, address=address)
            meter.loop_lag_s = partial(listener.lag_s, clock.stopwatch_s)
            greet = partial(_greet, lines, environment, listener.url, made, link, leads=leads)
            _serve(server, listener, greet, _Running(server, lines, ledger, stop_flows=stop_flows))


def _address(
    project: Project,
    book: TokenBook,
    host: str | None,
    cert: Path | None,
    key: Path | None,
    names: Sequence[str] | None,
) -> Address:
    """What the options say, or `[server]` of the project where they say nothing. Raises ConfigError."""
    table = project.server
    return checked_address(
        table.host if host is None else host,
        cert=project.root / table.tls_cert if cert is None and table.tls_cert is not None else cert,
        key=project.root / table.tls_key if key is None and table.tls_key is not None else key,
        names=table.allowed_hosts if names is None else names,
        tokens=len(book.live()),
    )


def _serve(server: Server, listener: Listener, greet: Callable[[], None], running: _Running) -> None:
    """Listen, greet, and wait for the end."""
    try:
        server.listens_at(listener.url)
        listener.start()
        greet()
        running.watch()
    finally:
        listener.stop()


def _sampler(meter: Meter, history: MetricHistory, project: Project, tell: Callable[[str], None]) -> Sampler:
    """What keeps samples, and sends them on where penstock.toml says so."""
    policy = project.metrics
    return Sampler(
        meter,
        history,
        every_s=policy.every_s,
        push=otlp_push(project, meter.environment, meter.clock),
        push_every_s=policy.every_s if policy.otlp is None else policy.otlp.every_s,
        tell=tell,
    )


def _greet(
    lines: _Lines, environment: Environment, url: str, made: str | None, link: LoginLink, *, leads: bool
) -> None:
    option = "" if environment.name == "dev" else f" --env {environment.name}"
    lines.show(f"server of {environment.name} at {url}, process {os.getpid()}")
    if made is not None:
        lines.show(f"token (shown once, only its hash is kept): {made}")
    lines.show(f"page (opens once, within 15 minutes): {url}/#token={link.token}")
    if not leads:
        other = read_server(environment.folder)
        lines.show(f"waits: another server leads{'' if other is None else f' ({other})'}; takes over when that ends")
    lines.show(f"let a flow run: penstock start FLOW{option}   look: penstock status{option}   end: Ctrl-C")


class _Lines:
    """What a server says, written by a thread of its own: a terminal that is stopped or gone holds up no flow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._writer = Thread(target=self._write, name="penstock-lines", daemon=True)
        self._writer.start()

    def tell(self, flow: str, line: str) -> None:
        """A line with its time."""
        self.show(f"{time_text(self._clock.now_us())[11:]}  {flow + '  ' if flow else ''}{line}")

    def show(self, line: str) -> None:
        """A line as it is; dropped where very many wait already."""
        if self._waiting.qsize() < _LINES_MOST:
            self._waiting.put(line)

    def close(self) -> None:
        """Give what waits a moment to be written."""
        self._waiting.put(None)
        self._writer.join(_LINES_S)

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except OSError:
                return


class _Running:
    """The server in a thread of its own; signals come to the main one."""

    def __init__(self, server: Server, lines: _Lines, ledger: Ledger, *, stop_flows: bool | None) -> None:
        self._server = server
        self._lines = lines
        self._ledger = ledger
        self._stop_flows = stop_flows
        self._asked = False
        self._error: BaseException | None = None

    def watch(self) -> None:
        """Wait for its end. Raises what ended it, where that was no signal."""
        takes = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, END_SERVER, END_SERVER_AND_FLOWS)
        before = {number: signal.signal(number, self._take) for number in takes}
        worker = Thread(target=self._work, name="penstock-server", daemon=True)
        try:
            worker.start()
            while worker.is_alive():
                worker.join(_LOOK_EVERY_S)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            self._server.run()
        except BaseException as error:
            self._error = error

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._asked:
            self._lines.show("the server ends; flows that have not stopped yet go on")
            self._server.stop(flows=False)
            return
        self._asked = True
        usual = number in (signal.SIGINT, END_SERVER_AND_FLOWS)
        told = number in (END_SERVER, END_SERVER_AND_FLOWS)
        flows = usual if told or self._stop_flows is None else self._stop_flows
        self._lines.show(
            "stopping the flows, then the server; once more leaves them running"
            if flows
            else "the server ends; flows go on"
        )
        self._server.stop(flows=flows)
