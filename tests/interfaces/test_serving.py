"""The verbs around a server, typed by a person: what they say, and what becomes of the flows."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.control import is_there, living_server, opened_ledger, project_for
from tests.interfaces.user import Running, started, typed

pytestmark = pytest.mark.crash


@pytest.fixture
def project(endless: Path) -> Iterator[Path]:
    """The folder with the endless flow; processes that are left at the end are killed."""
    yield endless
    environment = project_for(endless).environment("dev")
    with opened_ledger(environment) as ledger:
        for member in ledger.members():
            if is_there(member):
                os.kill(member.pid, signal.SIGKILL)


@contextmanager
def server(folder: Path) -> Iterator[Running]:
    """`penstock up`, once it leads."""
    with started(folder, "up", "--port", "0", terminal=True) as running:
        running.wait_for_text("this server leads")
        yield running


def said(folder: Path, *arguments: str, code: int = 0) -> str:
    """What a command that ends as expected says."""
    answer = typed(folder, *arguments)
    assert answer.code == code, answer.out + answer.err
    return answer.out + answer.err


def flow_of(folder: Path) -> dict[str, Any]:
    """The one flow, as `status --json` tells it."""
    (found,) = json.loads(said(folder, "status", "--json"))["flows"]
    assert isinstance(found, dict)
    return found


def test_a_day_with_a_server(project: Path) -> None:
    """Up, start, pause, resume, stop, start again, down: each says what is so by then."""
    with server(project) as running:
        token = re.search(r"token \(shown once, only its hash is kept\): (pt_\w{64})", running.seen)
        assert token is not None
        shown = said(project, "start", "endless")
        version = re.search(r"endless: version (\w{12}) is the code as it is now", shown)
        assert version is not None
        assert re.search(rf"endless in dev: running, process \d+, version {version[1]}", shown)
        assert "endless in dev: paused, process" in said(project, "pause", "endless")
        assert flow_of(project)["state"] == "paused"
        assert "endless in dev: running, process" in said(project, "resume", "endless", "--why", "enough")
        assert "endless in dev: stopped" in said(project, "stop", "endless")
        assert flow_of(project)["members"] == []
        assert "version" in said(project, "start", "endless", "--standby")
        status = flow_of(project)
        assert (status["want"], status["options"], status["version"]) == ("running", {"standby": True}, version[1])

        url = json.loads((project / ".penstock/dev/server.json").read_text())["url"]
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token[1]}"}, trust_env=False) as client:
            assert client.get("/v1/flows/endless").json()["state"] == "running"
            assert client.post("/v1/flows/endless/drain", json={"who": "a script"}).status_code == 200
        assert "the server of dev (process" in said(project, "down")
        assert running.end().code == 0
    with started(project, "up", "--port", "0", terminal=True) as again:
        again.wait_for_text("this server leads")
        assert "token (shown once" not in again.seen
        assert said(project, "down", "--keep-flows").endswith("has ended; its flows go on\n")


def test_wishes_without_a_server_are_noted(project: Path) -> None:
    """They are durable, the verbs say what to type, and the next server obeys."""
    assert "no server runs in dev: penstock up" in said(project, "status")
    assert "noted. No server runs there, so nothing happens yet; start one: penstock up" in said(
        project, "start", "endless"
    )
    assert flow_of(project)["state"] == "down"
    assert "nothing runs in dev" in said(project, "down")
    with server(project) as running:
        running.wait_for_text("endless  started: it leads")
        assert "endless in dev: running" in said(project, "start", "endless")
        assert said(project, "status").splitlines()[0].startswith("server: process")
        said(project, "down")
        assert living_server(project_for(project).environment("dev")) is None


def test_flows_that_are_left_running_can_be_stopped(project: Path) -> None:
    """`down --keep-flows` ends the server alone; `down` without a server stops the flows."""
    with server(project):
        said(project, "start", "endless")
        assert "its flows go on" in said(project, "down", "--keep-flows")
    leader = flow_of(project)["members"][0]
    assert leader["facts"]["role"] == "leading"
    assert "1 process that no server watched stopped" in said(project, "down")
    assert flow_of(project)["members"] == []


def test_a_held_flow_says_so_everywhere(project: Path) -> None:
    """Status has the sentence and the commands; start refuses, and shows them too."""
    (project / "endless.py").write_text(
        "import os\nimport penstock as ps\n\nflow = ps.Flow('endless', epoch_ms=50)\n"
        "bids = flow.read(ps.nexmark('bid', rate_per_s=2000))\n"
        "same = bids.map_batches(lambda batch: batch if batch.is_empty() else os.abort(), name='same')\n"
        "same.write(ps.parquet('out/bids'))\n"
    )
    with server(project) as running:
        typed(project, "start", "endless", "--no-wait")
        running.wait_for_text("the flow is held; nothing is lost")
        shown = said(project, "status")
        # The first events are no bids: an epoch that took only those was committed before.
        epoch = (flow_of(project)["epoch"] or 0) + 1
        place = "was ended by SIGABRT at endless.py:6 in <lambda>"
        assert re.search(rf"endless: epoch {epoch} {place}( in step same)?, 3 times; the flow is held", shown), shown
        assert "try the same again: penstock start endless --retry" in shown
        assert flow_of(project)["state"] == "held"
        assert "the flow stays held" in said(project, "start", "endless", code=2)
        said(project, "stop", "endless")


def test_schedules(project: Path) -> None:
    """It says when the next run is; between runs no process is there; --off ends it."""
    with server(project):
        shown = said(project, "schedule", "endless", "0 0 1 1 *", "--catch-up", "none")
        assert re.search(r"endless in dev: runs next at \d{4}-01-01 00:00:00 UTC", shown)
        status = flow_of(project)
        assert (status["state"], status["note"], status["members"]) == ("scheduled", "0 0 1 1 *", [])
        assert "runs next at" in said(project, "status", "endless")
        assert "runs by the clock no more" in said(project, "schedule", "endless", "--off")
        assert flow_of(project)["state"] == "stopped"
        said(project, "down")
    assert "is no cron expression" in said(project, "schedule", "endless", "noon", code=2)
    assert "a schedule takes a cron expression, or --off" in said(project, "schedule", "endless", code=2)


def test_watching(project: Path) -> None:
    """`status --watch` shows it again and again, until Ctrl-C."""
    said(project, "start", "endless")
    with started(project, "status", "--watch", terminal=True) as watching:
        watching.wait_for_text("endless")
        watching.seen = ""
        watching.wait_for_text("endless")
        watching.interrupt()
        assert watching.end().code == 130


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("start", "nothing"), "there is no flow 'nothing'"),
        (("stop", "endles"), "the flow 'endles' never ran in environment 'dev'"),
        (("pause", "endless"), "the flow 'endless' never ran in environment 'dev'"),
        (("status", "endless"), "the flow 'endless' never ran in environment 'dev'"),
        (("start", "endless", "--version", "abc"), "endless has no version 'abc' in dev"),
        (("start", "endless", "--memory", "much"), "--memory 'much' is no size"),
    ],
)
def test_mistakes(project: Path, arguments: tuple[str, ...], words: str) -> None:
    """Each is told with what to do, and nothing is started."""
    assert words in said(project, *arguments, code=2)


def test_a_port_that_is_taken(project: Path) -> None:
    """A port that was asked for is not exchanged for another; no server is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        shown = said(project, "up", "--port", str(taken.getsockname()[1]), code=2)

    assert "can't be had: Address already in use" in shown
    assert living_server(project_for(project).environment("dev")) is None


def test_another_version_takes_a_deploy(project: Path) -> None:
    """A flow that has the state of one version is not started as another, whether it runs or not."""
    text = (project / "endless.py").read_text().replace("epoch_ms=50", 'epoch_ms=ps.param("ms", 50)')
    (project / "endless.py").write_text(text)
    with server(project):
        said(project, "start", "endless")
        first = flow_of(project)["version"]
        shown = said(project, "start", "endless", "--set", "ms=60", code=2)
        assert f"endless has the state of version {first}, not of " in shown
        assert "penstock deploy endless" in shown
        said(project, "stop", "endless")
        assert "has the state of version" in said(project, "start", "endless", "--set", "ms=60", code=2)
        said(project, "down")


def test_a_person_is_asked_at_the_terminal(project: Path) -> None:
    """After the rows of both versions: no, and nothing has changed; yes, with the reason why not all is the same."""
    text = (project / "endless.py").read_text()
    with server(project):
        said(project, "start", "endless")
        first = flow_of(project)["version"]
        dearer = "bids.filter(pl.col('price') > 500).write"
        (project / "endless.py").write_text("import polars as pl\n" + text.replace("bids.write", dearer))
        asked = ("deploy", "endless", "--shadow", "3", "--watch", "200ms")
        with started(project, *asked, terminal=True) as refused:
            assert "only in old" in refused.wait_for_text(" lead? [y/N]")
            refused.answer("n")
            assert refused.end().code != 0
        assert flow_of(project)["version"] == first

        with started(project, *asked, terminal=True) as allowed:
            allowed.wait_for_text(" lead? [y/N]")
            allowed.answer("y")
            allowed.wait_for_text("Why, though the gate did not pass?")
            allowed.answer("cheap bids are noise")
            assert allowed.end().code == 0, allowed.seen
        assert flow_of(project)["version"] != first
        assert "cheap bids are noise" in said(project, "deployments", "endless", "--json")
