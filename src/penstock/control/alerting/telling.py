"""What is told beside an alert, and how a route is told: with secrets in the place of their references."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from penstock.clock import Clock, to_datetime
from penstock.connect import is_reference, resolve
from penstock.control.project import Environment
from penstock.errors import ConnectorError, LedgerError, PenstockError
from penstock.ledger import Deployment, Ledger
from penstock.observe import (
    Circumstance,
    Finding,
    Group,
    Message,
    Notice,
    Route,
    Rule,
    Severity,
    advance,
    deliver,
    message_of,
)

__all__ = ["circumstance_of", "delivery", "try_route"]

_TRIED = Rule("Test", Severity.INFO, "", "this is a test of the route: it works")


def circumstance_of(ledger: Ledger, link: str, flow: str) -> Circumstance:
    """Version, last change and link of a flow; what nobody can tell is empty."""
    url = f"{link}/#/flows/{flow}" if link and flow else link
    try:
        standing = ledger.standing(flow) if flow else None
        changes = ledger.operations.deployments(flow, limit=1) if flow else ()
    except LedgerError:  # who is to be told is told all the same
        return Circumstance(link=url)
    return Circumstance("" if standing is None else standing.version, _change(changes[0]) if changes else "", url)


def _change(made: Deployment) -> str:
    by = f" by {made.who}" if made.who else ""
    at = to_datetime(made.ended_us or made.made_us)
    what = f"{made.kind} of {made.new_version}" if made.new_version else made.kind
    return f"{what}{by}, {made.status.value}, {at:%Y-%m-%d %H:%M} UTC"


def delivery(environment: Environment) -> Any:
    """What sends a message by a route: raises ConnectorError."""
    return partial(_deliver, environment)


def _deliver(environment: Environment, message: Message, route: Route) -> None:
    try:
        settings = _resolved(route.settings, environment)
    except PenstockError as error:
        raise ConnectorError(f"the alert route {route.name!r}: {error.message}", hint=error.hint) from error
    deliver(message, route, settings)


def _resolved(settings: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    """Settings without references. Raises ConfigError."""

    def value(given: Any) -> Any:
        if isinstance(given, str):
            return resolve(given, environment.root) if is_reference(given) else given
        if isinstance(given, Mapping):
            return {name: value(one) for name, one in given.items()}
        return [value(one) for one in given] if isinstance(given, list) else given

    return {name: value(given) for name, given in settings.items()}


def try_route(route: Route, environment: Environment, clock: Clock, *, link: str) -> str:
    """Send a message that says that it is a test; gives why it could not be sent, or nothing."""
    now_us = clock.now_us()
    labels = {"project": environment.root.name, "env": environment.name}
    (alert,) = advance(_TRIED, [], [Finding(labels, 1.0)], now_us)
    notice = Notice(route, (alert,), (), Group(f"{route.name}/test"))
    message = message_of(notice, {_TRIED.name: _TRIED}, Circumstance(link=link), now_us=now_us)
    try:
        _deliver(environment, message, route)
    except ConnectorError as error:
        return error.message
    return ""
