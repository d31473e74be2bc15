"""Metrics of a real server over a real flow: they agree with the ledger, and go on whoever dies."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from penstock.control import bare_project, opened_ledger
from penstock.ledger import Ledger
from tests.interfaces.user import started, typed

RATES = "penstock_records_in_total"
_PAUSE = Event()


@pytest.fixture
def watched(endless: Path) -> Path:
    """A folder with a flow that never ends, of which the server keeps a sample each second."""
    (endless / "penstock.toml").write_text('[project]\nname = "shop"\n[metrics]\nevery = "1s"\n')
    return endless


def told(folder: Path, *more: str) -> dict[str, Any]:
    """What the command line says of the last quarter of an hour, as JSON; empty while nothing is stored."""
    answer = typed(folder, "metrics", "endless", "--over", "15m", "--step", "1s", "--json", *more)
    return json.loads(answer.out) if answer.code == 0 else {}


def samples(folder: Path) -> list[tuple[int, float]]:
    """Times and values of the rows that came in."""
    found = told(folder, "--name", RATES, "--function", "last")
    if not found.get("series"):
        return []
    values = found["series"][0]["values"]
    return [(at, value) for at, value in zip(found["times_us"], values, strict=True) if value is not None]


def wait_for_samples(folder: Path, count: int, *, after_us: int = 0) -> list[tuple[int, float]]:
    """Return when there are so many after a time. The timeout of the test is the limit."""
    while len(found := [one for one in samples(folder) if one[0] > after_us]) < count:
        _PAUSE.wait(0.2)
    return found


def rows_between(ledger: Ledger, first_us: int, last_us: int) -> int:
    """What the ledger says was committed in a span."""
    epochs = ledger.epochs("endless")
    return sum(sum(one.rows_in.values()) for one in epochs if first_us < one.committed_us <= last_us)


@pytest.mark.crash
def test_rates_are_the_ledgers_and_history_outlives_the_server(watched: Path) -> None:
    """Rates within 2 % of what was committed; after kill -9 of the server old samples are there and counters go on."""
    with started(watched, "up", "--port", "0", terminal=True) as server:
        server.wait_for_text("this server leads")
        assert typed(watched, "start", "endless").code == 0
        before = wait_for_samples(watched, 12)
        (first_us, first), (last_us, last) = before[2], before[-1]
        with opened_ledger(bare_project(watched).environment("dev")) as ledger:
            # A sample is told by the second that it was taken in, just after its beginning.
            truth = rows_between(ledger, first_us, last_us)
        assert last - first == pytest.approx(truth, rel=0.02)
        server.interrupt(signal.SIGKILL)
        server.process.wait()
    with started(watched, "up", "--port", "0", terminal=True) as server:
        server.wait_for_text("adopted")
        wait_for_samples(watched, 3, after_us=last_us + 2_000_000)
        after = samples(watched)
        status = json.loads(typed(watched, "status", "--json").out)["flows"][0]
        server.interrupt(signal.SIGINT)
        server.end()

    assert after[: len(before)] == before, "what was kept is kept"
    values = [value for _, value in after]
    assert values == sorted(values), "no counter fell"
    assert status["fresh_s"] is not None
    assert status["freshness"].endswith("behind")


def test_questions_without_an_answer(watched: Path) -> None:
    """Before a server ever ran a person is told what to type."""
    answer = typed(watched, "metrics", "--over", "1h", "--name", RATES)

    assert answer.code != 0
    assert "penstock up" in answer.err
