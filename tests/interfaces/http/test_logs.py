"""Logs by REST: pages, counts, kinds, SQL, live; asked by a real client over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.clock import ManualClock
from penstock.control import bare_project, log_folder, opened_ledger
from penstock.interfaces.http import Listener, kept_token, make_app
from penstock.observe import JournalWriter
from penstock.observe.logs.journal import JOURNALS
from tests.observe.logs.lines import HOUR_US, START_US, put, written


class Rest:
    """A client with the token, and the journal behind."""

    def __init__(self, client: httpx.Client, journal: JournalWriter) -> None:
        self.client = client
        self.journal = journal

    def get(self, path: str, **params: Any) -> Any:
        """The answer to a question that has one."""
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[Rest]:
    """An environment in which the flow `orders` logged ten lines and an error, a second apart."""
    (tmp_path / "penstock.toml").write_text(
        "[logs.metric.orders]\nfilter = 'message:order'\n[logs.metric.numbers]\nfilter = ''\nvalue = 'order (\\d+)'\n"
    )
    clock = ManualClock(START_US + HOUR_US // 2)
    environment = bare_project(tmp_path).environment("dev")
    token, made = kept_token(environment.folder)
    folder = log_folder(environment) / "orders"
    journal = written(folder, [(number * 1_000_000, f"order {number}") for number in range(10)], seal=False)
    put(journal, "refused '7'", severity=500, time_us=START_US + 10_000_000, order=7)
    with opened_ledger(environment, clock) as ledger:
        listener = Listener(make_app(environment, ledger, clock, token), port=0)
        listener.start()
        client = httpx.Client(base_url=listener.url, headers={"Authorization": f"Bearer {made}"}, trust_env=False)
        try:
            with client:
                yield Rest(client, journal)
        finally:
            listener.stop()
            journal.close()


def test_entries_come_in_pages(rest: Rest) -> None:
    """The newest first; `next` leads to the older ones, and is null at the end."""
    first = rest.get("/v1/logs", flow="orders", limit=6)
    second = rest.get("/v1/logs", flow="orders", limit=6, before=first["next"])

    texts = [entry["message"] for page in (first, second) for entry in page["entries"]]
    assert texts == ["refused '7'", *(f"order {number}" for number in range(9, -1, -1))]
    assert second["next"] is None
    assert first["entries"][0]["severity"] == "ERROR"
    assert first["entries"][0]["attrs"] == {"logger": "test", "order": 7}
    assert first["entries"][0]["timestamp"].endswith("Z")


def test_filters_bounds_and_severities_narrow(rest: Rest) -> None:
    """A filter, times and a severity are all met by what is given."""
    found = rest.get("/v1/logs", filter="jsonPayload.order=7", severity="warning", since_us=START_US)
    none = rest.get("/v1/logs", filter="order", until_us=START_US)
    other = rest.get("/v1/logs", flow="prices")

    assert [entry["message"] for entry in found["entries"]] == ["refused '7'"]
    assert none["entries"] == other["entries"] == []


def test_summaries(rest: Rest) -> None:
    """Histogram, kinds, counts, context, metrics and the filter as SQL have the shapes that the page reads."""
    buckets = rest.get("/v1/logs/histogram", since_us=START_US, until_us=START_US + 20_000_000, buckets=2)["buckets"]
    kinds = rest.get("/v1/logs/signatures")["signatures"]
    error = rest.get("/v1/logs", severity="ERROR")["entries"][0]
    around = rest.get(
        "/v1/logs/context", insert_id=error["insert_id"], timestamp_us=START_US + 10_000_000, flow="orders", count=2
    )
    metrics = rest.get("/v1/logs/metrics")["metrics"]
    counted = rest.get("/v1/logs/metrics/orders", every_us=60_000_000)["values"]
    numbers = rest.get("/v1/logs/metrics/numbers", every_us=60_000_000)["values"]

    assert [bucket["counts"] for bucket in buckets] == [{"INFO": 10}, {"ERROR": 1}]
    assert [(kind["signature"], kind["count"], kind["new_in"]) for kind in kinds] == [("refused #", 1, None)]
    assert [entry["message"] for entry in around["entries"]] == ["order 8", "order 9", "refused '7'"]
    assert [metric["name"] for metric in metrics] == ["orders", "numbers"]
    assert counted == [{"start_us": START_US, "count": 10}]
    assert numbers[0]["p50"] == 4.5
    assert rest.get("/v1/logs/counts")["flows"] == {"orders": {"INFO": 10, "ERROR": 1}}
    assert rest.get("/v1/logs/sql", filter="severity>=ERROR")["parameters"] == [500]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/logs", {"filter": "severity>=WARN"}),
        ("/v1/logs", {"filter": "("}),
        ("/v1/logs", {"severity": "LOUD"}),
        ("/v1/logs", {"limit": 100_000}),
        ("/v1/logs", {"before": "x"}),
        ("/v1/logs/histogram", {"since_us": 5, "until_us": 5}),
        ("/v1/logs/metrics/nothing", {}),
        ("/v1/logs/tail", {"filter": "a="}),
        ("/v1/sql", {"query": "drop table logs"}),
        ("/v1/sql", {"query": "select * from nowhere"}),
        ("/v1/sql", {"query": "select * from read_text('/etc/passwd')"}),
        ("/v1/sql", {"query": "select 1; select 2"}),
    ],
)
def test_what_is_wrong_is_422(path: str, params: dict[str, Any], rest: Rest) -> None:
    """A wrong filter, bound or query is refused with what is wrong, never with a bug."""
    answer = rest.client.get(path, params=params)

    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"]


def test_the_place_of_a_fault_is_told(rest: Rest) -> None:
    """The error of a filter names the characters that are wrong."""
    error = rest.client.get("/v1/logs", params={"filter": "flow=a severity>=WARN"}).json()["error"]

    assert "flow=a severity>=WARN"[error["start"] : error["end"]] == "WARN"


def test_sql_joins_logs(rest: Rest) -> None:
    """One statement over logs and ledger; rows are cut at the limit, and that is said."""
    found = rest.get(
        "/v1/sql",
        query="select severity, count(*) as n from logs left join epochs using (flow, epoch) group by 1 order by 1",
    )
    cut = rest.get("/v1/sql", query="select message from logs order by timestamp", limit=2)

    assert [column["name"] for column in found["columns"]] == ["severity", "n"]
    assert found["rows"] == [[200, 10], [500, 1]]
    assert (cut["rows"], cut["truncated"]) == ([["order 0"], ["order 1"]], True)


def test_any_value_of_a_row_is_json(rest: Rest) -> None:
    """What is no number is null, bytes are text, lists and structs stay what they are."""
    query = (
        "select 'nan'::double as a, 'inf'::double as b, '\\xFF'::blob as c, [1.5, 'nan'::double] as d, "
        "{'x': date '2026-11-26'} as e, 12.50::decimal(4, 2) as f"
    )
    (row,) = rest.get("/v1/sql", query=query)["rows"]

    assert row[:2] == [None, None]
    assert isinstance(row[2], str)
    assert row[3:] == [[1.5, None], {"x": "2026-11-26"}, "12.50"]


def test_entries_come_live(rest: Rest) -> None:
    """The tail sends what is logged after it began, by its filter, in its order."""
    seen: list[str] = []
    with rest.client.stream("GET", "/v1/logs/tail", params={"filter": "message:live"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == "ready":
                for number in range(5):
                    put(rest.journal, f"live {number}", time_us=START_US + 20_000_000 + number)
                    put(rest.journal, "other", time_us=START_US + 20_000_000 + number)
            elif line.startswith("data: ") and kind == "entries":
                seen += [entry["message"] for entry in json.loads(line.removeprefix("data: "))]
            if len(seen) >= 5:
                break

    assert seen == [f"live {number}" for number in range(5)]


def test_too_many_at_once_are_counted(rest: Rest, tmp_path: Path) -> None:
    """Of what comes between two looks the tail sends the newest 2,000, and before them how many it leaves out."""
    aside = tmp_path / "aside"
    lines = [(number, f"flood {number}") for number in range(2_500)]
    written(aside, lines, worker="w2", size_bytes=1 << 20)  # one file, so that all of it comes at once
    told: list[tuple[str, Any]] = []
    with rest.client.stream("GET", "/v1/logs/tail", params={"filter": "message:flood"}) as answer:
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == "ready":
                for file in (aside / JOURNALS).iterdir():
                    file.rename(rest.journal.folder / file.name)
            elif line.startswith("data: "):
                told.append((kind, json.loads(line.removeprefix("data: "))))
                if kind == "entries":
                    break

    (_, skipped), (_, entries) = told
    assert skipped == {"count": 500}
    assert [entry["message"] for entry in entries] == [f"flood {number}" for number in range(500, 2_500)]
