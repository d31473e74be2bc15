"""The rules that every environment has, unless it says otherwise. docs/alerts.md is written from this table.

The first is the failure that hurts most: everything looks well and nothing comes out.
"""

from __future__ import annotations

from penstock.observe.alerts.rules import Basis, Rule, Severity

__all__ = ["DEFAULT_RULES"]

_BY = "(project, env, flow)"
_PAGE, _TICKET, _INFO = Severity.PAGE, Severity.TICKET, Severity.INFO


def _is(states: str) -> str:
    return f'max by {_BY} (penstock_flow_state{{state=~"{states}"}}) == 1'


def _burns(long: str, short: str, times: float) -> str:
    """A burn rate over two windows: one that says it matters, one that says it goes on (SRE workbook, chapter 5)."""
    rate = "penstock_freshness_burn_rate"
    both = f'{rate}{{window="{long}"}} > {times} and on {_BY} {rate}{{window="{short}"}} > {times}'
    return f"max by {_BY} ({both})"


_OBJECTIVE = "penstock_freshness_objective_seconds"
_READ, _DEAD = (
    f"sum by {_BY} (rate(penstock_records_in_total[1h]))",
    f"sum by {_BY} (rate(penstock_records_dead_total[1h]))",
)

DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(
        "RunningButSilent",
        _PAGE,
        f"max by {_BY} (penstock_system_lag_seconds) > 60"
        f" and on {_BY} {_is('running|starting|taking-over|rewriting|busy')}"
        f" unless on {_BY} sum by {_BY} (increase(penstock_records_out_total[5m])) > 0"
        f" unless on {_BY} sum by {_BY} (increase(penstock_epochs_total[1m])) > 0",
        "{flow} runs but is silent: input has waited for {value}, and nothing comes out",
        target="vector(60)",
        unit="s",
        quiets=("FreshnessBurnFast", "FreshnessBurnSlow", "BacklogGrowing"),
        hint="penstock status {flow}; penstock logs {flow}",
    ),
    Rule(
        "FlowHeld",
        _PAGE,
        _is("held"),
        "{flow} is held: it failed again and again, and waits for a decision",
        quiets=("FreshnessBurnFast", "FreshnessBurnSlow", "BacklogGrowing", "RunningButSilent", "RestartLoop"),
        hint="penstock status {flow}",
    ),
    Rule(
        "FlowDown",
        _PAGE,
        _is("down"),
        "{flow} should run and has no process",
        for_s=30,
        quiets=("FreshnessBurnFast", "FreshnessBurnSlow", "BacklogGrowing", "RunningButSilent"),
        hint="penstock status {flow}",
    ),
    Rule(
        "FreshnessBurnFast",
        _PAGE,
        f"{_burns('1h', '5m', 14.4)} or {_burns('6h', '30m', 6)}",
        "{flow} is not as fresh as promised: its budget for lateness burns {value} times too fast",
        target="vector(1)",
        quiets=("FreshnessBurnSlow", "BacklogGrowing"),
        hint="penstock status {flow}",
    ),
    Rule(
        "FreshnessBurnSlow",
        _TICKET,
        f"{_burns('1d', '2h', 3)} or {_burns('3d', '6h', 1)}",
        "{flow} is often later than promised: its budget for lateness burns {value} times too fast",
        target="vector(1)",
        hint="penstock metrics {flow} --over 3d",
    ),
    Rule(
        "ErrorBudgetBurnFast",
        _PAGE,
        f"{_DEAD} / {_READ} > 0.0144",
        "{value} of the rows of {flow} can't be processed",
        for_s=120,
        target="vector(0.001)",
        unit="share",
        quiets=("ErrorBudgetBurnSlow",),
        hint="penstock deadletters {flow}",
    ),
    Rule(
        "ErrorBudgetBurnSlow",
        _TICKET,
        f"{_DEAD.replace('[1h]', '[1d]')} / {_READ.replace('[1h]', '[1d]')} > 0.003",
        "{value} of the rows of {flow} can't be processed, for a day",
        target="vector(0.001)",
        unit="share",
        hint="penstock deadletters {flow}",
    ),
    Rule(
        "BacklogGrowing",
        _TICKET,
        f"max by {_BY} (deriv(penstock_source_backlog_records[15m])) > 0"
        f" and on {_BY} max by {_BY} (penstock_system_lag_seconds) > on {_BY} group_left() max by {_BY} ({_OBJECTIVE})",
        "{flow} falls behind: its backlog grows by {value} rows a second",
        for_s=900,
        hint="penstock metrics {flow}",
    ),
    Rule(
        "SavepointStale",
        _TICKET,
        f"time() - max by {_BY} (penstock_savepoint_last_success_timestamp_seconds) > 86400"
        f" and on {_BY} {_is('running')} and on {_BY} sum by {_BY} (penstock_state_bytes) > 0",
        "{flow} has had no savepoint for {value}: an undo would begin that far back",
        target="vector(86400)",
        unit="s",
        hint="penstock ledger {flow}",
    ),
    Rule(
        "RestartLoop",
        _PAGE,
        f"sum by {_BY} (increase(penstock_restarts_total[15m])) > 3",
        "{flow} ended {value} times within 15 minutes",
        hint="penstock logs {flow} 'severity>=ERROR'",
    ),
    Rule(
        "DeadLettersNew",
        _TICKET,
        f"sum by {_BY} (increase(penstock_records_dead_total[10m])) > 0",
        "{flow} set {value} aside that it can't process",
        unit="rows",
        keep_s=600,
        hint="penstock deadletters {flow}",
    ),
    Rule(
        "DeadLettersOld",
        _TICKET,
        f"max by {_BY} (penstock_dead_letter_oldest_seconds) > 604800",
        "dead letters of {flow} have waited for {value}",
        target="vector(604800)",
        unit="s",
        hint="penstock deadletters {flow}",
    ),
    Rule(
        "LateDropped",
        _TICKET,
        f"sum by {_BY} (rate(penstock_records_late_total[1h])) / {_READ} > 0.01",
        "{value} of the rows of {flow} come too late for their window",
        for_s=600,
        target="vector(0.01)",
        unit="share",
        hint="let the source's `lateness` be longer",
    ),
    Rule(
        "StateGrowth",
        _TICKET,
        f"predict_linear(penstock_state_bytes[6h], 86400) > on {_BY} group_left() "
        f"max by {_BY} (penstock_worker_memory_limit_bytes)",
        "the state of {flow} will be {value} in a day, more than its memory",
        for_s=3600,
        unit="bytes",
        hint="penstock metrics {flow}",
    ),
    Rule(
        "MemoryNearLimit",
        _PAGE,
        f"max by {_BY} (penstock_worker_memory_bytes)"
        f" / on {_BY} max by {_BY} (penstock_worker_memory_limit_bytes) > 0.9",
        "{flow} uses {value} of the memory that it may",
        for_s=120,
        target="vector(0.9)",
        unit="share",
        hint="penstock start {flow} --memory ...",
    ),
    Rule(
        "CpuSaturated",
        _TICKET,
        f"max by {_BY} (penstock_system_lag_seconds) > 60"
        f' and on {_BY} max by {_BY} (rate(penstock_step_time_seconds_total{{state="busy"}}[15m])) > 0.9',
        "{flow} is {value} behind and one of its steps is busy all the time",
        for_s=900,
        unit="s",
        hint="penstock metrics {flow}",
    ),
    Rule(
        "DiskWillFill",
        _PAGE,
        "predict_linear(penstock_disk_free_bytes[1h], 14400) < 0"
        " and penstock_disk_free_bytes / penstock_disk_size_bytes < 0.3",
        "the disk of {env} will be full within four hours",
        for_s=600,
        hint="free space, or let [undo] and [logs] keep less",
    ),
    Rule(
        "DiskNearlyFull",
        _PAGE,
        "penstock_disk_free_bytes / penstock_disk_size_bytes < 0.05",
        "{value} of the disk of {env} are free",
        for_s=60,
        target="vector(0.05)",
        unit="share",
        hint="free space, or let [undo] and [logs] keep less",
    ),
    Rule(
        "RunMissed",
        _PAGE,
        f"time() - max by {_BY} (penstock_run_last_success_timestamp_seconds)"
        f" > on {_BY} 2 * max by {_BY} (penstock_schedule_interval_seconds)",
        "{flow} missed two of its runs: the last one that succeeded was {value} ago",
        unit="s",
        hint="penstock status {flow}",
    ),
    Rule(
        "QualityFailed",
        _TICKET,
        'sum by (project, env, flow, check) (increase(penstock_quality_checks_total{result="failed"}[10m])) > 0',
        "{value} of {flow} do not meet the expectation {check}",
        unit="rows",
        keep_s=600,
        hint="penstock ledger {flow}",
    ),
    Rule(
        "ManyErrors",
        _TICKET,
        "severity>=ERROR",
        "{flow} logged {value} errors within five minutes",
        basis=Basis.LOG_RATE,
        over_s=300,
        above=10,
        hint="penstock logs {flow} 'severity>=ERROR'",
    ),
    Rule(
        "Watchdog",
        _INFO,
        "vector(1)",
        "alerts are looked at (this one always fires; who hears nothing of it for long should look)",
    ),
)
"""By name. `[alerts] off = [...]` in `penstock.toml` leaves some out; a rule of the same name takes its place."""
