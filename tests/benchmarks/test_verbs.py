"""Each benchmark runs on little data and prints the JSON that is documented. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import limits, places, report
from benchmarks.__main__ import main
from benchmarks.nexmark import QUERIES, data
from benchmarks.peers import KNOWN
from benchmarks.throughput import Size, throughput


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "OUT", tmp_path)
    monkeypatch.setattr(data, "DATA", tmp_path / "data")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command line, which must succeed, and give the one JSON value on its stdout."""
    assert main([*arguments, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_throughput(capsys: pytest.CaptureFixture[str]) -> None:
    """Throughput gives each query beside its limit, found equal, and the mean of the ratios."""
    figures = told(capsys, "throughput", "--quick", "--rows", "4000", "--pairs", "1")

    assert set(figures["queries"]) == {"q1", "q2", "q5", "q7", "q8"}
    for figure in figures["queries"].values():
        assert {"events_per_s", "limit_events_per_s", "ratio_to_limit"} <= set(figure)
        assert figure["equal"]
        assert figure["rows_out"] > 0
    assert figures["geomean_ratio_to_limit"] > 0
    assert figures["peers"] == {}
    assert figures["geomean_ratio_to_best_peer"] is None


def test_throughput_at_several_budgets() -> None:
    """Each budget of an epoch has its own figure, and the first one is the query's."""
    figures = throughput(Size(rows=3_000, pairs=1, budgets=(2_000, 500)), queries=("q2",))["queries"]["q2"]

    assert set(figures["by_epoch_rows"]) == {"2000", "500"}
    assert figures["events_per_s"] == figures["by_epoch_rows"]["2000"]["events_per_s"]


def test_a_wrong_answer_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the engine's rows are not those of the limit, the figures say so and the command fails."""
    monkeypatch.setitem(limits.LIMITS, "q2", limits.LIMITS["q1"])

    assert main(["throughput", "--quick", "--rows", "2000", "--pairs", "1", "--queries", "q2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["queries"]["q2"]["equal"] is False


def test_latency(capsys: pytest.CaptureFixture[str]) -> None:
    """Latency gives percentiles, and finds every row of the generator in PostgreSQL once."""
    figures = told(capsys, "latency", "--seconds", "1", "--rate", "2000")

    assert {"rate_per_s", "p50_ms", "p99_ms", "lost", "duplicated"} <= set(figures)
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_state(capsys: pytest.CaptureFixture[str]) -> None:
    """State gives the epochs of both sizes, their ratio and the memory."""
    figures = told(capsys, "state", "--rows", "20000")

    assert {"epoch_ms_p50_100k_keys", "epoch_ms_p50_10m_keys", "ratio", "rss_mb_10m_keys"} <= set(figures)
    assert figures["keys"] == [2_000, 20_000]
    assert figures["ratio"] > 0


def test_map(capsys: pytest.CaptureFixture[str]) -> None:
    """Map gives the rows a second of the step and of the loop, and what the step costs."""
    figures = told(capsys, "map", "--rows", "1000", "--pairs", "1")

    assert set(figures) == {"map_rows_per_s", "loop_rows_per_s", "calls_per_s", "ratio", "ratio_to_calls"}


def test_unknown_peer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A peer that nobody wrote is named, with those that there are."""
    with pytest.raises(SystemExit):
        main(["throughput", "--peers", "storm"])

    assert "storm" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["change", "recovery"])
def test_a_peer_without_the_program_is_refused(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A peer that can't be changed or killed is named, with those that can."""
    with pytest.raises(SystemExit):
        main([verb, "--peers", "pathway"])

    said = capsys.readouterr().err
    assert f"pathway has no program for {verb}; there are spark, flink, bytewax" in said


def test_peers_answer_queries_that_have_a_limit() -> None:
    """What a peer can do is compared, so each of its queries is one that is measured."""
    for peer in KNOWN.values():
        assert set(peer.queries) <= set(limits.LIMITS) <= set(QUERIES)
        for module in (peer.module, peer.sums.module if peer.sums else peer.module):
            assert (places.ROOT / f"{module.replace('.', '/')}.py").exists()


OTHERS: dict[str, Any] = {
    "recovery": {
        "keys": 100_000,
        "kills": 50,
        "to_first_output_ms_p50": 300.0,
        "to_first_output_ms_p99": 444.0,
        "with_standby_ms_p50": 80.0,
        "with_standby_ms_p99": 111.0,
        "lost": 0,
        "duplicated": 0,
        "peers": {"spark": {"kills": 5, "to_first_output_ms_p50": 7_001.5, "to_first_output_ms_p99": 7_900.0}},
    },
    "overhead": {"overhead_ratio": 0.013, "overhead_least": -0.02, "overhead_most": 0.04},
    "logs": {
        "lines": 10_000_000,
        "ingest_lines_per_s": 210_000,
        "filter_1h_ms": 45.1,
        "full_text_ms": 678.2,
        "sql_join_ms": 109.3,
    },
    "page": {"steps": 500, "epochs": 10_000, "log_lines": 9, "first_paint_ms": 216.5, "shown_ms": 1_201.5},
}


def test_report_is_written_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table and the plot are replaced, what stands around them stays."""
    document = tmp_path / "benchmarks.md"
    document.write_text(f"Above.\n\n{report.BEGIN}\nold\n{report.END}\n\nBelow.\n")
    monkeypatch.setattr(report, "DOCUMENT", document)
    monkeypatch.setattr(report, "PLOT", tmp_path / "benchmarks.svg")
    known = {"version": "4", "setting": "so"}
    figure = {"events_per_s": 1_234_567, "limit_events_per_s": 2_000_000, "ratio_to_limit": 0.617}
    peers = {
        "spark": {
            "exactly_once": True,
            "setting": "some",
            "version": "4",
            "queries": {"q1": {"events_per_s": 400_000}},
        }
    }
    figures = {
        "throughput": {
            "rows": 3_000_000,
            "queries": {"q1": {**figure, "by_epoch_rows": {"500000": figure}}},
            "geomean_ratio_to_limit": 0.617,
            "peers": peers,
            "geomean_ratio_to_best_peer": 3.1,
        },
        "latency": {"p50_ms": 8.1, "p99_ms": 30.2, "rate_per_s": 50_000, "lost": 0, "duplicated": 0},
        "state": {"epoch_ms_p50_100k_keys": 5.0, "epoch_ms_p50_10m_keys": 6.0, "rss_mb_10m_keys": 1_000},
        "map": {"map_rows_per_s": 500_000, "ratio": 1.9},
        "change": {
            "keys": 1_000_000,
            "rate_per_s": 5_000,
            "handovers": 40,
            "usual_gap_ms": 12.5,
            "pause_ms_p50": 31.0,
            "pause_ms_p99": 45.5,
            "rollback_pause_ms_p50": 28.0,
            "rollback_pause_ms_p99": 41.5,
            "lost": 0,
            "duplicated": 0,
            "peers": {
                "flink": {**known, "changes": 5, "pause_ms_p50": 9_001.5, "pause_ms_p99": 9_900.0},
                "spark": {**known, "missing": "no Java"},
            },
        },
        **OTHERS,
    }
    report.write_report(figures)
    report.write_report(figures)
    text = document.read_text()

    assert text.count("1.23") == 1
    assert "old" not in text
    assert "| new code on flink, 5 times | pause p50 9001.5 ms, p99 9900.0 ms |" in text
    assert "| new code on spark | missing |" in text
    assert "| `kill -9` of spark to new output, 5 times | p50 7001.5 ms, p99 7900.0 ms |" in text
    assert "| 10,000,000 lines through `logging` | 210,000 lines/s |" in text
    assert "| 0.013 (pairs from -0.020 to 0.040) |" in text
    assert "first paint 216.5 ms, data after 1201.5 ms" in text
    assert text.startswith("Above.\n")
    assert text.endswith("Below.\n")
    assert "<svg" in (tmp_path / "benchmarks.svg").read_text()


@pytest.mark.timeout(600)
def test_change(capsys: pytest.CaptureFixture[str]) -> None:
    """Change deploys and rolls back while rows come; nothing is lost or there twice."""
    figures = told(capsys, "change", "--quick", "--rows", "5000", "--pairs", "1")

    assert {"pause_ms_p50", "pause_ms_p99", "rollback_pause_ms_p99", "usual_gap_ms"} <= set(figures)
    assert (figures["keys"], figures["handovers"]) == (5_000, 2)
    assert figures["peers"] == {}
    assert (figures["lost"], figures["duplicated"]) == (0, 0)


@pytest.mark.timeout(600)
def test_recovery(capsys: pytest.CaptureFixture[str]) -> None:
    """Recovery kills the leader, with and without a standby; nothing is lost or there twice."""
    figures = told(capsys, "recovery", "--quick", "--rows", "5000", "--pairs", "2")

    assert {"to_first_output_ms_p50", "to_first_output_ms_p99", "with_standby_ms_p99"} <= set(figures)
    assert figures["kills"] == 4
    assert figures["peers"] == {}
    assert (figures["lost"], figures["duplicated"]) == (0, 0)


@pytest.mark.timeout(300)
def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Page gives the time to the first paint and to the data of every view, and keeps every line that it logged."""
    figures = told(capsys, "page", "--rows", "20000", "--pairs", "1")

    assert (figures["steps"], figures["epochs"], figures["log_lines"]) == (20, 50, 20_000)
    assert set(figures["views"]) == {"overview", "flow", "ledger", "logs", "logs_24h"}
    for view in figures["views"].values():
        assert 0 < view["first_paint_ms"] <= figures["first_paint_ms"]
        assert 0 < view["shown_ms"] <= figures["shown_ms"]
