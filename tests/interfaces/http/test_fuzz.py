"""Every route is asked what its description allows, and much that it does not: as an operator, and as a viewer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from penstock.clock import SystemClock
from penstock.control import (
    AlertDesk,
    Alerting,
    Meter,
    Sampler,
    alert_plan,
    begin_by_request,
    circumstance_of,
    delivery,
    opened_history,
    opened_ledger,
    project_for,
)
from penstock.interfaces.http import Listener, Role, TokenBook, kept_token, make_app
from penstock.interfaces.http.access import ACCESS
from penstock.ledger import Deployment, Document, Ledger
from tests.interfaces.user import typed
from tests.interfaces.web.shop import FLOW, PROJECT, make_shop

KINDS: Sequence[tuple[str, schemathesis.GenerationMode, int]] = (
    ("known", schemathesis.GenerationMode.POSITIVE, 10),
    ("plain", schemathesis.GenerationMode.POSITIVE, 3),
    ("plain", schemathesis.GenerationMode.NEGATIVE, 3),
)
"""Which document is asked, whether what it allows or what it does not, and how often."""
PATIENCE_S = 120
LENGTH = 100
"""Of texts that may be long: to draw 20,000 characters takes a second. What is too long is sent by the attacks."""
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
ENDLESS = {"/v1/stream", "/v1/logs/tail"}
ROUTES = [
    (method, path, access)
    for method, path, access in ACCESS
    if (path.startswith("/v1/") and path not in ENDLESS) or path == "/metrics"
]
OWN = {("POST", "/v1/session"), ("DELETE", "/v1/session")}
"""Deeds that are for everybody: they begin and end a session of who asks."""
MORE = """
[alerts.rule.ran]
expr = "penstock_epochs_total > 0"

[logs.metric.orders]
filter = "severity>=INFO"
"""
_NUMBERS = [1, 2, 0, -1, 10**30]
_TIMES = [0, 1, 10**15, 10**30]
_NOW_US = SystemClock().now_us()
_LONG = ["1h", "30s", "0s", "999d", "99999999d", "9" * 5_000 + "d"]
KNOWN: Mapping[str, Sequence[Any]] = {
    "flow": [FLOW],
    "deployment": ["d1"],
    "dashboard": ["team"],
    "rule": ["ran"],
    "name": ["orders", "penstock_epochs_total"],
    "silence_id": ["s1"],
    "table": ["paid_orders", "revenue_by_country"],
    "query": [
        "penstock_epochs_total",
        "rate(penstock_records_in_total[1m])",
        "sum(penstock_records_in_total)",
        "penstock_flow_info",
        "select 1",
        "drop table logs",
    ],
    "filter": ["severity>=INFO", 'jsonPayload.a="b"', "NOT a AND (", 'timestamp>"9999-12-31T23:59:59Z"'],
    "before": ["1.a", f"{10**16}.a"],
    "to": ["1", "0", "now", "9" * 30, "9" * 5_000],
    "kind": ["deploy", "undo", "replay", "rollback", "metric"],
    "matchers": [f'flow="{FLOW}"'],
    "cron": ["30 3 * * *", "0 0 30 2 *"],
    "zone": ["Europe/Paris", "../UTC"],
    "ids": [[1], [2], [10**30]],
    "where": [{"id": "1"}],
    "edited": [{"1": "{}"}, {"9" * 5_000: "{}"}],
    "options": [{"to": 1}, {"first": 10**30, "last": None}],
    "over": ["1h", "30m", *_LONG],
    "step": ["30s", "1m", "1h", *_LONG],
    "start_us": [_NOW_US - 3_600_000_000, _NOW_US - 60_000_000, *_TIMES],
    "end_us": [_NOW_US, _NOW_US + 60_000_000, *_TIMES],
    "for": _LONG,
    "limit": [1, 20, 10**30],
    **dict.fromkeys(("epoch", "first", "last", "slices", "memory_bytes", "hang_after_s", "q"), _NUMBERS),
    **dict.fromkeys(("since_us", "until_us", "timestamp_us"), _TIMES),
}
"""By the name of a parameter: what there is, and what is wrong in a way that chance does not hit. Random text alone
would meet nothing, and see little but 404.
"""


@dataclass
class Target:
    """A listening server over a flow that ran, clients of both roles, and what the ledger says."""

    url: str
    keys: Mapping[Role, str]
    ledger: Ledger
    operations: Mapping[tuple[str, str, str], Any]

    def ask(self, method: str, path: str, role: Role) -> set[int]:
        """Ask a route; fails where an answer is none that the document promises. Gives the statuses that came."""
        statuses: set[int] = set()
        for document, mode, examples in KINDS:

            @given(self.operations[document, method, _shape(path)].as_strategy(generation_mode=mode))
            @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
            def asked(case: schemathesis.Case[Any]) -> None:
                key = {"Authorization": f"Bearer {self.keys[role]}"}
                answer = case.call(base_url=self.url, headers=key, timeout=PATIENCE_S)
                statuses.add(answer.status_code)
                case.validate_response(answer, checks=CHECKS)

            wrong = mode is schemathesis.GenerationMode.NEGATIVE
            # Of a route without parameters nothing is wrong, and hypothesis says that there is no such example.
            with suppress(Unsatisfiable) if wrong else nullcontext():
                asked()
        return statuses

    def plain(self, path: str, role: Role) -> int:
        """The status of a question with nothing but what it needs, as it is known."""
        key = {"Authorization": f"Bearer {self.keys[role]}"}
        described = httpx.get(f"{self.url}/openapi.json").json()["paths"][path]["get"]
        needed = [one for one in described.get("parameters", ()) if one["required"]]
        values = {one["name"]: KNOWN.get(one["name"], ["orders"])[0] for one in needed}
        params = {one["name"]: values[one["name"]] for one in needed if one["in"] == "query"}
        return httpx.get(self.url + path.format(**values), params=params, headers=key, timeout=PATIENCE_S).status_code

    def facts(self) -> Any:
        """What a deed would change."""
        operations = self.ledger.operations
        kinds = ("dashboard", "silence")
        return (
            operations.all_desired(),
            [asdict(one) for one in operations.deployments()],
            [document for kind in kinds for document in operations.documents.documents(kind)],
            self.ledger.dead_letters(FLOW),
            operations.events(),
        )


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A flow that ran, with rows, dead letters, logs, samples of metrics, an alert, a silence, a dashboard."""
    folder, clock = tmp_path_factory.mktemp("shop"), SystemClock()
    make_shop(folder)
    (folder / "penstock.toml").write_text(PROJECT.replace("watch = true\ntail = true\n", "") + MORE)
    for command in ("run", "start"):
        answer = typed(folder, command, FLOW)
        assert answer.code == 0, answer.err
    project = project_for(folder)
    environment = project.environment("dev")
    token, made = kept_token(environment.folder)
    _, viewers = TokenBook(environment.folder, clock).make("guest", Role.VIEWER)
    with ExitStack() as stack:
        ledger = stack.enter_context(opened_ledger(environment, clock))
        history = stack.enter_context(opened_history(environment))
        meter = Meter(ledger, environment, clock, history=history, policy=project.metrics)
        plan = alert_plan(project.alerts)
        stack.enter_context(closing(sampler := Sampler(meter, history, every_s=10)))
        sampler.sample()
        told = {"circumstance": partial(circumstance_of, ledger, plan.link), "deliver": delivery(environment)}
        Alerting(ledger, clock, plan, history, None, **told).look()
        _people_were_here(ledger, AlertDesk(ledger, clock, plan))
        begin = begin_by_request(environment, ledger, clock)
        app = make_app(environment, ledger, clock, token, begin=begin, meter=meter, alerts=plan)
        listener = Listener(app, port=0)
        listener.start()
        stack.callback(listener.stop)
        keys = {Role.OPERATOR: str(made), Role.VIEWER: viewers}
        headers = {"Authorization": f"Bearer {viewers}"}
        with httpx.Client(base_url=listener.url, headers=headers, trust_env=False) as client:
            assert client.get("/v1/alerts").json()["alerts"][0]["rule"] == "ran"
            document = client.get("/openapi.json").json()
        yield Target(listener.url, keys, ledger, _operations(document))


def _people_were_here(ledger: Ledger, desk: AlertDesk) -> None:
    silence = desk.silence('team="x"', for_s=3600, who="ann", why="quiet")
    documents = ledger.operations.documents
    documents.keep(Document("silence", "s1", {**silence.as_dict(), "id": "s1"}, "ann"))
    documents.keep(Document("dashboard", "team", {"title": "Team", "scope": "team", "panels": []}, "ann"))
    ledger.operations.begin_deployment(Deployment("d1", FLOW, "deploy", "v1", "v2", ({"stage": "approve"},), who="ann"))


def _operations(document: dict[str, Any]) -> Mapping[tuple[str, str, str], Any]:
    found = {}
    for kind, known in (("plain", {}), ("known", KNOWN)):
        schema = schemathesis.openapi.from_dict(_with_known(document, known))
        for one in schema.get_all_operations():
            assert isinstance(one, Ok)
            operation = one.ok()
            found[kind, operation.method.upper(), _shape(operation.path)] = operation
    return found


def _with_known(value: Any, known: Mapping[str, Sequence[Any]]) -> Any:
    """The same document, in which parameters and keys of bodies whose values are known have those, and none is long."""
    if isinstance(value, list):
        return [_with_known(one, known) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _with_known(one, known) for key, one in value.items()}
    if isinstance(found.get("maxLength"), int):
        found["maxLength"] = min(found["maxLength"], LENGTH)
    if "schema" in found and found.get("name") in known:
        found["schema"] = {"enum": list(known[found["name"]])}
    if isinstance(found.get("properties"), dict) and found.get("title") != "Fault":  # that is an answer
        given = {name: {"enum": list(known[name])} for name in found["properties"] if name in known}
        found["properties"] = {**found["properties"], **given}
    return found


def _shape(path: str) -> str:
    """A path without the names in it."""
    return re.sub(r"\{\w+\}", "{}", path)


@pytest.mark.parametrize(("method", "path", "access"), ROUTES)
def test_a_viewer_changes_nothing_and_sees_no_row(target: Target, method: str, path: str, access: Role) -> None:
    """Whatever a viewer asks is answered as the document says; a deed, or what shows rows, is refused."""
    before = target.facts()
    statuses = target.ask(method, path, Role.VIEWER)

    assert target.facts() == before
    if access == Role.OPERATOR:
        assert all(status >= 400 for status in statuses)
    else:
        assert method == "GET" or (method, path) in OWN


@pytest.mark.parametrize(("method", "path"), [route[:2] for route in ROUTES])
def test_an_operator_is_answered_as_the_document_says(target: Target, method: str, path: str) -> None:
    """Nothing that can be asked is a fault of the server, and each answer has a status and form that are described."""
    statuses = target.ask(method, path, Role.OPERATOR)

    assert 403 not in statuses
    assert method != "GET" or 200 in statuses or target.plain(path, Role.OPERATOR) == 200
    assert (401 in statuses) == ((method, path) == ("POST", "/v1/session"))
