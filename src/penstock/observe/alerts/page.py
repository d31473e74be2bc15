"""`docs/alerts.md`, as text."""

from __future__ import annotations

from penstock.observe.alerts.defaults import DEFAULT_RULES
from penstock.observe.alerts.rules import Rule

__all__ = ["alerts_page"]


def alerts_page() -> str:
    """The page. Its table of rules is `DEFAULT_RULES`."""
    return _HEAD + "\n".join(_row(rule) for rule in DEFAULT_RULES) + "\n" + _TAIL


def _row(rule: Rule) -> str:
    waits = f"{rule.for_s:g} s" if rule.for_s else "-"
    return f"| `{rule.name}` | {rule.severity.value} | {waits} | {rule.summary} |"


_HEAD = """# Alerts

`penstock up` looks at rules each 10 seconds, and tells routes. What fires is kept in the ledger, so a restart, or the other
server, goes on where the last one was. This page is written by `make docs`.

```toml
[alerts.route.ops]
kind = "slack"
url = "env:SLACK_WEBHOOK"
severities = ["page", "ticket"]      # the default
matches = 'env="production"'         # labels, as Alertmanager writes them

[alerts.rule.TooManyWaiting]
expr = "penstock_source_backlog_records > 100000"
for = "5m"
severity = "page"
summary = "{value} wait for {flow}"
unit = "rows"

[alerts.rule.RunningButSilent]       # one that is there already: what is said here is laid over it
for = "2m"

[alerts.rule.Timeouts]
logs = '"timed out" severity>=WARNING'
more_than = 3                        # without it, every entry
over = "1h"
```

## Rules

| key | what it is |
|---|---|
| `expr` | PromQL over the metrics of [metrics.md](metrics.md); each series of the answer is an alert |
| `logs` | a filter of [logs-filter.md](logs-filter.md); an alert for each flow with an entry, or with `more_than` of them within `over` (5 min) |
| `sql` | a query of the tables of `penstock sql`; each row is an alert, its column `value` the value, others are labels |
| `severity` | `page` (now), `ticket` (in working hours, the default) or `info` |
| `for` | how long it must hold before it fires |
| `keep` | how long it goes on after it held last |
| `summary` | a sentence; `{value}`, `{target}` and names of labels in braces |
| `target`, `unit` | what the value should be, in PromQL; `s`, `bytes`, `rows` or `share` |
| `quiets` | rules that say nothing about a flow while this one fires for it |
| `hint` | the next command |
| `labels` | further labels |

Of PromQL, subqueries, `@` and native histograms are not known here. `penstock alerts backtest RULE --over 7d` shows when a
rule would have fired, before it wakes anybody.

## Routes

| kind | settings |
|---|---|
| `slack` | `url`: a webhook of Slack, Mattermost, or any that takes Slack's messages |
| `pagerduty` | `routing_key` of an integration of the Events API v2; one incident for each flow |
| `email` | `host`, `to`, `from`; `port`, `user`, `password`, `tls` (`starttls`, `yes`, `no`) |
| `webhook` | `url`; `secret` signs: `X-Penstock-Signature` is `sha256=` and the HMAC-SHA256 of `X-Penstock-Timestamp`, a dot and the body; `headers` |
| `alertmanager` | `url` of Prometheus's Alertmanager; `headers` |

Values may be references: `env:NAME`, `file:PATH`. Alerts of one flow go together: the first waits `wait` (10 s) for others, news
come at most each `interval` (5 min), what goes on is told again each `repeat` (4 h), the end is told at once. What can't be
told is tried again, ever less often. `penstock alerts test ROUTE` sends a message now.

`penstock alerts silence 'flow="orders"' --for 2h --why "moving the disk"` keeps alerts quiet; one that still fires
afterwards is told then.

## The rules that come with Penstock

| name | severity | after | what it says |
|---|---|---|---|
"""

_TAIL = """
`penstock generate alerts` writes those that ask metrics for Prometheus, with what `penstock.toml` says of them.
"""
