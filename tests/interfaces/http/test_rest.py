"""The REST interface, asked by a real client over a real socket; the ledger is the other end."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from penstock.clock import ManualClock
from penstock.control import Environment, bare_project, opened_ledger
from penstock.errors import ConfigError
from penstock.interfaces.http import Listener, kept_token, make_app
from penstock.ledger import DeadLetter, Deployment, EpochPlan, EpochRecord, Event, Ledger, Member

FLOW = "orders"


@dataclass
class Rest:
    """A listening application, a client with the token, and the ledger behind."""

    client: httpx.Client
    ledger: Ledger
    environment: Environment
    token: str
    woken: list[int]

    def get(self, path: str, **params: Any) -> Any:
        """The answer to a question that has one."""
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> httpx.Response:
        """Ask for something."""
        return self.client.post(path, json=body)


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[Rest]:
    """An environment in which the flow `orders` ran two epochs."""
    clock = ManualClock()
    environment = bare_project(tmp_path).environment("dev")
    token, made = kept_token(environment.folder)
    assert made is not None
    woken: list[int] = []
    with opened_ledger(environment, clock) as ledger:
        generation = ledger.claim(FLOW, version="v1", holder="m1").generation
        for epoch in (1, 2):
            plan = EpochPlan(epoch, {"rows": {"start": epoch - 1, "end": epoch}}, now_us=1, seed=1)
            if epoch == 1:
                ledger.plan(FLOW, generation, plan)
            after = EpochPlan(epoch + 1, {"rows": {"start": epoch, "end": epoch + 1}}, now_us=1, seed=1)
            dead = [DeadLetter(epoch, "clean", "ValueError", "bad", "ValueError", '{"n": 1}')]
            record = EpochRecord(epoch, generation, "v1", plan, steps={"rows": {"ms": 1.5}})
            ledger.commit(FLOW, record, next_plan=after, dead=dead)
        listener = Listener(make_app(environment, ledger, clock, token, wake=lambda: woken.append(1)), port=0)
        listener.start()
        client = httpx.Client(base_url=listener.url, headers={"Authorization": f"Bearer {made}"}, trust_env=False)
        try:
            with client:
                yield Rest(client, ledger, environment, made, woken)
        finally:
            listener.stop()


def test_the_token_is_wanted(rest: Rest) -> None:
    """Without it nothing of a flow is told or done; only health and the description are open."""
    with httpx.Client(base_url=rest.client.base_url, trust_env=False) as stranger:
        assert stranger.get("/v1/health").json()["ok"] is True
        assert stranger.get("/openapi.json").status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {rest.token}"}):
            answer = stranger.get("/v1/flows", headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "token"
        assert stranger.post(f"/v1/flows/{FLOW}/stop", json={}).status_code == 401
    assert rest.ledger.operations.all_desired() == []


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, "host"),
        ({"Host": "127.0.0.1.evil.example:7654"}, "host"),
        ({"Origin": "https://evil.example"}, "origin"),
        ({"Origin": "null"}, "origin"),
    ],
)
def test_pages_of_other_sites_are_refused(rest: Rest, headers: dict[str, str], code: str) -> None:
    """Even with the token: a name that is not this machine's, an origin that is another's."""
    answer = rest.client.get("/v1/flows", headers=headers)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == code
    port = rest.client.base_url.port
    assert rest.client.get("/v1/flows", headers={"Host": f"localhost:{port}"}).status_code == 200
    assert rest.client.get("/v1/flows", headers={"Origin": f"http://127.0.0.1:{port}"}).status_code == 200


def test_only_the_hash_of_the_token_is_kept(rest: Rest) -> None:
    """In a file that its owner alone may read; it is made once, and anew when asked."""
    file = rest.environment.folder / "server.token"

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert rest.token not in file.read_text()
    again, made = kept_token(rest.environment.folder)
    assert made is None
    assert again.fits(rest.token)
    renewed, other = kept_token(rest.environment.folder, renew=True)
    assert other is not None
    assert renewed.fits(other)
    assert not renewed.fits(rest.token)
    assert kept_token(rest.environment.folder, given="sixteen letters!")[0].fits("sixteen letters!")
    with pytest.raises(ConfigError, match="it takes 16 at least"):
        kept_token(rest.environment.folder, given="short")


def test_facts_of_a_flow(rest: Rest) -> None:
    """What it is, its epochs, its dead letters, its processes, its events, its versions."""
    rest.ledger.join(Member("m1", FLOW, "v1", 1, "far", "boot:1", facts={"role": "leading", "state": "leading"}))
    rest.ledger.operations.note(Event("held", FLOW, {"sentence": "so"}, "supervisor"))

    assert [flow["flow"] for flow in rest.get("/v1/flows")["flows"]] == [FLOW]
    status = rest.get(f"/v1/flows/{FLOW}")
    assert (status["epoch"], status["generation"], status["version"], status["state"]) == (2, 1, "v1", "running")
    assert [member["member"] for member in status["members"]] == ["m1"]
    assert [one["epoch"] for one in rest.get(f"/v1/flows/{FLOW}/epochs")["epochs"]] == [1, 2]
    assert [one["epoch"] for one in rest.get(f"/v1/flows/{FLOW}/epochs", limit=1)["epochs"]] == [2]
    letters = rest.get(f"/v1/flows/{FLOW}/dead-letters", limit=1)
    assert letters["count"] == 2
    assert [letter["payload"] for letter in letters["dead_letters"]] == ['{"n": 1}']
    assert [member["member"] for member in rest.get(f"/v1/flows/{FLOW}/members")["members"]] == ["m1"]
    assert rest.get("/v1/members")["members"][0]["facts"]["role"] == "leading"
    assert [event["kind"] for event in rest.get(f"/v1/flows/{FLOW}/events", kind="held")["events"]] == ["held"]
    assert rest.get("/v1/events")["events"][0]["kind"] == "held"
    assert [one["version"] for one in rest.get(f"/v1/flows/{FLOW}/versions")["versions"]] == ["v1"]


def test_wishes_go_to_the_ledger(rest: Rest) -> None:
    """Each verb is a desired state with who and why; the server is woken to look at it."""
    ask = {"who": "ann", "why": "tuesday"}
    wants = []
    for verb in ("start", "pause", "resume", "drain", "stop"):
        body = {**ask, "version": "v1", "standby": True} if verb == "start" else ask
        answer = rest.post(f"/v1/flows/{FLOW}/{verb}", **body)
        assert answer.status_code == 200, answer.text
        desired = rest.ledger.operations.desired(FLOW)
        assert desired is not None
        assert answer.json()["desired"]["want"] == desired.want.value
        assert (desired.who, desired.why, desired.options) == ("ann", "tuesday", {"standby": True})
        wants.append(desired.want.value)

    assert wants == ["running", "paused", "running", "drained", "stopped"]
    assert len(rest.woken) == 5


def test_a_schedule_by_rest(rest: Rest) -> None:
    """It is kept with its rules; a wrong one is told."""
    rest.post(f"/v1/flows/{FLOW}/start", version="v1")
    assert rest.post(f"/v1/flows/{FLOW}/schedule", cron="30 3 * * *", catch_up="all").status_code == 200
    desired = rest.ledger.operations.desired(FLOW)
    assert desired is not None
    assert (desired.options["schedule"], desired.options["catch_up"]) == ("30 3 * * *", "all")
    wrong = rest.post(f"/v1/flows/{FLOW}/schedule", cron="every day")

    assert wrong.status_code == 422
    assert "no cron expression" in wrong.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/v1/flows/nothing", None, 404, "there is no flow 'nothing'"),
        ("GET", "/v1/deployments/nothing", None, 404, "there is no deployment 'nothing'"),
        ("POST", f"/v1/flows/{FLOW}/pause", {}, 422, "orders was never started in dev"),
        ("POST", f"/v1/flows/{FLOW}/start", {"version": 1}, 422, "version: input should be a valid string"),
        ("POST", f"/v1/flows/{FLOW}/start", {"speed": 1}, 422, "speed: extra inputs are not permitted"),
        ("POST", f"/v1/flows/{FLOW}/deployments", {"kind": "deploy"}, 404, "this server does no handovers"),
    ],
)
def test_errors_are_values(rest: Rest, method: str, path: str, body: Any, status: int, words: str) -> None:
    """Each is an error of Penstock as JSON, with the status that fits."""
    answer = rest.client.request(method, path, json=body)

    assert answer.status_code == status
    error = answer.json()["error"]
    assert words in error["message"]
    assert {"code", "message", "flow", "step", "epoch", "state_left", "heals", "hint"} <= set(error)


def test_people_answer_a_deployment(rest: Rest) -> None:
    """Approve, refuse and cancel are facts that the rollout reads; one that is over takes no answer."""
    operations = rest.ledger.operations
    operations.begin_deployment(Deployment("d1", FLOW, "deploy", "v1", "v2", ({"stage": "approve"},), who="ann"))
    assert rest.get("/v1/deployments", running="true")["deployments"][0]["status"] == "running"
    assert rest.post("/v1/deployments/d1/approve", who="bob", why="looks right").status_code == 200
    approval = rest.get("/v1/deployments/d1")["deployment"]["facts"]["approval"]
    assert (approval["yes"], approval["who"], approval["why"]) == (True, "bob", "looks right")
    assert rest.post("/v1/deployments/d1/cancel", who="bob").status_code == 200
    deployment = operations.deployment("d1")
    assert deployment is not None
    assert deployment.facts["rollback_asked"]["who"] == "bob"
    operations.advance_deployment("d1", status=type(deployment.status).DONE)
    late = rest.post("/v1/deployments/d1/refuse", who="bob")

    assert late.status_code == 409
    assert "deployment d1 is over: done" in late.json()["error"]["message"]


def test_every_route_is_described(rest: Rest) -> None:
    """The OpenAPI document has a summary for every operation, and names no internals."""
    document = rest.get("/openapi.json")
    operations = [(path, verb, one) for path, verbs in document["paths"].items() for verb, one in verbs.items()]

    assert len(operations) >= 20
    assert [(path, verb) for path, verb, one in operations if not one.get("description")] == []


def test_metrics_of_all_flows_are_text_that_prometheus_reads(rest: Rest) -> None:
    """As OpenMetrics or as the older text, whichever is asked for."""
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = rest.client.get("/metrics", headers=asked)
    parsed = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]  # not annotated
    families = {family.name: family for family in parsed}

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert [one.value for one in families["penstock_epochs"].samples] == [2.0]
    assert families["penstock_dead_letters"].samples[0].labels["flow"] == FLOW
    assert rest.client.get("/metrics").headers["content-type"].startswith("text/plain")


def test_metrics_take_the_token(rest: Rest) -> None:
    """They tell names of flows and how much they do: not for everybody."""
    answer = httpx.get(f"{rest.client.base_url}/metrics", trust_env=False)

    assert answer.status_code == 401
    assert "penstock_" not in answer.text


@pytest.mark.parametrize(
    "body",
    [b'{"who": "\\ud800"}', b'{"\\ud800": 1}', b'{"hang_after_s": Infinity}', b'{"hang_after_s": NaN}', b"\xff", b"7"],
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_what_can_not_be_written_again_is_no_wish(rest: Rest, body: bytes, kind: str) -> None:
    """Half of a character, a number without an end, what is no JSON: refused as all errors are, and nothing is kept."""
    answer = rest.client.post(f"/v1/flows/{FLOW}/start", content=body, headers={"content-type": kind})

    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["code"] == "config"
    assert rest.ledger.operations.all_desired() == []


def test_a_number_of_thousands_of_digits_is_none(rest: Rest) -> None:
    """Wherever a text may name an epoch or a letter: it is refused, and no fault of the server."""
    many = "9" * 5_000
    undo = rest.client.get(f"/v1/flows/{FLOW}/undo", params={"to": many})
    tried = rest.post(f"/v1/flows/{FLOW}/dead-letters/try", ids=[1], edited={many: "{}"})

    assert [undo.status_code, tried.status_code] == [422, 422]


def test_epochs_are_listed_in_brief(rest: Rest) -> None:
    """Without what each of many steps took, where a list does not show it; all else is as it is in full."""
    full = rest.get(f"/v1/flows/{FLOW}/epochs")["epochs"]
    brief = rest.get(f"/v1/flows/{FLOW}/epochs", brief=True)["epochs"]

    assert [one["steps"] for one in full] == [{"rows": {"ms": 1.5}}] * 2
    assert brief == [{**one, "steps": {}, "metrics": {}} for one in full]
