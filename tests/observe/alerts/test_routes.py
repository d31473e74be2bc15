"""Each route tells a real receiver the same things in the receiver's own shape."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from penstock.errors import ConfigError, ConnectorError
from penstock.observe import (
    Circumstance,
    Finding,
    Group,
    Message,
    Notice,
    Route,
    Rule,
    Severity,
    State,
    advance,
    check_route,
    deliver,
    message_of,
)
from penstock.testing.monitors import alertmanager
from tests.observe.alerts.receivers import HttpReceiver, http_receiver, mail_receiver

NOW_US = 1_764_150_000_000_000
RULE = Rule(
    "RunningButSilent",
    Severity.PAGE,
    "x",
    "{flow} runs but is silent: input has waited for {value}",
    target="vector(60)",
    unit="s",
    hint="penstock status {flow}",
)
CIRCUMSTANCE = Circumstance("v12 (3f2a)", "deploy of v12 by ann, 4 min ago", "https://penstock.example/#/flows/orders")
LABELS = {"project": "shop", "env": "prod", "flow": "orders"}
ROUTE = Route("ops", "slack")


def message(*, firing: bool = True, rule: Rule = RULE) -> Message:
    """An alert of a flow that has been silent for five minutes, with a line of its log that looks like markup."""
    lines = ("ERROR <!channel> could not write: timed out", "ERROR again", "ERROR and again", "ERROR the newest")
    alert = advance(rule, [], [Finding(LABELS, 312.0, 60.0, lines)], NOW_US)[0]
    if not firing:
        alert = replace(alert, state=State.RESOLVED, resolved_us=NOW_US)
    told, over = ((alert,), ()) if firing else ((), (alert,))
    notice = Notice(ROUTE, told, over, Group("ops/shop/prod/orders"))
    return message_of(notice, {rule.name: rule}, CIRCUMSTANCE, now_us=NOW_US)


def test_a_message_says_all_that_somebody_needs_at_night() -> None:
    """What is wrong, value and target, what to do, version, last change, three lines of the log, where to look."""
    assert message().title == "orders runs but is silent: input has waited for 5.2 min"
    assert message().text.splitlines() == [
        "orders runs but is silent: input has waited for 5.2 min (it should be at most 60 s).",
        "  next: penstock status orders",
        "Running version: v12 (3f2a).",
        "Last change: deploy of v12 by ann, 4 min ago.",
        "  ERROR again",
        "  ERROR and again",
        "  ERROR the newest",
        "https://penstock.example/#/flows/orders",
    ]
    assert message(firing=False).title == "over: orders runs but is silent: input has waited for 5.2 min"


def test_a_sentence_takes_names_and_nothing_else() -> None:
    """A rule's text can't reach into objects, and a brace that is not closed stays."""
    odd = replace(RULE, summary="{flow.__class__} {nothing} {value} {", hint="")
    assert message(rule=odd).title == "{flow.__class__} {nothing} 5.2 min {"


@contextmanager
def told_by_http(kind: str, settings: Callable[[str], dict[str, Any]]) -> Iterator[tuple[HttpReceiver, Route]]:
    """A receiver and the route to it."""
    with http_receiver() as receiver:
        yield receiver, check_route(Route("ops", kind, settings(receiver.url)))


HTTP: dict[str, Callable[[str], dict[str, Any]]] = {
    "slack": lambda url: {"url": f"{url}/services/T/B/secret"},
    "pagerduty": lambda url: {"url": f"{url}/v2/enqueue", "routing_key": "R1"},
    "webhook": lambda url: {"url": f"{url}/hook", "secret": "s3cret", "headers": {"x-team": "ops"}},
    "alertmanager": lambda url: {"url": url},
}


@pytest.mark.parametrize("kind", HTTP)
def test_a_receiver_that_is_away_is_told_again_and_one_that_refuses_is_not(kind: str) -> None:
    """503 and 429 heal, 400 does not; a redirect is not followed; the error holds no secret."""
    with told_by_http(kind, HTTP[kind]) as (receiver, route):
        for code, heals in ((503, True), (429, True), (400, False), (307, False)):
            receiver.answers.append(code)
            with pytest.raises(ConnectorError, match=f"it answered {code}") as caught:
                deliver(message(), route, route.settings)
            assert caught.value.heals is heals
            assert "secret" not in str(caught.value)
            assert "s3cret" not in str(caught.value)
        assert len(receiver.got) == 4
        deliver(message(), route, route.settings)


@pytest.mark.parametrize("kind", HTTP)
def test_a_receiver_that_is_not_there_is_an_error_that_heals(kind: str) -> None:
    """Nobody listens any more."""
    with told_by_http(kind, HTTP[kind]) as (_, route):
        pass
    with pytest.raises(ConnectorError, match="Connection refused") as caught:
        deliver(message(), route, route.settings)
    assert caught.value.heals


def test_slack_gets_text_in_which_nothing_is_markup() -> None:
    """A line of a log can mention nobody; what is over has another mark."""
    with told_by_http("slack", HTTP["slack"]) as (receiver, route):
        deliver(message(), route, route.settings)
        deliver(message(firing=False), route, route.settings)
    first, second = receiver.bodies
    assert first["text"].startswith(":red_circle: orders runs but is silent")
    assert second["text"].startswith(":white_check_mark: over: orders")
    assert "<!channel>" not in json.dumps(first)
    assert receiver.got[0][0] == "/services/T/B/secret"


def test_pagerduty_has_one_incident_for_a_group_from_trigger_to_resolve() -> None:
    """Both events have the same key."""
    with told_by_http("pagerduty", HTTP["pagerduty"]) as (receiver, route):
        deliver(message(), route, route.settings)
        deliver(message(firing=False), route, route.settings)
    trigger, resolve = receiver.bodies
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"] == "ops/shop/prod/orders"
    assert trigger["routing_key"] == "R1"
    assert trigger["payload"]["severity"] == "critical"
    assert trigger["payload"]["source"] == "shop/prod/orders"
    assert trigger["links"] == [{"href": CIRCUMSTANCE.link, "text": "Penstock"}]


def test_a_webhook_is_signed_with_its_time() -> None:
    """The receiver can tell that the body and the time are ours, by the secret alone."""
    with told_by_http("webhook", HTTP["webhook"]) as (receiver, route):
        deliver(message(), route, route.settings)
    path, headers, body = receiver.got[0]
    signed = headers["x-penstock-timestamp"].encode() + b"." + body
    assert headers["x-penstock-signature"] == "sha256=" + hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert (path, headers["x-team"], headers["content-type"]) == ("/hook", "ops", "application/json")
    values = json.loads(body)
    assert values["alerts"][0]["value"] == 312.0
    assert values["samples"] == ["ERROR again", "ERROR and again", "ERROR the newest"]


def test_a_real_alertmanager_takes_an_alert_and_its_end() -> None:
    """It shows it with our labels and sentence, and no more once it is over."""
    with http_receiver() as receiver:
        config = {
            "route": {"receiver": "hook", "group_wait": "1s"},
            "receivers": [{"name": "hook", "webhook_configs": [{"url": receiver.url}]}],
        }
        with alertmanager(json.dumps(config)) as server:
            route = check_route(Route("am", "alertmanager", {"url": server.url}))
            deliver(message(), route, route.settings)
            (alert,) = server.get("/api/v2/alerts")
            assert alert["labels"] == {**LABELS, "alertname": "RunningButSilent", "severity": "page"}
            assert alert["annotations"]["summary"] == "orders runs but is silent: input has waited for 5.2 min"
            deliver(message(firing=False), route, route.settings)
            assert server.get("/api/v2/alerts") == []


def test_a_mail_says_the_same() -> None:
    """Subject, text, one thread for a group; a line break in a label starts no header."""
    with mail_receiver() as receiver:
        settings = {"host": receiver.host, "port": receiver.port, "to": ["a@example.org", "b@example.org"], "tls": "no"}
        route = check_route(Route("mail", "email", {**settings, "from": "penstock@example.org"}))
        deliver(message(), route, route.settings)
        odd = replace(message(), title="orders\nBcc: all@example.org")
        deliver(odd, route, route.settings)
    first, second = receiver.got
    assert first["Subject"] == "[PAGE] orders runs but is silent: input has waited for 5.2 min"
    assert first["To"] == "a@example.org, b@example.org"
    assert str(first.get_payload()).splitlines()[0].startswith("orders runs but is silent")
    assert first["References"] == second["References"]
    assert second["Bcc"] is None


def test_a_mail_server_that_is_not_there_is_an_error_that_heals() -> None:
    """It may come back."""
    with mail_receiver() as receiver:
        port = receiver.port
    settings = {"host": "127.0.0.1", "port": port, "to": "a@example.org", "from": "p@example.org", "tls": "no"}
    with pytest.raises(ConnectorError, match="could not be told") as caught:
        deliver(message(), Route("mail", "email", settings), settings)
    assert caught.value.heals


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (Route("r", "slak"), "there is no kind 'slak'. Did you mean 'slack'"),
        (Route("r", "slack"), "url is missing"),
        (Route("r", "webhook", {"url": "http://x", "secrt": "y"}), "a webhook has no 'secrt'. Did you mean 'secret'"),
    ],
)
def test_a_wrong_route_is_refused_before_it_is_needed(route: Route, says: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(ConfigError) as caught:
        check_route(route)
    assert says in str(caught.value)
