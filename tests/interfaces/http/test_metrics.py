"""Metrics by REST as they were: by name and label, and by PromQL; asked by a real client over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.clock import ManualClock
from penstock.control import Meter, Sampler, bare_project, opened_history, opened_ledger
from penstock.interfaces.http import Listener, kept_token, make_app
from penstock.ledger import EpochPlan, EpochRecord, Ledger

FLOW, ROWS = "orders", "penstock_records_in_total"


def committed(ledger: Ledger, generation: int, epoch: int) -> None:
    """An epoch of ten rows of one source and one of another."""
    plan = EpochPlan(epoch, {"a": {"end": epoch}}, now_us=1, seed=1)
    if epoch == 1:
        ledger.plan(FLOW, generation, plan)
    after = EpochPlan(epoch + 1, {"a": {"end": epoch + 1}}, now_us=1, seed=1)
    ledger.commit(FLOW, EpochRecord(epoch, generation, "v1", plan, rows_in={"a": 10, "b": 1}), next_plan=after)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """A flow that committed an epoch before each of four samples, ten seconds apart."""
    clock = ManualClock(1_000_000_000_000_000)
    environment = bare_project(tmp_path).environment("dev")
    token, made = kept_token(environment.folder)
    with opened_ledger(environment, clock) as ledger, opened_history(environment) as history:
        generation = ledger.claim(FLOW, version="v1", holder="m1").generation
        meter = Meter(ledger, environment, clock, history=history)
        with closing(Sampler(meter, history, every_s=10)) as sampler:
            for epoch in range(1, 5):
                committed(ledger, generation, epoch)
                sampler.sample()
                clock.sleep(10)
        listener = Listener(make_app(environment, ledger, clock, token, meter=meter), port=0)
        listener.start()
        headers = {"Authorization": f"Bearer {made}"}
        try:
            with httpx.Client(base_url=listener.url, headers=headers, trust_env=False) as found:
                yield found
        finally:
            listener.stop()


def values(client: httpx.Client, path: str, **asked: Any) -> dict[str, list[float]]:
    """The values that there are, by source."""
    answer = client.get(f"/v1/metrics/{path}", params={"over": "1m", "step": "10s", **asked})
    assert answer.status_code == 200, answer.text
    return {
        one["labels"]["step"]: [value for value in one["values"] if value is not None]
        for one in answer.json()["series"]
    }


def test_a_label_is_written_as_on_the_command_line(client: httpx.Client) -> None:
    """NAME=VALUE, any number of them; what is none is refused with how it is written."""
    both = values(client, "series", name=ROWS, flow=FLOW)
    one = values(client, "series", name=ROWS, label=["step=b", f"flow={FLOW}"])
    wrong = client.get("/v1/metrics/series", params={"name": ROWS, "label": "step:b"})

    assert both == {"a": [10, 20, 30, 40], "b": [1, 2, 3, 4]}
    assert one == {"b": [1, 2, 3, 4]}
    assert wrong.status_code == 422
    assert "'step:b' is not NAME=VALUE" in wrong.json()["error"]["message"]


def test_promql_and_series_read_one_store(client: httpx.Client) -> None:
    """Asked for the last values of the same series, both give the same ones, at times that each explains."""
    asked = values(client, "query", query=f'last_over_time({ROWS}{{flow="{FLOW}",step="b"}}[10s])')

    assert {step: sorted(set(found)) for step, found in asked.items()} == {"b": [1, 2, 3, 4]}
    assert values(client, "series", name=ROWS, label="step=b") == {"b": [1, 2, 3, 4]}


@pytest.mark.parametrize("path", ["series", "query"])
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"start_us": 5, "end_us": 5}, "an end after its start"),
        ({"over": "-1h"}, "an end after its start"),
        ({"over": "soon"}, "over 'soon' is no duration"),
        ({"step": "0s"}, "a step is longer than 0"),
        ({"over": "30d", "step": "1s"}, "11,000 at most"),
    ],
)
def test_a_span_is_read_in_one_way(client: httpx.Client, path: str, asked: dict[str, Any], words: str) -> None:
    """By whichever route: what is wrong with a span or a step is told in the same words."""
    answer = client.get(f"/v1/metrics/{path}", params={"name": ROWS, "query": ROWS, **asked})

    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]
