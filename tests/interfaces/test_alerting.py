"""A poison row stops a flow: our server, and a real Prometheus with a real Alertmanager, tell a real receiver."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.testing.monitors import alertmanager, prometheus
from tests.control.supervising.serving import until
from tests.interfaces.user import Running, started, typed
from tests.observe.alerts.receivers import HttpReceiver, http_receiver

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

FLOW = '''
"""Numbers; one of them is poison: the function never comes back from it."""
import threading

import polars as pl
import penstock as ps

flow = ps.Flow("orders", owner="shop", freshness="2s", epoch_rows=5)


def digest(batch):
    if (batch["n"] == 30).any():
        threading.Event().wait(3600)
    return batch


numbers = flow.read(ps.files("in/*.jsonl", schema={"n": int}, watch=True))
numbers.map_batches(digest, schema={"n": int}).write(ps.parquet("out"))
'''

FAST = """
[project]
name = "shop"

[metrics]
every = "1s"

[alerts]
every = "1s"
link = "https://flows.example.org"

[alerts.rule.RunningButSilent]
expr = '''
max by (project, env, flow) (penstock_system_lag_seconds) > 5
  and on (project, env, flow) max by (project, env, flow) (penstock_flow_state{state="running"}) == 1
  unless on (project, env, flow) sum by (project, env, flow) (increase(penstock_records_out_total[10s])) > 0
'''

[alerts.route.hook]
kind = "webhook"
url = "RECEIVER"
secret = "env:HOOK_SECRET"
matches = 'rule="RunningButSilent"'
wait = "0s"
interval = "1s"
"""


@contextmanager
def silent_flow(folder: Path, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Running, str]]:
    """A server with a flow that runs into its poison row; gives the server and its token."""
    monkeypatch.setenv("HOOK_SECRET", "s3cret-of-the-hook")
    (folder / "in").mkdir()
    (folder / "in/a.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(60)))
    (folder / "orders.py").write_text(FLOW)
    (folder / "penstock.toml").write_text(FAST.replace("RECEIVER", f"{receiver.url}/hook"))
    with started(folder, "up", "--port", "0", "--stop-flows", terminal=True) as running:
        running.wait_for_text("this server leads")
        token = re.search(r"(pt_\w{64})", running.seen)
        assert token is not None
        answer = typed(folder, "start", "orders")
        assert answer.code == 0, answer.err
        yield running, token[1]
        for member in json.loads(typed(folder, "status", "--json").out)["flows"][0]["members"]:
            os.kill(member["pid"], signal.SIGKILL)  # it hangs in its row, and hears nothing else


def test_running_but_silent_is_told_by_us_and_by_prometheus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both receivers hear of it; ours says what is wrong, for how long, which version, and where to look."""
    with http_receiver() as ours, http_receiver() as theirs, silent_flow(tmp_path, ours, monkeypatch) as (_, token):
        url = json.loads((tmp_path / ".penstock/dev/server.json").read_text())["url"]
        routing = {"receiver": "hook", "group_wait": "0s", "routes": []}
        receivers = [{"name": "hook", "webhook_configs": [{"url": f"{theirs.url}/am"}]}]
        with alertmanager(json.dumps({"route": routing, "receivers": receivers})) as manager:
            target, into = url.partition("//")[2], tmp_path / "prom"
            words = ["--into", str(into), "--target", target, "--alertmanager", manager.url.partition("//")[2]]
            assert typed(tmp_path, "generate", "prometheus", *words).code == 0
            config = (into / "prometheus.yml").read_text().replace("interval: 10s", "interval: 1s")
            files = {"penstock-rules.yml": (into / "penstock-rules.yml").read_text(), "penstock-token": token}
            with prometheus(config, files=files) as server:
                until(lambda: ours.got)
                until(lambda: [one for one in theirs.bodies if "RunningButSilent" in json.dumps(one)])
                (target_seen,) = server.get("/api/v1/targets")["data"]["activeTargets"]
        told = ours.bodies[0]
        listed = json.loads(typed(tmp_path, "alerts", "--json").out)["alerts"]

    assert target_seen["health"] == "up", target_seen["lastError"]
    assert re.fullmatch(
        r"orders runs but is silent: input has waited for [\d.]+ (s|min), and nothing comes out", told["title"]
    )
    assert told["status"] == "firing"
    assert told["labels"] == {"project": "shop", "env": "dev", "flow": "orders"}
    assert told["link"] == "https://flows.example.org/#/flows/orders"
    assert told["version"]
    assert "RunningButSilent" in {one["rule"] for one in listed}
    theirs_told = next(one for one in theirs.bodies if "RunningButSilent" in json.dumps(one))
    labels = next(one["labels"] for one in theirs_told["alerts"] if one["labels"]["alertname"] == "RunningButSilent")
    assert (labels["project"], labels["env"], labels["flow"], labels["severity"]) == ("shop", "dev", "orders", "page")
    assert b"s3cret" not in b"".join(body for _, _, body in ours.got)


def test_alerts_at_the_command_line(tmp_path: Path) -> None:
    """Rules, a silence and its end, a test of a route that works and of one that does not, a backtest of nothing."""
    with http_receiver() as receiver:
        text = FAST.replace("RECEIVER", f"{receiver.url}/hook").replace('secret = "env:HOOK_SECRET"\n', "")
        text += '\n[alerts.route.gone]\nkind = "slack"\nurl = "http://127.0.0.1:9/x"\n'
        (tmp_path / "penstock.toml").write_text(text)
        rules = json.loads(typed(tmp_path, "alerts", "rules", "--json").out)
        assert {"RunningButSilent", "ManyErrors", "Watchdog"} <= {one["name"] for one in rules["rules"]}
        assert "routes: hook (webhook), gone (slack)" in typed(tmp_path, "alerts", "rules").out
        assert typed(tmp_path, "alerts").out == "no alert fires in dev\n"

        made = json.loads(typed(tmp_path, "alerts", "silence", 'flow="orders"', "--for", "2h", "--json").out)
        assert made["until_us"] - made["from_us"] == 7_200_000_000
        assert 'flow="orders"' in typed(tmp_path, "alerts", "silences").out
        assert "speak again" in typed(tmp_path, "alerts", "unsilence", made["id"]).out
        assert typed(tmp_path, "alerts", "silences").out == "nothing is silenced\n"

        tried = typed(tmp_path, "alerts", "test", "--json")
        assert tried.code == 1
        assert [one["ok"] for one in json.loads(tried.out)["routes"]] == [True, False]
        assert receiver.bodies[0]["title"] == "this is a test of the route: it works"
        assert typed(tmp_path, "alerts", "test", "hook").out == "hook: told\n"

        past = json.loads(typed(tmp_path, "alerts", "backtest", "FlowHeld", "--over", "7d", "--json").out)
        assert (past["rule"], past["episodes"], past["known_us"]) == ("FlowHeld", [], None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("backtest",), "needs a rule"),
        (("backtest", "FlowHold"), "no alert rule 'FlowHold'. Did you mean 'FlowHeld'"),
        (("backtest", "ManyErrors"), "only metrics are kept"),
        (("silence",), "needs the labels"),
        (("silence", "flow="), "is no list of labels"),
        (("silence", "flow=a", "--for", "soon"), "--for 'soon' is no duration"),
        (("unsilence", "x"), "there is no silence 'x'"),
        (("test",), "there is no alert route to test"),
        (("test", "ops"), "there is no alert route 'ops'"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    """With what to do about it; nothing is changed."""
    (tmp_path / "penstock.toml").write_text("[project]\nname = 'shop'\n")
    answer = typed(tmp_path, "alerts", *words)
    assert answer.code == 2
    assert says in " ".join(answer.err.split())
