"""For each rule that comes with Penstock: samples for which it fires, in promtool's notation, a minute apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CASES", "Case"]

L = 'project="p",env="e",flow="f"'
_RUNS = f'penstock_flow_state{{{L},state="running"}}'
_STANDS = f"penstock_system_lag_seconds{{{L}}}"
_READ, _DEAD = f'penstock_records_in_total{{{L},step="s"}}', f"penstock_records_dead_total{{{L}}}"
_OUT = f'penstock_records_out_total{{{L},step="w"}}'


def burn(window: str) -> str:
    """The burn rate over a window."""
    return f'penstock_freshness_burn_rate{{{L},window="{window}"}}'


@dataclass(frozen=True)
class Case:
    """`bad`: series with which the rule fires after `after_min`; `good`: what they are when nothing is wrong. `labels`:
    those of the alert beside `severity`.
    """

    bad: Mapping[str, str]
    good: Mapping[str, str]
    after_min: int
    labels: Mapping[str, str] = field(default_factory=lambda: {"project": "p", "env": "e", "flow": "f"})


_ENV = {"project": "p", "env": "e"}
_FREE, _SIZE = 'penstock_disk_free_bytes{project="p",env="e"}', 'penstock_disk_size_bytes{project="p",env="e"}'

CASES: Mapping[str, Case] = {
    "RunningButSilent": Case(
        {_RUNS: "1x30", _STANDS: "0+60x30", _OUT: "100x30", f"penstock_epochs_total{{{L}}}": "7x30"},
        {_RUNS: "1x30", _STANDS: "0+60x30", _OUT: "100+5x30", f"penstock_epochs_total{{{L}}}": "7x30"},
        5,
    ),
    "FlowHeld": Case(
        {f'penstock_flow_state{{{L},state="held"}}': "0 1x9"}, {f'penstock_flow_state{{{L},state="held"}}': "0x9"}, 2
    ),
    "FlowDown": Case(
        {f'penstock_flow_state{{{L},state="down"}}': "0 1x9"},
        {f'penstock_flow_state{{{L},state="down"}}': "0 1 0x9"},
        3,
    ),
    "FreshnessBurnFast": Case(
        {burn("1h"): "20x9", burn("5m"): "20x9"}, {burn("1h"): "20x9", burn("5m"): "1x9", burn("6h"): "7x9"}, 1
    ),
    "FreshnessBurnSlow": Case(
        {burn("3d"): "1.5x9", burn("6h"): "1.5x9"}, {burn("1d"): "2x9", burn("2h"): "9x9", burn("3d"): "0.9x9"}, 1
    ),
    "ErrorBudgetBurnFast": Case({_READ: "0+100x20", _DEAD: "0+2x20"}, {_READ: "0+100x20", _DEAD: "0+1x20"}, 10),
    "ErrorBudgetBurnSlow": Case({_READ: "0+1000x20", _DEAD: "0+4x20"}, {_READ: "0+1000x20", _DEAD: "0+2x20"}, 10),
    "BacklogGrowing": Case(
        {
            f"penstock_source_backlog_records{{{L}}}": "0+100x40",
            _STANDS: "0+60x40",
            f"penstock_freshness_objective_seconds{{{L}}}": "30x40",
        },
        {
            f"penstock_source_backlog_records{{{L}}}": "9000-100x40",
            _STANDS: "0+60x40",
            f"penstock_freshness_objective_seconds{{{L}}}": "30x40",
        },
        30,
    ),
    "SavepointStale": Case(
        {
            f"penstock_savepoint_last_success_timestamp_seconds{{{L}}}": "-90000x9",
            _RUNS: "1x9",
            f"penstock_state_bytes{{{L}}}": "5x9",
        },
        {
            f"penstock_savepoint_last_success_timestamp_seconds{{{L}}}": "-90000x9",
            _RUNS: "1x9",
            f"penstock_state_bytes{{{L}}}": "0x9",
        },
        5,
    ),
    "RestartLoop": Case(
        {f'penstock_restarts_total{{{L},cause="crashed"}}': "0 1 2 3 4 5 6x10"},
        {f'penstock_restarts_total{{{L},cause="crashed"}}': "0 0 1x20"},
        8,
    ),
    "DeadLettersNew": Case({_DEAD: "0 0 5x9"}, {_DEAD: "5x12"}, 4),
    "DeadLettersOld": Case(
        {f"penstock_dead_letter_oldest_seconds{{{L}}}": "700000x9"},
        {f"penstock_dead_letter_oldest_seconds{{{L}}}": "600000x9"},
        1,
    ),
    "LateDropped": Case(
        {_READ: "0+100x30", f"penstock_records_late_total{{{L}}}": "0+2x30"},
        {_READ: "0+1000x30", f"penstock_records_late_total{{{L}}}": "0+2x30"},
        20,
    ),
    "StateGrowth": Case(
        {
            f"penstock_state_bytes{{{L}}}": "0+1000000x120",
            f"penstock_worker_memory_limit_bytes{{{L}}}": "1000000000x120",
        },
        {f"penstock_state_bytes{{{L}}}": "0+1000x120", f"penstock_worker_memory_limit_bytes{{{L}}}": "1000000000x120"},
        100,
    ),
    "MemoryNearLimit": Case(
        {
            f'penstock_worker_memory_bytes{{{L},role="lead"}}': "95x9",
            f"penstock_worker_memory_limit_bytes{{{L}}}": "100x9",
        },
        {
            f'penstock_worker_memory_bytes{{{L},role="lead"}}': "85x9",
            f"penstock_worker_memory_limit_bytes{{{L}}}": "100x9",
        },
        5,
    ),
    "CpuSaturated": Case(
        {_STANDS: "90x40", f'penstock_step_time_seconds_total{{{L},step="a",state="busy"}}': "0+58x40"},
        {_STANDS: "90x40", f'penstock_step_time_seconds_total{{{L},step="a",state="busy"}}': "0+30x40"},
        35,
    ),
    "DiskWillFill": Case({_FREE: "2000-10x40", _SIZE: "10000x40"}, {_FREE: "2000-1x40", _SIZE: "10000x40"}, 35, _ENV),
    "DiskNearlyFull": Case({_FREE: "4x9", _SIZE: "100x9"}, {_FREE: "6x9", _SIZE: "100x9"}, 5, _ENV),
    "RunMissed": Case(
        {
            f"penstock_run_last_success_timestamp_seconds{{{L}}}": "-7200x9",
            f"penstock_schedule_interval_seconds{{{L}}}": "3600x9",
        },
        {
            f"penstock_run_last_success_timestamp_seconds{{{L}}}": "-3600x9",
            f"penstock_schedule_interval_seconds{{{L}}}": "3600x9",
        },
        1,
    ),
    "QualityFailed": Case(
        {f'penstock_quality_checks_total{{{L},check="not_null(x)",result="failed"}}': "0 0 3x9"},
        {f'penstock_quality_checks_total{{{L},check="not_null(x)",result="passed"}}': "0 0 3x9"},
        4,
        {"project": "p", "env": "e", "flow": "f", "check": "not_null(x)"},
    ),
    "Watchdog": Case({_RUNS: "1x9"}, {}, 1, {}),
}
